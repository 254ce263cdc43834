//! Filters tasks by the parameters of a query.

use model::ErrorCode;
use model::ids::EnvironmentId;
use model::problem::Problem;
use model::task::{TaskGroup, TaskRecord, TaskStatus};

use crate::query::{Archived, TaskQuery};

/// A parsed query for tasks.
#[derive(Debug)]
pub struct TaskFilter {
    env_id: Option<EnvironmentId>,
    statuses: Option<Vec<TaskStatus>>,
    text: Option<String>,
    /// Whether to list only archived tasks (true) or only other tasks (false). None lists both.
    archived: Option<bool>,
    group: Option<TaskGroup>,
}

impl TaskFilter {
    /// Parses the filters of a query. The cursor and the limit are not part of it.
    pub fn parse(query: &TaskQuery) -> Result<Self, Problem> {
        let env_id = query.env.as_deref().map(|text| {
            text.parse().map_err(|error: model::ids::IdError| Problem::new(ErrorCode::MalformedId, error.to_string()))
        });
        let statuses = query.status.as_deref().map(|text| text.split(',').map(parse_status).collect());
        Ok(Self {
            env_id: env_id.transpose()?,
            statuses: statuses.transpose()?,
            archived: parse_archived(query.archived.as_deref())?,
            group: query.group.as_deref().map(parse_group).transpose()?,
            text: query.q.as_deref().map(str::to_lowercase).filter(|text| !text.is_empty()),
        })
    }

    /// Returns the group whose tasks are requested.
    pub fn group(&self) -> Option<TaskGroup> {
        self.group
    }

    /// Whether a task is among those that are requested.
    pub fn matches(&self, task: &TaskRecord) -> bool {
        self.env_id.is_none_or(|id| id == task.env_id)
            && self.archived.is_none_or(|archived| archived == task.archived_at.is_some())
            && self.group.is_none_or(|group| group == TaskGroup::of(task))
            && self.statuses.as_ref().is_none_or(|statuses| statuses.contains(&task.status()))
            && self.text.as_ref().is_none_or(|text| mentions(task, text))
    }
}

fn mentions(task: &TaskRecord, text: &str) -> bool {
    task.branch().as_str().contains(text)
        || task.title.as_str().to_lowercase().contains(text)
        || task.runs.iter().any(|run| run.prompt.as_str().to_lowercase().contains(text))
}

/// Returns whether only archived tasks (true) or only other tasks (false) are listed. None lists both.
fn parse_archived(text: Option<&str>) -> Result<Option<bool>, Problem> {
    let Some(text) = text else { return Ok(Some(false)) };
    match Archived::parse(text) {
        Some(Archived::No) => Ok(Some(false)),
        Some(Archived::Only) => Ok(Some(true)),
        Some(Archived::Any) => Ok(None),
        None => {
            let problem = Problem::new(ErrorCode::ArchivedRefused, format!("invalid value `{text}` for `archived`"));
            Err(problem.hint(one_of(&Archived::ALL.map(Archived::as_str))))
        }
    }
}

fn parse_group(text: &str) -> Result<TaskGroup, Problem> {
    TaskGroup::parse(text).ok_or_else(|| {
        Problem::new(ErrorCode::GroupRefused, format!("invalid group `{text}`"))
            .hint(one_of(&TaskGroup::ALL.map(TaskGroup::as_str)))
    })
}

/// Returns the hint for a parameter that has a list of values.
fn one_of(values: &[&str]) -> String {
    format!("use one of: {}", values.join(", "))
}

fn parse_status(text: &str) -> Result<TaskStatus, Problem> {
    let parsed = serde_json::from_value(serde_json::Value::from(text.trim()));
    parsed.map_err(|_| {
        Problem::new(ErrorCode::StatusRefused, format!("invalid status `{text}`"))
            .hint(one_of(&TaskStatus::ALL.map(TaskStatus::as_str)))
    })
}
