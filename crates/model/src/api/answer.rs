//! The answer to what a task asks.
//! It names the question, so that it allows nothing that its sender did not see.

use serde::{Deserialize, Serialize};

use crate::task::Answer;

/// `POST /api/v1/tasks/{task_id}/answer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerTask {
    /// `fetch` or `skip`.
    pub answer: Answer,
    /// The number of the question that this answers. Without it, the answer is to whatever the task asks now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<u32>,
}
