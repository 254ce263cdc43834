//! A copy of the login for Codex: in its own folder for a container, or a file on the host.
//!
//! An agent in a container can do anything inside that folder. Therefore no link there is followed, and only the files that
//! Codex creates are read or deleted. Invariant: nothing here writes the login itself.

use std::io;
use std::path::{Path, PathBuf};

use durable::write_atomically;
use fs_err as fs;

use super::home::private_folder;
use super::plain_file::read_plain_file;

/// The name of Codex's login file.
const FILE: &str = "auth.json";

/// Lock files that Codex holds in the same folder while it renews the tokens or replaces the login. They are empty.
const LOCKS: [&str; 2] = ["auth.lock", "auth.json.lock"];

/// The maximum number of folders that are put aside.
const MOST_ASIDE: u32 = 1000;

/// The place where a copy is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginCopy {
    place: CopyLocation,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum CopyLocation {
    /// A file in a folder that contains nothing else.
    Folder(PathBuf),
    /// A file in a folder with other files.
    File(PathBuf),
}

/// What was found in the place where a copy is stored.
#[derive(Debug, PartialEq, Eq)]
pub enum FoundCopy {
    /// There is no copy.
    Nothing,
    /// A regular file of a plausible size.
    File(Vec<u8>),
    /// Something that Codex does not leave behind, with the reason.
    Foreign(String),
}

impl LoginCopy {
    /// Returns the place of a copy in its own folder.
    pub fn folder(folder: PathBuf) -> Self {
        Self { place: CopyLocation::Folder(folder) }
    }

    /// Returns the place of a copy in a folder with other files.
    pub fn file(file: PathBuf) -> Self {
        Self { place: CopyLocation::File(file) }
    }

    /// Returns the path that is moved when the copy is put aside.
    pub fn path(&self) -> &Path {
        match &self.place {
            CopyLocation::Folder(path) | CopyLocation::File(path) => path,
        }
    }

    /// Whether an agent can write to the copy.
    pub fn is_for_a_container(&self) -> bool {
        matches!(self.place, CopyLocation::Folder(_))
    }

    fn login_file(&self) -> PathBuf {
        match &self.place {
            CopyLocation::Folder(folder) => folder.join(FILE),
            CopyLocation::File(file) => file.clone(),
        }
    }

    /// Returns the file that records the login last written to the copy. No container can change this file.
    fn lent_file(&self) -> PathBuf {
        self.path().with_extension("lent")
    }

    /// Reads the copy, if it is a regular file. Codex may be writing it at the same time.
    pub fn read(&self) -> io::Result<Option<Vec<u8>>> {
        found(read_plain_file(&self.login_file()))
    }

    /// Returns the login that was last written to the copy, if it is known.
    pub fn lent(&self) -> io::Result<Option<Vec<u8>>> {
        match &self.place {
            CopyLocation::Folder(_) => found(read_plain_file(&self.lent_file())),
            CopyLocation::File(_) => Ok(None),
        }
    }

    /// Inspects all files in this place.
    pub fn look(&self) -> io::Result<FoundCopy> {
        if let CopyLocation::Folder(folder) = &self.place {
            let entries = match fs::read_dir(folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(FoundCopy::Nothing),
                Err(error) => return Ok(FoundCopy::Foreign(format!("the folder cannot be read ({})", error.kind()))),
            };
            for entry in entries {
                let entry = entry?;
                let is_lock = LOCKS.iter().any(|lock| entry.file_name() == *lock) && entry.file_type()?.is_file();
                if entry.file_name() != FILE && !is_lock {
                    return Ok(FoundCopy::Foreign("there are other files next to it".to_owned()));
                }
            }
        }
        Ok(match read_plain_file(&self.login_file()) {
            Ok(bytes) => FoundCopy::File(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => FoundCopy::Nothing,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                FoundCopy::Foreign("the server cannot read it".to_owned())
            }
            Err(_) => FoundCopy::Foreign("it is not a small regular file".to_owned()),
        })
    }

    /// Writes a login to the copy. Readers see the old file or the new one. A link is replaced, not followed.
    pub fn put(&self, login: &[u8]) -> io::Result<()> {
        match &self.place {
            CopyLocation::File(file) => write_atomically(file, login),
            CopyLocation::Folder(folder) => {
                private_folder(folder)?;
                // Write the file next to the folder first, so that a container only sees the finished file.
                let lent = self.lent_file();
                write_atomically(&lent, login)?;
                let new = folder.with_extension("new");
                write_atomically(&new, login)?;
                fs::rename(new, folder.join(FILE))
            }
        }
    }

