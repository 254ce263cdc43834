//! Starting a keeper, and waiting until it holds the run.
//!
//! Doing it twice is harmless: the second keeper finds the lock held, or the exit record written, and ends at once.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::files::RunFiles;
use super::observe::{KeeperState, observe};
use super::record::{Order, write};
use crate::exec::{BaseEnvironment, CommandSpec, RunProgramError, Stderr, Tool};
use crate::journal::FolderWatch;

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
    write(&files.order(), order)?;
    let complaints = fs_err::File::options().create(true).append(true).open(files.complaints())?;
    let keeper = CommandSpec::new(&Tool::at(program), &BaseEnvironment::default(), files.folder())
        .arg("keeper")
        .arg(files.order())
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stderr(Stderr::File(complaints.into()))
        .in_inherited_group()
        .start_detached()?;
    loop {
        let alive = keeper.is_alive()?;
        match observe(files, order.attempt) {
            Ok(KeeperState::Alive(record)) if record.worker.is_some() => return Ok(record.started_at),
            Ok(KeeperState::Gone { record, exit }) => {
                let started_at = exit.and_then(|exit| exit.started_at).or(record.map(|record| record.started_at));
                return Ok(started_at.unwrap_or_else(Timestamp::now));
            }
            Ok(KeeperState::NeverStarted) if !alive => {
                return Err(LaunchError::EndedAtOnce { complaints: files.complaints().display().to_string() });
            }
            Ok(KeeperState::NeverStarted | KeeperState::Alive(_)) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = changes.changed() => {}
            ended = keeper.wait_until_gone(), if alive => ended?,
        }
    }
}
