//! The words of keeping a task current: what is asked, and what came of it.
//! Shared by server and command line; nothing is decided here.

use serde::{Deserialize, Serialize};

use super::{ProblemView, TaskView};
use crate::error_code::ErrorCode;
use crate::ids::{ObjectId, TaskId};
use crate::merge::{FileConflict, in_words};
use crate::names::Title;
use crate::problem::Problem;
use crate::task::UpdateStrategy;

/// How many conflicting files an error names. All of them are in its `conflicts`.
const FILES_NAMED: usize = 20;

/// Asks for a task's branch to be brought up to its base.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateTask {
    /// How. Where it is left out: `rebase`, or `merge` for a branch that has merges of its own, which a rebase would undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<UpdateStrategy>,
    /// Whether a conflict is given to the agent, as a follow-up.
    #[serde(default)]
    pub hand_over: bool,
    /// Whether the task's commits go on top of what somebody else pushed to its own branch, instead of on the base's newest commit.
    #[serde(default)]
    pub onto_remote: bool,
}

/// What a task's branch is based on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Base {
    /// The branch.
    pub name: String,
    /// Its newest commit.
    #[schema(value_type = String)]
    pub commit: ObjectId,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpdateOutcome {
    /// The branch has the base's newest commit now.
    Updated,
    /// It had it already.
    Current,
    /// The two conflict; nothing was changed, and the agent was asked to merge them.
    HandedOver,
}

/// A branch was brought up to its base, or its conflicts were given to the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UpdateView {
    /// What came of it.
    pub outcome: UpdateOutcome,
    /// What the branch is based on.
    pub base: Base,
    /// How many commits were left out, since the base does the same.
    pub dropped: u32,
    /// The files that the agent is to merge.
    pub conflicts: Vec<FileConflict>,
    /// The task as it is now.
    pub task: TaskView,
}

/// A branch and its base conflict. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UpdateConflicts {
    /// The error, as every error.
    #[serde(flatten)]
    pub problem: ProblemView,
    /// What the branch was to be based on.
    pub base: Base,
    /// The files that conflict.
    pub conflicts: Vec<FileConflict>,
}

impl UpdateConflicts {
    /// In the words of an error.
    pub fn new(task: TaskId, base: Base, conflicts: Vec<FileConflict>) -> Self {
        let words = in_words(&conflicts, FILES_NAMED);
        let detail = format!("the task's branch conflicts with `{}` at {}: {words}", base.name, base.commit.short());
        let problem = Problem::new(ErrorCode::UpdateConflicts, detail)
            .hint(format!("let the agent merge them: codex-orchestrator task update {task} --hand-over"))
            .hint("nothing was changed; a rebase goes commit by commit, so `--merge` may conflict in fewer files");
        Self { problem: (&problem).into(), base, conflicts }
    }
}

/// What a task's branch would conflict with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ConflictsView {
    /// What it is based on, as of the last fetch.
    pub base: Base,
    /// How many commits of the base it does not have.
    pub behind: u32,
    /// The files in which it conflicts with its base.
    pub conflicts: Vec<FileConflict>,
    /// Other tasks of the same environment that it conflicts with, the newest first.
    pub tasks: Vec<TaskConflicts>,
    /// How many other tasks were looked at: the newest ones with work on their branch.
    pub looked_at: u32,
    /// How many more have work on their branch and were not looked at.
    pub left_out: u32,
}

/// Another task that a branch conflicts with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TaskConflicts {
    /// Which.
    pub task_id: TaskId,
    /// Its title.
    pub title: Title,
    /// The files.
    pub conflicts: Vec<FileConflict>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::ConflictKind;

    #[test]
    fn what_is_asked_can_be_left_out() {
        let asked: UpdateTask = serde_json::from_str("{}").expect("it is all optional");
        assert_eq!(asked, UpdateTask { strategy: None, hand_over: false, onto_remote: false });
        let asked: UpdateTask = serde_json::from_str(r#"{"strategy":"merge","hand_over":true}"#).expect("its own words");
        assert_eq!(asked, UpdateTask { strategy: Some(UpdateStrategy::Merge), hand_over: true, onto_remote: false });
    }

    #[test]
    fn conflicts_are_an_error_with_all_the_files() {
        let base = Base { name: "main".to_owned(), commit: "a".repeat(40).parse().expect("an id") };
        let file = FileConflict { path: "a.txt".to_owned(), kind: ConflictKind::ModifyDelete };
        let task = TaskId::from_uuid(uuid::Uuid::from_u128(1));
        let value = serde_json::to_value(UpdateConflicts::new(task, base, vec![file])).expect("JSON");
        assert_eq!((&value["status"], &value["code"]), (&409.into(), &"update_conflicts".into()));
        assert_eq!(value["conflicts"][0]["kind"], "modify_delete");
        let detail = value["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("`main` at aaaaaaa") && detail.ends_with(": `a.txt` (modify/delete)"), "{value}");
    }
}
