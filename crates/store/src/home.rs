//! The home: accessible only to its owner, locked by one server at a time, and with the API token.
//!
//! Invariant: a [`Home`] holds the lock until it is dropped or the process is killed.

use std::fs::{File, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use durable::write_atomically;
use fs_err as fs;
use model::ErrorCode;
use model::ids::EnvironmentId;
use model::problem::Problem;
use process::ProcessIdentity;

use super::StoreError;
use super::layout::Layout;

/// How long to wait for a lock whose holder is gone.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// An open, locked home.
#[derive(Debug, Clone)]
pub struct Home {
    /// The paths.
    pub layout: Layout,
    /// The API token: 64 hexadecimal digits.
    pub token: String,
    /// The host name of the pages on this machine: `codex-<32 hexadecimal digits>.localhost`.
    pub pages_host: String,
    /// Held during a probe: two probes at the same time would remove each other's file.
    probing: Arc<Mutex<()>>,
    _lock: Arc<File>,
}

/// Why a home cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenHomeError {
    /// Another server uses the home.
    #[error("another server already uses `{}` ({holder})", home.display())]
    Held {
        /// The home.
        home: PathBuf,
        /// The other server's entry in the lock file.
        holder: String,
    },
    /// The home cannot be created, read or written.
    #[error("cannot use the home directory `{}`: {source}", home.display())]
    Unusable {
        /// The home.
        home: PathBuf,
        /// The error.
        source: io::Error,
    },
}

impl From<OpenHomeError> for Problem {
    fn from(error: OpenHomeError) -> Self {
        let detail = error.to_string();
        match error {
            OpenHomeError::Held { .. } => {
                Self::new(ErrorCode::HomeInUse, detail).hint("use that server, stop it, or set ORCH_HOME to another folder")
            }
            OpenHomeError::Unusable { source, .. } => {
                let hint = match source.kind() {
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                        "make the home directory writable for this user, or set ORCH_HOME to another folder"
                    }
                    io::ErrorKind::StorageFull => "free up disk space, or set ORCH_HOME to another folder",
                    _ => "set ORCH_HOME to another folder",
                };
                Self::new(ErrorCode::HomeUnusable, detail).hint(hint)
            }
        }
    }
}

impl Home {
    /// Checks whether state can be written, by writing a file and removing it.
    pub fn probe(&self) -> Result<(), StoreError> {
        let _alone = self.probing.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.layout.home().join("probe");
        let written = fs_err::write(&path, b"x");
        // On a full disk, the file may exist even though it is empty.
        let removed = fs_err::remove_file(&path);
        written.and(removed).map_err(|error| StoreError::new("write", self.layout.home(), error))
    }

    /// Creates missing folders, takes the lock, and reads or creates the token and the host name of the pages.
    pub fn open(path: &Path) -> Result<Self, OpenHomeError> {
        let unusable = |source| OpenHomeError::Unusable { home: path.to_owned(), source };
        let layout = Layout::new(path);
        private_folder(path).map_err(unusable)?;
        let lock = Self::take_lock(&layout)?;
        for folder in [layout.environments(), layout.tasks(), layout.trash()] {
            private_folder(&folder).map_err(unusable)?;
        }
        let token = read_or_make_token(&layout.token()).map_err(unusable)?;
        let pages_host = read_or_make_pages_host(&layout.pages_host()).map_err(unusable)?;
        Ok(Self { layout, token, pages_host, probing: Arc::default(), _lock: Arc::new(lock) })
    }

    /// Returns the same home with the shells of a repository in place of the tasks. It keeps the lock, too.
    pub fn of_shells(&self, id: EnvironmentId) -> Self {
        Self { layout: self.layout.of_shells(id), ..self.clone() }
    }

    fn take_lock(layout: &Layout) -> Result<File, OpenHomeError> {
        let unusable = |source| OpenHomeError::Unusable { home: layout.home().to_owned(), source };
        let open = File::options().read(true).write(true).create(true).truncate(false).open(layout.lock());
        let mut file = open.map_err(unusable)?;
        let is_ours = match file.try_lock() {
            Ok(()) => true,
            // The server named in the file is gone. A program that it was starting keeps the lock until that program runs.
            Err(TryLockError::WouldBlock) if holder(layout.home()).map_err(unusable)?.is_none() => {
                wait_for(&file).map_err(unusable)?
            }
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        };
        if !is_ours {
            let mut holder = String::new();
            file.read_to_string(&mut holder).map_err(unusable)?;
            return Err(OpenHomeError::Held { home: layout.home().to_owned(), holder: holder.trim().to_owned() });
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(unusable)?;
        writeln!(file, "process {}", std::process::id()).map_err(unusable)?;
        Ok(file)
    }
}

/// Waits until a lock is free, and takes it. Returns false if that takes too long.
fn wait_for(file: &File) -> io::Result<bool> {
    // Both handles refer to the same open file, so the lock that the thread gets is ours. If the thread never gets the lock, it
    // ends with this process.
    let waiting = file.try_clone()?;
    let (sender, locked) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(waiting.lock()));
    match locked.recv_timeout(LOCK_PATIENCE) {
        Ok(locked) => locked.map(|()| true),
        Err(_) => Ok(false),
    }
}

