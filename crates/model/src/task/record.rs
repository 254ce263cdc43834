//! The record of a task.
//!
//! Invariants: a task has at least one run; only its last run may be active; its branch is `codex/<task_id>`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::branch_update::Update;
use super::held_changes::HeldChanges;
use super::layers::Refreshes;
use super::pending_notice::PendingNotice;
use super::question::Question;
use super::status::TaskStatus;
use crate::codex::Usage;
use crate::commit::PathText;
use crate::ids::{Attempt, EnvironmentId, ObjectId, RunNumber, TaskId, ThreadId};
use crate::image::{ImageFile, ImageName};
use crate::names::{BranchName, Prompt, RefName, RepositoryUrl, Setting, Title, VariableName};
use crate::policy::DriverChoice;
use crate::publication::Publication;
use crate::queue::Priority;
use crate::run::{RunCause, RunPhase, RunRecord};
use crate::run_times::RunTimes;
use crate::setup::{FilePath, TakenEnvironment};

/// A request for a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// The prompt.
    pub prompt: Prompt,
    /// The images of the prompt.
    pub images: Vec<ImageFile>,
    /// The model. Defaults to the model of the previous run, then to that of the repository, then to Codex's own choice.
    pub model: Option<Setting>,
    /// The reasoning effort. Has the same defaults as the model.
    pub effort: Option<Setting>,
    /// The priority in the queue.
    pub priority: Priority,
    /// The idempotency key. A request with the same key is accepted only once.
    pub idempotency_key: Option<String>,
}

impl NewRun {
    /// Fills in the model and the effort if they are not set. The effort is used only with its model, because models support
    /// different efforts.
    #[must_use]
    pub fn or(self, model: Option<&Setting>, effort: Option<&Setting>) -> Self {
        if self.model.is_some() && self.model.as_ref() != model {
            return self;
        }
        Self { model: model.cloned(), effort: self.effort.or_else(|| effort.cloned()), ..self }
    }
}

/// A prompt that waits until the previous runs have ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FollowUp {
    /// The number of the follow-up within the task. Numbers are never reused.
    pub number: u32,
    /// The prompt.
    pub prompt: Prompt,
    /// The images of the prompt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageFile>,
    /// The requested model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Setting>,
    /// The requested reasoning effort.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<Setting>,
    /// The priority in the queue.
    #[serde(default, skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
    /// The idempotency key of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// When the follow-up was requested.
    #[schema(value_type = String, format = DateTime)]
    pub asked_at: Timestamp,
}

/// A request for a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTask {
    /// The ID of the repository.
    pub env_id: EnvironmentId,
    /// The URL of the repository.
    pub repo_url: RepositoryUrl,
    /// The branch, tag or commit to start from.
    pub git_ref: RefName,
    /// The title.
    pub title: Title,
    /// How Codex is run. If it is not set, the repository's setting applies.
    pub driver: Option<DriverChoice>,
    /// The first run.
    pub run: NewRun,
    /// The idempotency key of the request.
    pub idempotency_key: Option<String>,
}

