//! The facade: everything that the API can ask, as one type.
//!
//! Texts come in as they were sent and are parsed here; views go out. No state is kept in here: see `inner`.

mod branches;
mod notices;
mod surroundings;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use model::api::{
    AnswerTask, CollectGarbage, CreateEnvironment, CreateTask, DiskView, EditEnvironment, EnvironmentView, FeedEvent,
    GarbageCollected, Page, PublicationView, PublishTask, QueueView, ResumeTask, RunEnded, ServerStatus, TaskQuery, TaskView,
    TrashItem,
};
use model::diff::{Diff, Picture, PictureKind};
use model::ids::{EnvironmentId, IdError, RunNumber, TaskId};
use model::image::{self, Image};
use model::names::{Prompt, Setting};
use model::problem::{Problem, ProblemKind};
use model::queue::Priority;
use model::secret::Secret;
use model::task::{NewRun, TaskRequest};

use crate::config::Config;
use crate::environment::EnvironmentSlot;
use crate::git::Reading;
pub(crate) use crate::inner::{Inner, blocking};
use crate::sessions::{Browser, SessionView};
use crate::task::{Changes, PictureSide, Reach, Review, ReviewPart, ReviewState, TaskSlot};
use crate::times::LineTimes;
pub use surroundings::RunDefaults;

/// How long a removal is waited for: longer than any stop protocol takes.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(90);

/// How long the end of what is under way is waited for. Whatever is cut short is an *ensure*, and is done again.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(10);

/// A running engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub struct StartError {
    /// What is wrong, and what to do.
    pub problem: Problem,
}

/// A run's raw journal on disk.
#[derive(Debug)]
pub struct LogFile {
    /// The open file, at its start.
    pub file: tokio::fs::File,
    /// Its length in bytes at this moment.
    pub length: u64,
    /// Whether the run may still write to it.
    pub active: bool,
}

/// A part of a run's journal, as readers may see it.
#[derive(Debug)]
pub struct LogWindow {
    /// The byte offset of its first line.
    pub start: u64,
    /// The byte offset behind its last line: what to follow from.
    pub end: u64,
    /// Its complete lines, each with the offset behind it. What is secret is masked.
    pub lines: Vec<(u64, bytes::Bytes)>,
    /// How many bytes come between its last line and the offset that it was read up to, without a line end.
    pub unfinished: u64,
}

/// What a follower of a run gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunLine {
    /// A complete line without its newline, and the offset behind the newline.
    Line {
        /// The byte offset behind the line: what to resume from.
        offset: u64,
        /// The line as the worker wrote it, but for secrets.
        text: bytes::Bytes,
    },
    /// The run has ended, and every complete line was sent.
    Ended(RunEnded),
}

