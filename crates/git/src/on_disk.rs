//! Checks whether a file on disk has the text that a diff shows.
//!
//! A diff shows what is committed. A `.gitattributes` file can make git write different bytes into a worktree, for example in a
//! different encoding, and a worktree may have been changed since. This module never follows a link or waits for a pipe.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use model::diff::{Diff, FileDiff};
use model::ids::ObjectId;
use model::visible::plain_name;
use process::{RunProgramError, Stdin, Stdout};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::budget::{FILE_BYTES, PAGE, PAGE_MEMORY};
use super::changed::{Content, Listing};
use super::mirror::Mirror;
use super::program::{ANSWER_LIMIT_BYTES, GitDir};

/// The attributes that change what git writes into a worktree.
const ATTRIBUTES: [&str; 4] = ["working-tree-encoding", "eol", "ident", "filter"];

impl Mirror {
    /// Adds a note to each file whose attributes in `commit` make the file on disk differ from the diff.
    pub(super) async fn note_files_on_disk(&self, commit: &ObjectId, diff: &mut Diff) {
        let mut paths = Vec::new();
        for file in diff.files.iter().filter(|file| is_on_disk(file)) {
            paths.extend(file.path_bytes());
            paths.push(0);
        }
        if paths.is_empty() {
            return;
        }
        match self.attributes(commit, paths).await {
            Ok(attributes) => {
                for file in diff.files.iter_mut().filter(|file| is_on_disk(file)) {
                    file.on_disk = attributes.get(&file.path_bytes()).map(|notes| notes.join(", "));
                }
            }
            Err(error) => {
                tracing::warn!(%commit, %error, "could not read the Git attributes of changed files");
                for file in diff.files.iter_mut().filter(|file| is_on_disk(file)) {
                    file.on_disk = Some("its Git attributes could not be read".to_owned());
                }
            }
        }
    }

    /// Returns what the attributes of a commit do to the files on disk. They are read from an index of the commit, which all
    /// versions of git support.
    async fn attributes(&self, commit: &ObjectId, paths: Vec<u8>) -> Result<BTreeMap<Vec<u8>, Vec<String>>, RunProgramError> {
        let lost = |source| RunProgramError::Io { program: self.git().tool().to_string(), source };
        let folder = tempfile::tempdir().map_err(lost)?;
        let settings = [("core.attributesFile", "/dev/null"), ("core.fsync", "none"), ("index.threads", "1")];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let git = || {
            let command = self.git().command_with(GitDir::Mirror(self.path()), &settings);
            command.env("GIT_INDEX_FILE", folder.path().join("index")).deadline(PAGE).memory(PAGE_MEMORY)
        };
        git().args(["read-tree", commit.as_str()]).run_ok().await?;
        let command = git().args(["check-attr", "--cached", "-z", "--stdin"]).args(ATTRIBUTES).stdin(Stdin::Bytes(paths));
        Ok(notes(&command.stdout(Stdout::Capture { max: ANSWER_LIMIT_BYTES }).run_ok().await?.stdout))
    }
}

/// Whether the change leaves a regular file on disk.
fn is_on_disk(file: &FileDiff) -> bool {
    file.new_path.is_some() && file.new_mode.as_ref().is_none_or(|mode| mode.starts_with("100"))
}

/// Parses `check-attr -z`: path NUL attribute NUL value NUL.
fn notes(listing: &[u8]) -> BTreeMap<Vec<u8>, Vec<String>> {
    let pieces: Vec<_> = listing.split(|byte| *byte == 0).collect();
    let mut found: BTreeMap<Vec<u8>, Vec<String>> = BTreeMap::new();
    for piece in pieces.chunks_exact(3) {
        let value = plain_name(piece[2]);
        let note = match (piece[1], value.as_str()) {
            (_, "unspecified" | "unset") | (b"working-tree-encoding", "set") | (b"eol", "lf") => continue,
            (b"working-tree-encoding", name) if ["utf-8", "utf8"].contains(&name.to_ascii_lowercase().as_str()) => continue,
            (b"working-tree-encoding", name) => format!("encoding {name}"),
            (b"eol", name) => format!("line endings {name}"),
            (b"ident", _) => "keyword $Id$".to_owned(),
            (_, "lfs") => "stored with Git LFS".to_owned(),
            (_, name) => format!("filter {name}"),
        };
        found.entry(piece[0].to_vec()).or_default().push(note);
    }
    found
}

