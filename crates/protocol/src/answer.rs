//! The answer to a task's question.
//!
//! An answer can contain the number of its question, so that it cannot answer a question that the sender has not seen.

use serde::{Deserialize, Serialize};

use model::task::Answer;

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
