//! What a user can do: one method for every operation of the API and the pages.
//!
//! The methods parse the texts of a request and return views. They store no state; see `inner`.

mod artifacts;
mod branches;
mod setup;
mod surroundings;

use std::sync::Arc;
use std::time::Duration;

use environments::EnvironmentSlot;
use futures_util::Stream;
use git::Reading;
use model::ErrorCode;
use model::diff::{Diff, Picture, PictureKind};
use model::ids::{EnvironmentId, IdError, RunNumber, TaskId};
use model::image::{self, Image};
use model::names::{Prompt, Setting};
use model::problem::Problem;
use model::queue::Priority;
use model::secret::Secret;
use model::task::{NewRun, TaskRequest};
use notifications::Notifications;
use protocol::{
    AnswerTask, CollectGarbage, CommitFiles, CreateEnvironment, CreateTask, DiskView, EditEnvironment, EnvironmentView,
    FeedEvent, GarbageCollected, Page, PublicationView, PublishTask, QueueView, ResumeTask, RunDelta, RunEnded, ServerStatus,
    TaskQuery, TaskView, TrashItem,
};
use spine::Mailbox as _;

use crate::caller::Caller;
use crate::metrics::exposition;
use crate::server::Server;
use crate::task::{Changes, PictureSide, Review, ReviewPart, ReviewState, TaskSlot};
pub use artifacts::{ArtifactFile, ArtifactText};
pub use branches::TaskUpdate;
use run_logs::LineTimes;
use run_logs::Reach;
use sign_in::SessionView;
pub use surroundings::RunDefaults;

/// How long to wait for a removal: longer than it takes to stop a run.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(90);

/// A caller who uses the engine. Cheap to clone.
#[derive(Clone)]
pub struct User {
    server: Arc<Server>,
    caller: Caller,
}

/// The raw log of a run on disk.
#[derive(Debug)]
pub struct LogFile {
    /// The open file, positioned at its start.
    pub file: tokio::fs::File,
    /// The current length of the file in bytes.
    pub length: u64,
    /// Whether the run may still write to it.
    pub active: bool,
}

/// A part of a run's log, for readers.
#[derive(Debug)]
pub struct LogWindow {
    /// The byte offset of its first line.
    pub start: u64,
    /// The byte offset after its last line, from which to follow the log.
    pub end: u64,
    /// The complete lines, each with the offset after it. Secrets are masked.
    pub lines: Vec<(u64, bytes::Bytes)>,
    /// The number of bytes of an incomplete line between the last complete line and the requested offset.
    pub unfinished: u64,
}

/// An item that a follower of a run receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunLine {
    /// A complete line without its newline, and the offset after the newline.
    Line {
        /// The byte offset after the line, from which to resume.
        offset: u64,
        /// The line as the worker wrote it, with secrets masked.
        text: bytes::Bytes,
    },
    /// Text of an item that is not complete yet. A slow reader can miss some.
    Delta(RunDelta),
    /// The run has ended, and every complete line was sent.
    Ended(RunEnded),
}

impl User {
    pub(crate) fn new(server: Arc<Server>, caller: Caller) -> Self {
        Self { server, caller }
    }

    /// Returns who calls.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Returns the status of this server.
    pub fn status(&self) -> ServerStatus {
        self.server.status()
    }

    /// Checks whether the worker can run tasks now, and returns the status of this server.
    pub async fn fresh_status(&self) -> ServerStatus {
        self.server.readiness.hear().await;
        self.server.readiness.look_for_troubles().await;
        self.server.status()
    }

    /// Records a repository and starts its clone.
    pub async fn create_environment(&self, new: CreateEnvironment) -> Result<EnvironmentView, Problem> {
        let slot = self.server.environments.add(new).await?;
        Ok(self.server.environment_view(&slot))
    }

    /// Returns all repositories, newest first.
    pub fn environments(&self) -> Page<EnvironmentView> {
        let items = self.server.environments.all().iter().map(|slot| self.server.environment_view(slot)).collect();
        Page { items, next_cursor: None, damaged: self.server.environments.damaged.clone() }
    }

    /// Returns a repository.
    pub fn environment(&self, id: &str) -> Result<EnvironmentView, Problem> {
        Ok(self.server.environment_view(self.environment_slot(id)?.as_ref()))
    }

    /// Changes the settings of a repository.
    pub async fn edit_environment(&self, id: &str, edit: EditEnvironment) -> Result<EnvironmentView, Problem> {
        let slot = self.environment_slot(id)?;
        let sets_image = edit.container.as_ref().is_some_and(|container| container.dockerfile.is_some());
        self.server.environments.edit(&slot, edit).await?;
        if sets_image {
            self.server.tasks.build_image(&slot);
        }
        Ok(self.server.environment_view(&slot))
    }

