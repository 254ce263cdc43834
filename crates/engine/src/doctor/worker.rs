//! Checks the worker: the container engine and its image, or the Codex CLI on this machine, and the login. Asks the programs
//! themselves, and starts no run.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use model::OLDEST_CODEX_VERSION;
use model::codex::{CodexVersion, printable_line};
use model::container::{ContainerCheck, ContainerImage};

use super::{Finding, Level};
use crate::config::{Broker, Config};
use crate::exec::{CommandSpec, Tool};
use crate::store::{CodexHome, Layout};
use crate::worker::{self, Login, Worker, WorkerKind};

/// Variables that authenticate Codex without a login.
const KEYS: [&str; 2] = ["CODEX_API_KEY", "CODEX_ACCESS_TOKEN"];

/// What cannot be enforced if Codex contacts the model without a broker.
const NOT_ENFORCED: &str = "without an API key and the broker, the server cannot stop an agent from using web search and other tools of \
                            the model's provider, whatever the network setting; `login --with-api-key` enforces it";

/// How long Codex may take to report its login.
const PATIENCE: Duration = Duration::from_secs(20);

/// Returns the findings about the worker.
pub(super) async fn findings(config: &Config) -> Vec<Finding> {
    let worker = match Worker::find(config) {
        Ok(worker) => worker,
        Err(problem) => {
            let problem = problem.to_problem();
            let finding = Finding::new("worker", Level::Failure, problem.report.message);
            return vec![problem.report.hints.into_iter().fold(finding, Finding::hint)];
        }
    };
    let name = worker.status().name;
    match worker.kind() {
        WorkerKind::Container => {
            let mut findings = containers(&worker::check(config).await);
            findings.insert(0, Finding::new("worker", Level::Ok, format!("{name}, which is built in")));
            findings.push(stored_login(config));
            findings.extend(refused_login(config));
            findings
        }
        WorkerKind::Host => {
            let findings = [called(&name, &worker), codex(&worker).await, login(config, &worker).await];
            findings.into_iter().chain(refused_login(config)).collect()
        }
        WorkerKind::Script | WorkerKind::Custom => match worker.script() {
            Some(script) => {
                let check = worker::check_for_harvest(config, script).await;
                let home = script.home().mounted;
                vec![
                    called_script(&name, &worker),
                    harvest(&check),
                    isolation(home.as_deref()),
                    script_login(config, home.as_deref()),
                ]
            }
            None => vec![called(&name, &worker)],
        },
    }
}

fn called(name: &str, worker: &Worker) -> Finding {
    Finding::new("worker", Level::Ok, format!("{name} ({})", worker.program().display()))
}

fn called_script(name: &str, worker: &Worker) -> Finding {
    let found = format!("{name} ({}), a `codex-docker` script that runs Codex in its own containers", worker.program().display());
    Finding::new("worker", Level::Ok, found)
}

/// Checks whether an agent's commits can be exported from the script's container.
fn harvest(check: &ContainerCheck) -> Finding {
    let Some(problem) = worker::problem(check) else {
        let image = check.status.image.as_ref().map_or("the image", |image| image.name.as_str());
        return Finding::new(
            "commits",
            Level::Ok,
            format!("git works in the containers; {image} brings out the agents' commits"),
        );
    };
    let found = format!("agents' own commits cannot be brought out, only their files: {}", problem.report.message);
    let finding = Finding::new("commits", Level::Warning, found);
    finding.hint("set IMAGE_NAME to the image that the script uses, and pull it, or build the image of the built-in worker")
}

/// Lists what the script does not do and the built-in worker does.
fn isolation(home: Option<&Path>) -> Finding {
    let found = "there is no broker: an API key is in the containers' environment, where agents and users of the container \
        engine can read it; the network is always open; the repositories' memory, CPU, process and token limits are not applied; \
        agents run as root with the engine's default privileges";
    let home_too = home.map_or_else(String::new, |home| format!("; agents can read and change `{}`", home.display()));
    let finding = Finding::new("limits", Level::Warning, format!("{found}{home_too}"));
    let finding = finding.hint("the built-in worker does all of this: set ORCH_WORKER to `codex-docker`");
    if home.is_some() { finding.hint("set CODEX_HOME to a folder that only this server uses") } else { finding }
}

