//! The built-in worker: this program itself, as `codex-docker`, which creates a container for each run.

use std::path::{Path, PathBuf};

use config::{Broker, Config};
use durable::blocking;
use futures_util::future::BoxFuture;
use model::codex::app_server::SandboxMode;
use model::environment::EnvironmentRecord;
use model::ids::TaskId;
use model::names::VariableName;
use model::problem::Problem;
use model::run::RunError;
use model::subdirectory::Subdirectory;
use process::CommandSpec;
use protocol::{Finding, Level};
use store::LoginCopy;

use super::super::check::{check, check_layers, problem};
use super::super::container::{NetworkNeeds, home_label, unreachable_model};
use super::super::findings::{containers, layers, refused_login, stored_login};
use super::super::login::Login;
use super::super::request::{Cleanup, IMAGES_INSIDE, RunCall};
use super::super::session::SessionFolder;
use super::super::variables::{API_KEY, CONTAINER_NAMES};
use super::{
    AppServerPlace, Confidentiality, Draft, FoundWorker, ImageRequest, LoginCommand, PrepareRequest, Site, WorkerKind, own_image,
};
use crate::seam::NeededImage;
use crate::spec::{ContainerSandbox, ImageRef, Sandbox};

/// The built-in worker.
#[derive(Debug)]
pub(in super::super) struct BuiltIn {
    /// The program.
    pub(in super::super) program: PathBuf,
    /// The arguments that precede those of the contract.
    pub(in super::super) prefix: Vec<String>,
}

impl BuiltIn {
    async fn check_and_build(&self, site: Site<'_>, request: PrepareRequest<'_>) -> Result<(), RunError> {
        let PrepareRequest { spec, container, supply, cancel } = request;
        let repository = spec.source.repository;
        let login = stored(site).await?;
        if let Some(problem) = unreachable_model(&NetworkNeeds::of_run(spec), site.config, login.as_ref()) {
            return Err(problem.into());
        }
        if container.is_some_and(|container| container.image != ImageRef::Built) {
            return Ok(());
        }
        own_image::build(site, ImageRequest { repository, supply, on_step: Box::new(|_| {}), cancel }).await
    }

    async fn is_ready(&self, site: Site<'_>, repository: Option<&EnvironmentRecord>, image: NeededImage) -> Result<(), Problem> {
        let container = ContainerSandbox::of(repository, site.config.image.as_deref());
        let named = repository.and_then(|repository| repository.container.image.as_deref()).or(site.config.image.as_deref());
        let check = site.checks.fresh(named).await;
        // An image with the repository's own Dockerfile is built when a run needs it.
        let can_be_missing = container.image == ImageRef::Built || image == NeededImage::Other;
        match problem(&check) {
            Some(problem) if !(can_be_missing && check.status.engine.is_some()) => return Err(problem),
            Some(_) | None => {}
        }
        // The run reports a login that cannot be read.
        let login = stored(site).await.ok().flatten();
        let needs = repository.map(NetworkNeeds::of_repository);
        needs.and_then(|needs| unreachable_model(&needs, site.config, login.as_ref())).map_or(Ok(()), Err)
    }
}

/// Returns the stored login of Codex.
async fn stored(site: Site<'_>) -> Result<Option<Login>, RunError> {
    let home = site.codex_home.clone();
    blocking(move || Login::stored(&home)).await.map_err(|error| Login::unreadable(&error))
}

impl WorkerKind for BuiltIn {
    fn sandbox(&self, container: ContainerSandbox) -> Sandbox {
        Sandbox::Container(container)
    }

    fn prefix(&self) -> &[String] {
        &self.prefix
    }

