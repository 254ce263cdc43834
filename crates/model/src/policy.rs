//! How a repository's runs are started: how many at the same time, with which model, and what happens after a failure.
//!
//! Values are checked when a user sets them.

use crate::error_code::ErrorCode;
use crate::names;
use crate::problem::Problem;
use crate::settings::{Choice, Group, Input, settings, text_by_as_str};
use crate::subdirectory::Subdirectory;

/// The maximum number of automatic retries. A run that fails more often is unlikely to recover on its own.
const MAX_RETRIES: u32 = 10;

/// The maximum number of parallel runs, which is more than any machine can handle.
const MAX_PARALLEL_RUNS: u32 = 1000;

/// How Codex is run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DriverChoice {
    /// With `codex exec`.
    Exec,
    /// With Codex's app server. A run fails if the version of Codex has no usable one.
    AppServer,
    /// With Codex's app server, or with `codex exec` if the version of Codex has no usable one.
    #[default]
    Auto,
}

impl DriverChoice {
    /// Returns the value in JSON and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::AppServer => "app-server",
            Self::Auto => "auto",
        }
    }

    /// Parses such a value.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Exec, Self::AppServer, Self::Auto].into_iter().find(|choice| choice.as_str() == text)
    }
}

text_by_as_str!(DriverChoice);

settings! {
    /// How a repository's runs are started. Omitted settings have their default values.
    #[derive(Eq)]
    pub struct RunPolicy;

    /// Changes to [`RunPolicy`]. Omitted settings keep their values, and null restores the default.
    #[derive(Eq)]
    pub struct EditRunPolicy {}

    runs in Group::Runs, or refused;

    /// Whether new runs wait in the queue (running ones continue)
    paused: bool = bool as bool => Ok, {
        flag: "paused",
        group: Group::General,
        label: "Pause new runs",
        default: "off",
        input: Input::Switch,
    }

    /// Maximum number of runs at the same time, from 1 to 1000
    #[schema(minimum = 1, maximum = 1000)]
    max_parallel_runs: Option<u32> = u32 as u32 => |runs| parallel_runs(runs).map(Some), {
        flag: "max-runs",
        label: "Max parallel runs",
        default: "the server's limit",
    }

    /// Number of automatic retries after a temporary failure (network, overload or rate limit), from 0 to 10
    #[schema(maximum = 10)]
    retries: u32 = u32 as u32 => retries, {
        flag: "retries",
        label: "Automatic retries",
        default: "0",
    }

    /// Whether interrupted runs resume automatically, e.g. after the machine restarts
    resume_interrupted: Option<bool> = bool as bool => |resume| Ok(Some(resume)), {
        flag: "resume-interrupted",
        label: "Resume interrupted runs",
        default: "the server's setting",
        input: Input::Choice(&[
            Choice { value: "on", meaning: "resume automatically" },
            Choice { value: "off", meaning: "wait until you resume the task" },
        ]),
    }

    /// Model for new tasks that do not name one
    model: Option<names::Setting> = String as names::Setting => |text| names::Setting::parse(&text).map(Some), {
        flag: "model",
        label: "Model",
        default: "Codex's default",
        input: Input::Text("NAME"),
    }

    /// How Codex is run: `exec`, `app-server`, or `auto`
    ///
    /// The app server of Codex requires Codex 0.169.0 or later, and the built-in worker or the worker `host`. Other workers always use
    /// `exec`.
    driver: Option<DriverChoice> = String as DriverChoice => |text| driver_of(&text).map(Some), {
        flag: "driver",
        label: "Driver",
        default: "the server's setting",
        input: Input::Choice(&[
            Choice { value: "auto", meaning: "Codex's app server if there is a usable one, otherwise codex exec" },
            Choice { value: "app-server", meaning: "Codex's app server" },
            Choice { value: "exec", meaning: "codex exec" },
        ]),
    }

    /// Folder of the repository that agents start in, e.g. `services/api`
    ///
    /// Use this for repositories that contain several projects. The agent can still change the other files of the repository. A
    /// run fails if its branch does not contain the folder.
    subdirectory: Option<Subdirectory> = String as Subdirectory => |text| Subdirectory::parse(&text).map(Some), {
        flag: "subdirectory",
        label: "Folder",
        default: "the top-level folder",
        input: Input::Text("FOLDER"),
    }

    /// Whether the setup script runs on the server's machine, without isolation, if the worker is `host`
    ///
    /// The script runs with the rights of the server: it can read and change everything that the server's user can, also the files of other
    /// repositories. Everyone who can change the description on the default branch decides what it does. It runs once in the worktree of
    /// each new task, before the first run.
    setup_on_host: bool = bool as bool => Ok, {
        flag: "setup-on-host",
        label: "Setup on the host",
        default: "off",
        input: Input::Switch,
    }

    /// Reasoning effort for new tasks that do not name one, e.g. `low`, `medium` or `high`
    effort: Option<names::Setting> = String as names::Setting => |text| names::Setting::parse(&text).map(Some), {
        flag: "effort",
        label: "Reasoning effort",
        default: "Codex's default",
        input: Input::Text("EFFORT"),
    }
}

