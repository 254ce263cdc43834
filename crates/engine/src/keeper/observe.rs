//! The server's eyes and hands: who holds a run, asking it to stop, waiting for its end, ending what a killed keeper left.
//!
//! A keeper is told by pid, start time and boot id, never by its number alone. Unknown is an error, not an answer.

use std::fs::{File, TryLockError};
use std::io;
use std::time::Duration;

use model::ids::Attempt;

use super::files::RunFiles;
use super::record::{ExitRecord, KeeperRecord, Order, read};
use crate::exec::process::{Signal, kill_all, processes_with_environment};
use crate::worker::{RUN_MARK, run_mark};

/// How long everything that a killed keeper left may take to die.
const LEFTOVER_PATIENCE: Duration = Duration::from_secs(10);

/// Who holds one try of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeeperState {
    /// No keeper of this try ever began.
    NeverStarted,
    /// Its keeper lives.
    Alive(KeeperRecord),
    /// Its keeper began and has ended, in order or not.
    Gone {
        /// Who it was, if it got so far as to say.
        record: Option<KeeperRecord>,
        /// How the run ended, if the keeper could still say.
        exit: Option<ExitRecord>,
    },
}

/// Looks who holds a try of a run. Fails while a keeper is just starting: it will say in a moment who it is.
pub fn observe(files: &RunFiles, attempt: Attempt) -> io::Result<KeeperState> {
    let exit = read::<ExitRecord>(&files.exit())?.filter(|exit| exit.attempt == attempt);
    let record = read::<KeeperRecord>(&files.keeper())?.filter(|record| record.attempt == attempt);
    match record {
        Some(record) if exit.is_none() && record.keeper.is_alive()? => Ok(KeeperState::Alive(record)),
        Some(record) => {
            // It may have written its last record between our two looks.
            let exit = read::<ExitRecord>(&files.exit())?.filter(|exit| exit.attempt == attempt);
            Ok(KeeperState::Gone { record: Some(record), exit })
        }
        None if exit.is_some() => Ok(KeeperState::Gone { record: None, exit }),
        None if is_held(files)? => Err(io::Error::new(io::ErrorKind::WouldBlock, "a keeper is just starting")),
        None => Ok(KeeperState::NeverStarted),
    }
}

fn is_held(files: &RunFiles) -> io::Result<bool> {
    let lock = match File::open(files.lock()) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Asks the keeper of this try to end its run. One that is gone, or never was, has nothing to end.
pub async fn request_stop(files: &RunFiles, attempt: Attempt) -> io::Result<()> {
    let record = read::<KeeperRecord>(&files.keeper())?.filter(|record| record.attempt == attempt);
    match record {
        Some(record) => record.keeper.signal(Signal::TERM).map(drop),
        None => Ok(()),
    }
}

/// Returns when no keeper of this try lives.
pub async fn until_gone(files: &RunFiles, attempt: Attempt) -> io::Result<()> {
    let record = read::<KeeperRecord>(&files.keeper())?.filter(|record| record.attempt == attempt);
    match record {
        Some(record) => record.keeper.wait_until_gone().await,
        None => Ok(()),
    }
}

/// Ends whatever is left of a try whose keeper was killed: everything that carries the run's mark in its environment.
pub async fn end_leftovers(files: &RunFiles, attempt: Attempt) -> io::Result<()> {
    let Some(order) = read::<Order>(&files.order())? else { return Ok(()) };
    let mark = run_mark(order.task_id, order.run, attempt);
    let find = || processes_with_environment(RUN_MARK, &mark);
    kill_all(find, LEFTOVER_PATIENCE).await.map_err(io::Error::other)
}