    /// The container is the sandbox. Codex's own sandbox does not work inside it.
    fn flags(&self) -> &'static [&'static str] {
        &["--dangerously-bypass-approvals-and-sandbox"]
    }

    /// `codex-docker` starts Codex in the folder.
    fn start_folder(&self, _subdirectory: &Subdirectory) -> Option<String> {
        None
    }

    fn app_server(&self, call: &RunCall<'_>) -> Option<AppServerPlace> {
        // `codex-docker` mounts the folder that it starts in.
        Some(AppServerPlace { directory: call.worktree.to_owned(), sandbox: SandboxMode::DangerFullAccess })
    }

    fn images(&self, _call: &RunCall<'_>) -> String {
        IMAGES_INSIDE.to_owned()
    }

    fn server_variables(&self) -> &'static [&'static str] {
        CONTAINER_NAMES
    }

    fn set_variable(&self, draft: &mut Draft, name: &VariableName, value: &str, _confidentiality: Confidentiality) {
        draft.set_in_container(name, value);
    }

    fn complete(&self, draft: &mut Draft, call: &RunCall<'_>) {
        let Some(container) = &call.container else { return };
        container.write(call, &mut draft.environment);
        // With the broker, the key stays outside of the container.
        draft.passed.retain(|name| name != API_KEY);
        if container.broker == Broker::Off && draft.environment.contains_key(std::ffi::OsStr::new(API_KEY)) {
            draft.passed.insert(0, API_KEY.to_owned());
        }
    }

    fn cleanup(&self, call: &RunCall<'_>, _container_name: &str) -> Option<Cleanup> {
        let labels = call.container.as_ref()?.labels(call).into_iter().flat_map(|label| ["--label".to_owned(), label]);
        let words = ["reap", "--if-reachable"].map(str::to_owned);
        let args = self.prefix.iter().cloned().chain(words).chain(labels).collect();
        Some(Cleanup { program: self.program.clone(), args })
    }

    fn sessions(&self, of_task: Option<&Path>) -> Option<SessionFolder> {
        of_task.map(|folder| SessionFolder::OfTask(folder.to_owned()))
    }

    fn session_folder(&self, of_task: &Path) -> Option<PathBuf> {
        Some(of_task.to_owned())
    }

    fn uses_agent_repository(&self) -> bool {
        true
    }

    fn runs_setups(&self) -> bool {
        true
    }

    fn needs_container_engine(&self) -> bool {
        true
    }

    fn names_its_program(&self) -> bool {
        false
    }

    fn ready<'a>(
        &'a self,
        site: Site<'a>,
        repository: Option<&'a EnvironmentRecord>,
        image: NeededImage,
    ) -> BoxFuture<'a, Result<(), Problem>> {
        Box::pin(self.is_ready(site, repository, image))
    }

    fn prepare<'a>(&'a self, site: Site<'a>, request: PrepareRequest<'a>) -> BoxFuture<'a, Result<(), RunError>> {
        Box::pin(self.check_and_build(site, request))
    }

    fn build_image<'a>(&'a self, site: Site<'a>, request: ImageRequest<'a>) -> BoxFuture<'a, Result<(), RunError>> {
        Box::pin(own_image::build(site, request))
    }

    fn login_copy(&self, site: Site<'_>, task: TaskId) -> Option<LoginCopy> {
        Some(LoginCopy::folder(site.home.layout.task_login(task)))
    }

    fn renewal(&self, command: CommandSpec<'static>, config: &Config, endpoint: &'static str) -> CommandSpec<'static> {
        command
            .envs(config.image.as_ref().map(|image| ("IMAGE_NAME", image)))
            .env("CODEX_DOCKER_USER", "caller")
            .env("CODEX_PASSTHROUGH_ENV", endpoint)
            .env("CODEX_DOCKER_LABELS", home_label(&config.home))
    }

    fn login_command(&self, program: &Path) -> LoginCommand {
        LoginCommand {
            program: program.to_owned(),
            args: self.prefix.clone(),
            environment: vec![("CODEX_DOCKER_USER", "caller"), ("CODEX_PASSTHROUGH_ENV", "TERM")],
        }
    }

    fn login_obstacle(&self, _config: &Config) -> Option<Problem> {
        None
    }

    fn findings<'a>(&'a self, worker: FoundWorker<'a>, config: &'a Config) -> BoxFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            let mut findings = vec![Finding::new("worker", Level::Ok, format!("{} (built in)", worker.name))];
            let checked = check(config).await;
            findings.extend(containers(&checked));
            if checked.usable {
                findings.extend(check_layers(config).await.as_ref().map(layers));
            }
            findings.push(stored_login(config));
            findings.extend(refused_login(config));
            findings
        })
    }
}
