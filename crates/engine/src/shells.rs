//! Shells that people open in the environment of a repository, to try it by hand.
//!
//! The server prepares a shell, and the program that asked for it runs it. Nothing that happens in a shell is kept. A shell is removed when
//! that program says that it has ended, or when the server finds that nobody uses it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use config::Config;
use durable::blocking;
use environments::{EnvironmentSlot, Environments, not_ready};
use git::{Mirror, WorktreeSpec};
use model::ErrorCode;
use model::environment::EnvironmentRecord;
use model::ids::{ObjectId, ShellId};
use model::names::{BranchName, RefName};
use model::problem::{Problem, ProblemKind};
use model::run::RunError;
use model::setup::{SetupPhase, SnapshotKey, TakenEnvironment, TakenFiles};
use protocol::{OpenShell, ShellView};
use runner::{NeededImage, Preparation, Runner};
use spine::Common;
use store::{FoundShell, Home, ShellState, StoreError};

use crate::task::{ImageSource, PlannedSetup, Tasks};

/// How long a prepared shell waits for the program that asked for it.
const WAIT: Duration = Duration::from_mins(5);

/// The shells of a server.
pub(crate) struct Shells {
    config: Arc<Config>,
    home: Arc<Home>,
    cancel: tokio_util::sync::CancellationToken,
    environments: Arc<Environments>,
    tasks: Arc<Tasks>,
    runner: Arc<dyn Runner>,
    /// The shells that requests of this server prepare or remove now.
    busy: Mutex<BTreeSet<ShellId>>,
}

/// Marks a shell as busy until it is dropped.
struct Busy<'a> {
    shells: &'a Shells,
    id: ShellId,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.shells.busy().remove(&self.id);
    }
}

impl Shells {
    /// Creates the shells of a server.
    pub(crate) fn new(common: Common, environments: Arc<Environments>, tasks: Arc<Tasks>, runner: Arc<dyn Runner>) -> Self {
        let Common { config, home, cancel, .. } = common;
        Self { config, home, cancel, environments, tasks, runner, busy: Mutex::default() }
    }

    /// Prepares a shell at the newest commit of a branch, in the environment that a new task would have.
    pub(crate) async fn open(&self, slot: &Arc<EnvironmentSlot>, asked: &OpenShell) -> Result<ShellView, Problem> {
        let record = slot.record();
        let mirror = slot.mirror().ok_or_else(|| not_ready(&record))?;
        if !self.tasks.applies_descriptions(&record) {
            let detail = "the worker does not run Codex in containers, so it cannot start a shell in one";
            return Err(Problem::new(ErrorCode::NoShell, detail));
        }
        self.runner.ready(Some(&record), NeededImage::Other).await?;
        let mut notes = vec![];
        let fetched = mirror.fetch_since(mirror.fetch_ticket(), self.config.fetch_time_limit, self.cancel.clone()).await;
        if let Err(error) = fetched {
            notes.push(format!("could not fetch new commits: {}", error.to_run_error().message));
        }
        let commit = self.commit(slot, &mirror, &record, asked.git_ref.as_deref()).await?;
        let completed = mirror.complete(&commit, &slot.cancel_work).await;
        completed.map_err(|error| error.to_run_error().into_problem(ProblemKind::Unavailable))?;
        let id = ShellId::from_uuid(uuid::Uuid::now_v7());
        let Some(_busy) = self.begin(id) else { return Err(Problem::internal("the shell exists")) };
        let prepared = async {
            let branch = asked.git_ref.as_deref().and_then(|name| BranchName::parse(name).ok());
            let environment = self.environment(slot, &mirror, branch, id, &mut notes).await?;
            if let Some(problem) = self.tasks.missing_image(&record, &ImageSource::Taken(environment.clone())).await {
                return Err(problem);
            }
            self.prepare(slot, &mirror, id, &commit, &environment, &mut notes).await
        };
        if let Err(problem) = prepared.await {
            if let Err(error) = self.remove(slot, id).await {
                tracing::warn!(shell = %id, %error, "could not remove a shell that could not be prepared");
            }
            return Err(problem);
        }
        let folder = self.home.layout.shell(slot.id, id).display().to_string();
        Ok(ShellView { shell_id: id, commit, folder, notes })
    }

