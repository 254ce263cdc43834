//! Deletes a folder whose content may be hostile.
//!
//! [`remove_tree`] never follows symbolic links. It handles read-only folders and any nesting depth, and keeps only a few files
//! open: nested folders are moved up before they are emptied. If the folder does not exist, there is nothing to do.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, chmod, openat, renameat, unlinkat};
use rustix::io::Errno;

/// The error if a folder could not be removed.
#[derive(Debug, thiserror::Error)]
#[error("could not remove {}: {source}", path.display())]
pub struct RemoveTreeError {
    /// The path that could not be removed.
    pub path: PathBuf,
    /// The system's error.
    pub source: io::Error,
}

/// Removes the file, symbolic link or folder at `path`. A folder is removed with everything in it.
pub fn remove_tree(path: &Path) -> Result<(), RemoveTreeError> {
    let failed = |errno: Errno| RemoveTreeError { path: path.to_owned(), source: errno.into() };
    match unlinkat(CWD, path, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // The path is a folder: Linux returns `EISDIR`, POSIX specifies `EPERM`.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(failed(error)),
    }
    let name = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| failed(Errno::INVAL))?;
    let root = open_folder(CWD, &name).map_err(failed)?;
    empty_root(&root).map_err(failed)?;
    unlinkat(CWD, path, AtFlags::REMOVEDIR).map_err(failed)
}

/// Empties the root in rounds. Emptying a folder moves its subfolders into the root, where the next round removes them.
fn empty_root(root: &OwnedFd) -> Result<(), Errno> {
    let mut moved = 0_u64;
    loop {
        let names = names_in(root)?;
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            if unlink_or_find_folder(root, &name)? == Entry::Folder {
                let folder = open_folder(root, &name)?;
                empty_into(&folder, root, &mut moved)?;
                unlinkat(root, &name, AtFlags::REMOVEDIR)?;
            }
        }
    }
}

/// Removes the files in a folder and moves its subfolders into the root.
fn empty_into(folder: &OwnedFd, root: &OwnedFd, moved: &mut u64) -> Result<(), Errno> {
    for name in names_in(folder)? {
        if unlink_or_find_folder(folder, &name)? == Entry::Gone {
            continue;
        }
        loop {
            *moved += 1;
            match renameat(folder, &name, root, format!("removed-{moved}")) {
                Ok(()) => break,
                // The root already contains an entry with this name.
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                // Moving a folder requires write permission on the folder itself, because its `..` changes.
                Err(Errno::ACCESS) => make_writable(folder, &name)?,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

#[derive(PartialEq, Eq)]
enum Entry {
    Gone,
    Folder,
}

fn unlink_or_find_folder(folder: &OwnedFd, name: &CStr) -> Result<Entry, Errno> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(Entry::Gone),
        Err(Errno::ISDIR) => Ok(Entry::Folder),
        Err(error) => Err(error),
    }
}

/// Opens a folder without following a symbolic link, and makes sure that it can be read and emptied.
pub fn open_folder(parent: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = match openat(&parent, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            make_writable(&parent, name)?;
            openat(&parent, name, flags, Mode::empty())?
        }
        opened => opened?,
    };
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&folder)?.st_mode);
    if !mode.contains(Mode::RWXU) {
        rustix::fs::fchmod(&folder, Mode::RWXU)?;
    }
    Ok(folder)
}

/// Gives the owner all permissions on a folder, even if it is unreadable. Does not follow a symbolic link.
fn make_writable(parent: impl AsFd, name: &CStr) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = openat(parent, name, flags, Mode::empty())?;
    chmod(format!("/proc/self/fd/{}", folder.as_raw_fd()), Mode::RWXU)
}

