//! The operations of a user on the setup of a repository's environment.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use durable::blocking;
use environments::{EnvironmentSlot, not_ready};
use git::Mirror;
use model::ErrorCode;
use model::environment::{EnvironmentEvent, EnvironmentRecord, EnvironmentRequest};
use model::ids::{EnvironmentId, ObjectId, RunNumber};
use model::names::BranchName;
use model::problem::Problem;
use model::setup::{SetupPhase, SetupStart, trusted_pattern};
use process::RunProgramError;
use protocol::{AcceptDescription, EditSetup, InstalledView, OpenShell, SetupDiffView, SetupView, ShellView};
use runner::Supply as _;
use runner::keeper::RunFiles;
use spine::Mailbox as _;

use super::User;
use crate::task::{PlannedSetup, existing_run};

/// The maximum size of a log that is returned, in bytes. Earlier output is omitted.
const LOG_LIMIT_BYTES: u64 = 4 << 20;

impl User {
    /// Returns the setup of a repository.
    pub async fn setup(&self, id: &str) -> Result<SetupView, Problem> {
        self.setup_of(self.environment_slot(id)?.as_ref()).await
    }

    async fn setup_of(&self, slot: &EnvironmentSlot) -> Result<SetupView, Problem> {
        let (mirror, commit) = self.default_branch(slot).await?;
        let (home, id) = (Arc::clone(&self.server.common.home), slot.id);
        let snapshots = blocking(move || home.read_snapshots(id)).await?;
        let view = setups::view(&mirror, &slot.record(), &commit, &snapshots).await.map_err(|error| unreadable(&error))?;
        let tasks = &self.server.tasks;
        let (applies, keeps_caches) = (tasks.applies_descriptions(&slot.record()), tasks.keeps_caches());
        let runs_on_host = tasks.sets_up_on_host(&slot.record());
        Ok(SetupView { applies, keeps_caches, runs_on_host, ..view })
    }

    /// Changes what the owner decided about a repository's setup.
    pub async fn edit_setup(&self, id: &str, edit: EditSetup) -> Result<SetupView, Problem> {
        let slot = self.environment_slot(id)?;
        let (mirror, commit) = self.default_branch(&slot).await?;
        let mut setup = slot.record().setup.clone();
        if let Some(own) = edit.description {
            own.iter().try_for_each(|text| setups::check(text))?;
            setup.own = own;
        }
        if let Some(hash) = edit.approve {
            let record = EnvironmentRecord { setup: setup.clone(), ..(*slot.record()).clone() };
            let commits = trusted_commits(&mirror, &record, commit).await.map_err(|error| unreadable(&error))?;
            setup.approve(&setups::approvable(&mirror, &record, &commits, &hash).await?);
        }
        if let Some(patterns) = edit.trust {
            setup.trusted = patterns.iter().map(|pattern| trusted_pattern(pattern)).collect::<Result<_, _>>()?;
        }
        self.server.environments.ask(&slot, EnvironmentRequest::EditSetup(setup)).await?;
        self.setup_of(&slot).await
    }

    /// Returns how a branch changes the description of a repository's environment. An ID of a task names the task's own branch.
    pub async fn setup_diff(&self, id: &str, branch: &str) -> Result<SetupDiffView, Problem> {
        let slot = self.environment_slot(id)?;
        let (mirror, default) = self.default_branch(&slot).await?;
        let branch = self.branch_of(branch)?;
        let commit = mirror.resolve_branch(branch.as_str()).await.map_err(|error| unreadable(&error))?;
        let commit = commit.ok_or_else(|| Problem::new(ErrorCode::RefNotFound, format!("branch `{branch}` not found")))?;
        setups::diff(&mirror, &slot.record(), &default, &branch, &commit).await.map_err(|error| unreadable(&error))
    }

