//! The command line and the environment of one run, as the worker contract wants them.
//!
//! The prompt is not among the arguments: it comes on stdin. `CODEX_PASSTHROUGH_ENV` is never empty, because the public helper
//! script takes an empty one as "pass everything". `CODEX_WORKSPACE_DIR` is not set: with it that script mounts nothing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use model::ids::{Attempt, RunNumber, TaskId, ThreadId};
use model::names::{Setting, VariableName};

use super::find::{Worker, WorkerKind};
use crate::config::Config;

/// The variable by which everything that belongs to a run can be told: `<task_id>/<run>/<attempt>`.
pub(crate) const RUN_MARK: &str = "ORCH_RUN";

/// What a worker needs of the server's environment besides the common names.
const WORKER_NAMES: &[&str] =
    &["LANG", "LC_ALL", "TZ", "TERM", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "IMAGE_NAME"];

/// What Codex itself needs, also inside a container.
const CODEX_NAMES: &[&str] = &["CODEX_API_KEY", "CODEX_ACCESS_TOKEN"];

/// One run, as a worker is told about it.
#[derive(Debug, Clone, Copy)]
pub struct RunCall<'a> {
    /// The task.
    pub task_id: TaskId,
    /// Which of its runs.
    pub run: RunNumber,
    /// Which try.
    pub attempt: Attempt,
    /// The model, else Codex's own choice.
    pub model: Option<&'a Setting>,
    /// The reasoning effort, else Codex's own choice.
    pub effort: Option<&'a Setting>,
    /// The thread to go on with.
    pub resumes: Option<ThreadId>,
    /// The environment's variables for the agent.
    pub variables: &'a BTreeMap<VariableName, String>,
}

/// What to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerCall {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
}

/// What of the server's environment reaches a worker, and the names that may go on into its container.
pub(super) fn passed(config: &Config) -> (Vec<(OsString, OsString)>, Vec<String>) {
    let names: Vec<String> =
        CODEX_NAMES.iter().map(|name| (*name).to_owned()).chain(config.pass_environment.iter().cloned()).collect();
    let listed = WORKER_NAMES.iter().map(|name| (*name).to_owned()).chain(names.iter().cloned());
    let mut passed = config.base_environment.common();
    for name in listed {
        if let Some(value) = config.environment.get(&OsString::from(&name)) {
            passed.insert(name.into(), value.clone());
        }
    }
    let present = names.into_iter().filter(|name| passed.contains_key(&OsString::from(name))).collect();
    (passed.into_iter().collect(), present)
}

/// The mark of one try of a run.
pub(crate) fn run_mark(task_id: TaskId, run: RunNumber, attempt: Attempt) -> String {
    format!("{task_id}/{}/{}", run.0, attempt.0)
}

impl Worker {
    /// How this worker is called for a run.
    pub fn call(&self, call: &RunCall<'_>) -> WorkerCall {
        WorkerCall { program: self.program.clone(), args: self.arguments(call), environment: self.environment(call) }
    }

    fn arguments(&self, call: &RunCall<'_>) -> Vec<String> {
        let mut args = vec!["exec".to_owned(), "--json".to_owned()];
        if self.kind == WorkerKind::Host {
            args.extend(["-s".to_owned(), "workspace-write".to_owned()]);
        }
        if let Some(model) = call.model {
            args.extend(["-m".to_owned(), model.to_string()]);
        }
        if let Some(effort) = call.effort {
            args.extend(["-c".to_owned(), format!("model_reasoning_effort={effort}")]);
        }
        if let Some(thread) = call.resumes {
            args.extend(["resume".to_owned(), thread.to_string()]);
        }
        args.push("-".to_owned());
        args
    }

