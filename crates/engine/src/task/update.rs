//! Updates a task's branch to the newest commit of its base, between two runs.
//!
//! The fetch and the merges change nothing; their result is only used if the task has not changed. Then the update is recorded, and
//! only after that are the refs and the files moved. Invariant: if a server is killed at any step, either nothing was recorded, or
//! the update is finished before anything else happens to the branch.

use std::sync::Arc;
use std::time::Duration;

use durable::crash::{self, CrashPoint};
use futures_util::StreamExt as _;
use git::{LandError, Landing, Mirror, ReplayError, ReplayRequest, Replayed, Signature, Worktree};
use jiff::Timestamp;
use model::ErrorCode;
use model::ids::ObjectId;
use model::merge::FileConflict;
use model::problem::{Problem, ProblemKind};
use model::task::{Refusal, TaskEvent, TaskRecord, TaskRequest, Update, UpdateEvent, UpdateStrategy};
use protocol::{Base, ConflictsQuery, ConflictsView, TaskConflicts, UpdateOutcome};
use spine::Mailbox as _;

use super::take_home::unreadable;
use super::tasks::{TaskSlot, Tasks};

/// The time limit for merging commits.
const MERGE_LIMIT: Duration = Duration::from_mins(10);

/// The maximum number of attempts if the branch changes in the meantime.
const TRIES: usize = 3;

/// The maximum number of other tasks that a branch is compared with.
const MOST_OTHERS: usize = 50;

/// The number of tasks that are compared in parallel.
const AT_ONCE: usize = 4;

/// The commits that a branch is updated to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum UpdateTarget {
    /// The newest commit of the task's base.
    Base,
    /// The commits that somebody else pushed to the task's branch.
    Pushed,
}

/// The result of an update.
pub(crate) enum Updated {
    /// The branch contains its base.
    Done { outcome: UpdateOutcome, base: Base, dropped: u32 },
    /// There are conflicts. Nothing was changed.
    Conflicts { base: Base, conflicts: Vec<FileConflict> },
}

/// The result of planning an update.
enum Planned {
    /// The branch can be updated.
    Move(Plan),
    /// No update is needed or possible.
    Nothing(Updated),
}

/// Whether a branch was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// The branch was moved.
    Yes,
    /// The branch or the task has changed in the meantime. Nothing was moved.
    No,
}

/// A planned update of a branch.
pub(super) struct Plan {
    pub(super) update: Update,
    pub(super) dropped: u32,
    pub(super) base: Base,
}

impl Tasks {
    /// Updates a task's branch, after a fetch that starts now.
    pub(crate) async fn update(
        self: &Arc<Self>,
        slot: &Arc<TaskSlot>,
        strategy: Option<UpdateStrategy>,
        target: UpdateTarget,
    ) -> Result<Updated, Problem> {
        self.finish_update(slot).await?;
        slot.record().can_update()?;
        self.check_ended(slot).await;
        let mirror = self.mirror_for(&slot.record())?;
        let pushed = match target {
            UpdateTarget::Pushed => Some(self.pushed_base(&mirror, slot).await?),
            UpdateTarget::Base => {
                self.fetch(&mirror).await?;
                None
            }
        };
        for _ in 0..TRIES {
            self.finish_update(slot).await?;
            let plan = match self.plan(&mirror, slot, strategy, pushed.as_ref()).await? {
                Planned::Move(plan) => plan,
                Planned::Nothing(result) => return Ok(result),
            };
            if self.carry_out(&mirror, slot, &plan).await? == Moved::Yes {
                return Ok(Updated::Done { outcome: UpdateOutcome::Updated, base: plan.base, dropped: plan.dropped });
            }
        }
        Err(Problem::new(ErrorCode::BranchMoved, "the task's branch changed during the update").hint("try again"))
    }

