//! The orchestrator's own Codex home, `ORCH_HOME/codex`: for its owner only, and never the one that its owner uses by hand.
//!
//! `codex/auth/` holds the login and nothing else, so that it can be shared with containers; `codex/auth.json` leads there for
//! a Codex that runs on the host. An agent may have written into `auth/`, so what is read there is a plain file or nothing.

use std::io::{self, Read as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::OFlags;

use super::atomic::write_atomically;
use super::home::private_folder;
use super::layout::Layout;

/// Far more than a login has.
const LOGIN_LIMIT_BYTES: u64 = 256 * 1024;

/// The folder.
#[derive(Debug, Clone)]
pub struct CodexHome {
    folder: PathBuf,
    auth: PathBuf,
}

impl CodexHome {
    /// The folder as it is, which may be not at all.
    pub fn at(layout: &Layout) -> Self {
        Self { folder: layout.codex(), auth: layout.codex_auth() }
    }

    /// Makes what is missing of it.
    pub fn open(layout: &Layout) -> io::Result<Self> {
        let home = Self::at(layout);
        private_folder(layout.home())?;
        private_folder(&home.folder)?;
        private_folder(&home.auth)?;
        match symlink(Path::new("auth/auth.json"), home.folder.join("auth.json")) {
            Ok(()) => Ok(home),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(home),
            Err(error) => Err(error),
        }
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder with the login.
    pub fn auth_folder(&self) -> &Path {
        &self.auth
    }

    fn auth_file(&self) -> PathBuf {
        self.auth.join("auth.json")
    }

    /// The login as Codex wrote it, if there is one.
    pub fn read_login(&self) -> io::Result<Option<Vec<u8>>> {
        match read_plain_file(&self.auth_file()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    /// Replaces the login.
    pub fn write_login(&self, login: &[u8]) -> io::Result<()> {
        // Codex, or its container, may have replaced the link by a file of its own.
        let link = self.folder.join("auth.json");
        if fs::symlink_metadata(&link).is_ok_and(|found| !found.is_symlink()) {
            fs::remove_file(&link)?;
            symlink(Path::new("auth/auth.json"), &link)?;
        }
        write_atomically(&self.auth_file(), login)
    }

    /// Forgets the login. Says whether there was one.
    pub fn remove_login(&self) -> io::Result<bool> {
        match fs::remove_file(self.auth_file()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Reads a small file, and nothing that only looks like one: no link is followed, and nothing that could block is opened.
pub fn read_plain_file(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = fs::File::options().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > LOGIN_LIMIT_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("`{}` is no plain small file", path.display())));
    }
    let mut bytes = Vec::new();
    file.take(LOGIN_LIMIT_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_home_is_for_its_owner_and_opening_it_twice_is_harmless() {
        let folder = tempfile::tempdir().expect("a folder");
        let layout = Layout::new(folder.path());
        let home = CodexHome::open(&layout).and_then(|_| CodexHome::open(&layout)).expect("made");
        for path in [home.folder(), home.auth_folder()] {
            assert_eq!(fs::metadata(path).expect("there").permissions().mode() & 0o777, 0o700);
        }
        assert_eq!(fs::read_link(home.folder().join("auth.json")).expect("a link"), Path::new("auth/auth.json"));
    }

    #[test]
    fn a_login_is_written_read_through_the_link_and_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = CodexHome::open(&Layout::new(folder.path())).expect("made");
        assert!(home.read_login().expect("nothing").is_none() && !home.remove_login().expect("nothing"));
        home.write_login(b"{}").expect("written");
        assert_eq!(fs::read(home.folder().join("auth.json")).expect("through the link"), b"{}");
        assert_eq!(fs::metadata(home.auth_file()).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(home.read_login().expect("there").as_deref(), Some(&b"{}"[..]));
        assert!(home.remove_login().expect("removed") && home.read_login().expect("nothing").is_none());
    }

    #[test]
    fn what_an_agent_may_have_put_in_place_of_the_login_is_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = CodexHome::open(&Layout::new(folder.path())).expect("made");
        let outside = folder.path().join("outside");
        fs::write(&outside, "secret of the host").expect("written");
        symlink(&outside, home.auth_file()).expect("linked");
        assert!(home.read_login().is_err(), "a link");
        home.write_login(b"{}").expect("written");
        assert_eq!(fs::read_to_string(&outside).expect("there"), "secret of the host", "the link was replaced, not followed");
        home.remove_login().expect("removed");
        rustix::fs::mknodat(rustix::fs::CWD, home.auth_file(), rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a fifo");
        assert!(home.read_login().is_err(), "a fifo, and nobody waited for a writer");
    }
}