    /// Moves the copy and everything next to it to a path that no container sees, and returns the new path.
    pub fn put_aside(&self) -> io::Result<PathBuf> {
        let path = self.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        for n in 1..=MOST_ASIDE {
            let aside = path.with_file_name(format!("{name}-refused-{n}"));
            if fs::symlink_metadata(&aside).is_ok() {
                continue;
            }
            fs::rename(path, &aside)?;
            return Ok(aside);
        }
        Err(io::Error::other(format!("there are already {MOST_ASIDE} refused logins next to `{}`", path.display())))
    }

    /// Removes a copy that was inspected and is valid.
    pub fn remove(&self) -> io::Result<()> {
        there(fs::remove_file(self.login_file()))?;
        if let CopyLocation::Folder(folder) = &self.place {
            for lock in LOCKS {
                there(fs::remove_file(folder.join(lock)))?;
            }
            there(fs::remove_file(self.lent_file()))?;
            there(fs::remove_dir(folder))?;
        }
        Ok(())
    }

    /// Removes a valid copy, and moves anything else aside.
    pub fn remove_or_put_aside(&self) -> io::Result<()> {
        match self.look()? {
            FoundCopy::Nothing | FoundCopy::File(_) => self.remove(),
            FoundCopy::Foreign(_) => self.put_aside().map(drop),
        }
    }
}

fn found(read: io::Result<Vec<u8>>) -> io::Result<Option<Vec<u8>>> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

/// Ignores the error if a file was already missing.
fn there(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn stage() -> (tempfile::TempDir, PathBuf, LoginCopy) {
        let folder = tempfile::tempdir().expect("a folder");
        let auth = folder.path().join("auth");
        let copy = LoginCopy::folder(auth.clone());
        copy.put(b"{}").expect("put");
        (folder, auth, copy)
    }

    #[test]
    fn a_container_sees_one_file_and_nothing_is_left_when_it_is_gone() {
        let (folder, auth, copy) = stage();
        copy.put(b"{\"a\":1}").expect("put again");
        assert_eq!(fs::read_dir(&auth).expect("there").count(), 1);
        assert_eq!(copy.look().expect("looked"), FoundCopy::File(b"{\"a\":1}".to_vec()));
        assert_eq!(copy.lent().expect("read").as_deref(), Some(&b"{\"a\":1}"[..]));
        for lock in LOCKS {
            fs::write(auth.join(lock), "").expect("a lock like Codex's");
        }
        assert!(matches!(copy.look().expect("looked"), FoundCopy::File(_)));
        copy.remove().expect("removed");
        copy.remove().expect("removing it twice is harmless");
        assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 0);
        assert_eq!(copy.look().expect("looked"), FoundCopy::Nothing);
    }

    #[test]
    fn anything_but_one_plain_file_is_foreign_and_is_moved_aside_as_it_is() {
        type Plant = fn(&Path);
        let plant: [(&str, Plant); 6] = [
            ("a link", |auth| symlink("/etc/passwd", auth.join(FILE)).expect("linked")),
            ("a fifo", |auth| {
                rustix::fs::mknodat(rustix::fs::CWD, auth.join(FILE), rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("made");
            }),
            ("a folder", |auth| fs::create_dir_all(auth.join(FILE).join("deep")).expect("made")),
            ("a huge file", |auth| fs::File::create(auth.join(FILE)).expect("made").set_len(3 << 40).expect("sparse")),
            ("a lock that is a link", |auth| {
                fs::write(auth.join(FILE), "{}").expect("written");
                symlink("/etc/passwd", auth.join(LOCKS[0])).expect("linked");
            }),
            ("another file", |auth| {
                fs::write(auth.join(FILE), "{}").expect("written");
                fs::write(auth.join("config.toml"), "").expect("written");
            }),
        ];
        let (_folder, auth, copy) = stage();
        for (n, (what, plant)) in plant.into_iter().enumerate() {
            copy.put(b"{}").expect("put");
            fs::remove_file(auth.join(FILE)).expect("removed");
            plant(&auth);
            assert!(matches!(copy.look().expect("looked"), FoundCopy::Foreign(_)), "{what}");
            let aside = copy.put_aside().expect("moved");
            assert_eq!(aside, auth.with_file_name(format!("auth-refused-{}", n + 1)), "{what}");
            assert!(!auth.exists() && aside.exists(), "{what}");
        }
    }
}
