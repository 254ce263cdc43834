//! Runs with the public `codex-docker` script: what is mounted into its containers, which image exports their work, and the notes
//! of these runs.
//!
//! Invariant: everything that cannot be mounted, exported or written is reported in a note of the run, or as the reason why the
//! run did not start.

use std::path::Path;

use durable::blocking;
use git::{CommitMessage, Mirror, Snapshot, Worktree};
use model::ErrorCode;
use model::codex::LineContent;
use model::problem::Problem;
use model::run::RunError;
use model::task::TaskRecord;
use printable::printable_line;
use process::Redactor;
use runner::journal::Tail;
use runner::keeper::{self, RunFiles};
use runner::worker::{ContainerFolders, Script, cannot_mount, open_network_only, problem, was_read_only};
use tokio_util::sync::CancellationToken;

use super::contained::WorkLocation;
use crate::inner::{Inner, TaskSlot};

/// Prefixes of the script's stderr lines about skipped mounts.
const LEFT_OUT: &[&str] = &["Warning: CODEX_MOUNT", "codex-docker: warning: `"];

/// The maximum number of warnings about skipped mounts in notes. There are that many mounts, but an agent can print more lines.
const MAX_LEFT_OUT: usize = 8;

/// The maximum length of a note about a skipped mount, in characters.
const NOTE_LENGTH: usize = 300;

/// A note for a run whose agent could not write.
const READ_ONLY: &str = "Codex ran in a read-only sandbox, so the agent could not change any files; set `sandbox_mode = \
     \"danger-full-access\"` in the `config.toml` that the worker's containers use";

impl Inner {
    /// Creates what a container of the script needs: the agent repository, and the files that are mounted over others.
    pub(super) async fn prepare_script(
        &self,
        script: &Script,
        task: &TaskRecord,
        worktree: &Worktree,
        cancel: &CancellationToken,
    ) -> Result<(), RunError> {
        let environment = self.environments.get(task.env_id).map(|environment| environment.record());
        let refused = environment.as_deref().and_then(open_network_only).or_else(|| cannot_mount(self.home.layout.home()));
        if let Some(problem) = refused {
            return Err(problem.into());
        }
        self.prepare_twin(task, worktree, cancel).await?;
        let folders = ContainerFolders::new(&self.home.layout, task.task_id, Path::new(""));
        let (script, base) = (script.clone(), self.config.codex_config.clone());
        blocking(move || script.prepare(&folders, base.as_deref())).await.map_err(|error| {
            RunError::new(ErrorCode::CodexConfig, format!("could not write Codex's settings for the container: {error}"))
                .hint("check the `config.toml` in the Codex home that the worker mounts")
        })
    }

    /// Returns the image that exports the work, or `None` for the pinned image. The error says why there is no usable image.
    pub(super) async fn harvest_image(&self, task: &TaskRecord) -> Result<Option<String>, Problem> {
        let environment = self.environments.get(task.env_id).map(|environment| environment.record());
        let Some(script) = self.worker.as_ref().ok().and_then(|worker| worker.script()) else {
            return Ok(self.container_image(environment.as_deref()));
        };
        let used = self.named_image(environment.as_deref()).or(script.default_image()).map(str::to_owned);
        let Some(missing) = problem(&self.checks.fresh(used.as_deref()).await) else { return Ok(used) };
        // Any image that contains git can export the work.
        match problem(&self.checks.fresh(None).await) {
            None => Ok(None),
            Some(_) => Err(missing),
        }
    }

    /// Commits the files of a run whose agent repository cannot be opened.
    pub(super) async fn commit_without_harvest(
        &self,
        mirror: &Mirror,
        task: &TaskRecord,
        message: CommitMessage<'_>,
        problem: &Problem,
    ) -> Result<Snapshot, RunError> {
        let mut snapshot = self.commit_run(mirror, task, message).await?;
        let hint = "set IMAGE_NAME to an image that the worker and this server can use";
        snapshot
            .notes
            .insert(0, format!("committed the files without the agent's own commits: {}; {hint}", problem.report.message));
        Ok(snapshot)
    }

    /// Returns the notes about the worker from the keeper's order, and the script's warnings about skipped mounts.
    pub(super) async fn notes_on_worker(
        &self,
        files: &RunFiles,
        location: WorkLocation,
        redactor: &Redactor,
    ) -> std::io::Result<Vec<String>> {
        let of_run = files.clone();
        let mut notes = blocking(move || keeper::notes_on_worker(&of_run)).await?;
        if location == WorkLocation::AgentRepository && self.worker.as_ref().is_ok_and(|worker| worker.script().is_some()) {
            notes.extend(left_out(files, redactor).await?);
        }
        Ok(notes)
    }

    /// Returns a note if a run changed nothing because its sandbox was read-only.
    pub(super) async fn note_on_sandbox(&self, slot: &TaskSlot) -> Option<String> {
        let task = slot.record();
        let thread = task.last_run().thread_id.or(task.thread_id)?;
        let folder = self.worker.as_ref().ok()?.session_folder(&self.home.layout.sessions(slot.id))?;
        let looked = blocking(move || was_read_only(&folder, thread)).await;
        match looked {
            Ok(was_read_only) => was_read_only.then(|| READ_ONLY.to_owned()),
            Err(error) => {
                tracing::debug!(task = %slot.id, %error, "could not read a run's Codex session");
                None
            }
        }
    }
}

/// Returns the script's warnings about skipped mounts.
async fn left_out(files: &RunFiles, redactor: &Redactor) -> std::io::Result<Vec<String>> {
    let mut notes = Vec::new();
    let mut tail = Tail::from(files.stderr(), 0);
    while tail
        .read(|line| {
            let LineContent::Whole(line) = line.content else { return };
            let line = String::from_utf8_lossy(line);
            if notes.len() < MAX_LEFT_OUT && LEFT_OUT.iter().any(|begins| line.starts_with(begins)) {
                notes.push(format!("the worker reports: {}", printable_line(&redactor.mask(&line), NOTE_LENGTH)));
            }
        })
        .await?
    {}
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use model::ids::RunNumber;

    use super::*;

    #[tokio::test]
    async fn what_the_script_did_not_mount_is_noted_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = RunFiles::new(folder.path(), RunNumber::FIRST);
        let missing = "Warning: CODEX_MOUNT_MAPS_RO host path '/x' not found; skipping mount.";
        let redactor = Redactor::new(["hunter2".to_owned()]);
        let stderr = format!("{missing}\nWarning: Codex home '/codex' not found; running without host Codex config.\nother\n");
        fs_err::write(files.stderr(), stderr).expect("written");
        assert_eq!(left_out(&files, &redactor).await.expect("readable"), [format!("the worker reports: {missing}")]);
        fs_err::write(files.stderr(), format!("{missing}\n").repeat(1000)).expect("written");
        assert_eq!(left_out(&files, &redactor).await.expect("readable").len(), MAX_LEFT_OUT);
        fs_err::write(files.stderr(), "Warning: CODEX_MOUNT hunter2\n").expect("written");
        assert_eq!(left_out(&files, &redactor).await.expect("readable"), ["the worker reports: Warning: CODEX_MOUNT ***"]);
    }
}