    /// Returns the commit of the task's branch on the remote.
    async fn pushed_base(&self, mirror: &Mirror, slot: &TaskSlot) -> Result<Base, Problem> {
        let branch = slot.record().branch();
        let token = self.publishing.push_token(slot.env_id);
        let token = token.as_ref().map(|(token, root)| (token, root.as_str()));
        let found = mirror.fetch_pushed(branch.as_str(), token, self.config.fetch_time_limit, self.cancel.clone()).await;
        let found = found.map_err(|error| error.to_run_error().into_problem(ProblemKind::Unavailable))?;
        let commit = found.ok_or_else(|| {
            Problem::new(ErrorCode::NotPushed, format!("the remote has no branch `{branch}`"))
                .hint("push it first: `codex-orchestrator task push`")
        })?;
        Ok(Base { name: format!("origin/{branch}"), commit })
    }

    async fn fetch(&self, mirror: &Mirror) -> Result<(), Problem> {
        let fetched = mirror.fetch_fresh(self.config.fetch_time_limit, self.cancel.clone()).await;
        fetched.map_err(|error| {
            let why = error.to_run_error();
            let problem = Problem::new(ErrorCode::FetchFailed, why.message);
            why.hints.into_iter().fold(problem, Problem::hint)
        })
    }

    /// Merges in memory.
    async fn plan(
        &self,
        mirror: &Mirror,
        slot: &TaskSlot,
        strategy: Option<UpdateStrategy>,
        pushed: Option<&Base>,
    ) -> Result<Planned, Problem> {
        let task = slot.record();
        let from_base = task.can_update()?.clone();
        let from_head = head_of(mirror, &task).await?;
        let base = match pushed {
            Some(pushed) => pushed.clone(),
            None => self.base_of(mirror, &task).await?,
        };
        let strategy = match strategy {
            Some(strategy) => strategy,
            None => self.fitting(mirror, &task, &from_base).await?,
        };
        let now = Timestamp::now();
        let request = ReplayRequest {
            head: &from_head,
            old_base: &from_base,
            base: &base.commit,
            strategy,
            message: &format!("Merge branch '{}' into {}\n\nTask-Id: {}\n", base.name, task.branch(), task.task_id),
            committer: &Signature::default(),
            seconds: now.as_second(),
        };
        let (to_head, to_base, dropped) = match in_time(mirror.replay(request)).await? {
            Replayed::Current { base: on } if on == from_base || pushed.is_some() => {
                return Ok(Planned::Nothing(Updated::Done { outcome: UpdateOutcome::Current, base, dropped: 0 }));
            }
            // The agent or a person merged the base, whose commits do not belong to the task.
            Replayed::Current { base: on } => (from_head.clone(), on, 0),
            // Commits from the remote branch belong to the task, so the base stays.
            Replayed::Moved { head, dropped } if pushed.is_some() => (head, from_base.clone(), dropped),
            Replayed::Moved { head, dropped } => (head, base.commit.clone(), dropped),
            Replayed::Conflicts(conflicts) => return Ok(Planned::Nothing(Updated::Conflicts { base, conflicts })),
        };
        let after_run = task.last_run().number;
        let update = Update { after_run, strategy, from_base, to_base, from_head, to_head, committed: vec![], at: now };
        Ok(Planned::Move(Plan { update, dropped, base }))
    }

    /// Returns a rebase, unless it would undo merges, because conflicts that an agent resolved would come back.
    async fn fitting(&self, mirror: &Mirror, task: &TaskRecord, base: &ObjectId) -> Result<UpdateStrategy, Problem> {
        let own = mirror.own_commits(task.branch().as_str(), base).await.map_err(|error| unreadable(&error))?;
        Ok(if own.all > own.plain { UpdateStrategy::Merge } else { UpdateStrategy::Rebase })
    }

