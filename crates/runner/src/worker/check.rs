//! Checks whether the built-in worker can create containers, with `codex-docker check --json`, and caches the answer briefly.
//!
//! A check needs a process and a request to the container engine, so callers that only display the answer get the last one.
//! Invariant: decisions use an answer that is not older than [`FRESH`].

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use config::Config;
use model::container::{ContainerCheck, LayerCheck};
use model::problem::Problem;
use model::{ErrorCode, Report};
use process::{BaseEnvironment, CommandSpec, RunProgramError, Stdout, Tool};
use protocol::WorkerStatus;

use super::script::Script;
use super::variables::engine_environment;

/// How long an answer is used. This is short, so that a person's next request notices that the container engine was started.
const FRESH: Duration = Duration::from_secs(5);

/// How long a container engine may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// The maximum size of an answer in bytes.
const ANSWER_LIMIT_BYTES: usize = 256 * 1024;

/// Runs checks, and caches the answer for each image.
#[derive(Debug)]
pub(crate) struct ContainerChecks {
    program: Vec<String>,
    environment: Vec<(OsString, OsString)>,
    known: Mutex<HashMap<Option<String>, (Instant, ContainerCheck)>>,
    /// How long an answer is used.
    believed: Duration,
    /// Allows one check at a time.
    asking: tokio::sync::Mutex<()>,
}

impl ContainerChecks {
    /// Creates an empty cache. Nothing is checked yet.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            program: config.container_program.clone(),
            environment: engine_environment(config),
            known: Mutex::default(),
            believed: FRESH,
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// Returns the last answer about an image, and whether it is still fresh.
    pub(crate) fn last(&self, image: Option<&str>) -> Option<(ContainerCheck, bool)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&image.map(str::to_owned)).map(|(at, check)| (check.clone(), at.elapsed() < self.believed))
    }

    /// Returns a fresh answer. Runs a check if there is none.
    pub(crate) async fn fresh(&self, image: Option<&str>) -> ContainerCheck {
        if let Some((check, true)) = self.last(image) {
            return check;
        }
        let _turn = self.asking.lock().await;
        // The previous holder of the lock may have checked the same image.
        if let Some((check, true)) = self.last(image) {
            return check;
        }
        let check = self.ask(image).await;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(image.map(str::to_owned), (Instant::now(), check.clone()));
        check
    }

    async fn ask(&self, image: Option<&str>) -> ContainerCheck {
        match check_containers(&self.program, &self.environment, image, None).await {
            Ok(check) => check,
            Err(error) => ContainerCheck {
                problem: Some(
                    Report::new(ErrorCode::CheckFailed, format!("could not check whether containers can run: {error}"))
                        .hint("run `codex-orchestrator codex-docker check` for details")
                        .into(),
                ),
                ..ContainerCheck::default()
            },
        }
    }
}

/// Checks once whether containers can be created.
async fn check_containers(
    program: &[String],
    environment: &[(OsString, OsString)],
    image: Option<&str>,
    layers_in: Option<&Path>,
) -> Result<ContainerCheck, RunProgramError> {
    let (program, prefix) = program.split_first().map_or(("codex-docker", &[][..]), |(first, rest)| (first.as_str(), rest));
    let asked = CommandSpec::new(&Tool::at(program), &BaseEnvironment::default(), "/")
        .args(prefix)
        .args(["check", "--json"])
        .args(image.iter().flat_map(|image| ["--image", image]))
        .args(layers_in.iter().flat_map(|folder| [OsStr::new("--layers-in"), folder.as_os_str()]))
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdout(Stdout::Capture { max: ANSWER_LIMIT_BYTES })
        .deadline(PATIENCE)
        .run()
        .await?;
    serde_json::from_slice(&asked.stdout).map_err(|_| RunProgramError::Failed {
        program: program.to_owned(),
        status: asked.status,
        stderr_tail: asked.stderr_tail,
    })
}

/// Runs a check without a server, for `doctor` and `up`.
pub async fn check(config: &Config) -> ContainerCheck {
    ContainerChecks::new(config).fresh(config.image.as_deref()).await
}

/// Checks how tasks get the folders of a snapshot, with a mount in a short-lived container. Returns `None` if that cannot be checked.
pub(super) async fn check_layers(config: &Config) -> Option<LayerCheck> {
    if !config.home.is_dir() {
        return None;
    }
    let ContainerChecks { program, environment, .. } = ContainerChecks::new(config);
    let checked = check_containers(&program, &environment, config.image.as_deref(), Some(&config.home)).await;
    checked.inspect_err(|error| tracing::debug!(%error, "could not check the layers of snapshots")).ok()?.layers
}

/// Checks the image that exports the work of the public script.
pub(super) async fn check_for_harvest(config: &Config, script: &Script) -> ContainerCheck {
    let checks = ContainerChecks::new(config);
    let used = checks.fresh(config.image.as_deref().or(script.default_image())).await;
    if used.usable { used } else { Some(checks.fresh(None).await).filter(|check| check.usable).unwrap_or(used) }
}