/// Adds a note to each file whose content in the worktree at `tree` differs from the new commit of the listing.
pub fn note_other_content(tree: &Path, listing: &Listing, files: &mut [FileDiff]) -> io::Result<()> {
    let folder = match rustix::fs::openat(CWD, tree, OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()) {
        Ok(folder) => folder,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let committed: BTreeMap<_, _> =
        listing.files.iter().filter_map(|file| Some((&file.path[..], file.new.as_ref().filter(|new| new.is_file())?))).collect();
    for file in files.iter_mut().filter(|file| file.on_disk.is_none()) {
        let path = file.path_bytes();
        let Some(content) = committed.get(&path[..]) else { continue };
        if is_other(&folder, &path, content)? {
            file.on_disk = Some("the worktree contains a different version".to_owned());
        }
    }
    Ok(())
}

/// Whether a file has different content. A missing file counts as unchanged.
fn is_other(folder: &OwnedFd, path: &[u8], content: &Content) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let file = match rustix::fs::openat2(folder, std::ffi::OsStr::from_bytes(path), flags, Mode::empty(), resolve) {
        Ok(file) => file,
        // The file is missing, or the kernel does not have this system call.
        Err(Errno::NOENT | Errno::NOSYS) => return Ok(false),
        // A link, a file in the place of a folder, a socket, or an unreadable file.
        Err(Errno::LOOP | Errno::NOTDIR | Errno::NXIO | Errno::ACCESS | Errno::NAMETOOLONG) => return Ok(true),
        Err(error) => return Err(error.into()),
    };
    let found = rustix::fs::fstat(&file)?;
    let size = u64::try_from(found.st_size).unwrap_or_default();
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile || content.bytes.is_some_and(|bytes| bytes != size) {
        return Ok(true);
    }
    if size > FILE_BYTES {
        return Ok(false);
    }
    let mut bytes = vec![];
    File::from(file).take(FILE_BYTES).read_to_end(&mut bytes)?;
    let algorithm = if content.id.as_str().len() == 64 { &SHA256 } else { &SHA1_FOR_LEGACY_USE_ONLY };
    let mut digest = Context::new(algorithm);
    digest.update(format!("blob {}\0", bytes.len()).as_bytes());
    digest.update(&bytes);
    Ok(hex::encode(digest.finish()) != content.id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_that_change_a_file_on_disk_are_named() {
        let listing = "a\0working-tree-encoding\0UTF-7\0a\0eol\0crlf\0a\0ident\0set\0a\0filter\0lfs\0\
            b\0working-tree-encoding\0utf-8\0b\0eol\0lf\0b\0ident\0unset\0b\0filter\0unspecified\0\
            c\0working-tree-encoding\0x\u{202e}y\0c\0eol\0unspecified\0c\0ident\0unspecified\0c\0filter\0cat\0";
        let found = notes(listing.as_bytes());
        assert_eq!(found[&b"a"[..]], ["encoding UTF-7", "line endings crlf", "keyword $Id$", "stored with Git LFS"]);
        assert_eq!(found[&b"c"[..]], ["encoding x<U+202E>y", "filter cat"]);
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn a_file_with_other_content_is_known_whatever_took_its_place() {
        let tree = tempfile::tempdir().expect("a folder");
        let at = |name: &str| tree.path().join(name);
        for name in ["same", "other", "longer"] {
            fs_err::write(at(name), if name == "longer" { "hello\n\n" } else { "hello\n" }).expect("a file");
        }
        fs_err::write(at("other"), "hallo\n").expect("a file");
        fs_err::os::unix::fs::symlink("same", at("link")).expect("a link");
        rustix::fs::mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RWXU, 0).expect("a pipe");
        let id = "ce013625030ba8dba906f756967f9e9ca394464a".parse().expect("an id");
        let content = Content { id, mode: "100644".to_owned(), bytes: Some(6) };
        let folder = OwnedFd::from(File::open(tree.path()).expect("it exists"));
        let is_other = |name: &str| is_other(&folder, name.as_bytes(), &content).expect("the file is readable");
        assert_eq!(["same", "gone"].map(is_other), [false, false]);
        assert_eq!(["other", "longer", "link", "pipe", "link/x", "same/x"].map(is_other), [true; 6]);
    }
}