fn refused(detail: String) -> Problem {
    Problem::new(ErrorCode::RunsRefused, detail)
}

fn parallel_runs(runs: u32) -> Result<u32, Problem> {
    if (1..=MAX_PARALLEL_RUNS).contains(&runs) {
        return Ok(runs);
    }
    Err(refused(format!("invalid number of parallel runs: {runs}"))
        .hint(format!("use a number from 1 to {MAX_PARALLEL_RUNS}"))
        .hint("to stop starting new runs, pause the repository"))
}

/// Parses the value of a setting or a request.
pub fn driver_of(text: &str) -> Result<DriverChoice, Problem> {
    let invalid = || refused(format!("invalid driver `{}`", names::shown(text))).hint("use `exec`, `app-server` or `auto`");
    DriverChoice::parse(text).ok_or_else(invalid)
}

fn retries(retries: u32) -> Result<u32, Problem> {
    if retries <= MAX_RETRIES {
        return Ok(retries);
    }
    Err(refused(format!("invalid number of retries: {retries}")).hint(format!("use a number from 0 to {MAX_RETRIES}")))
}

impl RunPolicy {
    /// Applies `edit` to these settings.
    pub fn edited(self, edit: &EditRunPolicy) -> Result<Self, Problem> {
        self.with_each(edit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Setting;

    fn edited(json: &str) -> Result<RunPolicy, Problem> {
        let policy = RunPolicy { max_parallel_runs: Some(3), retries: 2, ..RunPolicy::default() };
        policy.edited(&serde_json::from_str(json).expect("the edit is valid"))
    }

    #[test]
    fn omitted_settings_stay_and_null_restores_the_default() {
        let policy = edited(r#"{"paused": true}"#).expect("the policy is valid");
        assert_eq!((policy.paused, policy.max_parallel_runs, policy.retries), (true, Some(3), 2));
        let policy =
            edited(r#"{"max_parallel_runs": null, "retries": null, "resume_interrupted": true}"#).expect("the policy is valid");
        assert_eq!((policy.max_parallel_runs, policy.retries, policy.resume_interrupted), (None, 0, Some(true)));
        let policy = edited(r#"{"model": "gpt-5.5", "effort": "high"}"#).expect("the policy is valid");
        let words = [policy.model.as_ref(), policy.effort.as_ref()].map(|word| word.map(Setting::as_str));
        assert_eq!(words, [Some("gpt-5.5"), Some("high")]);
        let policy =
            policy.edited(&serde_json::from_str(r#"{"model": null}"#).expect("the edit is valid")).expect("the policy is valid");
        assert_eq!((policy.model, policy.effort.is_some()), (None, true));
        assert_eq!(serde_json::to_string(&RunPolicy::default()).expect("the policy can be serialized"), "{}");
    }

    #[test]
    fn invalid_values_are_refused() {
        for json in [r#"{"max_parallel_runs": 0}"#, r#"{"max_parallel_runs": 1001}"#, r#"{"retries": 11}"#] {
            assert_eq!(edited(json).expect_err(json).report.code, ErrorCode::RunsRefused);
        }
        assert_eq!(
            edited(r#"{"effort": "-x"}"#).expect_err("the effort looks like an option").report.code,
            ErrorCode::SettingRefused
        );
        assert!(serde_json::from_str::<EditRunPolicy>(r#"{"pause": true}"#).is_err());
    }
}