/// A task and its runs.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRecord {
    /// The ID.
    pub task_id: TaskId,
    /// The ID of the repository.
    pub env_id: EnvironmentId,
    /// The repository's URL at the time of creation.
    pub repo_url: RepositoryUrl,
    /// The title.
    pub title: Title,
    /// The branch, tag or commit that was requested as the start.
    pub git_ref: RefName,
    /// How Codex is run. If it is not set, the repository's setting applies.
    pub driver: Option<DriverChoice>,
    /// The commit that the task starts from, once it is known. After an update, the commit that the branch is based on.
    pub base_sha: Option<ObjectId>,
    /// What the task took from the environment of its repository when it started, or when the environment was refreshed.
    pub environment: TakenEnvironment,
    /// All files that were placed in containers of the task, with the names of their secrets. No commit contains them.
    pub placed_files: BTreeMap<FilePath, VariableName>,
    /// The refreshes of the environment.
    pub refreshes: Refreshes,
    /// The thread that a resume continues.
    pub thread_id: Option<ThreadId>,
    /// Whether the task is being removed.
    pub removing: bool,
    /// When the task was created.
    pub created_at: Timestamp,
    /// When the task's record last changed.
    pub updated_at: Timestamp,
    /// The task's runs, oldest first.
    pub runs: Vec<RunRecord>,
    /// Prompts that wait for the active run to end, next one first.
    pub follow_ups: Vec<FollowUp>,
    /// The number of follow-ups that were ever created.
    pub follow_ups_made: u32,
    /// The publication, if somebody requested it.
    pub publication: Option<Box<Publication>>,
    /// The number of the last run that somebody viewed after it ended, or 0.
    pub seen_run: u32,
    /// When the task was archived. Archived tasks are hidden from lists but keep all their data.
    pub archived_at: Option<Timestamp>,
    /// The updates of the branch from its base branch, oldest first.
    pub updates: Vec<Update>,
    /// The update that is moving the branch. It is recorded before anything is moved.
    pub updating: Option<Box<Update>>,
    /// Notifications that are not sent yet, oldest first.
    pub notices: Vec<PendingNotice>,
    /// The number of notifications that were ever recorded.
    pub notices_made: u32,
    /// The question that must be answered before the run can start.
    pub question: Option<Question>,
    /// Submodule URLs that somebody decided not to fetch for this task.
    pub skipped_urls: Vec<RepositoryUrl>,
    /// Files beyond the limits of a commit, which wait for a decision.
    pub held: Option<Box<HeldChanges>>,
    /// Files and folders that somebody decided not to commit.
    pub ignored_paths: Vec<PathText>,
    /// The idempotency key of the request that created the task.
    pub idempotency_key: Option<String>,
    /// Fields that a different version wrote.
    pub extra: Map<String, Value>,
}

impl TaskRecord {
    /// Creates a task with its first run queued.
    pub fn new(task_id: TaskId, new: NewTask, now: Timestamp) -> Self {
        let run = queued(RunNumber::FIRST, Attempt::FIRST, new.run, RunCause::Asked, None, now);
        Self {
            task_id,
            env_id: new.env_id,
            repo_url: new.repo_url,
            title: new.title,
            git_ref: new.git_ref,
            driver: new.driver,
            base_sha: None,
            environment: TakenEnvironment::default(),
            placed_files: BTreeMap::new(),
            refreshes: Refreshes::default(),
            thread_id: None,
            removing: false,
            created_at: now,
            updated_at: now,
            runs: vec![run],
            follow_ups: vec![],
            follow_ups_made: 0,
            publication: None,
            seen_run: 0,
            archived_at: None,
            updates: vec![],
            updating: None,
            notices: vec![],
            notices_made: 0,
            question: None,
            skipped_urls: vec![],
            held: None,
            ignored_paths: vec![],
            idempotency_key: new.idempotency_key,
            extra: Map::new(),
        }
    }

    /// Returns the branch of the task.
    pub fn branch(&self) -> BranchName {
        BranchName::of_task(self.task_id)
    }

    /// Returns the last run, the only one that may be active.
    pub fn last_run(&self) -> &RunRecord {
        self.runs.last().expect("a task has at least one run, which is checked when it is created and read")
    }

    pub(super) fn last_run_mut(&mut self) -> &mut RunRecord {
        self.runs.last_mut().expect("a task has at least one run, which is checked when it is created and read")
    }

    /// Returns the run with this number.
    pub fn run(&self, number: RunNumber) -> Option<&RunRecord> {
        self.runs.iter().find(|run| run.number == number)
    }

    /// Returns the status of the last run, or `removing`.
    pub fn status(&self) -> TaskStatus {
        if self.removing { TaskStatus::Removing } else { self.last_run().status().into() }
    }

    /// Returns whether somebody has viewed the result of the last run.
    pub fn is_seen(&self) -> bool {
        self.last_run().number.0 <= self.seen_run
    }

    /// Appends a queued run that continues the thread, or starts a new thread if no turn ever started.
    pub(super) fn queue(&mut self, new: NewRun, cause: RunCause, now: Timestamp) {
        let last = self.last_run();
        let new = new.or(last.model.as_ref(), last.effort.as_ref());
        let resumes =
            self.thread_id.filter(|thread| self.runs.iter().any(|run| run.turn_started && run.thread_id == Some(*thread)));
        // Until a turn of the new thread has started, only the summary connects the new thread to the old one.
        let lost_thread = last.lost_thread.filter(|_| resumes.is_none());
        let run = queued(last.number.next(), last.attempt.next(), new, cause, resumes, now);
        self.runs.push(RunRecord { lost_thread, ..run });
        // A task that continues is no longer archived.
        self.archived_at = None;
    }

