//! The server's view of keepers: finds the keeper of a run, asks it to stop, waits for its end, and ends processes that a
//! killed keeper left behind.
//!
//! A keeper is identified by its number, start time and boot ID, never by its number alone. If the state is unknown, an error
//! is returned.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io;
use std::time::Duration;

use model::ids::Attempt;
use process::{
    ProcessIdentity, Signal, descendants_of, kill_all, members_of_group, members_of_session, processes_with_environment,
};
use serde::de::DeserializeOwned;

use super::cleanup::clean_up;
use super::files::RunFiles;
use super::record::{ExitRecord, KeeperOrder, KeeperRecord, read};
use crate::worker::{RUN_MARK, run_mark};

/// How long leftovers of a killed keeper may take to end.
const LEFTOVER_PATIENCE: Duration = Duration::from_secs(10);

/// The keeper of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeeperState {
    /// No keeper of this attempt ever started.
    NeverStarted,
    /// The keeper is alive.
    Alive(KeeperRecord),
    /// The keeper has started and exited, normally or not.
    Gone {
        /// The keeper's record, if it was written and is readable.
        record: Option<KeeperRecord>,
        /// The exit record, if the keeper wrote one.
        exit: Option<ExitRecord>,
    },
}

/// Finds the keeper of an attempt. Fails with `WouldBlock` while a keeper is just starting and has not written its record yet.
///
/// A damaged record counts as a record of this attempt, because a run that may have started must not be started again.
pub fn observe(files: &RunFiles, attempt: Attempt) -> io::Result<KeeperState> {
    let exit = || or_damaged(read::<ExitRecord>(&files.exit()), |exit| exit.attempt == attempt);
    let (ended, keeper) = (exit()?, or_damaged(read(&files.keeper()), |keeper: &KeeperRecord| keeper.attempt == attempt)?);
    match (keeper, ended) {
        (ReadRecord::Whole(record), ReadRecord::Missing) if record.keeper.is_alive()? => Ok(KeeperState::Alive(record)),
        // The keeper may have written its last record between the two checks.
        (ReadRecord::Whole(record), ReadRecord::Missing) => Ok(KeeperState::Gone { record: Some(record), exit: exit()?.whole() }),
        (ReadRecord::Missing | ReadRecord::Damaged, ReadRecord::Missing) if is_held(files)? => {
            Err(io::Error::new(io::ErrorKind::WouldBlock, "a keeper is just starting"))
        }
        (ReadRecord::Missing, ReadRecord::Missing) => Ok(KeeperState::NeverStarted),
        (keeper, ended) => Ok(KeeperState::Gone { record: keeper.whole(), exit: ended.whole() }),
    }
}

/// The result of reading a record.
enum ReadRecord<T> {
    Missing,
    Damaged,
    Whole(T),
}

impl<T> ReadRecord<T> {
    fn whole(self) -> Option<T> {
        match self {
            Self::Whole(record) => Some(record),
            Self::Missing | Self::Damaged => None,
        }
    }
}

fn or_damaged<T: DeserializeOwned>(record: io::Result<Option<T>>, fits: impl Fn(&T) -> bool) -> io::Result<ReadRecord<T>> {
    match record {
        Ok(record) => Ok(record.filter(|record| fits(record)).map_or(ReadRecord::Missing, ReadRecord::Whole)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            tracing::warn!(%error, "could not read a keeper's record; left it unchanged");
            Ok(ReadRecord::Damaged)
        }
        Err(error) => Err(error),
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

fn record_of(files: &RunFiles, attempt: Attempt) -> io::Result<Option<KeeperRecord>> {
    Ok(read::<KeeperRecord>(&files.keeper())?.filter(|record| record.attempt == attempt))
}

/// Asks the keeper of this attempt to end its run. Does nothing if the keeper is gone or never existed.
pub async fn request_stop(files: &RunFiles, attempt: Attempt) -> io::Result<()> {
    match record_of(files, attempt)? {
        Some(record) => record.keeper.signal(Signal::TERM).map(drop),
        None => Ok(()),
    }
}

/// Returns when no keeper of this attempt is alive.
pub async fn until_gone(files: &RunFiles, attempt: Attempt) -> io::Result<()> {
    match record_of(files, attempt)? {
        Some(record) => record.keeper.wait_until_gone().await,
        None => Ok(()),
    }
}

/// Ends all processes that are left of an attempt whose keeper was killed, including a keeper that is still alive. These are
/// the processes with the run's mark in their environment, in the keeper's session or in the worker's group, and all their
/// descendants. Then runs the order's cleanup, with this environment.
pub async fn end_leftovers(files: &RunFiles, attempt: Attempt, environment: &[(OsString, OsString)]) -> io::Result<()> {
    let Some(order) = read::<KeeperOrder>(&files.order())? else { return Ok(()) };
    let mark = run_mark(order.task_id, order.run, attempt);
    // With a damaged record, the session and the group are unknown, but the mark still works.
    let record = or_damaged(read(&files.keeper()), |record: &KeeperRecord| record.attempt == attempt)?.whole();
    let find = || leftovers(&mark, record.as_ref());
    kill_all(find, LEFTOVER_PATIENCE).await.map_err(io::Error::other)?;
    if let Some(cleanup) = order.cleanup.filter(|_| order.attempt == attempt) {
        clean_up(&cleanup, environment.iter().cloned()).await;
    }
    Ok(())
}

/// Whether the last order of a run was for a container, whose work must be exported from its agent repository.
pub fn was_contained(files: &RunFiles) -> io::Result<bool> {
    Ok(read::<KeeperOrder>(&files.order())?.is_some_and(|order| order.cleanup.is_some()))
}

/// Returns the notes about the worker in the last order of a run.
pub fn notes_on_worker(files: &RunFiles) -> io::Result<Vec<String>> {
    Ok(read::<KeeperOrder>(&files.order())?.map(|order| order.notes).unwrap_or_default())
}

fn leftovers(mark: &str, record: Option<&KeeperRecord>) -> io::Result<Vec<ProcessIdentity>> {
    let mut found: HashSet<_> = processes_with_environment(RUN_MARK, mark)?.into_iter().collect();
    if let Some(record) = record {
        if still_its_own(&record.keeper)? {
            found.extend(members_of_session(record.keeper.pid)?);
        }
        if let Some(worker) = &record.worker
            && still_its_own(worker)?
        {
            found.extend(members_of_group(worker.pid)?);
        }
    }
    for root in found.clone() {
        found.extend(descendants_of(root.pid)?);
    }
    Ok(found.into_iter().collect())
}

/// Whether the last keeper of a run was, or may have been, started in an earlier boot.
pub fn is_of_another_boot(files: &RunFiles) -> io::Result<bool> {
    let boot = ProcessIdentity::current()?.boot_id;
    Ok(match or_damaged(read(&files.keeper()), |_: &KeeperRecord| true)? {
        ReadRecord::Whole(record) => record.keeper.boot_id != boot,
        ReadRecord::Damaged => true,
        ReadRecord::Missing => false,
    })
}

/// Whether the session or group with this number still belongs to this process. It does not after a reboot, or after the number
/// was reused, which only happens when all members are gone.
fn still_its_own(leader: &ProcessIdentity) -> io::Result<bool> {
    let now = ProcessIdentity::of(leader.pid)?;
    let same_boot = ProcessIdentity::current()?.boot_id == leader.boot_id;
    Ok(same_boot && now.is_none_or(|now| now == *leader))
}
