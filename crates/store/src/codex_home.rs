//! The orchestrator's own Codex home, `ORCH_HOME/codex`, and the login of Codex, `ORCH_HOME/login.json`.
//!
//! The login is never mounted into a container and is only written here. Codex works with copies of it: a run in a container
//! has one in its task's folder, and Codex on the host has `codex/auth.json`. Changes to a copy do not affect the login.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use durable::write_atomically;
use fs_err as fs;
use jiff::Timestamp;
use model::ids::{RunNumber, TaskId};
use serde::{Deserialize, Serialize};

use super::home::private_folder;
use super::layout::Layout;
use super::login_copy::LoginCopy;
use super::plain_file::read_plain_file;

/// The content of `login.json` when Codex is logged out. If the file were missing, a file of an older version could count as a
/// login.
const LOGGED_OUT: &[u8] = b"{}";

/// The paths of the Codex home and the login.
#[derive(Debug, Clone)]
pub struct CodexHome {
    folder: PathBuf,
    shared: PathBuf,
    login: PathBuf,
    lock: PathBuf,
    refused: PathBuf,
}

/// A copy of the login that was put aside because Codex would not have left it like that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedCopy {
    /// When the login was put aside.
    pub at: Timestamp,
    /// The task whose run had the copy, or `None` for the copy of Codex on the host.
    pub task_id: Option<TaskId>,
    /// The run that had the copy.
    pub run: Option<RunNumber>,
    /// What is wrong with the copy.
    pub why: String,
    /// The folder where the copy is kept.
    pub kept: PathBuf,
}

impl CodexHome {
    /// Returns the paths without creating the folder.
    pub fn at(layout: &Layout) -> Self {
        Self {
            folder: layout.codex(),
            shared: layout.shared_login(),
            login: layout.login(),
            lock: layout.login_lock(),
            refused: layout.refused_login(),
        }
    }

    /// Returns the paths, and creates the folder if it is missing.
    pub fn open(layout: &Layout) -> io::Result<Self> {
        let home = Self::at(layout);
        private_folder(layout.home())?;
        private_folder(&home.folder)?;
        Ok(home)
    }

    /// Returns the path of the folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the copy that Codex on the host works with.
    pub fn host_copy(&self) -> LoginCopy {
        LoginCopy::file(self.folder.join("auth.json"))
    }

    /// Returns the folder that older versions shared between all containers.
    pub fn shared_copy(&self) -> LoginCopy {
        LoginCopy::folder(self.shared.clone())
    }

    /// Whether a login or a logout was ever recorded.
    pub fn has_record(&self) -> bool {
        fs::symlink_metadata(&self.login).is_ok()
    }

    /// Returns the login, if there is one.
    pub fn read_login(&self) -> io::Result<Option<Vec<u8>>> {
        match read_plain_file(&self.login) {
            Ok(login) => Ok((login.trim_ascii() != LOGGED_OUT).then_some(login)),
            // No server of this version has opened this home yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.shared_copy().read(),
            Err(error) => Err(error),
        }
    }

    /// Replaces the login. Copies of the earlier login, and the report about a refused copy, are removed.
    pub fn write_login(&self, login: &[u8]) -> io::Result<()> {
        let _lock = self.lock()?;
        self.record(login)?;
        self.forget_copies()?;
        self.host_copy().put(login)
    }

    /// Replaces the login if it is still `known`. Returns whether it was replaced.
    pub fn renew_login(&self, known: &[u8], login: &[u8]) -> io::Result<bool> {
        let _lock = self.lock()?;
        if self.read_login()?.as_deref() != Some(known) {
            return Ok(false);
        }
        self.record(login)?;
        self.host_copy().put(login)?;
        Ok(true)
    }

    /// Records the login of an older version, or that there is none. Copies stay where they are.
    pub fn adopt_login(&self, login: Option<&[u8]>) -> io::Result<()> {
        let _lock = self.lock()?;
        self.record(login.unwrap_or(LOGGED_OUT))?;
        match login {
            Some(login) => self.host_copy().put(login),
            None => Ok(()),
        }
    }

    /// Removes the login. Returns whether there was one.
    pub fn remove_login(&self) -> io::Result<bool> {
        let _lock = self.lock()?;
        // An unreadable login is removed too.
        let was_there = self.read_login().map_or(true, |login| login.is_some());
        self.record(LOGGED_OUT)?;
        self.forget_copies()?;
        Ok(was_there)
    }

