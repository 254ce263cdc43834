//! Runs in containers: what they need on disk before they start, and how their work is exported afterwards.
//!
//! The host never runs git in a folder that a container wrote to: the work arrives as a bundle that is checked and imported.
//! Invariant: if any step fails, the work stays where the agent left it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use durable::blocking;
use durable::crash::{self, CrashPoint};
use git::{CommitMessage, ImportError, ImportRequest, Mirror, Signature, Snapshot, TwinError, TwinSpec, Worktree};
use model::ErrorCode;
use model::codex::LineContent;
use model::container::ContainerSettings;
use model::environment::EnvironmentRecord;
use model::ids::{ObjectId, TaskId};
use model::names::BranchName;
use model::run::RunError;
use model::task::TaskRecord;
use printable::printable_line;
use process::Redactor;
use runner::journal::Tail;
use runner::keeper::RunFiles;
use runner::worker::{
    ContainerFolders, Harvest, HarvestError, HarvestMode, Housekeeping, Login, ToRead, emptied, own_image, task_labels,
    unreachable_model,
};
use tokio_util::sync::CancellationToken;

use crate::inner::Inner;

/// The path of the mirror's objects in a container.
const OBJECTS_INSIDE: &str = "/git/objects";

/// The path where git-lfs looks for objects of a repository whose other objects are at [`OBJECTS_INSIDE`].
const LFS_INSIDE: &str = "/git/lfs";

/// The path of the worktree in a container.
const WORKTREE_INSIDE: &str = "/workspace/worktree";

/// The maximum size of a bundle in bytes: more than the work of a run needs, but not enough to fill a disk.
const BUNDLE_LIMIT_BYTES: u64 = 1 << 30;

/// The prefix of codex-docker's stderr lines about rejected hosts.
const REFUSED: &[u8] = b"codex-docker: refused ";

/// The prefix of codex-docker's stderr lines about content that was removed from requests to the model.
const REMOVED: &[u8] = b"codex-docker: removed ";

/// The maximum number of rejected hosts, and of removed items, in a run's notes.
const MAX_REFUSED: usize = 20;

/// The maximum number of different lines that are remembered. An agent can cause any number of lines.
const MAX_TOLD_APART: usize = 10_000;

/// The maximum length of a line about a rejected host or removed content, in characters.
const REFUSED_LENGTH: usize = 300;

