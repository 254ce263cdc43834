//! What remains of a run whose keeper is gone: its exit record, the end of its stderr, and notes.
//!
//! If the keeper left no exit record, the remaining processes of its run are ended first.

use std::path::PathBuf;

use durable::blocking;
use durable::crash::{self, CrashPoint};
use process::Redactor;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::export::work_location;
use super::remarks::refusals;
use super::{LocalRunner, app_server};
use crate::keeper::{self, ExitRecord, RunFiles};
use crate::seam::{Integrity, RunRemains, RunState, WorkLocation};
use crate::spec::{RunKey, RunSpec};
use crate::worker::engine_environment;

/// How much of stderr's end is searched for the reason of a failure, in bytes.
const STDERR_TAIL_BYTES: u64 = 16 * 1024;

impl LocalRunner {
    pub(super) async fn remains(&self, spec: &RunSpec, redactor: &Redactor) -> std::io::Result<RunRemains> {
        let files = self.files(spec.key);
        let exit = self.exit_of(spec.key, &files).await?;
        crash::point(CrashPoint::RunEnded);
        let work = work_location(&files).await?;
        let login = self.take_login_back(spec.key).await;
        let refused = if work == WorkLocation::AgentRepository { refusals(&files, redactor).await? } else { vec![] };
        let of_worker = self.notes_on_worker(&files, work, redactor).await?;
        let of_run = files.clone();
        if let Err(error) = blocking(move || keeper::compact_messages(&of_run)).await {
            tracing::warn!(task = %spec.key.task, %error, "could not compact the messages of a run; they are kept as they are");
        }
        let unusable = exit.as_ref().and_then(|exit| exit.unusable_app_server.as_deref());
        // If `codex exec` failed too, something else can be wrong, e.g. the container engine.
        let worked_without = exit.as_ref().is_some_and(|exit| exit.code() == Some(0));
        if let Some(reason) = unusable.filter(|_| worked_without) {
            self.unusable_app_servers.add(spec.source.repository, reason);
        }
        let of_keeper: Vec<String> = unusable.map(app_server::note).into_iter().collect();
        let artifacts = self.kept_artifacts(spec).await;
        Ok(RunRemains {
            stderr: tail_of(files.stderr()).await?,
            integrity: integrity(&files, exit.as_ref()).await?,
            notes: [of_worker, of_keeper, login, refused, artifacts.notes].concat(),
            artifacts: artifacts.count,
            work,
            exit,
        })
    }

    /// Returns the exit record. If the keeper left none, the remaining processes of its run are ended first.
    async fn exit_of(&self, key: RunKey, files: &RunFiles) -> std::io::Result<Option<ExitRecord>> {
        match self.state(key).await {
            RunState::Ended { exit: Some(exit) } if !exit.log_is_incomplete => Ok(Some(exit)),
            RunState::Ended { exit: Some(exit) } => {
                self.complete_log(key, files).await?;
                Ok(Some(exit))
            }
            RunState::Ended { exit: None } | RunState::Nobody | RunState::Held { .. } => {
                keeper::end_leftovers(files, key.attempt, &engine_environment(&self.config)).await?;
                self.complete_log(key, files).await?;
                Ok(None)
            }
            RunState::Unreachable(unreachable) => Err(std::io::Error::other(unreachable)),
        }
    }

    /// Adds the rest of the translation to the log, if the run used an app server.
    async fn complete_log(&self, key: RunKey, files: &RunFiles) -> std::io::Result<()> {
        let files = files.clone();
        blocking(move || keeper::complete_log(&files, key.attempt)).await
    }

    /// Returns the notes about the worker from the keeper's order, and those of the worker itself.
    async fn notes_on_worker(&self, files: &RunFiles, work: WorkLocation, redactor: &Redactor) -> std::io::Result<Vec<String>> {
        let of_run = files.clone();
        let mut notes = blocking(move || keeper::notes_on_worker(&of_run)).await?;
        if let (WorkLocation::AgentRepository, Ok(worker)) = (work, &self.worker) {
            notes.extend(worker.remarks(files, redactor).await?);
        }
        Ok(notes)
    }
}

/// Whether the run ended or was interrupted in an earlier boot, so that its work may not be on the disk.
async fn integrity(files: &RunFiles, exit: Option<&ExitRecord>) -> std::io::Result<Integrity> {
    if exit.is_some_and(|exit| exit.work_on_disk) {
        return Ok(Integrity::Intact);
    }
    let files = files.clone();
    let is_of_another_boot = blocking(move || keeper::is_of_another_boot(&files)).await?;
    Ok(if is_of_another_boot { Integrity::Torn } else { Integrity::Intact })
}

async fn tail_of(path: PathBuf) -> std::io::Result<String> {
    let mut file = match tokio::fs::File::open(&path).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error),
    };
    let length = file.metadata().await?.len();
    file.seek(std::io::SeekFrom::Start(length.saturating_sub(STDERR_TAIL_BYTES))).await?;
    let mut bytes = vec![];
    file.take(STDERR_TAIL_BYTES).read_to_end(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