    /// Lets the description of a branch apply to the tasks of this branch, as long as it has this hash, or takes this back.
    pub async fn accept_description(&self, id: &str, asked: AcceptDescription) -> Result<SetupView, Problem> {
        let slot = self.environment_slot(id)?;
        let (branch, mut setup) = (self.branch_of(&asked.branch)?, slot.record().setup.clone());
        match asked.hash {
            None => drop(setup.accepted.remove(&branch)),
            Some(hash) => {
                let found = self.setup_diff(id, branch.as_str()).await?.hash.filter(|found| found.as_str() == hash);
                let hash = found.ok_or_else(|| {
                    Problem::new(ErrorCode::DescriptionChanged, format!("`{branch}` has no description with this hash"))
                        .hint("read its changes again, and accept the new hash")
                })?;
                setup.accepted.insert(branch, hash);
            }
        }
        self.server.environments.ask(&slot, EnvironmentRequest::EditSetup(setup)).await?;
        self.setup_of(&slot).await
    }

    /// Returns what the agents of a task installed in all runs, or in one of them, and a description of the environment that contains it.
    pub async fn installed(&self, id: &str, run: Option<RunNumber>) -> Result<InstalledView, Problem> {
        let task = self.task_slot(id)?;
        if let Some(run) = run {
            existing_run(&task, run)?;
        }
        let slot = self.environment_slot(&task.env_id.to_string())?;
        let (mirror, commit) = self.default_branch(&slot).await?;
        let found = self.server.tasks.installs(&task, run).await?;
        let view =
            setups::installed(&mirror, &slot.record(), &commit, found.installs).await.map_err(|error| unreadable(&error))?;
        let applies = self.server.tasks.applies_descriptions(&slot.record());
        Ok(InstalledView { complete: found.is_complete, applies, ..view })
    }

    /// Returns a branch by its name, or the branch of the task with this ID.
    fn branch_of(&self, name: &str) -> Result<BranchName, Problem> {
        match self.task_slot(name) {
            Ok(task) => Ok(task.record().branch()),
            Err(_) => BranchName::parse(name),
        }
    }

    /// Runs the setup of a repository now. A running setup continues, so a setup that starts from the image is refused until it has ended.
    pub async fn run_setup(&self, id: &str, start: SetupStart) -> Result<SetupView, Problem> {
        let slot = self.environment_slot(id)?;
        let mut record = (*slot.record()).clone();
        let edition = record.setup_state.edition_for(start);
        record.setup_state.edition = edition;
        if !self.server.tasks.applies_descriptions(&record) {
            return Err(Problem::new(ErrorCode::NoSetup, "the worker does not run Codex in containers, so it runs no setups")
                .hint("choose the built-in worker: ORCH_WORKER=codex-docker"));
        }
        let (mirror, _) = self.default_branch(&slot).await?;
        // An answer to a setup of another branch runs that one again.
        let unfinished = record.setup_state.last.clone().filter(|last| last.phase == SetupPhase::Failed);
        let unfinished = unfinished.and_then(|last| last.branch);
        match self
            .server
            .tasks
            .planned_setup(&mirror, &record, unfinished, &slot.cancel_work)
            .await
            .map_err(|error| unreadable(&error.message))?
        {
            PlannedSetup::Setup(plan) => {
                let asked = EnvironmentRequest::SetUp { goal: plan.goal(), edition };
                let record = self.server.environments.ask(&slot, asked).await?;
                if record.setup_state.edition < edition {
                    return Err(Problem::new(ErrorCode::SetupRunning, format!("a setup of `{}` is running", record.name))
                        .hint("wait until it has ended, then try again"));
                }
            }
            PlannedSetup::Refused(goal, error) => {
                let problem = Problem::new(ErrorCode::DescriptionRefused, error.message.clone());
                self.server.environments.post(&slot, EnvironmentEvent::SetupRefused { goal, error }).await;
                return Err(problem);
            }
            PlannedSetup::Nothing(..) => {
                return Err(Problem::new(ErrorCode::NoSetup, format!("`{}` has no setup to run", record.name))
                    .hint("describe one: codex-orchestrator env setup edit ENV"));
            }
        }
        self.setup_of(&slot).await
    }

    /// Lets tasks start without the setup that failed.
    pub async fn skip_setup(&self, id: &str) -> Result<SetupView, Problem> {
        let slot = self.environment_slot(id)?;
        self.server.environments.ask(&slot, EnvironmentRequest::SkipSetup).await?;
        self.setup_of(&slot).await
    }

    /// Prepares a shell in the environment of a repository.
    pub async fn open_shell(&self, id: &str, asked: &OpenShell) -> Result<ShellView, Problem> {
        self.server.shells.open(&self.environment_slot(id)?, asked).await
    }