    /// Turns the next follow-up into a queued run. Call this only if no run is active.
    pub(super) fn begin_follow_up(&mut self, now: Timestamp) {
        if self.follow_ups.is_empty() {
            return;
        }
        let FollowUp { prompt, images, model, effort, priority, idempotency_key, .. } = self.follow_ups.remove(0);
        self.queue(NewRun { prompt, images, model, effort, priority, idempotency_key }, RunCause::FollowUp, now);
    }

    /// Returns the image with this name, if a run or follow-up of the task has it.
    pub fn image(&self, name: ImageName) -> Option<&ImageFile> {
        let asked = self.runs.iter().flat_map(|run| &run.images);
        asked.chain(self.follow_ups.iter().flat_map(|follow_up| &follow_up.images)).find(|image| image.file == name)
    }

    /// Whether any run of the task has images.
    pub fn has_images(&self) -> bool {
        self.runs.iter().any(|run| !run.images.is_empty())
    }

    /// Returns the token usage of the thread before this run. The run's own usage is counted from this total.
    pub fn usage_before(&self, number: RunNumber) -> Option<&Usage> {
        let thread = self.run(number)?.resumes?;
        let earlier = self.runs.iter().rev().filter(|run| run.number < number && run.thread_id == Some(thread));
        earlier.filter_map(RunRecord::end).find_map(|end| end.usage_total.as_ref())
    }
}

fn queued(
    number: RunNumber,
    attempt: Attempt,
    new: NewRun,
    cause: RunCause,
    resumes: Option<ThreadId>,
    now: Timestamp,
) -> RunRecord {
    RunRecord {
        number,
        attempt,
        prompt: new.prompt,
        images: new.images,
        model: new.model,
        effort: new.effort,
        priority: new.priority,
        idempotency_key: new.idempotency_key,
        cause,
        queued_at: now,
        not_before: None,
        started_at: None,
        resumes,
        lost_thread: None,
        thread_id: None,
        turn_started: false,
        services: vec![],
        phase: RunPhase::Queued,
        times: RunTimes::default(),
        extra: Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn what_is_not_named_is_as_before_and_an_effort_stays_with_its_model() {
        let word = |text: &str| Setting::parse(text).expect("the setting is valid");
        let run = |model: Option<&str>, effort: Option<&str>| {
            let new = NewRun { model: model.map(word), effort: effort.map(word), ..samples::new_run("a") };
            let new = new.or(Some(&word("gpt")), Some(&word("high")));
            (new.model.map(|model| model.to_string()), new.effort.map(|effort| effort.to_string()))
        };
        let owned = |model: &str, effort: Option<&str>| (Some(model.to_owned()), effort.map(str::to_owned));
        assert_eq!(run(None, None), owned("gpt", Some("high")));
        assert_eq!(run(None, Some("low")), owned("gpt", Some("low")));
        assert_eq!(run(Some("gpt"), None), owned("gpt", Some("high")));
        assert_eq!(run(Some("other"), None), owned("other", None));
        assert_eq!(run(Some("other"), Some("low")), owned("other", Some("low")));
    }

    #[test]
    fn images_are_found_by_their_names() {
        let mut task = samples::completed();
        let image = samples::image("a.png");
        task.runs[0].images = vec![image.clone()];
        assert_eq!((task.image(image.file), task.image(samples::image("b.png").file)), (Some(&image), None));
    }

    #[test]
    fn the_head_before_a_run_is_the_last_commit_or_the_base() {
        let mut task = samples::completed();
        assert_eq!(task.head_before(RunNumber::FIRST), task.base_sha.as_ref());
        task.queue(samples::new_run("again"), RunCause::Asked, samples::later());
        let commit = task.runs[0].end().and_then(|end| end.commit.clone());
        assert_eq!(task.head_before(RunNumber(2)), commit.as_ref());
    }
}