    /// Removes a repository's tasks and then the repository, and waits until they are gone. Removing it twice is harmless, as
    /// long as this server remembers that the repository existed.
    pub async fn remove_environment(&self, id: &str) -> Result<(), Problem> {
        if id.parse().is_ok_and(|id| self.server.environments.was_removed(id)) {
            return Ok(());
        }
        let slot = self.environment_slot(id)?;
        self.server.environments.remove(&slot, self.server.tasks.count_of_environment(slot.id)).await
    }

    /// Records a task and starts its first run. Repeating the request with the same key returns the same task. The flag is
    /// true if this call created the task.
    pub async fn create_task(&self, new: CreateTask, key: Option<String>) -> Result<(TaskView, bool), Problem> {
        let (slot, created) = self.server.tasks.create_task(new, key).await?;
        Ok((self.server.tasks.view(&slot), created))
    }

    /// Returns a page of tasks, newest first. The group `queued` is in the order of the queue.
    pub fn tasks(&self, query: &TaskQuery) -> Result<Page<TaskView>, Problem> {
        let mut page = self.server.tasks.page(query)?;
        if query.cursor.is_none() {
            page.damaged.clone_from(&self.server.tasks.damaged);
        }
        Ok(page)
    }

    /// Returns a task.
    pub fn task(&self, id: &str) -> Result<TaskView, Problem> {
        Ok(self.server.tasks.view(self.task_slot(id)?.as_ref()))
    }

    /// Returns a task and marks the result of its last run as seen. The task is still returned if this cannot be recorded, e.g.
    /// on a full disk.
    pub async fn mark_seen(&self, id: &str) -> Result<TaskView, Problem> {
        let slot = self.task_slot(id)?;
        if let Err(problem) = self.server.tasks.ask(&slot, TaskRequest::See).await {
            tracing::warn!(task = %slot.id, %problem, "could not record that a task was viewed");
        }
        Ok(self.server.tasks.view(&slot))
    }

    /// Archives a task. Doing it twice is harmless.
    pub async fn archive_task(&self, id: &str) -> Result<TaskView, Problem> {
        let slot = self.task_slot(id)?;
        self.server.tasks.ask(&slot, TaskRequest::Archive).await?;
        Ok(self.server.tasks.view(&slot))
    }

    /// Unarchives a task. Doing it twice is harmless.
    pub async fn unarchive_task(&self, id: &str) -> Result<TaskView, Problem> {
        let slot = self.task_slot(id)?;
        self.server.tasks.ask(&slot, TaskRequest::Unarchive).await?;
        Ok(self.server.tasks.view(&slot))
    }

    /// Lets the task's next run take the newest environment of its repository. Doing it twice is harmless.
    pub async fn refresh_environment(&self, id: &str) -> Result<TaskView, Problem> {
        let slot = self.task_slot(id)?;
        self.server.tasks.ask(&slot, TaskRequest::RefreshEnvironment).await?;
        Ok(self.server.tasks.view(&slot))
    }

    /// Continues the task's thread. Repeating the request with the same key has no further effect.
    pub async fn resume_task(&self, id: &str, asked: ResumeTask, key: Option<String>) -> Result<TaskView, Problem> {
        let slot = self.task_slot(id)?;
        let (run, images) = new_run(asked, key)?;
        self.server.tasks.ready_to_go_on(&slot).await?;
        self.server.tasks.ask_with_images(&slot, TaskRequest::Resume(run), images).await?;
        Ok(self.server.tasks.view(&slot))
    }

    /// Adds a prompt that runs once the runs before it have completed, or immediately if none is active. Repeating the request
    /// with the same key has no further effect.
    pub async fn add_follow_up(&self, id: &str, asked: ResumeTask, key: Option<String>) -> Result<TaskView, Problem> {
        let slot = self.task_slot(id)?;
        let (run, images) = new_run(asked, key)?;
        self.server.tasks.ready_to_go_on(&slot).await?;
        self.server.tasks.ask_with_images(&slot, TaskRequest::FollowUp(run), images).await?;
        Ok(self.server.tasks.view(&slot))
    }

    /// Replaces a waiting follow-up.
    pub async fn edit_follow_up(&self, id: &str, number: u32, asked: ResumeTask) -> Result<TaskView, Problem> {
        let slot = self.task_slot(id)?;
        let (run, images) = new_run(asked, None)?;
        self.server.tasks.ask_with_images(&slot, TaskRequest::EditFollowUp(number, run), images).await?;
        Ok(self.server.tasks.view(&slot))
    }

