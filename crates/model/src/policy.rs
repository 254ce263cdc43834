//! How an environment wants its runs: how many at once, by which model, and what is done by itself when one does not end well.
//! Pure: numbers, names and switches, checked when a person sets them.

use serde::{Deserialize, Deserializer, Serialize};

use crate::error_code::ErrorCode;
use crate::names::Setting;
use crate::problem::Problem;

/// The most retries that can be asked for: whatever fails more often than that does not pass by itself.
const MAX_RETRIES: u32 = 10;

/// More runs at once than any machine takes.
const MAX_PARALLEL_RUNS: u32 = 1000;

/// How an environment wants its runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct RunPolicy {
    /// No run begins; those that are under way go on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// The most runs of the environment at once; only the server's own limit where it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_parallel_runs: Option<u32>,
    /// How often a run that failed for a passing reason is tried again: the network, an overloaded model, a rate limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: u32,
    /// Whether a run that was cut off is resumed by itself; what the server is set to where it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume_interrupted: Option<bool>,
    /// The model of a new task that names none; Codex's own choice where it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Setting>,
    /// The reasoning effort of a new task that names none; Codex's own choice where it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effort: Option<Setting>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
pub(crate) fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What to change of a [`RunPolicy`]: what is left out stays, and null is the default again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditRunPolicy {
    /// Whether no run begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// The most runs of the environment at once: 1 to 1000.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub max_parallel_runs: Option<Option<u32>>,
    /// How often a run that failed for a passing reason is tried again: 0 to 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// Whether a run that was cut off is resumed by itself.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<bool>)]
    pub resume_interrupted: Option<Option<bool>>,
    /// The model of a new task that names none.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub model: Option<Option<String>>,
    /// The reasoning effort of a new task that names none.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub effort: Option<Option<String>>,
}

/// Tells null from what is left out.
#[expect(clippy::option_option, reason = "left out, null and a value are three things in a merge patch")]
pub(crate) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl RunPolicy {
    /// This policy with what a person wants to have changed.
    pub fn edited(mut self, edit: &EditRunPolicy) -> Result<Self, Problem> {
        let refused = |detail: String| Err(Problem::new(ErrorCode::RunsRefused, detail));
        if let Some(paused) = edit.paused {
            self.paused = paused;
        }
        if let Some(most) = edit.max_parallel_runs {
            if let Some(most) = most.filter(|most| *most == 0 || *most > MAX_PARALLEL_RUNS) {
                return refused(format!("{most} is no number of runs at once: 1 to {MAX_PARALLEL_RUNS} are taken"))
                    .map_err(|problem| problem.hint("to hold all runs back, pause the environment"));
            }
            self.max_parallel_runs = most;
        }
        if let Some(retries) = edit.retries {
            if retries > MAX_RETRIES {
                return refused(format!("{retries} retries are more than the {MAX_RETRIES} that are taken"));
            }
            self.retries = retries;
        }
        if let Some(resume) = edit.resume_interrupted {
            self.resume_interrupted = resume;
        }
        for (setting, edit) in [(&mut self.model, &edit.model), (&mut self.effort, &edit.effort)] {
            if let Some(word) = edit {
                *setting = word.as_deref().map(Setting::parse).transpose()?;
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(json: &str) -> Result<RunPolicy, Problem> {
        let policy = RunPolicy { max_parallel_runs: Some(3), retries: 2, ..RunPolicy::default() };
        policy.edited(&serde_json::from_str(json).expect("an edit"))
    }

    #[test]
    fn what_is_left_out_stays_and_null_is_the_default_again() {
        let policy = edited(r#"{"paused": true}"#).expect("sound");
        assert_eq!((policy.paused, policy.max_parallel_runs, policy.retries), (true, Some(3), 2));
        let policy = edited(r#"{"max_parallel_runs": null, "retries": 0, "resume_interrupted": true}"#).expect("sound");
        assert_eq!((policy.max_parallel_runs, policy.retries, policy.resume_interrupted), (None, 0, Some(true)));
        let policy = edited(r#"{"model": "gpt-5.5", "effort": "high"}"#).expect("sound");
        let words = [policy.model.as_ref(), policy.effort.as_ref()].map(|word| word.map(Setting::as_str));
        assert_eq!(words, [Some("gpt-5.5"), Some("high")]);
        let policy = policy.edited(&serde_json::from_str(r#"{"model": null}"#).expect("an edit")).expect("sound");
        assert_eq!((policy.model, policy.effort.is_some()), (None, true));
        assert_eq!(serde_json::to_string(&RunPolicy::default()).expect("JSON"), "{}");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for json in [r#"{"max_parallel_runs": 0}"#, r#"{"max_parallel_runs": 1001}"#, r#"{"retries": 11}"#] {
            assert_eq!(edited(json).expect_err(json).report.code, ErrorCode::RunsRefused);
        }
        assert_eq!(edited(r#"{"effort": "-x"}"#).expect_err("an option").report.code, ErrorCode::SettingRefused);
        assert!(serde_json::from_str::<EditRunPolicy>(r#"{"pause": true}"#).is_err());
    }
}
