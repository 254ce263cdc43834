//! Programs that run Codex without an agent repository: Codex itself as a process of this machine, and any program that follows the
//! contract.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use config::Config;
use futures_util::future::BoxFuture;
use model::ErrorCode;
use model::codex::app_server::SandboxMode;
use model::ids::TaskId;
use model::problem::Problem;
use process::{BaseEnvironment, RunProgramError, Tool};
use protocol::Finding;
use store::LoginCopy;

use super::super::findings::{called, host_login, refused_login, version};
use super::super::request::RunCall;
use super::super::session::SessionFolder;
use super::{AppServerPlace, Draft, FoundWorker, Site, WorkerKind};
use crate::spec::{ContainerSandbox, Sandbox};

/// The path of the images from a worktree, where a worker on the host starts.
const IMAGES_BESIDE: &str = "../images";

/// Codex as a process of this machine, inside Codex's own sandbox.
#[derive(Debug)]
pub(in super::super) struct Host {
    /// Codex's home.
    pub(in super::super) codex_home: PathBuf,
}

impl WorkerKind for Host {
    fn sandbox(&self, _container: ContainerSandbox) -> Sandbox {
        Sandbox::Host
    }

    fn flags(&self) -> &'static [&'static str] {
        &["-s", "workspace-write"]
    }

    fn flags_below(&self, worktree: &Path) -> Vec<String> {
        // By default, Codex's sandbox only lets the agent write to the folder that it starts in. A JSON list is valid TOML.
        let roots = serde_json::json!([worktree.to_string_lossy()]);
        vec!["-c".to_owned(), format!("sandbox_workspace_write.writable_roots={roots}")]
    }

    fn app_server(&self, call: &RunCall<'_>) -> Option<AppServerPlace> {
        let directory = call.subdirectory.map_or_else(|| call.worktree.to_owned(), |folder| call.worktree.join(folder.as_str()));
        Some(AppServerPlace { directory, sandbox: SandboxMode::WorkspaceWrite })
    }

    fn images(&self, _call: &RunCall<'_>) -> String {
        IMAGES_BESIDE.to_owned()
    }

    fn complete(&self, draft: &mut Draft, _call: &RunCall<'_>) {
        draft.set("CODEX_HOME", &self.codex_home);
    }

    fn sessions(&self, _of_task: Option<&Path>) -> Option<SessionFolder> {
        Some(SessionFolder::Shared(self.codex_home.join("sessions")))
    }

    fn session_folder(&self, _of_task: &Path) -> Option<PathBuf> {
        Some(self.codex_home.join("sessions"))
    }

    fn login_copy(&self, site: Site<'_>, _task: TaskId) -> Option<LoginCopy> {
        site.config.codex_home.is_none().then(|| site.codex_home.host_copy())
    }

    fn login_obstacle(&self, config: &Config) -> Option<Problem> {
        let home = config.codex_home.as_ref()?.display();
        let detail = format!("the worker `host` uses the Codex home {home}");
        Some(
            Problem::new(ErrorCode::LoginNotUsed, detail)
                .hint(format!("log in there: CODEX_HOME={home} codex login"))
                .hint("or unset CODEX_HOME and `codex_home` to use the orchestrator's own Codex home"),
        )
    }

    fn codex_version<'a>(
        &'a self,
        program: &'a Path,
        environment: &'a [(OsString, OsString)],
    ) -> BoxFuture<'a, Result<Option<String>, RunProgramError>> {
        Box::pin(async move {
            let base = BaseEnvironment::pick(environment.iter().cloned());
            let tool = Tool::at(program).ask_version(&["--version"], &base).await?;
            Ok(tool.version().map(str::to_owned))
        })
    }

    fn findings<'a>(&'a self, worker: FoundWorker<'a>, config: &'a Config) -> BoxFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            let said = self.codex_version(worker.program, worker.environment).await;
            let findings = [called(worker.name, worker.program), version(said), host_login(config, worker.program).await];
            findings.into_iter().chain(refused_login(config)).collect()
        })
    }
}

/// Any program that follows the contract.
#[derive(Debug)]
pub(in super::super) struct Custom {
    /// Codex's home, if the settings name one.
    pub(in super::super) codex_home: Option<PathBuf>,
}

impl WorkerKind for Custom {
    /// Codex interprets a comma as the end of a path, and the path of the home directory may contain one. Therefore, the path is
    /// relative to the worktree, unless the program mounts the folder under its own path.
    fn images(&self, call: &RunCall<'_>) -> String {
        call.images_folder.as_ref().map_or_else(|| IMAGES_BESIDE.to_owned(), |folder| folder.to_string_lossy().into_owned())
    }

    fn complete(&self, draft: &mut Draft, call: &RunCall<'_>) {
        if let Some(home) = &self.codex_home {
            draft.set("CODEX_HOME", home);
        }
        if let Some(folder) = &call.images_folder {
            // The public helper script mounts these paths under the same path.
            draft.set("CODEX_MOUNT_PATHS_RO", folder);
        }
    }

    fn sessions(&self, _of_task: Option<&Path>) -> Option<SessionFolder> {
        None
    }

    fn session_folder(&self, _of_task: &Path) -> Option<PathBuf> {
        self.codex_home.as_ref().map(|home| home.join("sessions"))
    }

    fn login_obstacle(&self, _config: &Config) -> Option<Problem> {
        Some(own_login())
    }

    fn findings<'a>(&'a self, worker: FoundWorker<'a>, _config: &'a Config) -> BoxFuture<'a, Vec<Finding>> {
        let called = called(worker.name, worker.program);
        Box::pin(async { vec![called] })
    }
}

/// Returns why a stored login has no effect with a custom program.
pub(super) fn own_login() -> Problem {
    Problem::new(ErrorCode::LoginNotUsed, "the worker is a custom program that has its own login")
        .hint("log in with that program, or set CODEX_API_KEY in the server's environment")
}