    /// Changes the prompt of a follow-up and keeps everything else.
    pub async fn reword_follow_up(&self, id: &str, number: u32, prompt: &str) -> Result<TaskView, Problem> {
        let slot = self.task_slot(id)?;
        self.server.tasks.ask(&slot, TaskRequest::RewordFollowUp(number, Prompt::parse(prompt)?)).await?;
        Ok(self.server.tasks.view(&slot))
    }

    /// Removes a follow-up. Doing it twice is harmless. A follow-up that has started is a run, which continues.
    pub async fn remove_follow_up(&self, id: &str, number: u32) -> Result<TaskView, Problem> {
        let slot = self.task_slot(id)?;
        self.server.tasks.ask(&slot, TaskRequest::RemoveFollowUp(number)).await?;
        Ok(self.server.tasks.view(&slot))
    }

    /// Starts the next follow-up of a task whose last run did not complete.
    pub async fn continue_task(&self, id: &str) -> Result<TaskView, Problem> {
        let slot = self.task_slot(id)?;
        self.server.tasks.ready_to_go_on(&slot).await?;
        self.server.tasks.ask(&slot, TaskRequest::Continue).await?;
        Ok(self.server.tasks.view(&slot))
    }

    /// Answers the question of a task.
    pub async fn answer_task(&self, id: &str, asked: &AnswerTask) -> Result<TaskView, Problem> {
        let slot = self.task_slot(id)?;
        self.server.tasks.answer(&slot, asked.question, asked.answer).await?;
        Ok(self.server.tasks.view(&slot))
    }

    /// Commits files and folders that runs omitted, or that are held.
    pub async fn commit_files(&self, id: &str, asked: &CommitFiles) -> Result<TaskView, Problem> {
        let slot = self.task_slot(id)?;
        self.server.tasks.commit_files(&slot, asked.parse()?).await?;
        Ok(self.server.tasks.view(&slot))
    }

    /// Retries a failed or interrupted run. Repeating the request with the same key has no further effect.
    pub async fn retry_task(&self, id: &str, key: Option<String>) -> Result<TaskView, Problem> {
        let slot = self.task_slot(id)?;
        self.server.tasks.ready_to_go_on(&slot).await?;
        self.server.tasks.ask(&slot, TaskRequest::Retry(key)).await?;
        Ok(self.server.tasks.view(&slot))
    }

    /// Pushes the task's branch, and creates or updates its pull request if requested. Returns immediately; the task shows the
    /// progress. Repeating the request is harmless.
    pub async fn publish_task(&self, id: &str, asked: PublishTask) -> Result<TaskView, Problem> {
        let slot = self.task_slot(id)?;
        self.server.tasks.ask_to_publish(&slot, asked).await?;
        Ok(self.server.tasks.view(&slot))
    }

    /// Returns the current state of the task's publication, and the text of a new pull request.
    pub async fn publication(&self, id: &str) -> Result<PublicationView, Problem> {
        let slot = self.task_slot(id)?;
        self.server.pull_requests.watch(&slot).await;
        self.server.tasks.publication(&slot).await
    }

    /// Sends open comments and failed checks of the task's pull request to the agent, as a follow-up.
    pub async fn send_feedback(&self, id: &str) -> Result<TaskView, Problem> {
        let slot = self.task_slot(id)?;
        self.server.tasks.ready_to_go_on(&slot).await?;
        self.server.tasks.send_feedback(&slot).await?;
        Ok(self.server.tasks.view(&slot))
    }

    /// Returns the metrics of this server in the `OpenMetrics` text format.
    pub fn metrics(&self) -> Result<String, Problem> {
        let Server { tasks, environments, publishing, common, .. } = &*self.server;
        exposition(&tasks.table, environments, &common.queue, publishing).map_err(Problem::internal)
    }

    /// Returns the waiting runs, and what they wait for.
    pub fn queue(&self) -> QueueView {
        self.server.admission.queue_view()
    }

    /// Stops the active run. Returns immediately, usually with the status `stopping`.
    pub async fn stop_task(&self, id: &str) -> Result<TaskView, Problem> {
        let slot = self.task_slot(id)?;
        self.server.tasks.ask(&slot, TaskRequest::Stop).await?;
        Ok(self.server.tasks.view(&slot))
    }

