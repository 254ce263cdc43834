//! Describes a run to its runner, and resolves the references in the description.
//!
//! Invariant: a description is derived from records and settings alone, so it is the same whenever it is needed.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use durable::blocking;
use futures_util::future::BoxFuture;
use git::Mirror;
use model::ErrorCode;
use model::environment::EnvironmentRecord;
use model::ids::{Attempt, EnvironmentId, ObjectId, RunNumber, ShellId, TaskId};
use model::image::ImageFile;
use model::names::Title;
use model::policy::DriverChoice;
use model::run::RunError;
use model::secret::Secret;
use model::setup::{FilePath, TakenEnvironment, TakenFiles};
use model::task::{LayerGeneration, TaskRecord};
use process::Redactor;
use runner::keeper::RunFiles;
use runner::spec::{
    BranchChange, ContainerSandbox, ContextSource, Driver, FileRef, Limits, PreviousRun, SPEC_SCHEMA, SecretRef, Source, Turn,
};
use runner::{RunKey, RunSpec, Supply};

use super::tasks::Tasks;

/// Returns the key of the current attempt of a task's last run.
pub(crate) fn key_of(task: &TaskRecord) -> RunKey {
    let run = task.last_run();
    RunKey { task: task.task_id, run: run.number, attempt: run.attempt }
}

impl Tasks {
    /// Describes the last run of a task, which starts from `base` in this environment.
    pub(super) fn run_spec(&self, task: &TaskRecord, base: &ObjectId, environment: &TakenEnvironment) -> RunSpec {
        let run = task.last_run();
        let repository = self.environments.get(task.env_id).map(|environment| environment.record());
        let repository = repository.as_deref();
        let turn = Turn {
            prompt: FileRef::prompt(),
            images: run.images.clone(),
            earlier_images: images(task),
            model: run.model.clone(),
            effort: run.effort.clone(),
            resumes: run.resumes,
        };
        let source = Source {
            repository: task.env_id,
            name: repository.map(|repository| repository.name.to_string()).unwrap_or_default(),
            origin: task.repo_url.to_string(),
            base: base.clone(),
            start: task.head_before(run.number).unwrap_or(base).clone(),
            branch: task.branch().to_string(),
            subdirectory: repository.and_then(|repository| repository.runs.subdirectory.clone()),
            previous: previous(task),
        };
        let driver = Driver::new(self.driver_of(task.driver, repository), turn);
        RunSpec { layers: task.refreshes.generation, ..self.spec_of(key_of(task), driver, source, repository, environment) }
    }

    /// Describes a shell in this environment as if it were the first run of a task with the same ID.
    pub(crate) fn shell_spec(
        &self,
        shell: ShellId,
        repository: &EnvironmentRecord,
        base: &ObjectId,
        branch: &str,
        environment: &TakenEnvironment,
    ) -> RunSpec {
        let turn =
            Turn { prompt: FileRef::prompt(), images: vec![], earlier_images: vec![], model: None, effort: None, resumes: None };
        let source = Source {
            repository: repository.env_id,
            name: repository.name.to_string(),
            origin: repository.repo_url.to_string(),
            base: base.clone(),
            start: base.clone(),
            branch: branch.to_owned(),
            subdirectory: repository.runs.subdirectory.clone(),
            previous: None,
        };
        let key = RunKey { task: TaskId::from_uuid(shell.uuid()), run: RunNumber::FIRST, attempt: Attempt::FIRST };
        self.spec_of(key, Driver::Exec(turn), source, Some(repository), environment)
    }

    fn spec_of(
        &self,
        key: RunKey,
        driver: Driver,
        source: Source,
        repository: Option<&EnvironmentRecord>,
        environment: &TakenEnvironment,
    ) -> RunSpec {
        let secret_of = |name| SecretRef { repository: source.repository, name };
        RunSpec {
            schema: SPEC_SCHEMA,
            key,
            driver,
            sandbox: self.runner.sandbox(self.container_of(repository)),
            limits: Limits::of(&self.config),
            variables: repository.map(|repository| repository.variables.clone()).unwrap_or_default(),
            secrets: repository
                .into_iter()
                .flat_map(|repository| repository.secrets.keys().filter(|name| !repository.setup.withheld.contains(name)))
                .map(|name| (name.clone(), secret_of(name.clone())))
                .collect(),
            account: None,
            snapshot: environment.snapshot.clone(),
            layers: LayerGeneration::default(),
            services: environment.services.clone(),
            caches: environment.caches.clone(),
            context: repository.map(|repository| self.context_of(repository).0).unwrap_or_default(),
            files: repository.map(|repository| placed_files(repository, environment)).unwrap_or_default(),
            source,
        }
    }

    /// Returns how Codex is run: as the task, the repository or the server says.
    fn driver_of(&self, task: Option<DriverChoice>, repository: Option<&EnvironmentRecord>) -> DriverChoice {
        task.or_else(|| repository?.runs.driver).unwrap_or(self.config.driver)
    }