/// Checks the login for the script's containers.
fn script_login(config: &Config, home: Option<&Path>) -> Finding {
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
        .hint("set CODEX_API_KEY where the server is started, or CODEX_HOME to the folder of a Codex that is logged in")
}

/// Checks the container engine and the image.
fn containers(check: &ContainerCheck) -> Vec<Finding> {
    let mut findings = vec![];
    if let Some(engine) = &check.status.engine {
        let found = format!("containers by an engine of version {}", engine.version);
        let finding = Finding::new("engine", Level::Ok, found);
        findings.push(if engine.live_restore {
            finding
        } else {
            finding.hint("a restart of it ends the runs; `\"live-restore\": true` in its daemon.json lets them go on")
        });
    }
    findings.extend(check.status.image.iter().map(image));
    if !check.usable {
        let (detail, hints) = match &check.problem {
            Some(problem) => (problem.detail.clone(), problem.hints.clone()),
            None => ("containers cannot be made, and codex-docker does not say why".to_owned(), vec![]),
        };
        let what = if check.status.engine.is_some() { "image" } else { "engine" };
        let finding = hints.into_iter().fold(Finding::new(what, Level::Failure, detail), Finding::hint);
        findings.push(finding.hint("or set ORCH_WORKER=host, to run Codex on this machine inside its own sandbox"));
    }
    findings
}

fn image(image: &ContainerImage) -> Finding {
    let codex = image.codex_version.as_ref().map_or_else(|| "an unknown Codex".to_owned(), |version| format!("Codex {version}"));
    let found = format!("{} with {codex}", image.name);
    if image.stale {
        Finding::new("image", Level::Warning, format!("{found}, which is old"))
            .hint("build it anew: codex-orchestrator codex-docker image build")
    } else {
        Finding::new("image", Level::Ok, found)
    }
}

/// Checks the login for runs in containers.
fn stored_login(config: &Config) -> Finding {
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
            .hint("`codex-orchestrator login`, or set CODEX_API_KEY where the server is started"),
        Err(error) => Finding::new("login", Level::Failure, format!("the stored login cannot be read: {error}"))
            .hint("log in again: codex-orchestrator login"),
    }
}

/// Adds that a key stays behind the broker, unless that is disabled.
fn behind_broker(finding: Finding, config: &Config) -> Finding {
    match config.broker {
        Broker::On => finding,
        Broker::Off => finding.hint(NOT_ENFORCED),
    }
}

/// Reports a run that changed its copy of the login.
fn refused_login(config: &Config) -> Option<Finding> {
    let refused = match CodexHome::at(&Layout::new(&config.home)).refused_copy() {
        Ok(refused) => refused?,
        Err(error) => {
            return Some(Finding::new("login", Level::Warning, format!("`login-refused.json` cannot be read: {error}")));
        }
    };
    let who = match (refused.task_id, refused.run) {
        (Some(task), Some(run)) => format!("run {run} of the task {task}"),
        (Some(_) | None, _) => "something".to_owned(),
    };
    let found = format!("{who} changed a copy of the login of Codex: {}; the login is as it was", refused.why);
    Some(
        Finding::new("login", Level::Warning, found)
            .hint(format!("the changed copy is kept as `{}`", refused.kept.display()))
            .hint("to clear this warning, log in again: codex-orchestrator login"),
    )
}

fn key_of_the_environment(config: &Config) -> Option<Finding> {
    let name = KEYS.into_iter().find(|name| config.environment.contains_key(OsStr::new(name)))?;
    Some(Finding::new("login", Level::Ok, format!("Codex uses {name} from the environment")))
}

async fn codex(worker: &Worker) -> Finding {
    let mend = format!("reinstall it: npm install -g @openai/codex@{}", model::CODEX_VERSION);
    match worker.codex_version().await {
        Ok(said) => version(said.as_deref().unwrap_or_default()).hint_unless_ok(&mend),
        Err(error) => Finding::new("codex", Level::Failure, error.to_string()).hint(mend),
    }
}