    /// Removes a task after ending its run, and waits until it is gone. Removing it twice is harmless, as long as this server
    /// remembers that the task existed.
    pub async fn remove_task(&self, id: &str) -> Result<(), Problem> {
        if id.parse().is_ok_and(|id| self.server.tasks.table.was_removed(id)) {
            return Ok(());
        }
        let slot = self.task_slot(id)?;
        self.server.tasks.ask(&slot, TaskRequest::Remove).await?;
        tokio::time::timeout(REMOVAL_PATIENCE, slot.until_gone()).await.map_err(|_| {
            Problem::new(ErrorCode::RemovalUnfinished, format!("the task {} is still being removed", slot.id))
                .hint("the removal continues automatically; see the server's log for what blocks it")
        })
    }

    /// Returns the items in the trash, newest first.
    pub async fn trash(&self) -> Result<Vec<TrashItem>, Problem> {
        self.server.trash.items().await
    }

    /// Restores a removed task. Doing it twice is harmless.
    pub async fn restore_task(&self, id: &str) -> Result<TaskView, Problem> {
        let slot = self.server.trash.restore_task(id.parse().map_err(|error| malformed(&error))?).await?;
        Ok(self.server.tasks.view(&slot))
    }

    /// Restores a removed repository, with the tasks that were removed together with it. Doing it twice is harmless.
    pub async fn restore_environment(&self, id: &str) -> Result<EnvironmentView, Problem> {
        self.server.trash.restore_environment(id.parse().map_err(|error| malformed(&error))?).await?;
        self.environment(id)
    }

    /// Permanently deletes items that have been in the trash for longer than requested or configured, repacks mirrors, and
    /// removes images that no repository uses. Returns after `patience` even if mirrors are still being repacked.
    pub async fn collect_garbage(&self, asked: &CollectGarbage, patience: Duration) -> Result<GarbageCollected, Problem> {
        self.server.trash.free_space(asked, patience).await
    }

    /// Returns the disk usage. Reads the whole home.
    pub async fn disk(&self) -> DiskView {
        self.server.trash.disk().await
    }

    /// Returns the changes of a task, or of a part of its work.
    pub async fn diff(&self, id: &str, changes: Changes) -> Result<Diff, Problem> {
        self.server.tasks.diff(self.task_slot(id)?.as_ref(), changes).await
    }

    /// Returns a page of the changes of a task, or of a part of its work.
    pub async fn review(&self, id: &str, changes: Changes, part: &ReviewPart, reading: Reading) -> Result<Review, Problem> {
        self.server.tasks.review(self.task_slot(id)?.as_ref(), changes, part, reading).await
    }

    /// Returns all changes as a patch that `git apply` accepts.
    pub async fn patch(&self, id: &str, changes: Changes) -> Result<Vec<u8>, Problem> {
        self.server.tasks.patch(self.task_slot(id)?.as_ref(), changes).await
    }

    /// Returns how much of the task's changes has been reviewed.
    pub async fn review_state(&self, id: &str) -> Result<ReviewState, Problem> {
        self.server.tasks.review_state(self.task_slot(id)?.as_ref()).await
    }

    /// Records that everything up to a commit of the task's branch has been reviewed.
    pub async fn mark_viewed(&self, id: &str, commit: &str) -> Result<(), Problem> {
        self.server.tasks.mark_viewed(self.task_slot(id)?.as_ref(), commit).await
    }

    /// Returns the images among these changes.
    pub async fn changed_pictures(&self, id: &str, changes: Changes) -> Result<Vec<Picture>, Problem> {
        self.server.tasks.changed_pictures(self.task_slot(id)?.as_ref(), changes).await
    }

    /// Returns a changed image.
    pub async fn changed_picture(
        &self,
        id: &str,
        changes: Changes,
        path: &str,
        side: PictureSide,
    ) -> Result<(PictureKind, Vec<u8>), Problem> {
        self.server.tasks.changed_picture(self.task_slot(id)?.as_ref(), changes, path, side).await
    }

    /// Returns an image of one of the task's prompts, by its file name.
    pub async fn image(&self, id: &str, name: &str) -> Result<Image, Problem> {
        self.server.tasks.image(self.task_slot(id)?.as_ref(), name).await
    }

    /// Returns the raw log of a run.
    pub async fn log(&self, id: &str, run: RunNumber) -> Result<LogFile, Problem> {
        self.server.tasks.log(self.task_slot(id)?.as_ref(), run).await
    }

    /// Returns a run's log so far, with secrets masked. The raw log has the exact bytes.
    pub async fn masked_log(
        &self,
        id: &str,
        run: RunNumber,
    ) -> Result<impl Stream<Item = std::io::Result<bytes::Bytes>> + Send + use<>, Problem> {
        self.server.tasks.masked_log(self.task_slot(id)?.as_ref(), run).await
    }

