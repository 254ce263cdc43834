//! Finds the worker that runs tasks: the built-in worker with containers, unless another worker is configured. This module only
//! searches PATH and folders, and starts no program. Whether containers can be created is checked elsewhere, periodically.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::Config;
use model::ErrorCode;
use model::environment::EnvironmentRecord;
use model::ids::{EnvironmentId, TaskId};
use model::problem::Problem;
use model::run::RunError;
use process::{Redactor, Tool};
use protocol::{Finding, WorkerStatus};
use store::{Layout, LoginCopy};

use super::kind::{
    BuiltIn, Custom, FoundWorker, Host, ImageRequest, LoginCommand, PrepareRequest, PublicScript, Site, WorkerKind,
};
use super::script::Script;
use super::session::SessionFolder;
use crate::keeper::RunFiles;
use crate::seam::NeededImage;
use crate::spec::{ContainerSandbox, Sandbox};

/// The program that runs Codex.
#[derive(Debug, Clone)]
pub struct Worker {
    pub(super) kind: Arc<dyn WorkerKind>,
    pub(super) program: PathBuf,
    pub(super) passed: Vec<(std::ffi::OsString, std::ffi::OsString)>,
    pub(super) passed_names: Vec<String>,
    name: String,
}

/// Why no task can be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkerProblem {
    /// `host` is configured, but Codex is not installed.
    #[error("the worker `host` requires the Codex CLI, but `codex` is not on PATH")]
    NoCodex,
    /// The configured program does not exist.
    #[error("worker `{0}` not found")]
    NotFound(String),
}

impl WorkerProblem {
    /// Converts this into a problem with hints.
    pub fn to_problem(&self) -> Problem {
        let problem = Problem::new(ErrorCode::NoWorker, self.to_string());
        match self {
            Self::NoCodex => problem
                .hint(format!("install it: npm install -g @openai/codex@{}", model::CODEX_VERSION))
                .hint("then run `codex-orchestrator login` and restart the server"),
            Self::NotFound(_) => {
                problem.hint("set ORCH_WORKER to `codex-docker`, `host` or the path of a program, then restart the server")
            }
        }
    }
}

impl Worker {
    /// Finds the configured worker.
    pub fn find(config: &Config) -> Result<Self, WorkerProblem> {
        let find = |name: &str| Tool::find(name, &config.base_environment).map(|tool| tool.path().to_owned());
        let (kind, name, program): (Arc<dyn WorkerKind>, _, _) = match config.worker.as_deref() {
            None | Some("codex-docker") => {
                let (program, prefix) = config.container_program.split_first().ok_or(WorkerProblem::NotFound(String::new()))?;
                let program = PathBuf::from(program);
                (Arc::new(BuiltIn { program: program.clone(), prefix: prefix.to_vec() }), "codex-docker", program)
            }
            Some("host") => {
                let codex = find("codex").map_err(|_| WorkerProblem::NoCodex)?;
                // By default, this is not the home that the machine's owner uses for Codex.
                let codex_home = config.codex_home.clone().unwrap_or_else(|| Layout::new(&config.home).codex());
                (Arc::new(Host { codex_home }), "host", native_binary(&codex).unwrap_or(codex))
            }
            Some(asked) => {
                let program = find(asked).map_err(|_| WorkerProblem::NotFound(asked.to_owned()))?;
                match Script::recognize(&program, config) {
                    Some(script) => (Arc::new(PublicScript { script }), asked, program),
                    None => (Arc::new(Custom { codex_home: config.codex_home.clone() }), asked, program),
                }
            }
        };
        let (passed, passed_names) = super::variables::passed(config, kind.server_variables());
        Ok(Self { kind, program, passed, passed_names, name: name.to_owned() })
    }

    /// Whether the worker's runs are in containers, with an agent repository from which the work is exported.
    pub fn uses_agent_repository(&self) -> bool {
        self.kind.uses_agent_repository()
    }

    /// Whether this server can run setups, and start runs from their snapshots.
    pub(crate) fn runs_setups(&self) -> bool {
        self.kind.runs_setups()
    }

    /// Whether runs can start only if this server can create containers.
    pub fn needs_container_engine(&self) -> bool {
        self.kind.needs_container_engine()
    }

    /// Returns what Codex runs in.
    pub fn sandbox(&self, container: ContainerSandbox) -> Sandbox {
        self.kind.sandbox(container)
    }

    /// Returns the status for the API.
    pub fn status(&self) -> WorkerStatus {
        let program = Some(self.program.display().to_string()).filter(|_| self.kind.names_its_program());
        WorkerStatus { name: self.name.clone(), program, problem: None, hints: vec![], container: None }
    }

