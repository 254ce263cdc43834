//! Questions that must be answered before a run can start: whether the host may fetch submodules from URLs that nobody has
//! trusted yet.
//!
//! Until the question is answered, the run waits in the queue without using a slot. An answer can contain the number of its
//! question, so that nobody allows URLs that they have not seen. Invariant: only a queued run has a question.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error_code::ErrorCode;
use crate::names::RepositoryUrl;
use crate::problem::Problem;

/// Asks whether these URLs may be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Question {
    /// The number of the question within the task. Numbers are never reused.
    pub number: u32,
    /// Submodule URLs in the branch that are not in the default branch or a trusted branch. The branch's author chose these URLs.
    #[schema(value_type = Vec<String>)]
    pub urls: Vec<RepositoryUrl>,
    /// When the question was asked.
    #[schema(value_type = String, format = DateTime)]
    pub asked_at: Timestamp,
}

/// An answer to the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Fetch the submodules, now and for all later tasks of the repository.
    Fetch,
    /// Start without the submodules. Their folders stay empty.
    Skip,
    /// Commit the held files.
    Commit,
    /// Do not commit the held files, now and after later runs of the task.
    Ignore,
}

impl Answer {
    /// Parses an answer.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        match text {
            "fetch" => Ok(Self::Fetch),
            "skip" => Ok(Self::Skip),
            "commit" => Ok(Self::Commit),
            "ignore" => Ok(Self::Ignore),
            _ => Err(Problem::new(ErrorCode::AnswerRefused, "invalid answer; use `fetch` or `skip`, or `commit` or `ignore`")),
        }
    }
}