    /// Follows the log from a byte offset until the run has ended. Secrets are masked.
    pub fn follow(
        &self,
        id: &str,
        run: RunNumber,
        offset: u64,
    ) -> Result<impl Stream<Item = Result<RunLine, Problem>> + Send + use<>, Problem> {
        self.server.tasks.follow_run(&self.task_slot(id)?, run, offset)
    }

    /// Returns the last complete lines of a run's log before an offset, or before its end: as many as fit in `limit` bytes, and
    /// at least one.
    pub async fn log_window(&self, id: &str, run: RunNumber, before: Option<u64>, limit: u64) -> Result<LogWindow, Problem> {
        self.server.tasks.log_window(self.task_slot(id)?.as_ref(), run, before, limit, Reach::Line).await
    }

    /// Returns when the lines of a run's log were written, as far as a server observed it.
    pub async fn line_times(&self, id: &str, run: RunNumber) -> Result<LineTimes, Problem> {
        let slot = self.task_slot(id)?;
        LineTimes::read(&self.server.common.home.layout.times(slot.id), run).await.map_err(Problem::internal)
    }

    /// Returns a one-time code that signs in a browser within ten minutes.
    pub fn sign_in_code(&self) -> String {
        self.server.sessions.code()
    }

    /// Sets or removes the sign-in password. Existing sessions stay valid.
    pub async fn set_password(&self, password: Option<Secret>) -> Result<(), Problem> {
        self.server.password.set(&self.server.common.home, password).await
    }

    /// Returns the signed-in browsers, newest first.
    pub fn sessions(&self) -> Vec<SessionView> {
        self.server.sessions.list()
    }

    /// Signs out a browser and stops its notifications. Doing it twice is harmless.
    pub fn sign_out(&self, id: &str) -> Result<(), Problem> {
        self.server.sessions.revoke(&self.server.common.home, id)?;
        self.server.notifications.forget_signed_out_devices()
    }

    /// Returns the notifications: their receivers and settings.
    pub fn notifications(&self) -> &Notifications {
        &self.server.notifications
    }

    /// Streams numbered state changes after the given number, or from now on.
    pub fn feed(&self, after: Option<u64>) -> impl Stream<Item = (u64, FeedEvent)> + Send + use<> {
        self.server.common.feed.after(after)
    }

    /// Returns the number of the newest change. A client that then reads the state and follows from this number misses no
    /// change.
    pub fn feed_position(&self) -> u64 {
        self.server.common.feed.last()
    }

    fn task_slot(&self, id: &str) -> Result<Arc<TaskSlot>, Problem> {
        let id: TaskId = id.parse().map_err(|error| malformed(&error))?;
        if let Some(damaged) = self.server.tasks.damaged.iter().find(|damaged| damaged.id == id.to_string()) {
            return Err(damaged_problem(damaged));
        }
        self.server.tasks.table.get(id).ok_or_else(|| Problem::no_task(id))
    }

    fn environment_slot(&self, id: &str) -> Result<Arc<EnvironmentSlot>, Problem> {
        let id: EnvironmentId = id.parse().map_err(|error| malformed(&error))?;
        if let Some(damaged) = self.server.environments.damaged.iter().find(|damaged| damaged.id == id.to_string()) {
            return Err(damaged_problem(damaged));
        }
        self.server.environments.get(id).ok_or_else(|| Problem::no_environment(id))
    }
}

fn new_run(asked: ResumeTask, idempotency_key: Option<String>) -> Result<(NewRun, Vec<Image>), Problem> {
    let images = image::parse_all(asked.images, asked.attachments)?;
    let run = NewRun {
        prompt: Prompt::parse(&asked.prompt)?,
        images: image::files(&images),
        model: asked.model.as_deref().map(Setting::parse).transpose()?,
        effort: asked.effort.as_deref().map(Setting::parse).transpose()?,
        priority: asked.priority.as_deref().map(Priority::parse).transpose()?.unwrap_or_default(),
        idempotency_key,
    };
    Ok((run, images))
}

fn malformed(error: &IdError) -> Problem {
    Problem::new(ErrorCode::MalformedId, error.to_string()).hint("IDs have 36 characters and are shown in lists")
}

fn damaged_problem(damaged: &protocol::Damaged) -> Problem {
    let detail = format!("cannot read `{}`: {}", damaged.path, damaged.reason);
    let problem = Problem::new(ErrorCode::Damaged, detail);
    damaged.hints.iter().fold(problem, |problem, hint| problem.hint(hint.clone()))
}
