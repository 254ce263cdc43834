//! The findings of `doctor` about workers: the container engine and its image, or the Codex CLI on this machine, and the login.
//!
//! Each kind of worker combines the findings that apply to it. The checks ask the programs themselves and start no runs.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use config::{Broker, Config};
use model::OLDEST_CODEX_VERSION;
use model::codex::CodexVersion;
use model::container::{ContainerCheck, ContainerImage, LayerCheck, LayerFallback};
use printable::printable_line;
use process::{CommandSpec, RunProgramError, Tool};
use protocol::{Finding, Level};
use store::{CodexHome, Layout};

use super::check::problem;
use super::login::Login;

/// Variables with credentials for Codex, which replace a stored login.
const KEYS: [&str; 2] = ["CODEX_API_KEY", "CODEX_ACCESS_TOKEN"];

/// What the server cannot enforce if Codex connects to the model without the broker.
const NOT_ENFORCED: &str = "without an API key and the broker, agents can use web search and other tools of the model's provider, regardless \
                            of the network setting; to prevent this, run `codex-orchestrator login --with-api-key`";

/// The time limit for `codex login status`.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn called(name: &str, program: &Path) -> Finding {
    Finding::new("worker", Level::Ok, format!("{name} ({})", program.display()))
}

pub(super) fn called_script(name: &str, program: &Path) -> Finding {
    let found = format!("{name} ({}), a `codex-docker` script that runs Codex in its own containers", program.display());
    Finding::new("worker", Level::Ok, found)
}

/// Checks whether an agent's commits can be exported from the script's container.
pub(super) fn harvest(check: &ContainerCheck) -> Finding {
    let Some(problem) = problem(check) else {
        let image = check.status.image.as_ref().map_or("the image", |image| image.name.as_str());
        return Finding::new(
            "commits",
            Level::Ok,
            format!("git works in the containers, and agents' commits are exported with {image}"),
        );
    };
    let found = format!("agents' files can be exported, but not their commits: {}", problem.report.message);
    let finding = Finding::new("commits", Level::Warning, found);
    finding.hint("pull the image that the script uses and set IMAGE_NAME to it, or build the image of the built-in worker")
}

/// Lists the protections of the built-in worker that the script lacks.
pub(super) fn isolation(home: Option<&Path>) -> Finding {
    let found = "no broker: API keys are in the containers' environment, where agents and users of the container engine can read \
        them; the network is always open; memory, CPU, process and token limits of repositories do not apply; agents run as root \
        with the container engine's default privileges";
    let home_too = home.map_or_else(String::new, |home| format!("; agents can read and change `{}`", home.display()));
    let finding = Finding::new("limits", Level::Warning, format!("{found}{home_too}"));
    let finding = finding.hint("to get these protections, set ORCH_WORKER to `codex-docker`, the built-in worker");
    if home.is_some() { finding.hint("set CODEX_HOME to a folder that only this server uses") } else { finding }
}

/// Checks the login for the script's containers.
pub(super) fn script_login(config: &Config, home: Option<&Path>) -> Finding {
    if let Some(finding) = key_of_the_environment(config) {
        return finding;
    }
    let stored = match home {
        Some(home) => home.join("auth.json").exists(),
        None => matches!(Login::stored(&CodexHome::at(&Layout::new(&config.home))), Ok(Some(Login::ApiKey(_)))),
    };
    if stored {
        return Finding::new("login", Level::Ok, "Codex is logged in");
    }
    Finding::new("login", Level::Warning, "Codex is not logged in")
        .hint("set CODEX_API_KEY for the server, or set CODEX_HOME to the folder of a Codex that is logged in")
}

/// Checks the container engine and the image.
pub(super) fn containers(check: &ContainerCheck) -> Vec<Finding> {
    let mut findings = vec![];
    if let Some(engine) = &check.status.engine {
        let found = format!("container engine {}", engine.version);
        let finding = Finding::new("engine", Level::Ok, found);
        findings.push(if engine.live_restore {
            finding
        } else {
            finding.hint("set `\"live-restore\": true` in the container engine's daemon.json, so that runs continue when the engine restarts")
        });
    }
    findings.extend(check.status.image.iter().map(image));
    if !check.usable {
        let (detail, hints) = match &check.problem {
            Some(problem) => (problem.detail.clone(), problem.hints.clone()),
            None => ("cannot create containers, for an unknown reason".to_owned(), vec![]),
        };
        let what = if check.status.engine.is_some() { "image" } else { "engine" };
        let finding = hints.into_iter().fold(Finding::new(what, Level::Failure, detail), Finding::hint);
        findings.push(finding.hint("or set ORCH_WORKER=host to run Codex on this machine in its own sandbox"));
    }
    findings
}

