//! Commits the work of a run: imports what its runner exports, or commits what is in the worktree.
//!
//! The host never runs git in a folder that a container wrote to: the work arrives as a bundle that is checked and imported.
//! Invariant: if any step fails, the work stays where the agent left it.

use std::path::PathBuf;

use futures_util::future::FutureExt as _;
use git::{CommitMessage, Decision, ImportError, ImportRequest, Makers, Mirror, Snapshot, SnapshotRequest, Worktree};
use model::ErrorCode;
use model::commit::Choices;
use model::run::RunError;
use model::task::TaskRecord;
use runner::{ExportError, ExportMode, ExportRequest, Exported, RunSpec, until_reached};
use secret_forms::SecretSearch;
use tokio_util::sync::CancellationToken;

use super::tasks::Tasks;

/// The maximum size of a bundle in bytes: more than the work of a run needs, but not enough to fill a disk.
const BUNDLE_LIMIT_BYTES: u64 = 1 << 30;

/// The work of a run that is being committed.
pub(super) struct Work<'a> {
    /// The mirror of the repository.
    pub(super) mirror: &'a Mirror,
    /// The task.
    pub(super) task: &'a TaskRecord,
    /// The message of the commit.
    pub(super) message: CommitMessage<'a>,
    /// The author and the committer of the commit.
    pub(super) makers: Makers,
    /// The limits of the commit, and what people decided about files of the task.
    pub(super) choices: Choices,
    /// The secrets that no file of the commit may contain, unless people decided so.
    pub(super) secrets: Option<SecretSearch>,
    /// The file with the decision what the commit omits.
    pub(super) omitted: PathBuf,
    /// Ends the commit early.
    pub(super) cancel: &'a CancellationToken,
}

/// Why the work of a run was not imported. It is still where the agent left it.
#[derive(Debug)]
enum NotImported {
    /// The agent's commits were rejected because of their content. Its files may still be accepted.
    Rejected(String),
    /// The work could not be exported or imported.
    Failed(RunError),
    /// The runner did not answer before the commit was cancelled.
    Unanswered,
}

/// What an export led to.
enum Imported {
    /// The work is on the branch. The agent's repository is kept in this folder, if it was replaced.
    Snapshot(Snapshot, Option<PathBuf>),
    /// The work is in the worktree. It may have been exported with the agent's own commits, if not for this reason.
    InPlace(Option<String>),
}

fn failed(error: &dyn std::fmt::Display) -> RunError {
    RunError::new(ErrorCode::CommitFailed, error.to_string())
}

impl Tasks {
    /// Commits the work of a run. Returns `None` if its runner did not answer before the commit was cancelled.
    pub(super) async fn commit_work(&self, work: Work<'_>) -> Option<Result<Snapshot, RunError>> {
        let worktree = match self.worktree_of(work.mirror, work.task).await {
            Ok(Some(worktree)) => worktree,
            Ok(None) => return Some(Err(failed(&"worktree not found"))),
            Err(error) => return Some(Err(error)),
        };
        let spec = match self.started_spec(work.task) {
            Ok(spec) => spec,
            Err(error) => return Some(Err(failed(&error.message))),
        };
        let why = match self.imported(&work, &spec, &worktree, ExportMode::Commits).await {
            Ok(Imported::Snapshot(snapshot, _)) => return Some(Ok(snapshot)),
            Ok(Imported::InPlace(reason)) => return Some(commit_in_place(&worktree, &work, reason).await),
            Err(NotImported::Failed(error)) => return Some(Err(error)),
            Err(NotImported::Unanswered) => return None,
            Err(NotImported::Rejected(why)) => why,
        };
        match self.imported(&work, &spec, &worktree, ExportMode::Files).await {
            Ok(Imported::Snapshot(mut snapshot, aside)) => {
                let aside = aside.map_or_else(String::new, |aside| format!("; its repository is kept as `{}`", aside.display()));
                snapshot.notes.insert(0, without_commits(&format!("{why}{aside}")));
                Some(Ok(snapshot))
            }
            Ok(Imported::InPlace(reason)) => Some(commit_in_place(&worktree, &work, reason).await),
            Err(NotImported::Failed(error)) => Some(Err(error.hint("ask the agent to remove the rejected content"))),
            Err(NotImported::Rejected(why)) => Some(Err(failed(&why).hint("ask the agent to remove the rejected content"))),
            Err(NotImported::Unanswered) => None,
        }
    }

    async fn imported(
        &self,
        work: &Work<'_>,
        spec: &RunSpec,
        worktree: &Worktree,
        mode: ExportMode,
    ) -> Result<Imported, NotImported> {
        let repository = self.environments.get(work.task.env_id).map(|environment| environment.record());
        let container = self.container_of(repository.as_deref());
        let export = || {
            let request = ExportRequest {
                spec,
                mode,
                container: container.clone(),
                message: work.message.text(),
                makers: &work.makers,
                choices: &work.choices,
                secrets: work.secrets.as_ref(),
                worktree,
                cancel: work.cancel.clone(),
            };
            self.runner.ensure_exported(request, self).map(answered).boxed()
        };
        let exported = until_reached(work.cancel, export).await.ok_or(NotImported::Unanswered)??;
        let folder = match exported {
            Exported::InPlace { reason } => return Ok(Imported::InPlace(reason)),
            Exported::Bundle(folder) => folder,
        };
        let message = work.message.text();
        let request = ImportRequest {
            out: &folder.path,
            since: &spec.source.start,
            message: &message,
            trailers: work.message.trailers,
            limit_bytes: BUNDLE_LIMIT_BYTES,
            lfs_objects: &folder.large_files,
            makers: &work.makers,
            selection: &folder.selection,
            secrets: work.secrets.as_ref(),
        };
        let snapshot = worktree.import(request).await.map_err(|error| not_imported(&error))?;
        Ok(Imported::Snapshot(snapshot, folder.aside))
    }
}

fn without_commits(reason: &str) -> String {
    format!("committed the files without the agent's own commits: {reason}")
}

/// Separates an answer from the lack of one.
fn answered(result: Result<Exported, ExportError>) -> Result<Result<Exported, NotImported>, runner::Unreachable> {
    match result {
        Ok(exported) => Ok(Ok(exported)),
        Err(ExportError::Unusable(why)) => Ok(Err(NotImported::Rejected(why))),
        Err(ExportError::Failed(error)) => Ok(Err(NotImported::Failed(error))),
        Err(ExportError::Unreachable(unreachable)) => Err(unreachable),
    }
}

fn not_imported(error: &ImportError) -> NotImported {
    if error.is_refusal() { NotImported::Rejected(error.to_string()) } else { NotImported::Failed(failed(error)) }
}

/// Commits the changes in the worktree to the task's branch.
async fn commit_in_place(worktree: &Worktree, work: &Work<'_>, reason: Option<String>) -> Result<Snapshot, RunError> {
    let decision = Decision { file: Some(&work.omitted), choices: &work.choices, secrets: work.secrets.as_ref() };
    let request = SnapshotRequest { message: work.message, makers: &work.makers, decision };
    let mut snapshot = worktree.snapshot(request).await.map_err(|error| failed(&error))?;
    if let Some(reason) = reason {
        snapshot.notes.insert(0, without_commits(&reason));
    }
    Ok(snapshot)
}