/// Adds an answer to the worker's status.
pub(crate) fn told(mut status: WorkerStatus, check: Option<ContainerCheck>) -> WorkerStatus {
    let Some(check) = check else {
        status.problem = Some("the container engine has not been checked yet".to_owned());
        status.hints = vec!["try again in a moment".to_owned()];
        return status;
    };
    if let Some(problem) = problem(&check) {
        status.problem = Some(problem.report.message);
        status.hints = problem.report.hints;
    } else if let Some(image) = check.status.image.as_ref().filter(|image| image.stale) {
        status.hints =
            vec![format!("the image `{}` is outdated; rebuild it: codex-orchestrator codex-docker image build", image.name)];
    }
    status.container = Some(check.status);
    status
}

/// Returns why no run can be started, or `None` if runs can be started.
pub(super) fn problem(check: &ContainerCheck) -> Option<Problem> {
    if check.usable {
        return None;
    }
    let (detail, hints) = match &check.problem {
        Some(problem) => (problem.detail.as_str(), problem.hints.as_slice()),
        None => ("cannot run containers: codex-docker gave no reason", &[][..]),
    };
    let detail = Problem::new(ErrorCode::NoWorker, detail);
    let hints = hints.iter().cloned().chain(["run `codex-orchestrator doctor` to check the setup".to_owned()]);
    Some(hints.fold(detail, Problem::hint))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A stand-in for codex-docker that counts its calls and prints the content of a file.
    fn checks(folder: &Path, answer: &str) -> ContainerChecks {
        let program = folder.join("codex-docker");
        let script = "#!/bin/sh\ncd \"$(dirname \"$0\")\"\necho \"$@\" >> calls\ncat answer\nexit 1\n";
        fs_err::write(&program, script).expect("written");
        fs_err::write(folder.join("answer"), answer).expect("written");
        fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("ours");
        let mut config = Config::for_home(folder);
        config.container_program = vec![program.display().to_string(), "first".to_owned()];
        config.base_environment = BaseEnvironment::default().with("PATH", "/usr/bin:/bin");
        ContainerChecks::new(&config)
    }

    const NO_IMAGE: &str = r#"{"usable":false,"engine":{"version":"20.10.24","live_restore":false,"rootless":false},"image":null,
        "problem":{"code":"image_missing","detail":"image `x` not found","hints":["build it"]}}"#;

    #[tokio::test]
    async fn an_answer_is_believed_for_a_moment_and_each_image_has_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut checks = checks(folder.path(), r#"{"usable":true}"#);
        checks.believed = Duration::MAX;
        assert!(checks.last(None).is_none());
        assert!(checks.fresh(None).await.usable && checks.fresh(None).await.usable);
        assert!(checks.fresh(Some("mine:1")).await.usable);
        checks.believed = Duration::ZERO;
        assert!(checks.last(None).is_some_and(|(check, fresh)| check.usable && !fresh));
        checks.fresh(None).await;
        let calls = fs_err::read_to_string(folder.path().join("calls")).expect("the program was called");
        assert_eq!(calls, "first check --json\nfirst check --json --image mine:1\nfirst check --json\n");
    }

    #[tokio::test]
    async fn what_is_missing_is_said_with_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let check = checks(folder.path(), NO_IMAGE).fresh(None).await;
        let problem = problem(&check).expect("no image");
        assert_eq!(
            (problem.report.code.known(), problem.report.message.as_str()),
            (Some(ErrorCode::NoWorker), "image `x` not found")
        );
        assert_eq!(problem.report.hints[0], "build it");
        let status = told(worker(), Some(check));
        assert_eq!(status.problem.as_deref(), Some("image `x` not found"));
        assert!(status.container.is_some_and(|container| container.engine.is_some() && container.image.is_none()));
    }

    #[tokio::test]
    async fn a_program_that_answers_nonsense_or_is_not_there_makes_no_containers() {
        let folder = tempfile::tempdir().expect("a folder");
        let nonsense = checks(folder.path(), "what?").fresh(None).await;
        assert_eq!(nonsense.problem.expect("a problem").code, ErrorCode::CheckFailed);
        let mut gone = checks(folder.path(), "");
        gone.program = vec!["/no/such/program".to_owned()];
        assert!(!gone.fresh(None).await.usable);
    }

    #[test]
    fn an_old_image_is_no_problem_but_a_hint_and_silence_is_not_readiness() {
        let text = r#"{"usable":true,"image":{"name":"x:1","codex_version":"0.1.0","built_for":null,"stale":true}}"#;
        let status = told(worker(), Some(serde_json::from_str(text).expect("an answer")));
        assert!(status.problem.is_none() && status.hints[0].contains("x:1"), "{status:?}");
        assert!(told(worker(), None).problem.is_some());
    }

    fn worker() -> WorkerStatus {
        WorkerStatus { name: "codex-docker".to_owned(), program: None, problem: None, hints: vec![], container: None }
    }
}