/// Reports how tasks get the folders of a snapshot.
pub(super) fn layers(check: &LayerCheck) -> Finding {
    if check.overlay {
        return Finding::new("snapshots", Level::Ok, "tasks get overlays of snapshots");
    }
    let reason = check.reason.as_deref().unwrap_or("the container engine gave no reason");
    let finding = Finding::new("snapshots", Level::Warning, format!("overlays of snapshots do not work: {reason}"));
    finding.hint(match check.fallback {
        LayerFallback::Reflink => "tasks get copies instead, which share blocks with the snapshot",
        LayerFallback::Copy => {
            "tasks get copies instead, which take time and disk space; use Docker, and a home on ext4, xfs or btrfs"
        }
    })
}

fn image(image: &ContainerImage) -> Finding {
    let codex =
        image.codex_version.as_ref().map_or_else(|| "an unknown Codex version".to_owned(), |version| format!("Codex {version}"));
    let found = format!("{} with {codex}", image.name);
    if image.stale {
        Finding::new("image", Level::Warning, format!("{found}, which is out of date"))
            .hint("rebuild it with `codex-orchestrator codex-docker image build`")
    } else {
        Finding::new("image", Level::Ok, found)
    }
}

/// Checks the login for runs in containers.
pub(super) fn stored_login(config: &Config) -> Finding {
    if let Some(finding) = key_of_the_environment(config) {
        return if config.environment.contains_key(OsStr::new(KEYS[0])) {
            behind_broker(finding, config)
        } else {
            finding.hint(NOT_ENFORCED)
        };
    }
    match Login::stored(&CodexHome::at(&Layout::new(&config.home))) {
        Ok(Some(login)) => {
            let finding = Finding::new("login", Level::Ok, format!("Codex is logged in with {}", login.describe()));
            match login {
                Login::ApiKey(_) => behind_broker(finding, config),
                Login::Account { .. } => finding.hint(NOT_ENFORCED),
            }
        }
        Ok(None) => Finding::new("login", Level::Warning, "Codex is not logged in")
            .hint("run `codex-orchestrator login`, or set CODEX_API_KEY for the server"),
        Err(error) => Finding::new("login", Level::Failure, format!("could not read the stored login: {error}"))
            .hint("log in again with `codex-orchestrator login`"),
    }
}

/// Adds the hint about missing enforcement if the broker is turned off.
fn behind_broker(finding: Finding, config: &Config) -> Finding {
    match config.broker {
        Broker::On => finding,
        Broker::Off => finding.hint(NOT_ENFORCED),
    }
}

/// Reports a run that changed its copy of the login.
pub(super) fn refused_login(config: &Config) -> Option<Finding> {
    let refused = match CodexHome::at(&Layout::new(&config.home)).refused_copy() {
        Ok(refused) => refused?,
        Err(error) => {
            return Some(Finding::new("login", Level::Warning, format!("could not read `login-refused.json`: {error}")));
        }
    };
    let who = match (refused.task_id, refused.run) {
        (Some(task), Some(run)) => format!("run {run} of task {task}"),
        (Some(_) | None, _) => "an unknown run".to_owned(),
    };
    let found = format!("{who} changed its copy of the Codex login: {}; the original login is unchanged", refused.why);
    Some(
        Finding::new("login", Level::Warning, found)
            .hint(format!("the changed copy is stored in `{}`", refused.kept.display()))
            .hint("to clear this warning, log in again with `codex-orchestrator login`"),
    )
}

fn key_of_the_environment(config: &Config) -> Option<Finding> {
    let name = KEYS.into_iter().find(|name| config.environment.contains_key(OsStr::new(name)))?;
    Some(Finding::new("login", Level::Ok, format!("Codex uses {name} from the environment")))
}

/// Checks the answer of Codex to the question for its version.
pub(super) fn version(said: Result<Option<String>, RunProgramError>) -> Finding {
    let fix = format!("reinstall it with `npm install -g @openai/codex@{}`", model::CODEX_VERSION);
    match said {
        Ok(said) => version_of(said.as_deref().unwrap_or_default()).hint_unless_ok(&fix),
        Err(error) => Finding::new("codex", Level::Failure, error.to_string()).hint(fix),
    }
}

