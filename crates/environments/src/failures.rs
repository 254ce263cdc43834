//! Errors about a repository, with hints.

use git::{Mirror, VerifyBranchError};
use model::ErrorCode;
use model::environment::{EnvironmentRecord, EnvironmentStatus};
use model::problem::Problem;

/// Returns the error for a repository without a usable mirror.
pub fn not_ready(record: &EnvironmentRecord) -> Problem {
    let detail = format!("the repository `{}` is {}", record.name, record.status.as_str());
    let problem = Problem::new(ErrorCode::EnvironmentNotReady, detail);
    match record.status {
        EnvironmentStatus::Cloning => {
            problem.hint("wait until the clone is complete; `codex-orchestrator env list` shows its progress")
        }
        EnvironmentStatus::Failed => problem.hint(
            "fix the problem, then run `codex-orchestrator env retry`, or remove the repository and add it with a different URL",
        ),
        EnvironmentStatus::Removing => problem.hint("wait until the removal is complete, then add the repository again"),
        EnvironmentStatus::Ready => problem.hint("its mirror is missing or damaged: remove the repository and add it again"),
    }
}

/// Returns the hint for a ref that was not found, if the mirror does not have the whole history.
pub fn missing_history(mirror: &Mirror) -> Option<&'static str> {
    mirror
        .is_shallow()
        .then_some("only the newest commits were fetched; to fetch all of them: codex-orchestrator env edit ENV --depth default")
}

/// Converts a failed check of a branch into an error with hints.
pub(crate) fn branch_problem(error: VerifyBranchError) -> Problem {
    match error {
        VerifyBranchError::Missing(missing) => {
            Problem::new(ErrorCode::BranchNotFound, missing.to_string()).hint("choose an existing branch")
        }
        VerifyBranchError::Program(error) => Problem::internal(error),
    }
}
