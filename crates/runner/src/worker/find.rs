//! Finds the worker that runs tasks: the built-in worker with containers, unless another worker is configured. This module only
//! searches PATH and folders, and starts no program. Whether containers can be created is checked elsewhere, periodically.

use std::path::{Path, PathBuf};

use config::Config;
use model::ErrorCode;
use model::problem::Problem;
use process::{BaseEnvironment, RunProgramError, Tool};
use protocol::WorkerStatus;
use store::Layout;

use super::kind::WorkerKind;
use super::script::Script;

/// The program that runs Codex.
#[derive(Debug, Clone)]
pub struct Worker {
    pub(super) kind: WorkerKind,
    pub(super) program: PathBuf,
    /// The arguments that precede those of the contract.
    pub(super) prefix: Vec<String>,
    pub(super) codex_home: Option<PathBuf>,
    pub(super) passed: Vec<(std::ffi::OsString, std::ffi::OsString)>,
    pub(super) passed_names: Vec<String>,
    pub(super) script: Option<Script>,
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
        let mut script = None;
        let (kind, name, program, prefix) = match config.worker.as_deref() {
            None | Some("codex-docker") => {
                let (program, prefix) = config.container_program.split_first().ok_or(WorkerProblem::NotFound(String::new()))?;
                (WorkerKind::Container, "codex-docker", PathBuf::from(program), prefix.to_vec())
            }
            Some("host") => {
                let codex = find("codex").map_err(|_| WorkerProblem::NoCodex)?;
                (WorkerKind::Host, "host", native_binary(&codex).unwrap_or(codex), vec![])
            }
            Some(asked) => {
                let program = find(asked).map_err(|_| WorkerProblem::NotFound(asked.to_owned()))?;
                script = Script::recognize(&program, config);
                (if script.is_some() { WorkerKind::Script } else { WorkerKind::Custom }, asked, program, vec![])
            }
        };
        let codex_home = match kind {
            // The run's own home is created in the container.
            WorkerKind::Container | WorkerKind::Script => None,
            // By default, this is not the home that the machine's owner uses for Codex.
            WorkerKind::Host => Some(config.codex_home.clone().unwrap_or_else(|| Layout::new(&config.home).codex())),
            WorkerKind::Custom => config.codex_home.clone(),
        };
        let (passed, passed_names) = super::variables::passed(config, kind);
        Ok(Self { kind, program, prefix, codex_home, passed, passed_names, script, name: name.to_owned() })
    }

    /// Returns the kind.
    pub fn kind(&self) -> WorkerKind {
        self.kind
    }

    /// Whether the worker's runs are in containers, with an agent repository from which the work is exported.
    pub fn uses_containers(&self) -> bool {
        matches!(self.kind, WorkerKind::Container | WorkerKind::Script)
    }

    /// Returns the details of the public script, if it is the worker.
    pub fn script(&self) -> Option<&Script> {
        self.script.as_ref()
    }

    /// Returns the program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Returns the status for the API.
    pub fn status(&self) -> WorkerStatus {
        let program = Some(self.program.display().to_string()).filter(|_| self.kind != WorkerKind::Container);
        WorkerStatus { name: self.name.clone(), program, problem: None, hints: vec![], container: None }
    }

    /// Returns the first line of Codex's version, if Codex is a program on this machine.
    pub async fn codex_version(&self) -> Result<Option<String>, RunProgramError> {
        match self.kind {
            WorkerKind::Host => {
                let base = BaseEnvironment::pick(self.passed.iter().cloned());
                let tool = Tool::at(&self.program).ask_version(&["--version"], &base).await?;
                Ok(tool.version().map(str::to_owned))
            }
            WorkerKind::Container | WorkerKind::Script | WorkerKind::Custom => Ok(None),
        }
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

    use super::*;

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
            assert_eq!((found.kind, found.program.to_str()), (WorkerKind::Container, Some("/proc/self/exe")));
            assert_eq!((found.prefix, found.codex_home), (vec!["codex-docker".to_owned()], None));
        }
        let by_path = bin.path().join("codex-docker").display().to_string();
        for (text, kind) in [("#!/bin/sh\n", WorkerKind::Custom), ("#!/bin/bash\n: $CODEX_MOUNT_MAPS\n", WorkerKind::Script)] {
            fs_err::write(&by_path, text).expect("written");
            let other = Worker::find(&config(bin.path(), Some(&by_path))).expect("the program exists");
            assert_eq!((other.kind, other.name.as_str()), (kind, by_path.as_str()));
        }
    }

    #[test]
    fn codex_on_the_host_has_the_orchestrators_own_home_unless_another_is_named() {
        let bin = tempfile::tempdir().expect("a folder");
        program(&bin.path().join("codex"));
        let mut config = config(bin.path(), Some("host"));
        let home = |config: &Config| Worker::find(config).expect("there").codex_home;
        assert_eq!(home(&config), Some(bin.path().join("codex")));
        config.codex_home = Some("/mine".into());
        assert_eq!(home(&config), Some("/mine".into()));
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
        let host = Worker::find(&config(bin.path(), Some("host"))).expect("there");
        assert_eq!(host.codex_version().await.expect("it answers").as_deref(), Some("codex-cli 1.2.3 --version"));
        let other = Worker::find(&config(bin.path(), Some("other"))).expect("there");
        assert_eq!(other.codex_version().await.expect("the program is not started"), None);
    }
}