fn version_of(said: &str) -> Finding {
    match CodexVersion::parse(said) {
        Some(version) if version.is_usable() => Finding::new("codex", Level::Ok, said),
        Some(version) => Finding::new(
            "codex",
            Level::Failure,
            format!("Codex {version} is too old: {OLDEST_CODEX_VERSION} or newer is required"),
        ),
        None => {
            Finding::new("codex", Level::Warning, format!("unexpected version of the Codex CLI: `{}`", printable_line(said, 60)))
        }
    }
}

/// Checks the login of Codex on this machine.
pub(super) async fn host_login(config: &Config, program: &Path) -> Finding {
    if let Some(finding) = key_of_the_environment(config) {
        return finding;
    }
    let tool = Tool::at(program);
    let home = config.codex_home.clone().unwrap_or_else(|| Layout::new(&config.home).codex());
    // Codex also fails if its home does not exist. In that case, it is not logged in.
    let ask = CommandSpec::new(&tool, &config.base_environment, "/").args(["login", "status"]).deadline(PATIENCE);
    match ask.env("CODEX_HOME", home).run_ok().await {
        Ok(_) => Finding::new("login", Level::Ok, "Codex is logged in"),
        Err(_) => Finding::new("login", Level::Warning, "Codex is not logged in")
            .hint("run `codex-orchestrator login`, or set CODEX_API_KEY for the server"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use store::RefusedCopy;

    use super::super::find::Worker;
    use super::*;

    #[test]
    fn an_old_codex_is_a_failure_and_an_unknown_one_a_warning() {
        assert_eq!(version_of("codex-cli 0.169.0").level, Level::Ok);
        assert_eq!(version_of("codex-cli 0.42.0").level, Level::Failure);
        assert_eq!(version_of("something else").level, Level::Warning);
    }

    #[test]
    fn what_replaces_overlays_is_named() {
        let check = |text: &str| {
            let check: ContainerCheck = serde_json::from_str(text).expect("the output of a check");
            layers(&check.layers.expect("the layers were checked"))
        };
        let fine = check(r#"{"usable":true,"layers":{"folder":"/h","overlay":true,"reason":null,"fallback":"copy"}}"#);
        assert_eq!((fine.level, fine.hints.len()), (Level::Ok, 0));
        for (fallback, words) in [("reflink", "share blocks"), ("copy", "disk space")] {
            let layers = format!(r#"{{"folder":"/h","overlay":false,"reason":"invalid argument","fallback":"{fallback}"}}"#);
            let finding = check(&format!(r#"{{"usable":true,"layers":{layers}}}"#));
            assert!(finding.level == Level::Warning && finding.found.ends_with("invalid argument"), "{finding:?}");
            assert!(finding.hints[0].contains(words), "{finding:?}");
        }
    }

    #[tokio::test]
    async fn a_key_counts_as_a_login() {
        let folder = tempfile::tempdir().expect("a folder");
        let codex = folder.path().join("codex");
        std::fs::write(&codex, "#!/bin/sh\n[ \"$CODEX_HOME\" = /logged/in ]\n").expect("written");
        std::fs::set_permissions(&codex, std::fs::Permissions::from_mode(0o755)).expect("ours");
        let base = process::BaseEnvironment::default().with("PATH", folder.path());
        let mut config = Config { worker: Some("host".to_owned()), base_environment: base, ..Config::for_home(folder.path()) };
        assert_eq!(host_login(&config, &codex).await.level, Level::Warning);
        config.codex_home = Some("/logged/in".into());
        assert_eq!(host_login(&config, &codex).await.level, Level::Ok, "the login of the configured CODEX_HOME counts");
        config.codex_home = None;
        config.environment.insert("CODEX_API_KEY".into(), "k".into());
        assert_eq!(host_login(&config, &codex).await.level, Level::Ok);
    }

    #[tokio::test]
    async fn the_public_script_is_reported_with_what_it_does_not_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let (script, codex) = (folder.path().join("script"), folder.path().join("codex-home"));
        let text = "#!/bin/bash\n: \"${IMAGE_NAME:-some/image:1}\" \"$CODEX_MOUNT_MAPS\"\n";
        let checks = "#!/bin/sh\n[ \"$4\" = some/image:1 ] && echo '{\"usable\":true}' || echo '{\"usable\":false}'\n";
        for (name, text) in [("script", text), ("checks", checks)] {
            std::fs::write(folder.path().join(name), text).expect("written");
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(folder.path().join(name), mode).expect("ours");
        }
        let base = process::BaseEnvironment::default().with("PATH", "/usr/bin:/bin");
        let mut config = Config {
            worker: Some(script.display().to_string()),
            base_environment: base,
            container_program: vec![folder.path().join("checks").display().to_string()],
            ..Config::for_home(folder.path())
        };
        let levels = |found: &[Finding]| found.iter().map(|finding| finding.level).collect::<Vec<_>>();
        let found = Worker::find(&config).expect("the script exists").findings(&config).await;
        assert_eq!(levels(&found), [Level::Ok, Level::Ok, Level::Warning, Level::Warning], "{found:?}");
        assert!(found[2].found.contains("no broker") && found[2].found.contains("always open"), "{found:?}");
        std::fs::create_dir(&codex).expect("made");
        config.codex_home = Some(codex.clone());
        config.image = Some("missing:1".to_owned());
        config.environment.insert("CODEX_API_KEY".into(), "k".into());
        let found = Worker::find(&config).expect("the script exists").findings(&config).await;
        assert_eq!(levels(&found), [Level::Ok, Level::Warning, Level::Warning, Level::Ok], "{found:?}");
        assert!(found[2].found.contains(&codex.display().to_string()), "{found:?}");
    }

    fn told(text: &str) -> Vec<(Level, String)> {
        let check: ContainerCheck = serde_json::from_str(text).expect("an answer");
        containers(&check).into_iter().map(|finding| (finding.level, finding.found)).collect()
    }

    #[test]
    fn the_engine_and_the_image_are_told_with_what_is_wrong_with_them() {
        let engine = r#""engine":{"version":"20.10.24","live_restore":true,"rootless":false}"#;
        let image =
            |stale: bool| format!(r#""image":{{"name":"x:1","codex_version":"0.169.0","built_for":"1","stale":{stale}}}"#);
        let sound = told(&format!(r#"{{"usable":true,{engine},{}}}"#, image(false)));
        assert_eq!(sound.iter().map(|(level, _)| *level).collect::<Vec<_>>(), [Level::Ok, Level::Ok]);
        assert!(sound[0].1.contains("20.10.24") && sound[1].1.contains("Codex 0.169.0"), "{sound:?}");
        let old = told(&format!(r#"{{"usable":true,{engine},{}}}"#, image(true)));
        assert_eq!(old[1].0, Level::Warning);
        let problem = r#""problem":{"code":"x","detail":"it is not there","hints":["make it"]}"#;
        let missing = told(&format!(r#"{{"usable":false,{engine},"image":null,{problem}}}"#));
        assert_eq!((missing[1].0, missing[1].1.as_str()), (Level::Failure, "it is not there"));
        assert_eq!(told(&format!(r#"{{"usable":false,{problem}}}"#)).len(), 1);
        assert_eq!(told(r#"{"usable":false}"#)[0].0, Level::Failure);
    }

    #[test]
    fn the_stored_login_is_told_and_never_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = Config::for_home(folder.path());
        assert_eq!(stored_login(&config).level, Level::Warning);
        assert!(!folder.path().join("codex").exists(), "a check does not create the folder");
        let home = CodexHome::open(&Layout::new(folder.path())).expect("made");
        Login::store_key(&home, "sk-test-1234").expect("stored");
        let finding = stored_login(&config);
        assert!(finding.level == Level::Ok && !finding.found.contains("sk-test"), "{finding:?}");
        assert!(finding.hints.is_empty(), "with the broker, all settings are enforced: {finding:?}");
        let without_broker = Config { broker: Broker::Off, ..config.clone() };
        assert_eq!(stored_login(&without_broker).hints, [NOT_ENFORCED]);
        assert!(refused_login(&config).is_none());
        let refused = RefusedCopy {
            at: jiff::Timestamp::UNIX_EPOCH,
            task_id: None,
            run: None,
            why: "it has another API key".to_owned(),
            kept: "/kept/here".into(),
        };
        home.report_refused_copy(&refused).expect("written");
        let finding = refused_login(&config).expect("told");
        assert!(finding.level == Level::Warning && finding.found.contains("another API key"), "{finding:?}");
        home.write_login(b"{").expect("written");
        assert_eq!(stored_login(&config).level, Level::Failure);
        assert!(refused_login(&config).is_none(), "a new login clears the warning");
    }
}