fn version(said: &str) -> Finding {
    match CodexVersion::parse(said) {
        Some(version) if version.is_usable() => Finding::new("codex", Level::Ok, said),
        Some(version) => Finding::new(
            "codex",
            Level::Failure,
            format!("Codex {version} is too old: {OLDEST_CODEX_VERSION} or newer is required"),
        ),
        None => Finding::new(
            "codex",
            Level::Warning,
            format!("the Codex CLI does not say its version but `{}`", printable_line(said, 60)),
        ),
    }
}

async fn login(config: &Config, worker: &Worker) -> Finding {
    if let Some(finding) = key_of_the_environment(config) {
        return finding;
    }
    let tool = Tool::at(worker.program());
    let home = config.codex_home.clone().unwrap_or_else(|| Layout::new(&config.home).codex());
    // Codex rejects a missing home, which means that nobody is logged in.
    let ask = CommandSpec::new(&tool, &config.base_environment, "/").args(["login", "status"]).deadline(PATIENCE);
    match ask.env("CODEX_HOME", home).run_ok().await {
        Ok(_) => Finding::new("login", Level::Ok, "Codex is logged in"),
        Err(_) => Finding::new("login", Level::Warning, "Codex is not logged in")
            .hint("`codex-orchestrator login`, or set CODEX_API_KEY where the server is started"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::store::RefusedCopy;

    #[test]
    fn an_old_codex_is_a_failure_and_an_unknown_one_a_warning() {
        assert_eq!(version("codex-cli 0.169.0").level, Level::Ok);
        assert_eq!(version("codex-cli 0.42.0").level, Level::Failure);
        assert_eq!(version("something else").level, Level::Warning);
    }

    #[tokio::test]
    async fn a_key_counts_as_a_login() {
        let folder = tempfile::tempdir().expect("a folder");
        let codex = folder.path().join("codex");
        std::fs::write(&codex, "#!/bin/sh\n[ \"$CODEX_HOME\" = /logged/in ]\n").expect("written");
        std::fs::set_permissions(&codex, std::fs::Permissions::from_mode(0o755)).expect("ours");
        let base = crate::exec::BaseEnvironment::default().with("PATH", folder.path());
        let mut config = Config { worker: Some("host".to_owned()), base_environment: base, ..Config::for_home(folder.path()) };
        let worker = Worker::find(&config).expect("it is on PATH");
        assert_eq!(login(&config, &worker).await.level, Level::Warning);
        config.codex_home = Some("/logged/in".into());
        assert_eq!(login(&config, &worker).await.level, Level::Ok, "the login of the configured CODEX_HOME counts");
        config.codex_home = None;
        config.environment.insert("CODEX_API_KEY".into(), "k".into());
        assert_eq!(login(&config, &worker).await.level, Level::Ok);
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
        let base = crate::exec::BaseEnvironment::default().with("PATH", "/usr/bin:/bin");
        let mut config = Config {
            worker: Some(script.display().to_string()),
            base_environment: base,
            container_program: vec![folder.path().join("checks").display().to_string()],
            ..Config::for_home(folder.path())
        };
        let levels = |found: &[Finding]| found.iter().map(|finding| finding.level).collect::<Vec<_>>();
        let found = findings(&config).await;
        assert_eq!(levels(&found), [Level::Ok, Level::Ok, Level::Warning, Level::Warning], "{found:?}");
        assert!(found[2].found.contains("no broker") && found[2].found.contains("always open"), "{found:?}");
        std::fs::create_dir(&codex).expect("made");
        config.codex_home = Some(codex.clone());
        config.image = Some("missing:1".to_owned());
        config.environment.insert("CODEX_API_KEY".into(), "k".into());
        let found = findings(&config).await;
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
        assert!(!folder.path().join("codex").exists(), "nothing is made by looking");
        let home = CodexHome::open(&Layout::new(folder.path())).expect("made");
        Login::store_key(&home, "sk-test-1234").expect("stored");
        let finding = stored_login(&config);
        assert!(finding.level == Level::Ok && !finding.found.contains("sk-test"), "{finding:?}");
        assert!(finding.hints.is_empty(), "behind a broker, all that is set is enforced: {finding:?}");
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
        assert!(refused_login(&config).is_none(), "another login settles it");
    }
}
