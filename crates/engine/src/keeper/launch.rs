//! Starting a keeper, and waiting until it holds the run.
//!
//! Doing it twice is harmless: a try that has begun is adopted as it stands, and a second keeper finds the lock held and ends.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fs_err::os::unix::fs::OpenOptionsExt as _;
use jiff::Timestamp;
use model::ids::Attempt;

use super::files::RunFiles;
use super::observe::{KeeperState, end_leftovers, observe};
use super::record::{KeeperRecord, Order, read, write};
use crate::exec::{BaseEnvironment, CommandSpec, RunProgramError, Stderr, Tool};
use crate::journal::FolderWatch;

/// How often the files are looked at besides the events that they send: a lock that becomes free sends none.
const LOOK_ANYWAY: Duration = Duration::from_secs(1);

/// A run could not be handed to a keeper.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// Files could not be written or read.
    #[error("could not write the run's files: {0}")]
    Files(#[from] io::Error),
    /// The keeper's program could not be started.
    #[error(transparent)]
    Program(#[from] RunProgramError),
    /// The keeper ended before it held the run.
    #[error("the keeper ended at once; `{complaints}` may say why")]
    EndedAtOnce {
        /// What the keeper had to say.
        complaints: String,
    },
}

/// Ensures that a keeper holds the run, and says since when the worker runs.
pub(crate) async fn launch(
    program: &Path,
    files: &RunFiles,
    order: &Order,
    environment: &[(OsString, OsString)],
    watch: &Arc<FolderWatch>,
) -> Result<Timestamp, LaunchError> {
    let mut changes = watch.watch(files.folder());
    if let Some(started_at) = begun(files, order.attempt)? {
        return Ok(started_at);
    }
    end_older_tries(files, order.attempt).await?;
    write(&files.order(), order)?;
    let complaints = fs_err::File::options().create(true).append(true).mode(0o600).open(files.complaints())?;
    let keeper = CommandSpec::new(&Tool::at(program), &BaseEnvironment::default(), files.folder())
        // Exactly the worker's environment: the keeper hands on its own.
        .env_remove("LANG")
        .arg("keeper")
        .arg(files.order())
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stderr(Stderr::File(complaints.into()))
        .in_inherited_group()
        .start_detached()?;
    loop {
        let alive = keeper.is_alive()?;
        if let Some(started_at) = begun(files, order.attempt)? {
            return Ok(started_at);
        }
        if !alive && is_free(files, order.attempt)? {
            return Err(LaunchError::EndedAtOnce { complaints: files.complaints().display().to_string() });
        }
        tokio::select! {
            () = changes.changed() => {}
            ended = keeper.wait_until_gone(), if alive => ended?,
            () = tokio::time::sleep(LOOK_ANYWAY) => {}
        }
    }
}

/// Since when the worker of this try runs, or ran; none while it has not started.
fn begun(files: &RunFiles, attempt: Attempt) -> io::Result<Option<Timestamp>> {
    match observe(files, attempt) {
        Ok(KeeperState::Alive(record)) => Ok(record.worker.is_some().then_some(record.started_at)),
        Ok(KeeperState::Gone { record, exit }) => {
            let started_at = exit.and_then(|exit| exit.started_at).or(record.map(|record| record.started_at));
            Ok(Some(started_at.unwrap_or_else(Timestamp::now)))
        }
        Ok(KeeperState::NeverStarted) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether nobody holds this try or is about to.
fn is_free(files: &RunFiles, attempt: Attempt) -> io::Result<bool> {
    match observe(files, attempt) {
        Ok(KeeperState::NeverStarted) => Ok(true),
        Ok(KeeperState::Alive(_) | KeeperState::Gone { .. }) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Ends the keeper of an earlier try that turned up after that try was given up, and what it started.
async fn end_older_tries(files: &RunFiles, attempt: Attempt) -> io::Result<()> {
    match read::<KeeperRecord>(&files.keeper())? {
        Some(record) if record.attempt != attempt => end_leftovers(files, record.attempt).await,
        Some(_) | None => Ok(()),
    }
}