/// Why a run's work could not be exported and imported. It is still where the agent left it.
#[derive(Debug, thiserror::Error)]
enum NotHarvested {
    #[error("could not export the changes from the agent repository: {0}")]
    Harvest(#[from] HarvestError),
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error(transparent)]
    Twin(#[from] TwinError),
    #[error(transparent)]
    Files(#[from] std::io::Error),
}

impl NotHarvested {
    /// Whether the work was rejected because of its content.
    fn is_refusal(&self) -> bool {
        match self {
            Self::Harvest(error) => matches!(error, HarvestError::Unusable(_)),
            Self::Import(error) => error.is_refusal(),
            Self::Twin(_) | Self::Files(_) => false,
        }
    }

    fn of_run(&self) -> RunError {
        let error = RunError::new(ErrorCode::CommitFailed, self.to_string());
        match self {
            Self::Harvest(HarvestError::TooMuch(_)) => {
                error.hint("ask the agent to delete these files or add them to `.gitignore`; the next run then commits the rest")
            }
            Self::Harvest(HarvestError::Unusable(_) | HarvestError::Program(_)) => {
                error.hint("run `codex-orchestrator doctor` to check that containers can run")
            }
            Self::Import(_) | Self::Twin(_) | Self::Files(_) => error,
        }
    }
}

impl Inner {
    pub(super) fn housekeeping(&self, env_id: model::ids::EnvironmentId) -> Housekeeping {
        Housekeeping::new(&self.config, self.redactor(env_id))
    }

    pub(super) fn container_settings(environment: Option<&EnvironmentRecord>) -> ContainerSettings {
        environment.map(|environment| environment.container.clone()).unwrap_or_default()
    }

    /// Returns the image for a task's runs, or `None` for the pinned image.
    pub(super) fn container_image(&self, environment: Option<&EnvironmentRecord>) -> Option<String> {
        let built = environment.filter(|environment| environment.container.dockerfile.is_some());
        built.map(|environment| own_image(environment.env_id)).or_else(|| self.named_image(environment).map(str::to_owned))
    }

    /// Returns the image that the settings of the repository or the server name.
    pub(super) fn named_image<'a>(&'a self, environment: Option<&'a EnvironmentRecord>) -> Option<&'a str> {
        environment.map_or(self.config.image.as_deref(), |environment| self.image_of(environment))
    }

    /// Returns the stored login of Codex.
    pub(crate) async fn login(&self) -> Result<Option<Login>, RunError> {
        let home = self.codex_home.clone();
        blocking(move || Login::stored(&home)).await.map_err(|error| {
            RunError::new(ErrorCode::LoginUnreadable, format!("could not read the stored Codex login: {error}"))
                .hint("log in again: codex-orchestrator login")
        })
    }

    /// Creates what a container of the task needs: an image, the agent repository, and folders.
    pub(super) async fn prepare_container(
        &self,
        task: &TaskRecord,
        worktree: &Worktree,
        cancel: &CancellationToken,
    ) -> Result<(), RunError> {
        let environment = self.environments.get(task.env_id).map(|environment| environment.record());
        let settings = Self::container_settings(environment.as_deref());
        let login = self.login().await?;
        let unreachable = |environment: &EnvironmentRecord| unreachable_model(environment, &self.config, login.as_ref());
        if let Some(problem) = environment.as_deref().and_then(unreachable) {
            return Err(problem.into());
        }
        if let Some(dockerfile) = &settings.dockerfile {
            let (housekeeping, image) = (self.housekeeping(task.env_id), own_image(task.env_id));
            let built = housekeeping.build(Path::new(dockerfile), &image, cancel.clone()).await;
            let built = built.map_err(|error| {
                RunError::new(ErrorCode::ImageFailed, format!("could not build the repository's image: {error}"))
                    .hint(format!("fix `{dockerfile}`, then retry the task"))
            })?;
            if let Some(id) = built
                && let Err(error) = self.record_image(task.env_id, &image, id).await
            {
                tracing::warn!(image, %error, "could not record a built image; `gc` will not remove it");
            }
        }
        self.prepare_twin(task, worktree, cancel).await
    }

    /// Creates the agent repository and the folders of the task's containers.
    pub(super) async fn prepare_twin(
        &self,
        task: &TaskRecord,
        worktree: &Worktree,
        cancel: &CancellationToken,
    ) -> Result<(), RunError> {
        let failed = |error: &dyn std::fmt::Display| {
            RunError::new(ErrorCode::WorktreeFailed, format!("could not create the agent repository: {error}"))
                .hint("check that the home directory is writable and has free space, then create the task again")
        };
        let twin = self.home.layout.twin(task.task_id);
        if before(task).is_some_and(|run| task.rewritten_after(run.number)) {
            // The agent repository has the old commits of the branch, and the new commits are not based on them.
            let aside = worktree.put_twin_aside(&twin).await.map_err(|error| failed(&error))?;
            tracing::info!(task = %task.task_id, ?aside, "created a new agent repository, because the branch was rebased");
        }
        let is_new = !twin.is_dir();
        self.renew_twin(task, worktree).await.map_err(|error| failed(&error))?;
        let home = std::sync::Arc::clone(&self.home);
        let id = task.task_id;
        blocking(move || home.make_container_folders(id)).await.map_err(|error| failed(&error))?;
        if !is_new && self.is_behind(task).await.map_err(|error| failed(&error))? {
            self.sync_twin(task, worktree, cancel).await;
        }
        Ok(())
    }

    async fn ensure_twin(&self, task: &TaskRecord, worktree: &Worktree) -> Result<(), TwinError> {
        let (path, name, author) = (self.home.layout.twin(task.task_id), task.task_id.to_string(), Signature::default());
        worktree.ensure_twin(twin_spec(task, &path, &name, &author)).await
    }

    /// Makes sure that the agent repository contains only objects and refs of earlier runs. If it cannot be cleaned up, it is
    /// put aside and replaced by a new one.
    async fn renew_twin(&self, task: &TaskRecord, worktree: &Worktree) -> Result<(), TwinError> {
        let (path, name, author) = (self.home.layout.twin(task.task_id), task.task_id.to_string(), Signature::default());
        let spec = twin_spec(task, &path, &name, &author);
        let Err(error) = worktree.renew_twin(spec).await else { return Ok(()) };
        if !path.is_dir() {
            return Err(error);
        }
        let aside = worktree.put_twin_aside(&path).await?;
        tracing::warn!(task = %task.task_id, %error, ?aside, "created a new agent repository, because the old one could not be reset");
        worktree.ensure_twin(spec).await
    }

    /// Whether the branch changed without the agent repository: it was updated to its base, or the previous run was not in a
    /// container.
    async fn is_behind(&self, task: &TaskRecord) -> std::io::Result<bool> {
        let Some(before) = before(task) else { return Ok(false) };
        if task.moved_after(before.number) {
            return Ok(true);
        }
        let files = RunFiles::new(&self.home.layout.logs(task.task_id), before.number);
        Ok(work_location(&files).await? == WorkLocation::Worktree)
    }

    /// Updates the agent's branch to the task's branch. Otherwise the agent would see the changes in between as uncommitted.
    async fn sync_twin(&self, task: &TaskRecord, worktree: &Worktree, cancel: &CancellationToken) {
        let Some(since) = task.head_before(task.last_run().number) else { return };
        if let Err(error) = self.bring_out(task, worktree, HarvestMode::Sync, since, String::new(), cancel).await {
            tracing::warn!(task = %task.task_id, %error, "could not update the agent's branch to the task's branch");
        }
    }

    /// Returns additional folders that a run may read: large files of the repository, and submodules.
    pub(super) fn to_read(&self, mirror: &Mirror, task: &TaskRecord) -> std::io::Result<Vec<ToRead>> {
        let lfs = mirror.path().join("lfs");
        let mut to_read = vec![];
        if lfs.is_dir() {
            to_read.push(ToRead { path: lfs, inside: LFS_INSIDE.to_owned() });
        }
        let path = self.home.layout.worktree(task.task_id);
        let Some(worktree) = mirror.find_worktree(&path, BranchName::of_task(task.task_id).as_str())? else { return Ok(to_read) };
        for submodule in worktree.submodules()? {
            let path = worktree.path().join(&submodule);
            // In a run without a container, an agent may have put something else there.
            if fs_err::canonicalize(&path).is_ok_and(|real| real == path && real.is_dir()) {
                to_read.push(ToRead { path, inside: format!("{WORKTREE_INSIDE}/{submodule}") });
            }
        }
        Ok(to_read)
    }

    /// Exports a run's work from the agent repository and imports it to the task's branch. If the import is rejected because of
    /// what the agent did, only the files are exported, with a new agent repository.
    pub(super) async fn harvest_run(
        &self,
        mirror: &Mirror,
        task: &TaskRecord,
        message: CommitMessage<'_>,
        cancel: &CancellationToken,
    ) -> Result<Snapshot, RunError> {
        let failed = |error: &dyn std::fmt::Display| RunError::new(ErrorCode::CommitFailed, error.to_string());
        let worktree = self.worktree_of(mirror, task).await?.ok_or_else(|| failed(&"worktree not found"))?;
        if let Err(problem) = self.harvest_image(task).await {
            return self.commit_without_harvest(mirror, task, message, &problem).await;
        }
        let since = task.head_before(task.last_run().number).ok_or_else(|| failed(&"the base commit of the task is unknown"))?;
        let why = match self.harvested(task, &worktree, HarvestMode::Work, since, &message, cancel).await {
            Err(error) if error.is_refusal() => error.to_string(),
            harvested => return harvested.map_err(|error| error.of_run()),
        };
        let twin = self.home.layout.twin(task.task_id);
        let aside = worktree.put_twin_aside(&twin).await.map_err(|error| failed(&error))?;
        self.ensure_twin(task, &worktree).await.map_err(|error| failed(&error))?;
        let mut snapshot = self
            .harvested(task, &worktree, HarvestMode::Content, since, &message, cancel)
            .await
            .map_err(|error| error.of_run().hint("ask the agent to remove the rejected content"))?;
        let aside = aside.map_or_else(String::new, |aside| format!("; its repository is kept as `{}`", aside.display()));
        snapshot.notes.insert(0, format!("committed the files without the agent's own commits: {why}{aside}"));
        Ok(snapshot)
    }

    async fn harvested(
        &self,
        task: &TaskRecord,
        worktree: &Worktree,
        mode: HarvestMode,
        since: &ObjectId,
        message: &CommitMessage<'_>,
        cancel: &CancellationToken,
    ) -> Result<Snapshot, NotHarvested> {
        let out = self.bring_out(task, worktree, mode, since, message.text(), cancel).await?;
        crash::point(CrashPoint::Harvested);
        let request = ImportRequest {
            out: &out,
            since,
            trailers: message.trailers,
            limit_bytes: BUNDLE_LIMIT_BYTES,
            lfs_objects: &self.home.layout.twin(task.task_id).join("lfs/objects"),
        };
        Ok(worktree.import(request).await?)
    }

    /// Calls the container program, and calls it again if it was killed. Returns the folder with the export.
    async fn bring_out(
        &self,
        task: &TaskRecord,
        worktree: &Worktree,
        mode: HarvestMode,
        since: &ObjectId,
        message: String,
        cancel: &CancellationToken,
    ) -> Result<PathBuf, NotHarvested> {
        match self.bring_out_once(task, worktree, mode, since, message.clone(), cancel).await {
            Err(NotHarvested::Harvest(error)) if error.was_killed() => {
                tracing::warn!(task = %task.task_id, %error, "an export was killed; retrying");
                self.bring_out_once(task, worktree, mode, since, message, cancel).await
            }
            done => done,
        }
    }

    async fn bring_out_once(
        &self,
        task: &TaskRecord,
        worktree: &Worktree,
        mode: HarvestMode,
        since: &ObjectId,
        message: String,
        cancel: &CancellationToken,
    ) -> Result<PathBuf, NotHarvested> {
        // The agent repository is missing if it was put aside and creating a new one was interrupted.
        self.ensure_twin(task, worktree).await?;
        let files = RunFiles::new(&self.home.layout.logs(task.task_id), task.last_run().number);
        let message_file = files.message();
        let out = self.home.layout.harvest(task.task_id);
        let out = blocking(move || {
            durable::write_atomically(&message_file, message.as_bytes())?;
            emptied(out)
        })
        .await?;
        let environment = self.environments.get(task.env_id).map(|environment| environment.record());
        let image = match self.worker.as_ref().ok().and_then(|worker| worker.script()) {
            Some(_) => self.harvest_image(task).await.unwrap_or_default(),
            None => self.container_image(environment.as_deref()),
        };
        let (branch, worktree_path) = (BranchName::of_task(task.task_id), self.home.layout.worktree(task.task_id));
        let harvest = Harvest {
            mode,
            folders: &ContainerFolders::new(&self.home.layout, task.task_id, worktree.mirror().path()),
            worktree: &worktree_path,
            out: &out,
            branch: branch.as_str(),
            since,
            message: &files.message(),
            image: image.as_deref(),
            submodules: worktree.submodules()?,
            labels: task_labels(self.home.layout.home(), task.task_id).to_vec(),
        };
        self.housekeeping(task.env_id).harvest(&harvest, cancel.clone()).await?;
        Ok(out)
    }

    /// Ends all remaining containers of a task that is being removed.
    pub(super) async fn reap_containers(&self, task: TaskId, env_id: model::ids::EnvironmentId) {
        if let Err(error) = self.housekeeping(env_id).reap(&task_labels(self.home.layout.home(), task)).await {
            tracing::warn!(%task, %error, "could not look for containers of a task during its removal");
        }
    }
}

fn twin_spec<'a>(task: &'a TaskRecord, path: &'a Path, name: &'a str, author: &'a Signature) -> TwinSpec<'a> {
    TwinSpec { path, keep_base_as: name, objects_inside: OBJECTS_INSIDE, origin_url: task.repo_url.as_str(), author }
}

/// Returns the run before the last one.
fn before(task: &TaskRecord) -> Option<&model::run::RunRecord> {
    task.runs.iter().rev().nth(1)
}

/// Returns notes about hosts that were rejected, and about content that was removed from requests to the model.
pub(super) async fn refusals(files: &RunFiles, redactor: &Redactor) -> std::io::Result<Vec<String>> {
    let (mut hosts, mut removed) = (DistinctLines::default(), DistinctLines::default());
    let mut tail = Tail::from(files.stderr(), 0);
    while tail
        .read(|line| {
            let LineContent::Whole(line) = line.content else { return };
            if let Some(rest) = line.strip_prefix(REFUSED) {
                hosts.tell("the network refused", rest, redactor);
            } else if let Some(rest) = line.strip_prefix(REMOVED) {
                removed.tell("codex-docker removed", rest, redactor);
            }
        })
        .await?
    {}
    let more = hosts.more().map(|more| format!("the network refused {more} more hosts"));
    Ok([hosts.first, more.into_iter().collect(), removed.first].concat())
}

/// Lines of one kind, without duplicates.
#[derive(Default)]
struct DistinctLines {
    all: BTreeSet<String>,
    first: Vec<String>,
}

impl DistinctLines {
    fn tell(&mut self, how: &str, rest: &[u8], redactor: &Redactor) {
        if self.all.len() >= MAX_TOLD_APART {
            return;
        }
        let said = printable_line(&redactor.mask(&String::from_utf8_lossy(rest)), REFUSED_LENGTH);
        if self.all.insert(said.clone()) && self.first.len() < MAX_REFUSED {
            self.first.push(format!("{how} {said}"));
        }
    }

    fn more(&self) -> Option<usize> {
        Some(self.all.len() - self.first.len()).filter(|more| *more > 0)
    }
}

/// Where the work of a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WorkLocation {
    /// In an agent repository, because the run was in a container.
    AgentRepository,
    /// In the task's worktree.
    Worktree,
}

/// Returns where the work of a run is.
pub(super) async fn work_location(files: &RunFiles) -> std::io::Result<WorkLocation> {
    let files = files.clone();
    let was_contained = blocking(move || runner::keeper::was_contained(&files)).await?;
    Ok(if was_contained { WorkLocation::AgentRepository } else { WorkLocation::Worktree })
}

#[cfg(test)]
mod tests {
    use model::ids::RunNumber;