impl Engine {
    /// Takes the home's lock, reads all records, and reconciles them with the world.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let inner = Inner::start(config).await.map_err(|problem| StartError { problem })?;
        Ok(Self { inner })
    }

    /// Stops accepting work and waits for what is being written. Runs go on under their keepers.
    pub async fn shutdown(&self) {
        self.inner.cancel.cancel();
        self.inner.tracker.close();
        if tokio::time::timeout(SHUTDOWN_PATIENCE, self.inner.tracker.wait()).await.is_err() {
            tracing::warn!("background work did not finish in time; the next server continues it");
        }
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.end_boot()).await;
    }

    /// What this server is and how it is.
    pub fn status(&self) -> ServerStatus {
        self.inner.status()
    }

    /// The same, after asking whether the worker can run something now.
    pub async fn fresh_status(&self) -> ServerStatus {
        self.inner.hear().await;
        self.inner.look_for_troubles().await;
        self.inner.status()
    }

    /// The token that TCP clients must send.
    pub fn token(&self) -> &str {
        &self.inner.home.token
    }

    /// `ORCH_HOME/orchestrator.sock`.
    pub fn socket_path(&self) -> PathBuf {
        self.inner.home.layout.socket()
    }

    /// Says on which TCP address the API listens, for `status`.
    pub fn set_listen(&self, address: std::net::SocketAddr) {
        self.inner.set_listen(address);
    }

    /// Records an environment and begins its clone.
    pub async fn create_environment(&self, new: CreateEnvironment) -> Result<EnvironmentView, Problem> {
        let slot = self.inner.create_environment(new).await?;
        Ok(self.inner.environment_view(&slot))
    }

    /// All environments, newest first.
    pub fn environments(&self) -> Page<EnvironmentView> {
        let items = self.inner.environments.all().iter().map(|slot| self.inner.environment_view(slot)).collect();
        Page { items, next_cursor: None, damaged: self.inner.damaged_environments.clone() }
    }

    /// One environment.
    pub fn environment(&self, id: &str) -> Result<EnvironmentView, Problem> {
        Ok(self.inner.environment_view(self.environment_slot(id)?.as_ref()))
    }

    /// Changes an environment.
    pub async fn edit_environment(&self, id: &str, edit: EditEnvironment) -> Result<EnvironmentView, Problem> {
        let slot = self.environment_slot(id)?;
        self.inner.edit_environment(&slot, edit).await?;
        Ok(self.inner.environment_view(&slot))
    }

    /// Removes an environment's tasks and then itself; waits until both are gone.
    /// Removing twice is fine, as far as this server can tell that there was such an environment.
    pub async fn remove_environment(&self, id: &str) -> Result<(), Problem> {
        if id.parse().is_ok_and(|id| self.inner.environments.was_removed(id)) {
            return Ok(());
        }
        let slot = self.environment_slot(id)?;
        self.inner.remove_environment(&slot).await
    }

    /// Records a task and begins its first run. The same key and the same request answer the same task; the flag says
    /// whether this call created it.
    pub async fn create_task(&self, new: CreateTask, key: Option<String>) -> Result<(TaskView, bool), Problem> {
        let (slot, created) = self.inner.create_task(new, key).await?;
        Ok((self.inner.task_view(&slot), created))
    }

    /// One page of tasks, newest first. The group `queued` is listed in the order of the queue.
    pub fn tasks(&self, query: &TaskQuery) -> Result<Page<TaskView>, Problem> {
        let mut page = self.inner.tasks.page(query, &self.inner.queue.order(), |slot| self.inner.task_view(slot))?;
        if query.cursor.is_none() {
            page.damaged.clone_from(&self.inner.damaged_tasks);
        }
        Ok(page)
    }

    /// One task.
    pub fn task(&self, id: &str) -> Result<TaskView, Problem> {
        Ok(self.inner.task_view(self.task_slot(id)?.as_ref()))
    }

    /// One task that somebody looks at now: how its last run ended is seen from here on. It is shown all the same where that
    /// cannot be written down, as on a full disk.
    pub async fn mark_seen(&self, id: &str) -> Result<TaskView, Problem> {
        let slot = self.task_slot(id)?;
        if let Err(problem) = self.inner.ask(&slot, TaskRequest::See).await {
            tracing::warn!(task = %slot.id, %problem, "could not record that a task was viewed");
        }
        Ok(self.inner.task_view(&slot))
    }

    /// Puts a task that has ended out of the lists, with all that it has. Doing it twice is fine.
    pub async fn archive_task(&self, id: &str) -> Result<TaskView, Problem> {
        let slot = self.task_slot(id)?;
        self.inner.ask(&slot, TaskRequest::Archive).await?;
        Ok(self.inner.task_view(&slot))
    }

    /// Puts it back. Doing it twice is fine.
    pub async fn unarchive_task(&self, id: &str) -> Result<TaskView, Problem> {
        let slot = self.task_slot(id)?;
        self.inner.ask(&slot, TaskRequest::Unarchive).await?;
        Ok(self.inner.task_view(&slot))
    }

    /// Goes on in the task's thread. The same request under the same key is granted once.
    pub async fn resume_task(&self, id: &str, asked: ResumeTask, key: Option<String>) -> Result<TaskView, Problem> {
        let slot = self.task_slot(id)?;
        let (run, images) = new_run(asked, key)?;
        self.ready_to_go_on(&slot).await?;
        self.inner.ask_with(&slot, TaskRequest::Resume(run), images).await?;
        Ok(self.inner.task_view(&slot))
    }

    /// Adds a prompt that runs when the runs before it have ended well; at once if none is active. The same request under the same
    /// key is granted once.
    pub async fn add_follow_up(&self, id: &str, asked: ResumeTask, key: Option<String>) -> Result<TaskView, Problem> {
        let slot = self.task_slot(id)?;
        let (run, images) = new_run(asked, key)?;
        self.ready_to_go_on(&slot).await?;
        self.inner.ask_with(&slot, TaskRequest::FollowUp(run), images).await?;
        Ok(self.inner.task_view(&slot))
    }

    /// Puts something else in the place of a follow-up that waits.
    pub async fn edit_follow_up(&self, id: &str, number: u32, asked: ResumeTask) -> Result<TaskView, Problem> {
        let slot = self.task_slot(id)?;
        let (run, images) = new_run(asked, None)?;
        self.inner.ask_with(&slot, TaskRequest::EditFollowUp(number, run), images).await?;
        Ok(self.inner.task_view(&slot))
    }

    /// Says a follow-up in other words; its model, its images and what else it has stay.
    pub async fn reword_follow_up(&self, id: &str, number: u32, prompt: &str) -> Result<TaskView, Problem> {
        let slot = self.task_slot(id)?;
        self.inner.ask(&slot, TaskRequest::RewordFollowUp(number, Prompt::parse(prompt)?)).await?;
        Ok(self.inner.task_view(&slot))
    }

    /// Forgets a follow-up. Doing it twice is fine; one that has begun is a run, which goes on.
    pub async fn remove_follow_up(&self, id: &str, number: u32) -> Result<TaskView, Problem> {
        let slot = self.task_slot(id)?;
        self.inner.ask(&slot, TaskRequest::RemoveFollowUp(number)).await?;
        Ok(self.inner.task_view(&slot))
    }

    /// Begins the next follow-up of a task whose last run did not end well.
    pub async fn continue_task(&self, id: &str) -> Result<TaskView, Problem> {
        let slot = self.task_slot(id)?;
        self.ready_to_go_on(&slot).await?;
        self.inner.ask(&slot, TaskRequest::Continue).await?;
        Ok(self.inner.task_view(&slot))
    }

    /// Answers what the task asks before its run can start.
    pub async fn answer_task(&self, id: &str, asked: &AnswerTask) -> Result<TaskView, Problem> {
        let slot = self.task_slot(id)?;
        self.inner.answer(&slot, asked.question, asked.answer).await?;
        Ok(self.inner.task_view(&slot))
    }

    /// Runs again what failed or was interrupted. The same request under the same key is granted once.
    pub async fn retry_task(&self, id: &str, key: Option<String>) -> Result<TaskView, Problem> {
        let slot = self.task_slot(id)?;
        self.ready_to_go_on(&slot).await?;
        self.inner.ask(&slot, TaskRequest::Retry(key)).await?;
        Ok(self.inner.task_view(&slot))
    }

    /// Pushes the task's branch, and opens or renews its pull request where that is asked for. Answers at once; how it goes is in
    /// the task. Asking twice is fine.
    pub async fn publish_task(&self, id: &str, asked: PublishTask) -> Result<TaskView, Problem> {
        let slot = self.task_slot(id)?;
        self.inner.ask_to_publish(&slot, asked).await?;
        Ok(self.inner.task_view(&slot))
    }

    /// How the task's publication stands, made fresh, and what a pull request would say.
    pub async fn publication(&self, id: &str) -> Result<PublicationView, Problem> {
        let slot = self.task_slot(id)?;
        self.inner.publication(&slot).await
    }

    /// Hands open comments and failed checks of the task's pull request to the agent, as a follow-up.
    pub async fn send_feedback(&self, id: &str) -> Result<TaskView, Problem> {
        let slot = self.task_slot(id)?;
        self.ready_to_go_on(&slot).await?;
        self.inner.send_feedback(&slot).await?;
        Ok(self.inner.task_view(&slot))
    }

    /// The figures of this server, in the text format of `OpenMetrics`.
    pub fn metrics(&self) -> Result<String, Problem> {
        self.inner.exposition().map_err(Problem::internal)
    }

    /// What waits for its turn, and why.
    pub fn queue(&self) -> QueueView {
        self.inner.queue_view()
    }

    /// Ends the active run; answers at once, with the status `stopping` or what it is.
    pub async fn stop_task(&self, id: &str) -> Result<TaskView, Problem> {
        let slot = self.task_slot(id)?;
        self.inner.ask(&slot, TaskRequest::Stop).await?;
        Ok(self.inner.task_view(&slot))
    }

    /// Removes a task, ending its run first; waits until it is gone.
    /// Removing twice is fine, as far as this server can tell that there was such a task.
    pub async fn remove_task(&self, id: &str) -> Result<(), Problem> {
        if id.parse().is_ok_and(|id| self.inner.tasks.was_removed(id)) {
            return Ok(());
        }
        let slot = self.task_slot(id)?;
        self.inner.ask(&slot, TaskRequest::Remove).await?;
        tokio::time::timeout(REMOVAL_PATIENCE, slot.until_gone()).await.map_err(|_| {
            Problem::new(ProblemKind::Unavailable, "removal_unfinished", format!("the task {} is still being removed", slot.id))
                .hint("it goes on by itself; the server's log says what is in the way")
        })
    }

    /// What was removed and can come back, newest first.
    pub async fn trash(&self) -> Result<Vec<TrashItem>, Problem> {
        self.inner.trash().await
    }

    /// Brings a removed task back, whole. Doing it twice is fine.
    pub async fn restore_task(&self, id: &str) -> Result<TaskView, Problem> {
        let slot = self.inner.restore_task(id.parse().map_err(|error| malformed(&error))?).await?;
        Ok(self.inner.task_view(&slot))
    }

    /// Brings a removed environment back, with the tasks that were removed along with it. Doing it twice is fine.
    pub async fn restore_environment(&self, id: &str) -> Result<EnvironmentView, Problem> {
        self.inner.restore_environment(id.parse().map_err(|error| malformed(&error))?).await?;
        self.environment(id)
    }

    /// Permanently deletes what has been in the trash for longer than is asked, or than things are kept; repacks mirrors, and
    /// removes images that no repository uses. Answers after `patience` even if mirrors are still being repacked.
    pub async fn collect_garbage(&self, asked: &CollectGarbage, patience: Duration) -> Result<GarbageCollected, Problem> {
        self.inner.free_space(asked, patience).await
    }

    /// What takes how much of the disk. Reads the whole home.
    pub async fn disk(&self) -> DiskView {
        self.inner.disk().await
    }

    /// What the task, or a part of its work, changed.
    pub async fn diff(&self, id: &str, changes: Changes) -> Result<Diff, Problem> {
        self.inner.diff(self.task_slot(id)?.as_ref(), changes).await
    }

    /// A page of what the task, or a part of its work, changed.
    pub async fn review(&self, id: &str, changes: Changes, part: &ReviewPart, reading: Reading) -> Result<Review, Problem> {
        self.inner.review(self.task_slot(id)?.as_ref(), changes, part, reading).await
    }

    /// All changes as a patch that `git apply` accepts.
    pub async fn patch(&self, id: &str, changes: Changes) -> Result<Vec<u8>, Problem> {
        self.inner.patch(self.task_slot(id)?.as_ref(), changes).await
    }

    /// How far the task's changes were looked at.
    pub async fn review_state(&self, id: &str) -> Result<ReviewState, Problem> {
        self.inner.review_state(self.task_slot(id)?.as_ref()).await
    }

    /// Writes down that everything up to a commit of the task's branch was looked at.
    pub async fn mark_viewed(&self, id: &str, commit: &str) -> Result<(), Problem> {
        self.inner.mark_viewed(self.task_slot(id)?.as_ref(), commit).await
    }

    /// The pictures among these changes, by their names.
    pub async fn changed_pictures(&self, id: &str, changes: Changes) -> Result<Vec<Picture>, Problem> {
        self.inner.changed_pictures(self.task_slot(id)?.as_ref(), changes).await
    }

    /// One of them.
    pub async fn changed_picture(
        &self,
        id: &str,
        changes: Changes,
        path: &str,
        side: PictureSide,
    ) -> Result<(PictureKind, Vec<u8>), Problem> {
        self.inner.changed_picture(self.task_slot(id)?.as_ref(), changes, path, side).await
    }

    /// An image of one of the task's prompts, by the name of its file.
    pub async fn image(&self, id: &str, name: &str) -> Result<Image, Problem> {
        self.inner.image(self.task_slot(id)?.as_ref(), name).await
    }

    /// The raw journal of a run.
    pub async fn log(&self, id: &str, run: RunNumber) -> Result<LogFile, Problem> {
        self.inner.log(self.task_slot(id)?.as_ref(), run).await
    }

    /// All of a run's journal that is written, with what is secret in it masked. For people; the raw one has the exact bytes.
    pub async fn masked_log(
        &self,
        id: &str,
        run: RunNumber,
    ) -> Result<impl Stream<Item = std::io::Result<bytes::Bytes>> + Send + use<>, Problem> {
        self.inner.masked_log(self.task_slot(id)?.as_ref(), run).await
    }

    /// The journal's lines from a byte offset on, while they are written, until the run has ended. What is secret is masked.
    pub fn follow(
        &self,
        id: &str,
        run: RunNumber,
        offset: u64,
    ) -> Result<impl Stream<Item = Result<RunLine, Problem>> + Send + use<>, Problem> {
        self.inner.follow_run(&self.task_slot(id)?, run, offset)
    }

    /// The last complete lines of a run's journal before an offset, or before its end: as many as `limit` bytes hold, and at least one.
    pub async fn log_window(&self, id: &str, run: RunNumber, before: Option<u64>, limit: u64) -> Result<LogWindow, Problem> {
        self.inner.log_window(self.task_slot(id)?.as_ref(), run, before, limit, Reach::Line).await
    }

    /// When the lines of a run's journal were written, as far as a server saw it.
    pub async fn line_times(&self, id: &str, run: RunNumber) -> Result<LineTimes, Problem> {
        let slot = self.task_slot(id)?;
        LineTimes::read(&self.inner.home.layout.times(slot.id), run).await.map_err(Problem::internal)
    }

    /// A code that signs one browser in, once, within ten minutes.
    pub fn sign_in_code(&self) -> String {
        self.inner.sessions.code()
    }

    /// Whether this code would sign a browser in. The code stays valid.
    pub fn is_sign_in_code(&self, code: &str) -> bool {
        self.inner.sessions.is_code(code)
    }

    /// Signs in a browser that calls itself `label` and came to the pages at `host`: the secret that it holds from then on, if the
    /// code is good. The session is valid only at that host name.
    pub fn sign_in(&self, code: &str, label: &str, host: &str) -> Result<Option<String>, Problem> {
        let browser = Browser { label, host, now: jiff::Timestamp::now() };
        Ok(self.inner.sessions.redeem(&self.inner.home, code, &browser)?)
    }

    /// Whether this is the password that signs browsers in.
    pub async fn is_password(&self, password: Secret) -> Result<bool, Problem> {
        self.inner.password.is(password).await
    }

    /// Signs in a browser that has shown otherwise that it may be, as [`Engine::sign_in`] does with a code.
    pub fn begin_session(&self, label: &str, host: &str) -> Result<String, Problem> {
        let browser = Browser { label, host, now: jiff::Timestamp::now() };
        Ok(self.inner.sessions.open_one(&self.inner.home, &browser)?)
    }

    /// The host name of the pages on this machine, which only the owner of the home knows.
    pub fn pages_host(&self) -> &str {
        &self.inner.home.pages_host
    }

    /// Whether a password signs in.
    pub async fn has_password(&self) -> bool {
        self.inner.password.is_set().await
    }

    /// Sets the password that signs in, or removes it. Who is signed in stays so.
    pub async fn set_password(&self, password: Option<Secret>) -> Result<(), Problem> {
        self.inner.password.set(&self.inner.home, password).await
    }

    /// Whether a browser with this secret is signed in at this host name.
    pub fn is_signed_in(&self, secret: &str, host: &str) -> bool {
        self.inner.sessions.is_open(secret, host, jiff::Timestamp::now())
    }

    /// The browsers that are signed in, the newest first.
    pub fn sessions(&self) -> Vec<SessionView> {
        self.inner.sessions.list()
    }

    /// What a session with this secret is called in the list.
    pub fn session_id(&self, secret: &str) -> String {
        crate::sessions::Sessions::id_of(secret)
    }

    /// Signs a browser out; it gets no more notices either. Doing it twice is fine.
    pub fn sign_out(&self, id: &str) -> Result<(), Problem> {
        self.inner.sessions.revoke(&self.inner.home, id)?;
        self.inner.forget_signed_out_devices()
    }

    /// Numbered changes of state after the given number, or from now on.
    pub fn feed(&self, after: Option<u64>) -> impl Stream<Item = (u64, FeedEvent)> + Send + use<> {
        self.inner.feed.after(after)
    }

    /// The number of the newest change: what is read after this, and followed from it, is whole.
    pub fn feed_position(&self) -> u64 {
        self.inner.feed.last()
    }

    /// Refuses while nothing could run it.
    async fn ready_to_go_on(&self, slot: &TaskSlot) -> Result<(), Problem> {
        let environment = self.inner.environments.get(slot.env_id).map(|environment| environment.record());
        self.inner.able_worker(environment.as_deref()).await.map(drop)
    }

    fn task_slot(&self, id: &str) -> Result<Arc<TaskSlot>, Problem> {
        let id: TaskId = id.parse().map_err(|error| malformed(&error))?;
        if let Some(damaged) = self.inner.damaged_tasks.iter().find(|damaged| damaged.id == id.to_string()) {
            return Err(damaged_problem(damaged));
        }
        self.inner.tasks.get(id).ok_or_else(|| Problem::not_found("task", id))
    }

    fn environment_slot(&self, id: &str) -> Result<Arc<EnvironmentSlot>, Problem> {
        let id: EnvironmentId = id.parse().map_err(|error| malformed(&error))?;
        if let Some(damaged) = self.inner.damaged_environments.iter().find(|damaged| damaged.id == id.to_string()) {
            return Err(damaged_problem(damaged));
        }
        self.inner.environments.get(id).ok_or_else(|| Problem::not_found("environment", id))
    }
}

fn new_run(asked: ResumeTask, idempotency_key: Option<String>) -> Result<(NewRun, Vec<Image>), Problem> {
    let images = image::parse_all(asked.images)?;
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
    Problem::new(ProblemKind::Malformed, "malformed_id", error.to_string()).hint("ids are 36 characters; lists show them")
}

fn damaged_problem(damaged: &model::api::Damaged) -> Problem {
    let detail = format!("`{}` cannot be read: {}", damaged.path, damaged.reason);
    let problem = Problem::new(ProblemKind::WrongState, "damaged", detail);
    damaged.hints.iter().fold(problem, |problem, hint| problem.hint(hint.clone()))
}
