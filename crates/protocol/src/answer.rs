//! The answer to a task's question.
//!
//! An answer can contain the number of its question, so that it cannot answer a question that the sender has not seen.

use serde::{Deserialize, Serialize};

use model::ErrorCode;
use model::commit::PathText;
use model::problem::Problem;
use model::task::Answer;
use model::untrusted::LEFT_OUT_LIMIT;

/// Body of `POST /api/v1/tasks/{task_id}/answer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerTask {
    /// `fetch` or `skip` if the task asks about submodules, `commit` or `ignore` if it holds files.
    pub answer: Answer,
    /// Number of the question or of the held files. Default: the current number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<u32>,
}

/// Body of `POST /api/v1/tasks/{task_id}/commit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CommitFiles {
    /// Files and folders in the worktree, as listed in `omitted`, `ignored_paths` or `held`.
    #[schema(min_items = 1, max_items = 1000)]
    pub paths: Vec<String>,
}

impl CommitFiles {
    /// Parses the paths.
    pub fn parse(&self) -> Result<Vec<PathText>, Problem> {
        if self.paths.is_empty() || self.paths.len() > LEFT_OUT_LIMIT {
            return Err(Problem::new(ErrorCode::FilesRefused, format!("invalid number of paths: {}", self.paths.len()))
                .hint(format!("name between 1 and {LEFT_OUT_LIMIT} files and folders")));
        }
        self.paths.iter().map(|text| PathText::parse(text)).collect()
    }
}