    /// Checks the worker for `doctor`.
    pub async fn findings(&self, config: &Config) -> Vec<Finding> {
        let worker = FoundWorker { name: &self.name, program: &self.program, environment: &self.passed };
        self.kind.findings(worker, config).await
    }

    /// Returns the command with which somebody logs in to Codex.
    pub fn login_command(&self) -> LoginCommand {
        self.kind.login_command(&self.program)
    }

    /// Returns why a login that this server stores would have no effect.
    pub fn login_obstacle(&self, config: &Config) -> Option<Problem> {
        self.kind.login_obstacle(config)
    }

    /// Returns where Codex stores the sessions of a task: for containers, in `of_task`. Returns `None` for a custom worker.
    pub fn sessions(&self, of_task: Option<&Path>) -> Option<SessionFolder> {
        self.kind.sessions(of_task)
    }

    /// Returns the folder with the sessions of a task, even if other programs also use it. Use the folder only for reading.
    pub fn session_folder(&self, of_task: &Path) -> Option<PathBuf> {
        self.kind.session_folder(of_task)
    }

    /// Returns notes about settings that the worker does not apply.
    pub(crate) fn notes(&self, sandbox: &Sandbox) -> Vec<String> {
        self.kind.notes(sandbox)
    }

    /// Returns the image for a container, or `None` for the pinned image.
    pub(crate) fn image(&self, site: Site<'_>, container: &ContainerSandbox, repository: EnvironmentId) -> Option<String> {
        self.kind.image(site, container, repository)
    }

    /// Returns why no run of a repository with this image could start now.
    pub(crate) async fn ready(
        &self,
        site: Site<'_>,
        repository: Option<&EnvironmentRecord>,
        image: NeededImage,
    ) -> Result<(), Problem> {
        self.kind.ready(site, repository, image).await
    }

    /// Checks the settings of a run, and creates its image.
    pub(crate) async fn prepare(&self, site: Site<'_>, request: PrepareRequest<'_>) -> Result<(), RunError> {
        self.kind.prepare(site, request).await
    }

    /// Builds a repository's own image.
    pub(crate) async fn build_image(&self, site: Site<'_>, request: ImageRequest<'_>) -> Result<(), RunError> {
        self.kind.build_image(site, request).await
    }

    /// Writes the files that are mounted over those of a worktree.
    pub(crate) async fn write_overlays(&self, site: Site<'_>, task: TaskId) -> Result<(), RunError> {
        self.kind.write_overlays(site, task).await
    }

    /// Returns the image that exports the work, or `None` for the pinned image. The error says why there is no usable image.
    pub(crate) async fn export_image(
        &self,
        site: Site<'_>,
        container: &ContainerSandbox,
        repository: EnvironmentId,
    ) -> Result<Option<String>, Problem> {
        self.kind.export_image(site, container, repository).await
    }

    /// Returns what the worker reported on stderr for people.
    pub(crate) async fn remarks(&self, files: &RunFiles, redactor: &Redactor) -> io::Result<Vec<String>> {
        self.kind.remarks(files, redactor).await
    }

    /// Returns the place of a run's copy of the login, or `None` if the worker has its own login.
    pub(crate) fn login_copy(&self, site: Site<'_>, task: TaskId) -> Option<LoginCopy> {
        self.kind.login_copy(site, task)
    }
}

