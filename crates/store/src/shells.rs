//! Shells that people open in the environment of a repository: `envs/<env_id>/shells/<shell_id>`, with the files of a task.
//!
//! | files | meaning |
//! |---|---|
//! | no `order.json` | the server prepares the shell, or the shell has ended |
//! | `order.json` | the shell waits for the program that asked for it |
//! | `lock` is held | that program runs the shell |
//!
//! Invariant: a program takes the lock before it removes the order, so a shell that is about to start never looks ended.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use durable::write_atomically;
use fs_err as fs;
use model::ids::{EnvironmentId, ShellId};
use model::setup::SnapshotKey;
use serde::{Deserialize, Serialize};

use super::entries::entries;
use super::{Home, StoreError};

const RECORD: &str = "shell.json";
const ORDER: &str = "order.json";
const LOCK: &str = "lock";

/// What the server remembers of a shell.
#[derive(Debug, Default, Serialize, Deserialize)]
struct ShellFile {
    schema: u32,
    #[serde(default)]
    snapshot: Option<SnapshotKey>,
}

/// How to start the container of a shell. It contains secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShellOrder {
    /// The worktree, in which `codex-docker` starts.
    pub folder: PathBuf,
    /// The environment of `codex-docker`.
    pub environment: BTreeMap<String, String>,
    /// The folder of the worktree that the shell starts in, or `None` for the top-level folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
}

/// A shell on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundShell {
    /// Its ID.
    pub id: ShellId,
    /// The snapshot that its layers are on.
    pub snapshot: Option<SnapshotKey>,
    /// Its state.
    pub state: ShellState,
}

/// The state of a shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShellState {
    /// A program runs it.
    InUse,
    /// No program has taken it for this long.
    Waiting(Duration),
    /// It has ended, or it is being prepared.
    Unused,
}

impl Home {
    /// Creates the folder of a shell, whose layers will be on this snapshot.
    pub fn begin_shell(&self, env: EnvironmentId, id: ShellId, snapshot: Option<&SnapshotKey>) -> Result<(), StoreError> {
        let folder = self.layout.shell(env, id);
        let failed = |error| StoreError::new("create", &folder, error);
        durable::create_private_folder(&folder).map_err(failed)?;
        let file = ShellFile { schema: model::SCHEMA, snapshot: snapshot.cloned() };
        let text = serde_json::to_vec(&file).map_err(|error| failed(error.into()))?;
        fs::write(folder.join(LOCK), "").and_then(|()| write_atomically(&folder.join(RECORD), &text)).map_err(failed)
    }

    /// Lets a program take a shell that is prepared.
    pub fn order_shell(&self, env: EnvironmentId, id: ShellId, order: &ShellOrder) -> Result<(), StoreError> {
        let path = self.layout.shell(env, id).join(ORDER);
        let failed = |error| StoreError::new("write", &path, error);
        let text = serde_json::to_vec(order).map_err(|error| failed(error.into()))?;
        write_atomically(&path, &text).map_err(failed)
    }

    /// Returns the shells of a repository. If a record cannot be read, nothing is known about the snapshot of its shell.
    pub fn shells(&self, env: EnvironmentId) -> Result<Vec<FoundShell>, StoreError> {
        let folder = self.layout.shells(env);
        let failed = |error| StoreError::new("read", &folder, error);
        let mut found = vec![];
        for path in entries(&folder).map_err(failed)? {
            let Some(id) = path.file_name().and_then(|name| name.to_str()?.parse::<ShellId>().ok()) else { continue };
            let text = match fs::read(path.join(RECORD)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => b"{\"schema\":1}".to_vec(),
                text => text.map_err(failed)?,
            };
            let record: ShellFile = serde_json::from_slice(&text).unwrap_or_default();
            found.push(FoundShell { id, snapshot: record.snapshot, state: state_of(&path).map_err(failed)? });
        }
        Ok(found)
    }
}

fn state_of(folder: &Path) -> io::Result<ShellState> {
    match open_lock(folder)?.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(ShellState::InUse),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    match fs::metadata(folder.join(ORDER)) {
        // A clock that was set back makes the order young.
        Ok(order) => Ok(ShellState::Waiting(order.modified()?.elapsed().unwrap_or_default())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(ShellState::Unused),
        Err(error) => Err(error),
    }
}

fn open_lock(folder: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).open(folder.join(LOCK))
}

/// Takes a shell that waits in this folder: reads its order, which only one program can do, and holds its lock until the file is dropped.
/// Waits if the server is looking at the shell.
pub fn take_shell(folder: &Path) -> io::Result<(ShellOrder, File)> {
    let lock = open_lock(folder)?;
    lock.lock()?;
    let path = folder.join(ORDER);
    let order = serde_json::from_slice(&fs::read(&path)?)?;
    fs::remove_file(&path)?;
    Ok((order, lock))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_shell_is_taken_once_and_its_state_follows_the_lock() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        let env = EnvironmentId::from_uuid(uuid::Uuid::from_u128(1));
        let id = ShellId::from_uuid(uuid::Uuid::from_u128(2));
        assert_eq!(home.shells(env).expect("there are none"), []);
        let snapshot = SnapshotKey::parse(&"a".repeat(64));
        home.begin_shell(env, id, snapshot.as_ref()).expect("created");
        let found = || home.shells(env).expect("readable").pop().expect("one shell");
        assert_eq!(found(), FoundShell { id, snapshot, state: ShellState::Unused });
        let environment = BTreeMap::from([("TOKEN".to_owned(), "s3cret".to_owned())]);
        let order = ShellOrder { folder: "/w".into(), environment, start: Some("web".to_owned()) };
        home.order_shell(env, id, &order).expect("written");
        assert!(matches!(found().state, ShellState::Waiting(_)));
        let path = home.layout.shell(env, id);
        let mode = |name| fs::metadata(path.join(name)).expect("there").permissions().mode() & 0o77;
        assert_eq!((mode(ORDER), mode("")), (0, 0), "other users cannot read the secrets");
        let (taken, lock) = take_shell(&path).expect("it waits");
        assert_eq!(taken, order);
        assert_eq!(found().state, ShellState::InUse);
        drop(lock);
        assert_eq!(found().state, ShellState::Unused);
        assert_eq!(take_shell(&path).expect_err("the order was taken").kind(), io::ErrorKind::NotFound);
        fs::write(path.join(RECORD), "{").expect("written");
        assert_eq!(found().snapshot, None, "a damaged record does not keep the shell from being removed");
    }
}
