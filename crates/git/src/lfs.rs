//! Copies large files (git-lfs) that an agent created in its container into the mirror.
//!
//! An agent wrote the objects. The name of an object is the hash of its content, and an object that does not match its name is
//! rejected. No link is followed. Invariant: every object below the mirror's `lfs/objects` matches its name.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, statat};
use rustix::io::Errno;
use secret_forms::SecretSearch;

/// The maximum total size of a run's new objects, in bytes.
const LIMIT_BYTES: u64 = 16 << 30;

/// The maximum number of objects that are accepted from one run.
const LIMIT_OBJECTS: usize = 100_000;

/// Copies the objects in `from` that the mirror does not have yet, except for those that contain a secret. Returns a note if objects
/// were rejected.
pub(super) fn take_objects(from: &Path, mirror: &Path, secrets: Option<&SecretSearch>) -> io::Result<Vec<String>> {
    let mut taking = Taking { to: mirror.join("lfs"), objects: 0, bytes: 0, refused: 0, secrets };
    if let Some(root) = folder(CWD, from)? {
        taking.walk(&root, 0, "")?;
    }
    let refused = taking.refused;
    Ok((refused > 0)
        .then(|| {
            format!(
                "{refused} large files were rejected: their content does not match their names or contains a secret, or there are too many"
            )
        })
        .into_iter()
        .collect())
}

struct Taking<'a> {
    to: PathBuf,
    objects: usize,
    bytes: u64,
    refused: usize,
    secrets: Option<&'a SecretSearch>,
}

impl Taking<'_> {
    /// Walks the folders of the objects, which are stored two levels deep: `ab/cd/abcd…`.
    fn walk(&mut self, at: &OwnedFd, depth: usize, prefix: &str) -> io::Result<()> {
        for entry in Dir::read_from(at)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let is_hex = name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
            match (depth, name.len()) {
                (0 | 1, 2) if is_hex => {
                    if let Some(below) = folder(at, name)? {
                        self.walk(&below, depth + 1, &format!("{prefix}{name}"))?;
                    }
                }
                (2, 64) if is_hex && name.starts_with(prefix) => self.take(at, name)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn take(&mut self, at: &OwnedFd, name: &str) -> io::Result<()> {
        let target = self.to.join("objects").join(&name[..2]).join(&name[2..4]).join(name);
        let size = u64::try_from(statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?.st_size).unwrap_or(u64::MAX);
        // An existing object of a different length was truncated by a power cut, unless the agent's object is wrong.
        if fs_err::symlink_metadata(&target).is_ok_and(|found| found.len() == size) {
            return Ok(());
        }
        self.objects += 1;
        self.bytes = self.bytes.saturating_add(size);
        let Some(file) = plain_file(at, name)?.filter(|_| self.objects <= LIMIT_OBJECTS && self.bytes <= LIMIT_BYTES) else {
            self.refused += 1;
            return Ok(());
        };
        let incomplete = self.to.join("incomplete");
        fs_err::create_dir_all(&incomplete)?;
        let mut copy = tempfile::NamedTempFile::new_in(incomplete)?;
        if copied(file.take(size), copy.as_file_mut())? != name {
            self.refused += 1;
            return Ok(());
        }
        if let Some(search) = self.secrets
            && search.in_stream(copy.reopen()?)?.is_some()
        {
            self.refused += 1;
            return Ok(());
        }
        copy.as_file().sync_all()?;
        fs_err::create_dir_all(target.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
        copy.persist(target)?;
        Ok(())
    }
}

/// Copies the content, and returns its SHA-256 in git-lfs's notation.
fn copied(mut from: impl io::Read, to: &mut File) -> io::Result<String> {
    let mut hash = Context::new(&SHA256);
    let mut buffer = vec![0; 256 << 10];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            let digest = hash.finish();
            let digits = digest.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 15]);
            return Ok(digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect());
        }
        hash.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
    }
}

/// Opens a folder, if it exists and is not a link.
fn folder(at: impl std::os::fd::AsFd, name: impl rustix::path::Arg) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(at, name, flags, Mode::empty()) {
        Ok(folder) => Ok(Some(folder)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Opens a regular file.
fn plain_file(at: &OwnedFd, name: &str) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match openat(at, name, flags, Mode::empty()) {
        Ok(file) => {
            let file = File::from(file);
            Ok(file.metadata()?.is_file().then_some(file))
        }
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The SHA-256 of `large\n`.
    const OID: &str = "9bfce334a37bd1bc1d36b0370195b31fe9a9389dd43d0873891a3544ef1140a1";

    fn oid_of(content: &[u8]) -> String {
        let mut sink = tempfile::tempfile().expect("a file");
        copied(content, &mut sink).expect("copied")
    }

    fn put(root: &Path, name: &str, content: &[u8]) -> PathBuf {
        let path = root.join(&name[..2]).join(&name[2..4]).join(name);
        fs_err::create_dir_all(path.parent().expect("the path has a parent folder")).expect("made");
        fs_err::write(&path, content).expect("written");
        path
    }

    #[test]
    fn objects_that_are_what_their_names_say_are_taken_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, mirror) = (folder.path().join("from"), folder.path().join("mirror"));
        let name = oid_of(b"large\n");
        put(&from, &name, b"large\n");
        assert!(take_objects(&from, &mirror, None).expect("taken").is_empty());
        let taken = mirror.join("lfs/objects").join(&name[..2]).join(&name[2..4]).join(&name);
        assert_eq!(fs_err::read(&taken).expect("there"), b"large\n");
        assert_eq!(fs_err::read_dir(mirror.join("lfs/incomplete")).expect("there").count(), 0);
        assert!(take_objects(&from, &mirror, None).expect("again").is_empty());
        assert!(take_objects(&folder.path().join("none"), &mirror, None).expect("nothing there").is_empty());
    }

    #[test]
    fn lies_links_and_other_names_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, mirror) = (folder.path().join("from"), folder.path().join("mirror"));
        put(&from, OID, b"something else");
        let link = oid_of(b"secret");
        fs_err::write(folder.path().join("secret"), "secret").expect("written");
        let path = put(&from, &link, b"");
        fs_err::remove_file(&path).expect("removed");
        fs_err::os::unix::fs::symlink(folder.path().join("secret"), &path).expect("a link");
        fs_err::create_dir_all(from.join("zz/aa")).expect("made");
        fs_err::os::unix::fs::symlink(folder.path(), from.join("ab")).expect("a link");
        fs_err::write(from.join("file"), "").expect("written");
        put(&from, &oid_of(b"with a placed-secret"), b"with a placed-secret");
        let secrets = SecretSearch::new([("TOKEN", "placed-secret")], secret_forms::Parts::Lines);
        let notes = take_objects(&from, &mirror, secrets.as_ref()).expect("looked at");
        assert!(matches!(&notes[..], [note] if note.starts_with("3 large files were rejected")), "{notes:?}");
        assert!(!mirror.join("lfs/objects").exists());
    }
}