fn names_in(folder: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder can be created");
        let tree = folder.path().join("tree");
        fs_err::create_dir(&tree).expect("the folder can be created");
        (folder, tree)
    }

    fn removed(tree: &Path) {
        remove_tree(tree).expect("the tree can be removed");
        assert!(fs_err::symlink_metadata(tree).is_err());
    }

    #[test]
    fn what_a_link_points_to_stays() {
        let (folder, tree) = folder();
        let precious = folder.path().join("precious");
        fs_err::create_dir(&precious).expect("the folder can be created");
        fs_err::write(precious.join("file"), "kept").expect("the file can be written");
        symlink(&precious, tree.join("link")).expect("the link can be created");
        symlink(precious.join("file"), tree.join("file-link")).expect("the link can be created");
        removed(&tree);
        assert_eq!(fs_err::read_to_string(precious.join("file")).expect("the linked file still exists"), "kept");
        symlink(&precious, &tree).expect("a link can replace the folder");
        removed(&tree);
        assert!(precious.join("file").exists());
    }

    #[test]
    fn read_only_and_unreadable_folders_go_too() {
        let (_folder, tree) = folder();
        fs_err::create_dir_all(tree.join("a/b/c")).expect("the folders can be created");
        fs_err::write(tree.join("a/b/c/file"), "x").expect("the file can be written");
        for (path, mode) in [("a/b/c", 0o000), ("a/b", 0o500), ("a", 0o555)] {
            fs_err::set_permissions(tree.join(path), std::fs::Permissions::from_mode(mode)).expect("we own the folder");
        }
        removed(&tree);
    }

    #[test]
    fn a_tree_deeper_than_any_path_goes_too() {
        let (_folder, tree) = folder();
        let mut here = openat(CWD, &tree, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).expect("the tree exists");
        let name = "d".repeat(200);
        for _ in 0..500 {
            rustix::fs::mkdirat(&here, &name, Mode::RWXU).expect("the folder can be created");
            here = openat(&here, &name, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).expect("the folder exists");
        }
        removed(&tree);
    }

    #[test]
    fn names_that_are_ours_and_odd_files_are_no_trouble() {
        let (_folder, tree) = folder();
        for path in ["removed-1", "removed-2/removed-1/x", "a/removed-3/removed-1", "-rf", "a\nb"] {
            fs_err::create_dir_all(tree.join(path)).expect("the folder can be created");
            fs_err::write(tree.join(path).join("removed-1x"), "x").expect("the file can be written");
        }
        fs_err::write(tree.join("removed-4"), "x").expect("the file can be written");
        std::os::unix::net::UnixListener::bind(tree.join("socket")).expect("the socket can be created");
        rustix::fs::mknodat(CWD, tree.join("fifo"), rustix::fs::FileType::Fifo, Mode::RWXU, 0).expect("the FIFO can be created");
        removed(&tree);
    }

    #[test]
    fn what_is_gone_is_removed_already() {
        let (folder, tree) = folder();
        removed(&tree);
        removed(&tree);
        let file = folder.path().join("file");
        fs_err::write(&file, "x").expect("the file can be written");
        removed(&file);
    }

    #[test]
    fn what_links_to_itself_or_to_the_folder_above_is_no_trouble() {
        let (folder, tree) = folder();
        symlink("loop", tree.join("loop")).expect("the link can be created");
        symlink("..", tree.join("above")).expect("the link can be created");
        symlink(&tree, tree.join("itself")).expect("the link can be created");
        fs_err::write(folder.path().join("next-to-it"), "kept").expect("the file can be written");
        removed(&tree);
        assert!(folder.path().join("next-to-it").exists());
    }

    #[test]
    fn another_name_of_a_file_stays() {
        let (folder, tree) = folder();
        let other = folder.path().join("other");
        fs_err::write(&other, "kept").expect("the file can be written");
        fs_err::hard_link(&other, tree.join("name")).expect("the link can be created");
        removed(&tree);
        assert_eq!(fs_err::read_to_string(&other).expect("the other name still exists"), "kept");
    }

    #[test]
    fn a_wide_tree_with_equal_names_goes_too() {
        let (_folder, tree) = folder();
        for number in 0..300 {
            fs_err::create_dir_all(tree.join(format!("{number}/same/name"))).expect("the folders can be created");
        }
        removed(&tree);
    }

    #[test]
    fn an_error_names_the_path() {
        let (_folder, tree) = folder();
        fs_err::write(tree.join("file"), "x").expect("the file can be written");
        let below = tree.join("file/below");
        let error = remove_tree(&below).expect_err("a file contains nothing");
        assert_eq!((error.path.as_path(), error.source.kind()), (below.as_path(), io::ErrorKind::NotADirectory));
        assert!(error.to_string().starts_with(&format!("could not remove {}: ", below.display())), "{error}");
        assert!(tree.join("file").exists());
    }
}