    fn environment(&self, call: &RunCall<'_>) -> Vec<(OsString, OsString)> {
        let mut environment: BTreeMap<OsString, OsString> = self.passed.iter().cloned().collect();
        let mut set = |name: String, value: OsString| environment.insert(name.into(), value);
        for (name, value) in call.variables {
            if self.kind != WorkerKind::CodexDocker {
                set(name.to_string(), value.into());
            }
            set(format!("CODEX_CONTAINER_ENV_{name}"), value.into());
        }
        if let Some(home) = &self.codex_home {
            set("CODEX_HOME".to_owned(), home.into());
        }
        let passed: Vec<_> = self.passed_names.iter().map(String::as_str).chain([RUN_MARK]).collect();
        set("CODEX_PASSTHROUGH_ENV".to_owned(), passed.join(",").into());
        set("CONTAINER_NAME".to_owned(), format!("codex-{}-run-{}", call.task_id, call.run).into());
        set(RUN_MARK.to_owned(), run_mark(call.task_id, call.run, call.attempt).into());
        environment.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const TASK: &str = "01a201f5-b7dd-79a1-8a6e-7e6639f5c650";

    fn worker(asked: &str, environment: &[(&str, &str)]) -> Worker {
        let mut config = Config::for_home(Path::new("/home/me/.codex-orchestrator"));
        config.worker = Some(asked.to_owned());
        config.environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
        config.pass_environment = vec!["MY_TOKEN".to_owned()];
        let (passed, passed_names) = passed(&config);
        let mut worker = Worker::find(&config_with_sh(config)).expect("sh is everywhere");
        (worker.passed, worker.passed_names) = (passed, passed_names);
        worker
    }

    fn config_with_sh(mut config: Config) -> Config {
        config.base_environment = crate::exec::BaseEnvironment::default().with("PATH", "/bin:/usr/bin");
        config
    }

    fn call<'a>(variables: &'a BTreeMap<VariableName, String>, model: Option<&'a Setting>) -> RunCall<'a> {
        RunCall {
            task_id: TASK.parse().expect("an id"),
            run: RunNumber(2),
            attempt: Attempt(3),
            model,
            effort: model,
            resumes: Some(TASK.parse().expect("an id")),
            variables,
        }
    }

    fn value<'a>(call: &'a WorkerCall, name: &str) -> Option<&'a str> {
        call.environment.iter().find(|(known, _)| known == name).and_then(|(_, value)| value.to_str())
    }

    #[test]
    fn the_command_line_is_the_contracts() {
        let model = Setting::parse("gpt-5.5").expect("a model");
        let made = worker("sh", &[]).call(&call(&BTreeMap::new(), Some(&model)));
        let expected = format!("exec --json -m gpt-5.5 -c model_reasoning_effort=gpt-5.5 resume {TASK} -");
        assert_eq!(made.args.join(" "), expected);
        let variables = BTreeMap::new();
        let plain = RunCall { resumes: None, ..call(&variables, None) };
        assert_eq!(worker("sh", &[]).call(&plain).args, ["exec", "--json", "-"]);
    }

    #[test]
    fn codex_on_the_host_stays_in_its_sandbox() {
        let mut host = worker("sh", &[]);
        host.kind = WorkerKind::Host;
        let variables = BTreeMap::new();
        let plain = RunCall { resumes: None, ..call(&variables, None) };
        assert_eq!(host.call(&plain).args, ["exec", "--json", "-s", "workspace-write", "-"]);
    }

    #[test]
    fn nothing_of_the_servers_environment_passes_but_what_is_listed() {
        let server =
            [("AWS_SECRET_ACCESS_KEY", "x"), ("ORCH_GITHUB_TOKEN", "x"), ("SSH_AUTH_SOCK", "/x"), ("CODEX_API_KEY", "k")];
        let made = worker("sh", &server).call(&call(&BTreeMap::new(), None));
        let names: Vec<_> = made.environment.iter().filter_map(|(name, _)| name.to_str()).collect();
        assert_eq!(names, ["CODEX_API_KEY", "CODEX_PASSTHROUGH_ENV", "CONTAINER_NAME", "ORCH_RUN"]);
        assert_eq!(value(&made, "CODEX_PASSTHROUGH_ENV"), Some("CODEX_API_KEY,ORCH_RUN"));
    }

    #[test]
    fn the_list_of_what_may_pass_is_never_empty() {
        let made = worker("sh", &[]).call(&call(&BTreeMap::new(), None));
        assert_eq!(value(&made, "CODEX_PASSTHROUGH_ENV"), Some("ORCH_RUN"));
        assert_eq!(value(&made, "CONTAINER_NAME"), Some(format!("codex-{TASK}-run-002").as_str()));
        assert_eq!(value(&made, "ORCH_RUN"), Some(format!("{TASK}/2/3").as_str()));
    }

    #[test]
    fn variables_and_asked_for_names_reach_the_agent() {
        let variables = BTreeMap::from([(VariableName::parse("RUST_LOG").expect("a name"), "debug".to_owned())]);
        let made = worker("sh", &[("MY_TOKEN", "t")]).call(&call(&variables, None));
        assert_eq!(value(&made, "CODEX_CONTAINER_ENV_RUST_LOG"), Some("debug"));
        assert_eq!(value(&made, "RUST_LOG"), Some("debug"));
        assert_eq!(value(&made, "MY_TOKEN"), Some("t"));
        assert_eq!(value(&made, "CODEX_PASSTHROUGH_ENV"), Some("MY_TOKEN,ORCH_RUN"));
    }
}