    /// Describes the last run of a task that has a base.
    pub(super) fn started_spec(&self, task: &TaskRecord) -> Result<RunSpec, RunError> {
        let base = task.base_sha.as_ref();
        let base = base.ok_or_else(|| RunError::new(ErrorCode::Internal, "the base commit of the task is unknown"))?;
        Ok(self.run_spec(task, base, &task.environment))
    }

    /// Returns the other repositories that the runs of a repository can read, and the names of those that do not exist.
    pub(super) fn context_of(&self, repository: &EnvironmentRecord) -> (Vec<ContextSource>, Vec<Title>) {
        let all = self.environments.all();
        let (mut sources, mut unknown) = (Vec::<ContextSource>::new(), vec![]);
        for wanted in &repository.container.context {
            let found = all.iter().map(|slot| slot.record()).find(|record| is_called(record, wanted));
            let Some(found) = found else {
                unknown.push(wanted.clone());
                continue;
            };
            let Some(branch) = &found.default_branch else { continue };
            if sources.iter().any(|source| source.repository == found.env_id) {
                continue;
            }
            let folder = free_name(found.name.as_str(), |name| sources.iter().any(|source| source.folder == name));
            sources.push(ContextSource { repository: found.env_id, folder, branch: branch.to_string() });
        }
        (sources, unknown)
    }

    /// Returns the container of a repository's runs.
    pub(super) fn container_of(&self, repository: Option<&EnvironmentRecord>) -> ContainerSandbox {
        ContainerSandbox::of(repository, self.config.image.as_deref())
    }
}

/// Returns the files that a run gets: those of a description that the owner has approved.
fn placed_files(repository: &EnvironmentRecord, environment: &TakenEnvironment) -> BTreeMap<FilePath, SecretRef> {
    let is_approved =
        |files: &&TakenFiles| files.description.as_ref().is_some_and(|hash| repository.setup.approved.contains(hash));
    let files = environment.files.iter().filter(is_approved).flat_map(|files| &files.secrets);
    files.map(|(path, name)| (path.clone(), SecretRef { repository: repository.env_id, name: name.clone() })).collect()
}

fn is_called(repository: &EnvironmentRecord, wanted: &Title) -> bool {
    repository.name == *wanted || repository.env_id.to_string() == wanted.as_str()
}

/// Returns a name for a folder that is not taken.
fn free_name(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '-' };
    let name: String = name.chars().map(plain).collect();
    let name = name.trim_start_matches('.').to_owned();
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let mut names = Some(name.clone()).filter(|name| !name.is_empty()).into_iter().chain(numbered);
    names.find(|name| !is_taken(name)).unwrap_or(name)
}

/// Returns the images of all runs of a task.
fn images(task: &TaskRecord) -> Vec<ImageFile> {
    task.runs.iter().flat_map(|run| run.images.clone()).collect()
}

fn previous(task: &TaskRecord) -> Option<PreviousRun> {
    let run = task.runs.iter().rev().nth(1)?.number;
    let since = if task.rewritten_after(run) {
        BranchChange::Rewritten
    } else if task.moved_after(run) {
        BranchChange::Moved
    } else {
        BranchChange::Unchanged
    };
    Some(PreviousRun { run, since })
}

impl Supply for Tasks {
    fn secret(&self, reference: &SecretRef) -> Option<Secret> {
        let repository = self.environments.get(reference.repository)?.record();
        repository.secrets.get(&reference.name).cloned()
    }

    fn file<'a>(&'a self, key: RunKey, reference: &'a FileRef) -> BoxFuture<'a, io::Result<Vec<u8>>> {
        let home = Arc::clone(&self.home);
        let image = self
            .table
            .get(key.task)
            .and_then(|slot| images(&slot.record()).into_iter().find(|image| image.file.to_string() == reference.as_str()));
        let is_prompt = *reference == FileRef::prompt();
        Box::pin(blocking(move || match image {
            _ if is_prompt => fs_err::read(RunFiles::new(&home.layout.logs(key.task), key.run).prompt()),
            Some(image) => home.read_image(key.task, &image),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "the run has no such file")),
        }))
    }

    fn mirror(&self, repository: EnvironmentId) -> Result<Mirror, RunError> {
        self.environments.mirror_of(repository)
    }

    fn dockerfile(&self, repository: EnvironmentId) -> Option<PathBuf> {
        self.environments.get(repository)?.record().container.dockerfile.clone().map(PathBuf::from)
    }

    fn redactor(&self, repository: EnvironmentId) -> Redactor {
        self.redaction.redactor(repository)
    }

    fn image_built<'a>(&'a self, repository: EnvironmentId, name: &'a str, id: String) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if let Err(error) = self.images.record(repository, name, id).await {
                tracing::warn!(image = name, %error, "could not record a built image; `gc` will not remove it");
            }
        })
    }
}