    async fn commit(
        &self,
        slot: &Arc<EnvironmentSlot>,
        mirror: &Mirror,
        record: &EnvironmentRecord,
        asked: Option<&str>,
    ) -> Result<ObjectId, Problem> {
        let found = match asked {
            None => setups::default_commit(mirror, record).await.map_err(|error| unreadable(&error))?,
            Some(name) => {
                self.environments.check_ref(slot, name).await?;
                mirror.resolve_ref(RefName::parse(name)?.as_str()).await.map_err(|error| unreadable(&error))?
            }
        };
        found.ok_or_else(|| unreadable(&"the repository has no such commit"))
    }

    /// Returns the environment of a new task, without what a setup that has not run would add, and records that the shell uses it.
    async fn environment(
        &self,
        slot: &EnvironmentSlot,
        mirror: &Mirror,
        branch: Option<BranchName>,
        id: ShellId,
        notes: &mut Vec<String>,
    ) -> Result<TakenEnvironment, Problem> {
        let record = slot.record();
        let planned = self.tasks.planned_setup(mirror, &record, branch, &slot.cancel_work).await.map_err(unavailable)?;
        let turn = slot.taking_snapshot.lock().await;
        let environment = match planned {
            PlannedSetup::Nothing(environment) => environment,
            PlannedSetup::Refused(_, error) => {
                notes.push(format!("the description of the environment is not valid: {}", error.message));
                TakenEnvironment::default()
            }
            PlannedSetup::Setup(plan) => {
                let (is_complete, trust) = (plan.found.missing.is_empty(), plan.basis.trust);
                let found = self.runner.snapshot(slot.id, &plan.key).await.map_err(Problem::internal)?;
                let snapshot = found.filter(|_| is_complete).map(|snapshot| snapshot.key);
                if snapshot.is_none() {
                    notes.push(missing(&record, &plan.key));
                }
                let files = TakenFiles::of(&plan.description, trust);
                let services = if is_complete { plan.description.services } else { BTreeMap::new() };
                TakenEnvironment { snapshot, services, files, ..TakenEnvironment::default() }
            }
        };
        let (home, env_id, snapshot) = (Arc::clone(&self.home), slot.id, environment.snapshot.clone());
        blocking(move || home.begin_shell(env_id, id, snapshot.as_ref())).await?;
        drop(turn);
        Ok(environment)
    }

    /// Creates the files of a shell, and lets a program take it.
    async fn prepare(
        &self,
        slot: &EnvironmentSlot,
        mirror: &Mirror,
        id: ShellId,
        commit: &ObjectId,
        environment: &TakenEnvironment,
        notes: &mut Vec<String>,
    ) -> Result<(), Problem> {
        let (record, cancel) = (slot.record(), &slot.cancel_work);
        let branch = branch_of(id);
        let path = self.worktree(slot, id);
        let sources = mirror.trusted_sources(&record.sources).await.map_err(|error| unreadable(&error))?;
        let cone = record.cone();
        let spec = WorktreeSpec { path: &path, branch: &branch, base: commit, cone: &cone };
        let worktree = mirror.ensure_worktree(spec, &sources, &|_| {}, cancel.clone()).await;
        let worktree = worktree.map_err(|error| {
            let message = format!("could not create the worktree of the shell: {error}");
            unavailable(RunError::new(ErrorCode::WorktreeFailed, message))
        })?;
        let spec = self.tasks.shell_spec(id, &record, commit, &branch, environment);
        let preparation = Preparation { spec: &spec, worktree: &worktree, cancel };
        let (order, more) = self.runner.open_shell(preparation, self.tasks.as_ref()).await.map_err(unavailable)?;
        notes.extend(more);
        let (home, env_id) = (Arc::clone(&self.home), slot.id);
        Ok(blocking(move || home.order_shell(env_id, id, &order)).await?)
    }

    /// Removes a shell that has ended.
    pub(crate) async fn close(&self, slot: &EnvironmentSlot, id: &str) -> Result<(), Problem> {
        let unknown = || Problem::new(ErrorCode::ShellNotFound, format!("`{}` has no shell with this ID", slot.record().name));
        let id: ShellId = id.parse().map_err(|_| unknown())?;
        let in_use = || Problem::new(ErrorCode::ShellInUse, format!("a program still runs in shell {id}"));
        let _busy = self.begin(id).ok_or_else(in_use)?;
        if self.state(slot, id).await?.ok_or_else(unknown)? == ShellState::InUse {
            return Err(in_use());
        }
        self.remove(slot, id).await.map_err(|error| {
            Problem::internal(format!("could not remove the shell: {error}")).hint("the server tries again within a minute")
        })
    }