/// Returns the server that currently holds a home.
///
/// The lock file contains its process ID. A different process that has this ID by now does not have the file open, so it is not
/// returned.
pub fn holder(home: &Path) -> io::Result<Option<ProcessIdentity>> {
    let lock = Layout::new(home).lock();
    let named = match fs::read_to_string(&lock) {
        Ok(named) => named,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(pid) = named.trim().strip_prefix("process ").and_then(|pid| pid.parse().ok()) else { return Ok(None) };
    let Some(holder) = ProcessIdentity::of(pid)? else { return Ok(None) };
    Ok(holder.has_open(&lock)?.then_some(holder))
}

/// Creates a folder that only its owner can access. An existing folder keeps the owner's permissions and loses all others.
pub fn private_folder(path: &Path) -> io::Result<()> {
    durable::create_private_folder(path)?;
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(mode & 0o700))?;
    }
    Ok(())
}

fn read_or_make_token(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Ok(text) if text.trim().len() >= 32 => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let token = format!("{}{}", random_digits()?, random_digits()?);
    write_atomically(path, format!("{token}\n").as_bytes())?;
    Ok(token)
}

/// Reads the host name of the pages, or creates a random one.
///
/// Browsers resolve every name that ends with `.localhost` to the loopback address, and send a cookie to every port of the name
/// that set it. No other program on the machine knows this name, so none can serve a page under it.
fn read_or_make_pages_host(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Ok(text) if is_pages_host(text.trim()) => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let host = format!("codex-{}.localhost", random_digits()?);
    write_atomically(path, format!("{host}\n").as_bytes())?;
    Ok(host)
}

fn is_pages_host(text: &str) -> bool {
    let digits = text.strip_prefix("codex-").and_then(|rest| rest.strip_suffix(".localhost"));
    digits.is_some_and(|digits| digits.len() == 32 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
}

/// Returns 128 random bits as hexadecimal digits.
fn random_digits() -> io::Result<String> {
    let mut random = [0_u8; 16];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(format!("{:032x}", u128::from_be_bytes(random)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it exists").permissions().mode() & 0o777
    }

    #[test]
    fn a_home_is_made_for_its_owner_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/home");
        let home = Home::open(&path).expect("the home can be created");
        assert_eq!((mode(&path), mode(&home.layout.tasks()), mode(&home.layout.token())), (0o700, 0o700, 0o600));
        assert_eq!(home.token.len(), 64);
    }

    #[test]
    fn the_pages_have_a_name_that_stays_and_that_only_the_owner_can_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("the home can be created");
        let (name, file) = (home.pages_host.clone(), home.layout.pages_host());
        assert!(is_pages_host(&name), "{name}");
        assert_eq!(mode(&file), 0o600);
        drop(home);
        assert_eq!(Home::open(folder.path()).expect("the home can be opened").pages_host, name);
        // Any other content of the file could be a name that others know.
        for bad in ["", "localhost", "codex-0.localhost", "codex-0123456789abcdef0123456789ABCDEF.localhost", "codex.example"] {
            fs::write(&file, bad).expect("written");
            let made = Home::open(folder.path()).expect("the home can be opened").pages_host.clone();
            assert!(is_pages_host(&made) && made != name, "{bad}: {made}");
        }
    }

    #[test]
    fn a_home_that_others_could_read_is_closed_to_them() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("the folder is ours");
        let _home = Home::open(folder.path()).expect("the home can be opened");
        assert_eq!(mode(folder.path()), 0o700);
    }

    #[test]
    fn the_second_server_learns_who_holds_the_home() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = Home::open(folder.path()).expect("the first server opens the home");
        let refused = Home::open(folder.path()).expect_err("the home is in use");
        assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
        assert_eq!(Problem::from(refused).report.code, ErrorCode::HomeInUse);
        let token = first.token.clone();
        drop(first);
        assert_eq!(Home::open(folder.path()).expect("free again").token, token);
    }

    #[test]
    fn the_holder_is_the_process_that_has_the_lock_open_and_no_other_of_its_number() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(holder(folder.path()).expect("no lock yet"), None);
        let home = Home::open(folder.path()).expect("the home can be created");
        let me = ProcessIdentity::current().expect("/proc can be read");
        assert_eq!(holder(folder.path()).expect("the lock file can be read"), Some(me));
        drop(home);
        // The process ID is still in the file and still in use, as if a different process had reused it.
        assert_eq!(holder(folder.path()).expect("the lock file can be read"), None);
    }

    #[test]
    fn a_lock_whose_holder_is_gone_is_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(Home::open(folder.path()).expect("the first server opens the home"));
        let lock = Layout::new(folder.path()).lock();
        // Hold the lock like a program that a killed server was starting.
        let inherited = File::options().write(true).open(&lock).expect("it exists");
        inherited.lock().expect("free");
        fs::write(&lock, "process 4194305\n").expect("written");
        let (opening, opened) = std::sync::mpsc::channel();
        let path = folder.path().to_owned();
        let waiting = std::thread::spawn(move || {
            opening.send(()).expect("the test listens");
            Home::open(&path).map(drop)
        });
        opened.recv().expect("the thread is about to wait");
        drop(inherited);
        waiting.join().expect("the thread does not panic").expect("it gets the lock");
    }

    #[test]
    fn a_home_that_cannot_be_made_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, "").expect("written");
        let refused = Home::open(&file.join("home")).expect_err("a file cannot contain a folder");
        assert_eq!(Problem::from(refused).report.code, ErrorCode::HomeUnusable);
    }
}