    /// Updates the branch if the task has not changed. Returns whether the branch was updated.
    pub(super) async fn carry_out(
        self: &Arc<Self>,
        mirror: &Mirror,
        slot: &Arc<TaskSlot>,
        plan: &Plan,
    ) -> Result<Moved, Problem> {
        let _one_at_a_time = slot.moving.lock().await;
        let task = slot.record();
        let update = Box::new(plan.update.clone());
        let asked = |record: &TaskRecord| {
            let is_same = record.last_run().number == plan.update.after_run;
            record.can_update()?;
            if is_same { Ok(TaskRequest::Update(update)) } else { Err(Problem::from(Refusal::BranchMoved)) }
        };
        let worktree = self.readable_worktree(mirror, &task).await?.ok_or(Problem::from(Refusal::NoBranch))?;
        match self.ask_with(slot, asked).await {
            Ok(_) => {}
            Err(problem) if problem.report.code == ErrorCode::BranchMoved => return Ok(Moved::No),
            Err(problem) => return Err(problem),
        }
        crash::point(CrashPoint::UpdateRecorded);
        self.land(slot, mirror, &worktree, &plan.update).await
    }

    /// Moves the branch as recorded. The caller holds the lock `moving`.
    async fn land(
        self: &Arc<Self>,
        slot: &Arc<TaskSlot>,
        mirror: &Mirror,
        worktree: &Worktree,
        update: &Update,
    ) -> Result<Moved, Problem> {
        let landing = Landing {
            task: slot.id.to_string(),
            from: update.from_head.clone(),
            to: update.to_head.clone(),
            base: update.to_base.clone(),
            committed: update.committed.clone(),
            note: serde_json::to_value(update).map_err(Problem::internal)?,
        };
        match worktree.land(&landing).await {
            Ok(()) => {}
            Err(error) => {
                // A move that was started continues; see `move_branch`.
                if !worktree.is_landing().map_err(Problem::internal)? {
                    self.post(slot, TaskEvent::Update(UpdateEvent::Abandoned)).await;
                }
                return if matches!(error, LandError::Moved) { Ok(Moved::No) } else { Err(error.to_problem()) };
            }
        }
        crash::point(CrashPoint::Landed);
        self.write_down(slot, mirror, worktree, update).await?;
        Ok(Moved::Yes)
    }

    /// Continues an interrupted update, if there is one.
    pub(crate) async fn finish_update(self: &Arc<Self>, slot: &Arc<TaskSlot>) -> Result<(), Problem> {
        let _one_at_a_time = slot.moving.lock().await;
        let task = slot.record();
        let Some(update) = task.updating.as_deref() else { return Ok(()) };
        let mirror = self.mirror_for(&task)?;
        let Some(worktree) = self.readable_worktree(&mirror, &task).await? else {
            self.post(slot, TaskEvent::Update(UpdateEvent::Abandoned)).await;
            return Ok(());
        };
        match worktree.finish_landing().await.map_err(|error| error.to_problem())? {
            Some(_) => {
                tracing::info!(task = %slot.id, head = %update.to_head, "finished an interrupted branch update");
                self.write_down(slot, &mirror, &worktree, update).await
            }
            // Nothing was moved yet, or somebody has moved the branch since.
            None => self.land(slot, &mirror, &worktree, update).await.map(drop),
        }
    }

    /// Moves the branch as recorded, unless that is done already.
    pub(super) async fn move_branch(self: &Arc<Self>, slot: &Arc<TaskSlot>) {
        if let Err(error) = self.finish_update(slot).await {
            tracing::error!(task = %slot.id, %error, "could not finish a branch update; recovery retries");
        }
    }

    /// Records the update.
    async fn write_down(
        self: &Arc<Self>,
        slot: &Arc<TaskSlot>,
        mirror: &Mirror,
        worktree: &Worktree,
        update: &Update,
    ) -> Result<(), Problem> {
        mirror.sync().await.map_err(Problem::internal)?;
        self.post(slot, TaskEvent::Update(UpdateEvent::Done(Box::new(update.clone())))).await;
        if slot.record().updates.last() != Some(update) {
            return Err(Problem::internal("the branch was updated, but the task's record could not be written")
                .hint("free up disk space; the record is then written automatically"));
        }
        worktree.landed().map_err(Problem::internal)
    }