    /// Removes the shells that nobody uses.
    pub(crate) async fn sweep(&self) {
        for slot in self.environments.all() {
            let found = match self.all(&slot).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(environment = %slot.id, %error, "could not look for shells");
                    continue;
                }
            };
            for shell in found {
                if let Err(error) = self.remove_if_over(&slot, shell.id).await {
                    tracing::warn!(shell = %shell.id, %error, "could not remove a shell; the server tries again");
                }
            }
        }
    }

    async fn remove_if_over(&self, slot: &EnvironmentSlot, id: ShellId) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        // A shell that is not busy does not become prepared while its state is read.
        let Some(_busy) = self.begin(id) else { return Ok(()) };
        if self.state(slot, id).await?.is_some_and(is_over) { self.remove(slot, id).await } else { Ok(()) }
    }

    /// Returns the snapshots that the shells of all repositories use.
    pub(crate) async fn used_snapshots(&self) -> Result<BTreeSet<SnapshotKey>, StoreError> {
        let mut used = BTreeSet::new();
        for slot in self.environments.all() {
            used.extend(self.all(&slot).await?.into_iter().filter_map(|shell| shell.snapshot));
        }
        Ok(used)
    }

    async fn all(&self, slot: &EnvironmentSlot) -> Result<Vec<FoundShell>, StoreError> {
        let (home, id) = (Arc::clone(&self.home), slot.id);
        blocking(move || home.shells(id)).await
    }

    async fn state(&self, slot: &EnvironmentSlot, id: ShellId) -> Result<Option<ShellState>, StoreError> {
        Ok(self.all(slot).await?.into_iter().find(|shell| shell.id == id).map(|shell| shell.state))
    }

    /// Ends what a shell left behind, and deletes its files. Every step can be repeated.
    async fn remove(&self, slot: &EnvironmentSlot, id: ShellId) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.runner.close_shell(slot.id, id).await?;
        if let Some(mirror) = slot.mirror() {
            let name = id.to_string();
            mirror.remove_worktree(&self.worktree(slot, id), &branch_of(id), &name).await?;
            mirror.forget(&name).await?;
        }
        let folder = self.home.layout.shell(slot.id, id);
        Ok(blocking(move || git::remove_tree(&folder)).await?)
    }

    fn worktree(&self, slot: &EnvironmentSlot, id: ShellId) -> PathBuf {
        let layout = self.home.layout.of_shells(slot.id);
        layout.worktree(model::ids::TaskId::from_uuid(id.uuid()))
    }

    /// Marks a shell as busy. Returns `None` if it is.
    fn begin(&self, id: ShellId) -> Option<Busy<'_>> {
        self.busy().insert(id).then_some(Busy { shells: self, id })
    }

    fn busy(&self) -> MutexGuard<'_, BTreeSet<ShellId>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the branch of a shell.
fn branch_of(id: ShellId) -> String {
    format!("codex/shell-{id}")
}

/// Whether a shell can be removed.
fn is_over(state: ShellState) -> bool {
    match state {
        ShellState::InUse => false,
        ShellState::Waiting(time) => time > WAIT,
        ShellState::Unused => true,
    }
}

/// Says why a shell starts without the result of the setup.
fn missing(record: &EnvironmentRecord, key: &SnapshotKey) -> String {
    let why = match record.setup_state.phase_of(key) {
        Some(SetupPhase::Running) => "the setup is still running",
        Some(SetupPhase::Failed) => "the setup failed",
        Some(SetupPhase::Skipped) => "the setup was skipped",
        Some(SetupPhase::Ready) | None => "the setup has not run yet",
    };
    format!("{why}, so the shell starts without its result; to run it: codex-orchestrator env setup run {}", record.name)
}

fn unavailable(error: RunError) -> Problem {
    error.into_problem(ProblemKind::Unavailable)
}

fn unreadable(error: &dyn std::fmt::Display) -> Problem {
    Problem::new(ErrorCode::MirrorUnreadable, format!("could not read the mirror: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_is_removed_if_nobody_uses_it_or_came_for_it() {
        assert!(!is_over(ShellState::InUse) && !is_over(ShellState::Waiting(Duration::from_mins(4))));
        assert!(is_over(ShellState::Unused) && is_over(ShellState::Waiting(Duration::from_mins(6))));
    }
}