    use super::*;

    async fn refused(stderr: &str) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let files = RunFiles::new(folder.path(), RunNumber::FIRST);
        fs_err::write(files.stderr(), stderr).expect("written");
        refusals(&files, &Redactor::new(["hunter2".to_owned()])).await.expect("readable")
    }

    #[tokio::test]
    async fn each_refused_host_is_noted_once() {
        let line = "codex-docker: refused evil.example:443 (not on the list of allowed hosts)\n";
        let stderr = format!("{line}Codex: refused something\n{line}codex-docker: refused hunter2.example:80\nsomething else\n");
        let expected =
            ["the network refused evil.example:443 (not on the list of allowed hosts)", "the network refused ***.example:80"];
        assert_eq!(refused(&stderr).await, expected);
        assert!(refused("").await.is_empty());
    }

    #[tokio::test]
    async fn what_was_removed_from_requests_to_the_model_is_noted_too() {
        let stderr = "codex-docker: removed the hosted tool `web_search` from requests to the model\ncodex-docker: refused a.example:443\n";
        let expected =
            ["the network refused a.example:443", "codex-docker removed the hosted tool `web_search` from requests to the model"];
        assert_eq!(refused(&stderr.repeat(2)).await, expected);
    }

    #[tokio::test]
    async fn an_agent_that_tries_every_host_does_not_fill_the_notes() {
        let lines: Vec<_> = (0..30).map(|n| format!("codex-docker: refused h{n}.example:443")).collect();
        let notes = refused(&(lines.join("\n") + "\n")).await;
        assert_eq!(notes.len(), MAX_REFUSED + 1);
        assert_eq!(notes[MAX_REFUSED], "the network refused 10 more hosts");
        let long = format!("codex-docker: refused {}\u{1b}[2J\n", "x".repeat(10_000));
        assert!(refused(&long).await[0].chars().count() < 2 * REFUSED_LENGTH);
    }
}