    pub(super) async fn readable_worktree(&self, mirror: &Mirror, task: &TaskRecord) -> Result<Option<Worktree>, Problem> {
        self.worktree_of(mirror, task).await.map_err(|error| error.into_problem(ProblemKind::Internal))
    }

    /// Returns the base of a task: the branch that it was requested to start from, or else the repository's default branch.
    async fn base_of(&self, mirror: &Mirror, task: &TaskRecord) -> Result<Base, Problem> {
        let default = self.environments.get(task.env_id).and_then(|environment| environment.record().default_branch.clone());
        let default = default.map_or_else(String::new, |branch| branch.to_string());
        for name in [task.git_ref.as_str(), default.as_str()] {
            if name.is_empty() {
                continue;
            }
            if let Some(commit) = mirror.resolve_branch(name).await.map_err(|error| unreadable(&error))? {
                return Ok(Base { name: name.to_owned(), commit });
            }
        }
        let detail = format!("the repository has no branch `{}` or `{default}`", task.git_ref);
        Err(Problem::new(ErrorCode::BaseNotFound, detail)
            .hint("set an existing default branch: codex-orchestrator env edit --default-branch"))
    }

    /// Returns what a task's branch would conflict with. Reads only commits.
    pub(crate) async fn conflicts(&self, slot: &TaskSlot, query: &ConflictsQuery) -> Result<ConflictsView, Problem> {
        let task = slot.record();
        let mirror = self.mirror_for(&task)?;
        if query.fetch {
            self.fetch(&mirror).await?;
        }
        let (head, base) = (head_of(&mirror, &task).await?, self.base_of(&mirror, &task).await?);
        let behind = mirror.commits_between(&head, &base.commit).await.map_err(|error| unreadable(&error))?;
        let conflicts = in_time(mirror.conflicts_of(&head, &base.commit)).await?;
        let has_work = |other: &Arc<TaskSlot>| {
            let record = other.record();
            other.id != slot.id && !record.removing && record.head() != record.base_sha.as_ref()
        };
        let mut others: Vec<_> = self.of_environment(task.env_id).into_iter().rev().filter(has_work).collect();
        let left_out = others.len().saturating_sub(MOST_OTHERS);
        others.truncate(MOST_OTHERS);
        let looked_at = others.len();
        let compared = futures_util::stream::iter(others).map(|other| {
            let (mirror, head) = (mirror.clone(), head.clone());
            async move {
                let record = other.record();
                let Ok(theirs) = head_of(&mirror, &record).await else { return Ok(None) };
                let conflicts = mirror.conflicts_of(&head, &theirs).await?;
                let found = TaskConflicts { task_id: record.task_id, title: record.title.clone(), conflicts };
                Ok(Some(found).filter(|found| !found.conflicts.is_empty()))
            }
        });
        let compared = compared.buffered(AT_ONCE).collect::<Vec<Result<_, ReplayError>>>();
        let compared = in_time(async { Ok(compared.await) }).await?;
        let tasks: Vec<_> = compared.into_iter().collect::<Result<Vec<_>, _>>().map_err(|error| error.to_problem())?;
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let tasks = tasks.into_iter().flatten().collect();
        Ok(ConflictsView { base, behind, conflicts, tasks, looked_at: number(looked_at), left_out: number(left_out) })
    }
}

pub(super) async fn head_of(mirror: &Mirror, task: &TaskRecord) -> Result<ObjectId, Problem> {
    let found = mirror.resolve_branch(task.branch().as_str()).await.map_err(|error| unreadable(&error))?;
    found.ok_or_else(|| Refusal::NoBranch.into())
}

async fn in_time<T>(merging: impl Future<Output = Result<T, ReplayError>>) -> Result<T, Problem> {
    let merged = tokio::time::timeout(MERGE_LIMIT, merging).await.map_err(|_| {
        let detail = format!("git did not merge the commits within {} minutes", MERGE_LIMIT.as_secs() / 60);
        Problem::new(ErrorCode::UpdateTimedOut, detail).hint("nothing has changed; try again")
    })?;
    merged.map_err(|error| error.to_problem())
}
