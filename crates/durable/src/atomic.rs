//! Writes files atomically: a kill or a full disk leaves the old content or the new one, never a mixture.
//!
//! It writes a temporary file with mode 0600 in the same folder, syncs it, renames it, and syncs the folder.

use std::io::{self, Write as _};
use std::path::Path;

use crate::sync::sync_folder;

/// Replaces the content of `path`. After an error, the old content is still there.
pub fn write_atomically(path: &Path, contents: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path has no parent folder"))?;
    let mut temporary = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
    temporary.write_all(contents)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    sync_folder(folder)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("meta.json");
        write_atomically(&path, b"first, and longer").expect("written");
        write_atomically(&path, b"second").expect("written");
        assert_eq!(fs_err::read(&path).expect("there"), b"second");
        assert_eq!(fs_err::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs_err::read_dir(folder.path()).expect("there").count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_contents_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("there/meta.json");
        assert!(write_atomically(&path, b"x").is_err(), "the folder does not exist");
        let taken = folder.path().join("taken");
        fs_err::create_dir(&taken).expect("made");
        assert!(write_atomically(&taken, b"x").is_err(), "a folder cannot be replaced by a file");
        assert_eq!(fs_err::read_dir(folder.path()).expect("there").count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_link_is_replaced_and_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (outside, path) = (folder.path().join("outside"), folder.path().join("link"));
        fs_err::write(&outside, "kept").expect("written");
        std::os::unix::fs::symlink(&outside, &path).expect("linked");
        write_atomically(&path, b"new").expect("written");
        assert!(fs_err::symlink_metadata(&path).expect("there").is_file());
        assert_eq!(fs_err::read(&outside).expect("there"), b"kept");
    }

    #[test]
    fn the_permissions_of_the_old_file_are_not_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("meta.json");
        fs_err::write(&path, "old").expect("written");
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("ours");
        write_atomically(&path, b"").expect("an empty file is written too");
        assert_eq!(fs_err::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs_err::read(&path).expect("there"), b"");
    }

    #[test]
    fn a_reader_sees_the_old_content_or_the_new_one_and_never_a_part() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("meta.json");
        let contents = [vec![b'a'; 100_000], vec![b'b'; 50_000]];
        write_atomically(&path, &contents[0]).expect("written");
        std::thread::scope(|scope| {
            for own in &contents {
                let path = &path;
                scope.spawn(move || (0..20).for_each(|_| write_atomically(path, own).expect("written")));
            }
            for _ in 0..50 {
                let found = fs_err::read(&path).expect("the file is always there");
                assert!(contents.contains(&found), "{} bytes", found.len());
            }
        });
        assert_eq!(fs_err::read_dir(folder.path()).expect("there").count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_path_without_a_folder_is_an_error() {
        assert_eq!(write_atomically(Path::new("/"), b"x").expect_err("no parent").kind(), io::ErrorKind::InvalidInput);
    }
}
