//! A small world for the tests of whole lives of tasks: it performs effects with chosen results, and crashes when it is told to.
//!
//! Every record that it passes through is checked against the invariants of tasks.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

use crate::decision::{Decision, Retention};
use crate::error_code::ErrorCode;
use crate::ids::Attempt;
use crate::names::{Prompt, RepositoryUrl};
use crate::policy::RunPolicy;
use crate::publication::{Publish, samples::pull_request};
use crate::run::{RunEnd, RunError, RunOutcome, RunPhase};
use crate::run_times::PreparationTimes;
use crate::setup::TakenEnvironment;
use crate::task::{Answer, Holder, Observation, PublicationEvent, Refusal, TaskDecision, TaskEffect, TaskEvent, TaskGroup};
use crate::task::{
    TaskRecord, TaskRequest, Update, UpdateEvent, UpdateStrategy, decide, is_unfinished, reconcile, request, samples, with_notice,
};

/// What happens next in the life of a task.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// A user makes the request with this number.
    Request(u8),
    /// The next effect is performed, with the result that has this number.
    Perform(u8),
    /// The queue starts the waiting run.
    Dequeue,
    /// The worker ends.
    WorkerEnds,
    /// The server ends and starts again.
    Crash,
    /// An event of an older attempt arrives.
    Late(u8),
}

/// The keeper that was started last.
#[derive(Debug, Clone, Copy)]
enum Keeper {
    Alive(Attempt),
    Gone(Attempt),
}

/// A task, and everything that was done for it outside its record.
#[derive(Debug)]
pub(super) struct World {
    pub(super) task: TaskRecord,
    pub(super) is_removed: bool,
    todo: VecDeque<TaskEffect>,
    keeper: Option<Keeper>,
    policy: RunPolicy,
    now: Timestamp,
    requests: u32,
    questions: u32,
}

impl World {
    /// Creates a world with a queued task.
    pub(super) fn new(policy: RunPolicy) -> Self {
        let (task, todo) = (samples::queued(), VecDeque::new());
        Self { task, is_removed: false, todo, keeper: None, policy, now: samples::now(), requests: 0, questions: 0 }
    }

    /// Lets one thing happen.
    pub(super) fn step(&mut self, step: Step) {
        if self.is_removed {
            return;
        }
        self.now += SignedDuration::from_secs(1);
        match step {
            Step::Request(number) => self.request(number),
            Step::Perform(result) => self.perform(result),
            Step::Dequeue => self.dequeue(),
            Step::WorkerEnds => self.worker_ends(),
            Step::Crash => {
                self.todo.clear();
                self.recover();
            }
            Step::Late(kind) => self.late(kind),
        }
    }