    /// Removes a shell that has ended.
    pub async fn close_shell(&self, id: &str, shell: &str) -> Result<(), Problem> {
        self.server.shells.close(self.environment_slot(id)?.as_ref(), shell).await
    }

    /// Returns the output of the last setup, with secrets masked.
    pub async fn setup_log(&self, id: &str) -> Result<String, Problem> {
        let slot = self.environment_slot(id)?;
        let Some(number) = slot.record().setup_state.last.as_ref().map(|attempt| attempt.number) else {
            return Ok(String::new());
        };
        let path = self.server.common.home.layout.setup_log(slot.id, number);
        self.end_of_log(slot.id, path).await.map_err(|error| unreadable(&error))
    }

    /// Returns the output of a service of a run, with secrets masked.
    pub async fn service_log(&self, id: &str, run: RunNumber, service: &str) -> Result<String, Problem> {
        let slot = self.task_slot(id)?;
        let task = slot.record();
        let found = task.run(run).and_then(|run| run.services.iter().find(|name| name.as_str() == service));
        let name = found.ok_or_else(|| {
            let shown = printable::printable_line(service, 40);
            Problem::new(ErrorCode::ServiceNotFound, format!("run {} of task {} has no service `{shown}`", run.0, slot.id))
        })?;
        let files = RunFiles::new(&self.server.common.home.layout.logs(slot.id), run);
        let read = self.end_of_log(slot.env_id, files.service_log(name)).await;
        read.map_err(|error| Problem::internal(format!("could not read the output of the service: {error}")))
    }

    /// Returns the output of the setup that ran on this machine before a run, with secrets masked. It is empty if none ran.
    pub async fn host_setup_log(&self, id: &str, run: RunNumber) -> Result<String, Problem> {
        let slot = self.task_slot(id)?;
        existing_run(&slot, run)?;
        let files = RunFiles::new(&self.server.common.home.layout.logs(slot.id), run);
        let read = self.end_of_log(slot.env_id, files.setup_log()).await;
        read.map_err(|error| Problem::internal(format!("could not read the output of the setup: {error}")))
    }

    /// Returns the end of a log, with the secrets of a repository masked.
    async fn end_of_log(&self, repository: EnvironmentId, path: PathBuf) -> std::io::Result<String> {
        let bytes = blocking(move || end_of(&path)).await?;
        Ok(self.server.tasks.redactor(repository).redact(&String::from_utf8_lossy(&bytes)).into_owned())
    }

    async fn default_branch(&self, slot: &EnvironmentSlot) -> Result<(Mirror, ObjectId), Problem> {
        let mirror = slot.mirror().ok_or_else(|| not_ready(&slot.record()))?;
        let commit = setups::default_commit(&mirror, &slot.record()).await.map_err(|error| unreadable(&error))?;
        let commit = commit.ok_or_else(|| Problem::new(ErrorCode::MirrorUnreadable, "the repository has no default branch"))?;
        Ok((mirror, commit))
    }
}

/// Returns the newest commits of the default branch and of the trusted branches.
async fn trusted_commits(
    mirror: &Mirror,
    record: &EnvironmentRecord,
    default: ObjectId,
) -> Result<Vec<ObjectId>, RunProgramError> {
    let mut commits = vec![default];
    if record.setup.trusted.is_empty() {
        return Ok(commits);
    }
    for branch in mirror.branches().await?.iter().filter_map(|branch| BranchName::parse(branch).ok()) {
        if record.setup.trusts(&branch) {
            commits.extend(mirror.resolve_branch(branch.as_str()).await?);
        }
    }
    Ok(commits)
}

fn unreadable(error: &dyn std::fmt::Display) -> Problem {
    Problem::new(ErrorCode::MirrorUnreadable, format!("could not read the setup of the repository: {error}"))
}

/// Returns the end of a log, or nothing if the log does not exist. Blocks.
fn end_of(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    let mut file = match fs_err::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        file => file?,
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_LIMIT_BYTES)))?;
    let mut end = vec![];
    file.take(LOG_LIMIT_BYTES).read_to_end(&mut end)?;
    Ok(end)
}