/// Returns the program behind npm's wrapper. The wrapper is a script that stays as the parent, and killing it leaves Codex
/// running.
fn native_binary(codex: &Path) -> Option<PathBuf> {
    let triple = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let cpu = if std::env::consts::ARCH == "aarch64" { "arm64" } else { "x64" };
    let script = fs_err::canonicalize(codex).ok()?;
    let package = script.parent()?.parent()?;
    let scope = package.parent()?;
    let candidates = [
        scope.join(format!("codex-linux-{cpu}/vendor/{triple}/bin/codex")),
        package.join(format!("node_modules/@openai/codex-linux-{cpu}/vendor/{triple}/bin/codex")),
        package.join(format!("vendor/{triple}/bin/codex")),
        package.join(format!("vendor/{triple}/codex/codex")),
    ];
    candidates.into_iter().find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use process::BaseEnvironment;

    use super::*;

    /// Whether the worker's runs are in containers that this server creates.
    fn is_container(worker: &Worker) -> bool {
        matches!(worker.sandbox(ContainerSandbox::default()), Sandbox::Container(_))
    }

    fn program(path: &Path) {
        fs_err::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs_err::write(path, "#!/bin/sh\n").expect("written");
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("ours");
    }

    fn config(path: &Path, worker: Option<&str>) -> Config {
        let base = BaseEnvironment::default().with("PATH", path);
        Config { worker: worker.map(str::to_owned), base_environment: base, ..Config::for_home(path) }
    }

    #[test]
    fn containers_are_the_default_and_this_program_makes_them() {
        let bin = tempfile::tempdir().expect("a folder");
        program(&bin.path().join("codex"));
        program(&bin.path().join("codex-docker"));
        for asked in [None, Some("codex-docker")] {
            let found = Worker::find(&config(bin.path(), asked)).expect("the built-in worker exists");
            assert_eq!(found.program.to_str(), Some("/proc/self/exe"));
            assert_eq!((found.kind.prefix(), is_container(&found)), (&["codex-docker".to_owned()][..], true));
        }
        let by_path = bin.path().join("codex-docker").display().to_string();
        for (text, is_script) in [("#!/bin/sh\n", false), ("#!/bin/bash\n: $CODEX_MOUNT_MAPS\n", true)] {
            fs_err::write(&by_path, text).expect("written");
            let other = Worker::find(&config(bin.path(), Some(&by_path))).expect("the program exists");
            assert_eq!((other.uses_agent_repository(), other.name.as_str()), (is_script, by_path.as_str()));
            assert!(!is_container(&other));
        }
    }

    #[test]
    fn codex_on_the_host_has_the_orchestrators_own_home_unless_another_is_named() {
        let bin = tempfile::tempdir().expect("a folder");
        program(&bin.path().join("codex"));
        let mut config = config(bin.path(), Some("host"));
        let sessions = |config: &Config| Worker::find(config).expect("there").sessions(None);
        assert_eq!(sessions(&config), Some(SessionFolder::Shared(bin.path().join("codex/sessions"))));
        config.codex_home = Some("/mine".into());
        assert_eq!(sessions(&config), Some(SessionFolder::Shared("/mine/sessions".into())));
    }

    #[test]
    fn a_worker_that_is_not_there_says_what_to_do() {
        let bin = tempfile::tempdir().expect("a folder");
        for worker in [Some("host"), Some("/nowhere/worker")] {
            let problem = Worker::find(&config(bin.path(), worker)).expect_err("the program is missing").to_problem();
            assert!(problem.report.code == ErrorCode::NoWorker && !problem.report.hints.is_empty(), "{problem:?}");
        }
    }

    #[test]
    fn the_wrapper_of_npm_is_passed_by() {
        let folder = tempfile::tempdir().expect("a folder");
        let modules = folder.path().join("lib/node_modules/@openai");
        let triple = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
        let cpu = if std::env::consts::ARCH == "aarch64" { "arm64" } else { "x64" };
        program(&modules.join("codex/bin/codex.js"));
        let native = modules.join(format!("codex-linux-{cpu}/vendor/{triple}/bin/codex"));
        program(&native);
        let bin = folder.path().join("bin");
        fs_err::create_dir_all(&bin).expect("made");
        symlink(modules.join("codex/bin/codex.js"), bin.join("codex")).expect("linked");
        let worker = Worker::find(&config(&bin, Some("host"))).expect("there");
        assert_eq!(worker.program, fs_err::canonicalize(native).expect("there"));
    }

    #[test]
    fn a_package_that_holds_the_program_itself_is_known_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let package = folder.path().join("node_modules/@openai/codex");
        program(&package.join("bin/codex.js"));
        let native = package.join(format!("vendor/{}-unknown-linux-musl/codex/codex", std::env::consts::ARCH));
        program(&native);
        let bin = folder.path().join("bin");
        fs_err::create_dir_all(&bin).expect("made");
        symlink(package.join("bin/codex.js"), bin.join("codex")).expect("linked");
        let worker = Worker::find(&config(&bin, Some("host"))).expect("there");
        assert_eq!(worker.program, fs_err::canonicalize(native).expect("there"));
    }

    #[tokio::test]
    async fn codex_on_the_host_says_its_version_and_others_are_not_asked() {
        let bin = tempfile::tempdir().expect("a folder");
        for name in ["codex", "other"] {
            program(&bin.path().join(name));
            fs_err::write(bin.path().join(name), "#!/bin/sh\necho codex-cli 1.2.3 \"$@\"\n").expect("written");
        }
        let version = async |worker: &str| {
            let found = Worker::find(&config(bin.path(), Some(worker))).expect("there");
            found.kind.codex_version(&found.program, &found.passed).await.expect("it answers, or is not started")
        };
        assert_eq!(version("host").await.as_deref(), Some("codex-cli 1.2.3 --version"));
        assert_eq!(version("other").await, None);
    }
}
