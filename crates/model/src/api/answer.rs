//! The answer to the question of a task.
//!
//! It contains the number of the question, so that it cannot answer a question that its sender did not see.

use serde::{Deserialize, Serialize};

use crate::task::Answer;

/// Body of `POST /api/v1/tasks/{task_id}/answer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerTask {
    /// Whether to fetch the submodules.
    pub answer: Answer,
    /// Number of the question. Default: the current question of the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<u32>,
}