    /// Lets everything that was started end well, without a crash that would start a forgotten effect.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            let waits = matches!(self.task.last_run().phase, RunPhase::Queued) && self.task.question.is_none();
            let works = self.task.last_run().is_active() && matches!(self.keeper, Some(Keeper::Alive(_)));
            if self.is_removed {
                return;
            } else if !self.todo.is_empty() {
                self.step(Step::Perform(0));
            } else if waits {
                self.step(Step::Dequeue);
            } else if works {
                assert!(!matches!(self.task.last_run().phase, RunPhase::Stopping), "nobody stops the worker: {self:?}");
                self.step(Step::WorkerEnds);
            } else {
                assert_eq!(self.unnoticed(), vec![], "an effect was forgotten: {self:?}");
                return;
            }
        }
        panic!("the task never comes to rest: {self:?}");
    }

    fn request(&mut self, number: u8) {
        let asked = self.asked(number);
        let before = self.task.clone();
        let Ok(decision) = request(&before, asked.clone(), self.now) else { return };
        self.adopt(decision);
        let repeats = match &asked {
            TaskRequest::Resume(run) | TaskRequest::FollowUp(run) => run.idempotency_key.is_some(),
            TaskRequest::Retry(key) => key.is_some(),
            TaskRequest::Continue
            | TaskRequest::Answer(..)
            | TaskRequest::EditFollowUp(..)
            | TaskRequest::RewordFollowUp(..)
            | TaskRequest::Update(_) => false,
            TaskRequest::RemoveFollowUp(_)
            | TaskRequest::Publish(..)
            | TaskRequest::See
            | TaskRequest::Archive
            | TaskRequest::Unarchive
            | TaskRequest::RefreshEnvironment
            | TaskRequest::Stop
            | TaskRequest::Remove => true,
        };
        if repeats {
            let again = request(&self.task, asked.clone(), self.now).map(|decision| decision.record);
            assert_eq!(again.as_ref(), Ok(&self.task), "repeating {asked:?} changes nothing");
        }
    }

    fn asked(&mut self, number: u8) -> TaskRequest {
        self.requests += 1;
        let key = (number >= 32).then(|| format!("key {}", self.requests % 4));
        let mut run = samples::new_run(&format!("Prompt {}", self.requests));
        run.idempotency_key.clone_from(&key);
        let follow_up = self.task.follow_ups.first().map_or(1, |follow_up| follow_up.number);
        match number % 16 {
            0 => TaskRequest::Resume(run),
            1 => TaskRequest::FollowUp(run),
            2 => TaskRequest::Update(Box::new(self.update(number))),
            3 => TaskRequest::EditFollowUp(follow_up, run),
            4 => TaskRequest::RewordFollowUp(follow_up, Prompt::parse("Other words").expect("the prompt is valid")),
            5 => TaskRequest::RemoveFollowUp(follow_up),
            6 => TaskRequest::Continue,
            7 => TaskRequest::Retry(key),
            8 => TaskRequest::Publish(Box::new(Publish { pull_request: number >= 32, ..Publish::default() }), None),
            9 if number >= 32 => TaskRequest::RefreshEnvironment,
            9 => TaskRequest::See,
            10 => TaskRequest::Archive,
            11 => TaskRequest::Unarchive,
            12 => TaskRequest::Answer(None, Answer::Fetch),
            13 => TaskRequest::Answer(self.task.question.as_ref().map(|question| question.number), Answer::Skip),
            14 => TaskRequest::Stop,
            _ => TaskRequest::Remove,
        }
    }

    /// Returns an update of the branch that fits, or one that was planned before the branch changed.
    fn update(&self, number: u8) -> Update {
        let base = self.task.base_sha.clone().filter(|_| number < 48).unwrap_or(samples::sha('e'));
        Update {
            after_run: self.task.last_run().number,
            strategy: UpdateStrategy::Rebase,
            committed: vec![],
            from_head: self.task.head().cloned().unwrap_or(samples::sha('a')),
            from_base: base,
            to_base: samples::sha(if self.requests.is_multiple_of(2) { 'c' } else { 'd' }),
            to_head: samples::sha('9'),
            at: self.now,
        }
    }

    fn happen(&mut self, event: &TaskEvent) {
        let decision = with_notice(&self.task, decide(&self.task, event.clone(), &self.policy, self.now));
        self.adopt(decision);
        let again = decide(&self.task, event.clone(), &self.policy, self.now);
        assert_eq!(again.record, self.task, "{event:?} has no effect the second time");
    }

    /// Writes a decision down, after checking it.
    fn adopt(&mut self, decision: TaskDecision) {
        check(&self.task, &decision, self.now);
        self.is_removed |= decision.retention == Retention::Trash;
        if let Some(question) = decision.record.question.as_ref().filter(|_| self.task.question.is_none()) {
            assert!(question.number > self.questions, "the number of a question is never reused");
            self.questions = question.number;
        }
        self.task = decision.record;
        self.todo.extend(decision.effects);
    }

    fn perform(&mut self, result: u8) {
        let Some(effect) = self.todo.pop_front() else { return };
        let error = || RunError::new(ErrorCode::Network, "the connection was lost");
        let current = self.task.last_run().attempt;
        let is_stopping = matches!(self.task.last_run().phase, RunPhase::Stopping);
        if matches!(effect, TaskEffect::Prepare { .. }) {
            // An update is finished before a worktree is prepared.
            self.move_branch(result);
        }
        match effect {
            TaskEffect::Prepare { attempt } if is_stopping || result % 8 == 1 => {
                self.happen(&TaskEvent::PreparationFailed { attempt, error: error() });
            }
            TaskEffect::Prepare { attempt } if result % 8 == 2 => {
                let urls = vec![RepositoryUrl::parse("https://host/sub").expect("the URL is valid")];
                self.happen(&TaskEvent::Asked { attempt, urls });
            }
            TaskEffect::Prepare { attempt } if result % 8 == 3 => self.happen(&TaskEvent::AwaitsSetup { attempt }),
            TaskEffect::Prepare { attempt } => {
                self.happen(&TaskEvent::Prepared {
                    attempt,
                    base_sha: samples::sha('a'),
                    environment: TakenEnvironment::default(),
                    times: PreparationTimes::default(),
                });
            }
            TaskEffect::Launch { attempt } if result % 8 == 1 => {
                self.happen(&TaskEvent::PreparationFailed { attempt, error: error() });
            }
            TaskEffect::Launch { attempt } => {
                if attempt == current {
                    self.keeper = Some(Keeper::Alive(attempt));
                }
                self.happen(&TaskEvent::Launched { attempt, started_at: self.now });
            }
            TaskEffect::Follow { attempt } if result % 8 == 1 => self.happen(&TaskEvent::SessionLost { attempt }),
            TaskEffect::Follow { attempt } => {
                let expected = self.task.last_run().resumes.unwrap_or(samples::thread(u128::from(attempt.0)));
                let thread_id = if result % 8 == 2 { samples::thread(999) } else { expected };
                self.happen(&TaskEvent::ThreadStarted { attempt, thread_id, seen_at: None });
                if result % 8 != 3 {
                    self.happen(&TaskEvent::TurnStarted { attempt });
                }
            }
            TaskEffect::StopRun { attempt } => {
                if attempt == current {
                    self.worker_ends();
                }
            }
            TaskEffect::Finish { attempt } => {
                let outcome = match result % 8 {
                    1 | 2 => RunOutcome::Failed(error()),
                    3 => RunOutcome::Interrupted(error()),
                    _ if is_stopping => RunOutcome::Stopped,
                    _ => RunOutcome::Completed,
                };
                let end = Box::new(RunEnd { outcome, finished_at: self.now, ..samples::success() });
                self.happen(&TaskEvent::RunFinished { attempt, end, held: None, commit_ms: None });
            }
            TaskEffect::Vacate => self.happen(&TaskEvent::Vacated),
            TaskEffect::CleanUp => assert!(self.is_removed, "only what is removed is cleaned up"),
            TaskEffect::MoveBranch => self.move_branch(result),
            TaskEffect::Notify => {
                let numbers = self.task.notices.iter().map(|notice| notice.number).collect();
                self.happen(&TaskEvent::Notified(numbers));
            }
            TaskEffect::DiscardLayers => self.happen(&TaskEvent::LayersDiscarded(self.task.refreshes.generation)),
            TaskEffect::Publish { attempt } => self.publish(attempt, result),
        }
    }

    fn publish(&mut self, attempt: u32, result: u8) {
        let pushed = self.task.publication.as_ref().is_some_and(|publication| publication.status.as_str() == "opening");
        let event = match (result % 8, pushed) {
            (1, _) => {
                let error = RunError::new(ErrorCode::Network, "the host does not answer");
                PublicationEvent::Failed { attempt, error, remote_sha: None }
            }
            (2, true) => PublicationEvent::LeftToHand { attempt, note: "open it by hand".to_owned() },
            (_, true) => PublicationEvent::Opened { attempt, pull_request: Box::new(pull_request()), note: None },
            (_, false) => PublicationEvent::Pushed { attempt, sha: samples::sha('b') },
        };
        self.happen(&TaskEvent::Publication(event));
    }

    fn move_branch(&mut self, result: u8) {
        if let Some(update) = self.task.updating.clone() {
            let event = if result % 8 == 1 { UpdateEvent::Abandoned } else { UpdateEvent::Done(update) };
            self.happen(&TaskEvent::Update(event));
        }
    }

    fn dequeue(&mut self) {
        // The queue does not start a run whose task asks a question.
        if self.task.question.is_none() {
            self.happen(&TaskEvent::Dequeued { attempt: self.task.last_run().attempt });
        }
    }

    fn worker_ends(&mut self) {
        if let Some(Keeper::Alive(attempt)) = self.keeper {
            self.keeper = Some(Keeper::Gone(attempt));
            self.happen(&TaskEvent::KeeperGone { attempt });
        }
    }

    fn recover(&mut self) {
        for event in self.unnoticed() {
            self.happen(&event);
        }
    }

    /// Returns the events that happened without being noticed.
    fn unnoticed(&self) -> Vec<TaskEvent> {
        let current = self.task.last_run().attempt;
        let holder = match self.keeper {
            Some(Keeper::Alive(attempt)) if attempt == current => Holder::Keeper { started_at: self.now },
            Some(Keeper::Gone(attempt)) if attempt == current => Holder::Gone,
            Some(_) | None => Holder::Nobody,
        };
        assert_eq!(reconcile(&self.task, &Observation { busy: true, holder }), vec![]);
        let events = reconcile(&self.task, &Observation { busy: false, holder });
        assert!(events.is_empty() || is_unfinished(&self.task), "recovery looks at the task: {events:?}");
        let unknown = reconcile(&self.task, &Observation { busy: false, holder: Holder::Unreachable });
        assert!(unknown.iter().all(|event| events.contains(event)), "without an answer, nothing is concluded");
        events
    }

    fn late(&mut self, kind: u8) {
        let Some(attempt) = self.task.last_run().attempt.0.checked_sub(1).map(Attempt) else { return };
        let error = RunError::new(ErrorCode::Network, "too late");
        let event = match kind % 9 {
            0 => TaskEvent::Dequeued { attempt },
            1 => TaskEvent::Prepared {
                attempt,
                base_sha: samples::sha('f'),
                environment: TakenEnvironment::default(),
                times: PreparationTimes::default(),
            },
            2 => TaskEvent::PreparationFailed { attempt, error },
            3 => TaskEvent::Launched { attempt, started_at: self.now },
            4 => TaskEvent::ThreadStarted { attempt, thread_id: samples::thread(998), seen_at: None },
            5 => TaskEvent::RunFinished { attempt, end: Box::new(samples::success()), held: None, commit_ms: None },
            6 => TaskEvent::Asked { attempt, urls: vec![] },
            7 => TaskEvent::AwaitsSetup { attempt },
            _ => TaskEvent::PreparationLost { attempt },
        };
        let decision = decide(&self.task, event.clone(), &self.policy, self.now);
        assert_eq!(decision, Decision::keep(self.task.clone(), vec![]), "{event:?} is too late");
    }
}