    /// Returns the last copy that was put aside since the last login.
    pub fn refused_copy(&self) -> io::Result<Option<RefusedCopy>> {
        match read_plain_file(&self.refused) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Records that a copy was put aside.
    pub fn report_refused_copy(&self, refused: &RefusedCopy) -> io::Result<()> {
        write_atomically(&self.refused, &serde_json::to_vec(refused)?)
    }

    fn record(&self, login: &[u8]) -> io::Result<()> {
        write_atomically(&self.login, login)
    }

    fn forget_copies(&self) -> io::Result<()> {
        self.host_copy().remove()?;
        self.shared_copy().remove_or_put_aside()?;
        match fs::remove_file(&self.refused) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Locks the login, because the server and the command `login` may replace it at the same time.
    fn lock(&self) -> io::Result<File> {
        let lock = File::options().write(true).create(true).truncate(false).mode(0o600).open(&self.lock)?;
        lock.lock()?;
        Ok(lock)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn stage() -> (tempfile::TempDir, CodexHome) {
        let folder = tempfile::tempdir().expect("a folder");
        let home = CodexHome::open(&Layout::new(folder.path())).expect("made");
        (folder, home)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").permissions().mode() & 0o777
    }

    #[test]
    fn the_home_is_for_its_owner_and_opening_it_twice_is_harmless() {
        let (folder, _) = stage();
        let home = CodexHome::open(&Layout::new(folder.path())).expect("made");
        assert_eq!(mode(home.folder()), 0o700);
        assert!(!home.has_record());
    }

    #[test]
    fn a_login_is_written_for_its_owner_and_forgotten_with_its_copies() {
        let (folder, home) = stage();
        assert!(home.read_login().expect("nothing").is_none() && !home.remove_login().expect("nothing"));
        home.write_login(b"{\"a\":1}").expect("written");
        let (login, copy) = (folder.path().join("login.json"), home.folder().join("auth.json"));
        assert_eq!((mode(&login), mode(&copy)), (0o600, 0o600));
        assert_eq!(fs::read(&copy).expect("Codex on the host has a copy"), b"{\"a\":1}");
        assert_eq!(home.read_login().expect("there").as_deref(), Some(&b"{\"a\":1}"[..]));
        assert!(home.remove_login().expect("removed") && home.read_login().expect("nothing").is_none() && !copy.exists());
    }

    #[test]
    fn a_login_is_renewed_only_if_it_was_not_replaced_meanwhile() {
        let (_folder, home) = stage();
        home.write_login(b"{\"a\":1}").expect("written");
        assert!(home.renew_login(b"{\"a\":1}", b"{\"a\":2}").expect("written"));
        assert!(!home.renew_login(b"{\"a\":1}", b"{\"a\":3}").expect("read"), "another login came first");
        assert_eq!(home.read_login().expect("there").as_deref(), Some(&b"{\"a\":2}"[..]));
        home.remove_login().expect("removed");
        assert!(!home.renew_login(b"{\"a\":2}", b"{\"a\":3}").expect("read"), "a renewal does not undo a logout");
    }

    #[test]
    fn the_folder_that_containers_shared_is_no_login_once_there_is_a_record() {
        let (_folder, home) = stage();
        home.remove_login().expect("recorded");
        home.shared_copy().put(b"{\"planted\":1}").expect("written");
        assert_eq!(home.read_login().expect("read"), None);
    }

    #[test]
    fn a_login_that_is_a_link_or_a_fifo_is_not_followed() {
        let (folder, home) = stage();
        let outside = folder.path().join("outside");
        fs::write(&outside, "secret of the host").expect("written");
        symlink(&outside, folder.path().join("login.json")).expect("linked");
        assert!(home.read_login().is_err(), "a link");
        symlink(&outside, home.folder().join("auth.json")).expect("linked");
        home.write_login(b"{\"a\":1}").expect("written");
        assert_eq!(fs::read_to_string(&outside).expect("there"), "secret of the host", "links were replaced, not followed");
        fs::remove_file(folder.path().join("login.json")).expect("removed");
        let fifo = folder.path().join("login.json");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a fifo");
        assert!(home.read_login().is_err(), "a FIFO is refused without waiting for a writer");
    }
}
