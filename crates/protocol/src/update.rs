//! Requests and responses of the HTTP API for updating a task's branch from its base branch.
//!
//! The engine performs the update.

use serde::{Deserialize, Serialize};

use super::{ProblemView, TaskView};
use model::error_code::ErrorCode;
use model::ids::{ObjectId, TaskId};
use model::merge::{FileConflict, in_words};
use model::names::Title;
use model::problem::Problem;
use model::task::UpdateStrategy;

/// Maximum number of conflicting files in an error message. The field `conflicts` lists all of them.
const FILES_NAMED: usize = 20;

/// Body of `POST /api/v1/tasks/{task_id}/update`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateTask {
    /// How to update the branch. Default: `rebase`, or `merge` if the branch contains merges, which a rebase would lose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<UpdateStrategy>,
    /// If there are conflicts, ask Codex to resolve them in a follow-up.
    #[serde(default)]
    pub hand_over: bool,
    /// Put the task's commits on top of commits that others pushed to its branch, instead of on the newest commit of the base branch.
    #[serde(default)]
    pub onto_remote: bool,
}

/// The base branch of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Base {
    /// Name of the branch.
    pub name: String,
    /// ID of the branch's newest commit.
    #[schema(value_type = String)]
    pub commit: ObjectId,
}

/// Outcome of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpdateOutcome {
    /// The branch now contains the newest commit of the base branch.
    Updated,
    /// The branch already contained the newest commit of the base branch.
    Current,
    /// The branches conflict. Nothing was changed, and Codex was asked to resolve the conflicts.
    HandedOver,
}

/// Result of an update.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UpdateView {
    /// Outcome of the update.
    pub outcome: UpdateOutcome,
    /// Base branch of the task.
    pub base: Base,
    /// Number of commits that were dropped because the base branch already contains their changes.
    pub dropped: u32,
    /// Files with conflicts that Codex was asked to resolve.
    pub conflicts: Vec<FileConflict>,
    /// The task after the update.
    pub task: TaskView,
}

/// Error if an update found conflicts. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UpdateConflicts {
    /// The fields of every error.
    #[serde(flatten)]
    pub problem: ProblemView,
    /// Base branch of the task. Only set for conflicts.
    #[schema(required = false)]
    pub base: Base,
    /// Files with conflicts. Only set for conflicts.
    #[schema(required = false)]
    pub conflicts: Vec<FileConflict>,
}

impl UpdateConflicts {
    /// Returns the error for these conflicts.
    pub fn new(task: TaskId, base: Base, conflicts: Vec<FileConflict>) -> Self {
        let words = in_words(&conflicts, FILES_NAMED);
        let detail = format!("the task's branch conflicts with `{}` at {}: {words}", base.name, base.commit.short());
        let problem = Problem::new(ErrorCode::UpdateConflicts, detail)
            .hint(format!("ask Codex to resolve the conflicts: codex-orchestrator task update {task} --hand-over"))
            .hint("try `--merge`: a merge can cause fewer conflicts than a rebase, which applies each commit");
        Self { problem: (&problem).into(), base, conflicts }
    }
}

/// Conflicts of a task's branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ConflictsView {
    /// Base branch of the task, as of the last fetch.
    pub base: Base,
    /// Number of commits of the base branch that the task's branch does not contain.
    pub behind: u32,
    /// Files in which the branch conflicts with its base branch.
    pub conflicts: Vec<FileConflict>,
    /// Other tasks of the repository with which the branch conflicts, newest first.
    pub tasks: Vec<TaskConflicts>,
    /// Number of other tasks that were checked. The newest tasks with commits are checked.
    pub looked_at: u32,
    /// Number of other tasks with commits that were not checked.
    pub left_out: u32,
}

/// Another task with which a branch conflicts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TaskConflicts {
    /// ID of the task.
    pub task_id: TaskId,
    /// Title of the task.
    pub title: Title,
    /// Files with conflicts.
    pub conflicts: Vec<FileConflict>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::merge::ConflictKind;

    #[test]
    fn every_field_of_an_update_can_be_omitted() {
        let asked: UpdateTask = serde_json::from_str("{}").expect("every field is optional");
        assert_eq!(asked, UpdateTask { strategy: None, hand_over: false, onto_remote: false });
        let asked: UpdateTask = serde_json::from_str(r#"{"strategy":"merge","hand_over":true}"#).expect("the values are valid");
        assert_eq!(asked, UpdateTask { strategy: Some(UpdateStrategy::Merge), hand_over: true, onto_remote: false });
    }

    #[test]
    fn the_error_for_conflicts_lists_all_files() {
        let base = Base { name: "main".to_owned(), commit: "a".repeat(40).parse().expect("the ID is valid") };
        let file = FileConflict { path: "a.txt".to_owned(), kind: ConflictKind::ModifyDelete };
        let task = TaskId::from_uuid(uuid::Uuid::from_u128(1));
        let value = serde_json::to_value(UpdateConflicts::new(task, base, vec![file])).expect("the error can be serialized");
        assert_eq!((&value["status"], &value["code"]), (&409.into(), &"update_conflicts".into()));
        assert_eq!(value["conflicts"][0]["kind"], "modify_delete");
        let detail = value["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("`main` at aaaaaaa") && detail.ends_with(": `a.txt` (modify/delete)"), "{value}");
    }
}