/// Checks a decision about a task.
fn check(before: &TaskRecord, decision: &TaskDecision, now: Timestamp) {
    let after = &decision.record;
    check_runs(before, after);
    assert!(after.removing || !before.removing, "a removal is not taken back");
    assert!(after.updated_at == now || after.updated_at == before.updated_at);
    assert_eq!((after.task_id, &after.title, after.created_at), (before.task_id, &before.title, before.created_at));
    let is_updated = after.updates.len() > before.updates.len();
    assert!(before.base_sha.is_none() || after.base_sha == before.base_sha || is_updated, "without an update, the base stays");
    assert!(!is_updated || after.updates.last() == before.updating.as_deref(), "an update is recorded before it happens");
    assert!(is_updated || after.updates == before.updates, "updates are only added");
    assert!(after.notices.iter().all(|notice| notice.number <= after.notices_made), "numbers are not reused");
    assert!(after.notices.is_sorted_by(|one, other| one.number < other.number), "notifications keep their order");
    assert!(after.notices_made >= before.notices_made);
    let is_active = after.last_run().is_active();
    assert!(after.archived_at.is_none() || !is_active, "an archived task is at rest");
    assert!(after.question.is_none() || matches!(after.last_run().phase, RunPhase::Queued), "only a queued run has a question");
    assert!(after.seen_run <= after.last_run().number.0, "nobody has seen a run that does not exist");
    assert!(after.follow_ups.is_sorted_by(|one, other| one.number < other.number), "follow-ups keep their order");
    assert!(after.follow_ups.iter().all(|follow_up| follow_up.number <= after.follow_ups_made));
    let mut keys: Vec<_> = after.runs.iter().filter_map(|run| run.idempotency_key.as_ref()).collect();
    keys.extend(after.follow_ups.iter().filter_map(|follow_up| follow_up.idempotency_key.as_ref()));
    keys.sort();
    assert!(keys.is_sorted_by(|one, other| one < other), "a key belongs to one request: {keys:?}");
    let current = after.last_run().attempt;
    for effect in &decision.effects {
        match effect {
            TaskEffect::Prepare { attempt }
            | TaskEffect::Launch { attempt }
            | TaskEffect::Follow { attempt }
            | TaskEffect::StopRun { attempt }
            | TaskEffect::Finish { attempt } => assert!(*attempt == current && is_active, "{effect:?} is for the active run"),
            TaskEffect::Vacate | TaskEffect::CleanUp => assert!(after.removing && !is_active, "only a task at rest is removed"),
            TaskEffect::MoveBranch => {
                assert!(after.updating.is_some() && !after.removing, "an update is recorded before anything moves");
            }
            TaskEffect::DiscardLayers => {
                assert!(after.refreshes.has_leftovers && !after.removing, "a refresh is recorded before anything is deleted");
            }
            TaskEffect::Notify => {
                assert!(!after.notices.is_empty() && !after.removing, "a notification is recorded before it is sent");
            }
            TaskEffect::Publish { attempt } => {
                let publication = after.publication.as_ref().expect("the task is published");
                assert!(*attempt == publication.attempt && publication.status.is_under_way());
            }
        }
    }
    assert!(TaskGroup::parse(TaskGroup::of(after).as_str()) == Some(TaskGroup::of(after)));
    assert_eq!(after.can_update().err() == Some(Refusal::RunActive), is_active && !after.removing);
}

fn check_runs(before: &TaskRecord, after: &TaskRecord) {
    assert!(after.runs.iter().zip(1..).all(|(run, number)| run.number.0 == number), "runs are numbered consecutively");
    assert!(after.runs.is_sorted_by(|one, other| one.attempt < other.attempt), "attempts are counted across all runs");
    let (_, earlier) = after.runs.split_last().expect("a task has a run");
    assert!(earlier.iter().all(|run| !run.is_active()), "only the last run may be active");
    assert!(after.runs.len() <= before.runs.len() + 1, "at most one run follows");
    assert!(after.runs.len() == before.runs.len() || !before.removing, "no run is added to a task that is being removed");
    for (one, other) in before.runs.iter().zip(&after.runs) {
        assert!(one.is_active() || one == other, "a run that has ended does not change");
        assert!(one.attempt <= other.attempt && one.prompt == other.prompt && one.cause == other.cause);
        assert!(one.started_at.is_none() || one.started_at == other.started_at, "a run starts once");
    }
}
