//! Query parameters of the HTTP API, shared by the server, the typed client and `docs/openapi.json`.
//!
//! Parameters whose errors need hints are plain text here. The engine parses them.

use model::setup::SetupStart;
use serde::{Deserialize, Serialize};

use model::ids::{EnvironmentId, UUID};
use model::schema::{SPACE, text, text_in_requests};
use model::task::{TaskGroup, TaskStatus};

/// Whether a list includes archived tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Archived {
    /// Tasks that are not archived.
    #[default]
    No,
    /// Only archived tasks.
    Only,
    /// All tasks.
    Any,
}

impl Archived {
    /// All values, in the order in which they are documented.
    pub const ALL: [Self; 3] = [Self::No, Self::Only, Self::Any];

    /// Returns the value of the query parameter.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Only => "only",
            Self::Any => "any",
        }
    }

    /// Parses the value of the query parameter.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|value| value.as_str() == text)
    }
}

text_in_requests!(
    /// Statuses of tasks, separated by commas.
    pub Statuses,
    |description| {
        let names = TaskStatus::ALL.map(TaskStatus::as_str).join("|");
        let status = format!("[{SPACE}]*(?:{names})[{SPACE}]*");
        text(description, format!("^{status}(?:,{status})*$"))
    }
);

text_in_requests!(
    /// A position in a list of tasks: the time and the ID of a task, or the ID of a waiting task.
    pub Cursor,
    |description| text(description, format!("^(?:queue|-?[0-9]{{1,20}})_{UUID}$"))
);

/// Query of `GET /api/v1/tasks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TaskQuery {
    /// Only tasks of the repository with this ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<EnvironmentId>, inline)]
    pub env: Option<String>,
    /// Only tasks with one of these statuses, separated by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<Statuses>, inline)]
    pub status: Option<String>,
    /// Only tasks whose title, ID, branch or prompts contain this text. Case is ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// Whether to list archived tasks. Default: `no`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<Archived>, inline)]
    pub archived: Option<String>,
    /// Only tasks in this group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<TaskGroup>, inline)]
    pub group: Option<String>,
    /// Maximum number of tasks on the page. Default: 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<usize>,
    /// The `next_cursor` of the previous page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<Cursor>, inline)]
    pub cursor: Option<String>,
}

/// Query of `GET /api/v1/envs/{env_id}/refs`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RefsQuery {
    /// Only names that contain this text. Case is ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// Include the branches of tasks.
    #[serde(default)]
    #[param(required = false)]
    pub tasks: bool,
}

/// Query of `GET /api/v1/events`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct FeedQuery {
    /// Start after the event with this number. By default, the stream starts with the next change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// Query of `GET /api/v1/tasks/{task_id}/runs/{n}/events`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct FollowQuery {
    /// Start with the first line after this byte offset. By default, the stream starts with the first line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
}

/// Query of `GET /api/v1/tasks/{task_id}/runs/{n}/log`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LogQuery {
    /// Mask secrets. A masked log cannot be read in ranges.
    #[serde(default)]
    #[param(required = false)]
    pub masked: bool,
}

/// The format of a diff.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DiffFormat {
    /// Files and hunks as JSON.
    #[default]
    Json,
    /// A patch for `git apply`.
    Patch,
}

/// Query of `GET /api/v1/tasks/{task_id}/diff`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DiffQuery {
    /// Only the changes of the run with this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<u32>, minimum = 1)]
    pub run: Option<String>,
    /// Only changes since you last marked the changes as viewed on the pages. If you never did, all changes are included.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[param(required = false)]
    pub since_viewed: bool,
    /// `json` for files and hunks, or `patch` for a patch that `git apply` accepts. Default: `json`.
    #[serde(default)]
    #[param(inline, required = false)]
    pub format: DiffFormat,
}

/// Query of `GET /api/v1/tasks/{task_id}/installed`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct InstalledQuery {
    /// Only the commands of the run with this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<u32>, minimum = 1)]
    pub run: Option<String>,
}

/// Query of `GET /api/v1/tasks/{task_id}/conflicts`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ConflictsQuery {
    /// Fetch from the remote first.
    #[serde(default)]
    #[param(required = false)]
    pub fetch: bool,
}

/// Query of `POST /api/v1/envs/{env_id}/setup/run`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RunSetupQuery {
    /// Start from the image, not from an earlier result. Later setups of the repository do not use the earlier results either.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[param(required = false)]
    pub fresh: bool,
}

impl RunSetupQuery {
    /// Returns what the setup starts from.
    pub fn start(self) -> SetupStart {
        if self.fresh { SetupStart::Image } else { SetupStart::Earlier }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_of_archived_is_parsed_and_written_as_the_same_text() {
        for value in Archived::ALL {
            assert_eq!(Archived::parse(value.as_str()), Some(value));
            assert_eq!(serde_json::to_value(value).expect("the value can be serialized"), value.as_str());
        }
        assert_eq!(Archived::parse("yes"), None);
    }
}
