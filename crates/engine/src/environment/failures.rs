//! Errors about a repository, with hints.

use git::{CloneError, VerifyBranchError};
use model::ErrorCode;
use model::environment::{EnvironmentRecord, EnvironmentStatus};
use model::problem::Problem;
use model::run::RunError;

/// Converts a failed clone into an error with hints.
pub(super) fn clone_failed(error: &CloneError) -> RunError {
    let (code, hint) = match error {
        CloneError::Remote(error) => return fetch_failed(error),
        CloneError::BranchMissing(_) => {
            (ErrorCode::BranchNotFound, "choose an existing branch, or omit it to use the remote's default")
        }
        CloneError::Empty => (ErrorCode::RepositoryEmpty, "push a first commit to the repository, then add it again"),
        CloneError::NoDefaultBranch(_) => (ErrorCode::NoDefaultBranch, "choose an existing branch"),
        CloneError::AlreadyThere { .. }
        | CloneError::Program(_)
        | CloneError::Files(_)
        | CloneError::Remove(_)
        | CloneError::Open(_) => (
            ErrorCode::CloneFailed,
            "make sure that the home directory is writable and has free space, then add the repository again",
        ),
    };
    RunError::new(code, error.to_string()).hint(hint)
}

/// Converts a failed fetch into an error with hints.
pub(crate) fn fetch_failed(error: &git::FetchError) -> RunError {
    use git::FetchError;
    let (code, hint) = match error {
        FetchError::AuthenticationNeeded { .. } => (
            ErrorCode::AuthenticationNeeded,
            "set up a login for git that needs no prompt: an ssh key in the ssh agent, or a credential helper (`git credential approve`)",
        ),
        FetchError::NotFound { .. } => {
            (ErrorCode::RepositoryNotFound, "check the URL, and check that your login can read the repository")
        }
        FetchError::HostUnreachable { .. } => (ErrorCode::HostUnreachable, "check the network and the host name, then try again"),
        FetchError::TimedOut { .. } => (ErrorCode::RemoteTimedOut, "try again, or raise the limit in config.toml"),
        FetchError::HostKeyUnknown { .. } => {
            (ErrorCode::HostKeyUnknown, "connect once by hand (`ssh -T` to that host) and confirm its key, then try again")
        }
        FetchError::Cancelled => (ErrorCode::Cancelled, "try again"),
        FetchError::Other { .. } | FetchError::Unusable { .. } => {
            (ErrorCode::FetchFailed, "fix the problem that git reports, then try again")
        }
    };
    RunError::new(code, error.to_string()).hint(hint)
}

/// Returns the error for a repository without a usable mirror.
pub(crate) fn not_ready(record: &EnvironmentRecord) -> Problem {
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

/// Converts a failed check of a branch into an error with hints.
pub(super) fn branch_problem(error: VerifyBranchError) -> Problem {
    match error {
        VerifyBranchError::Missing(missing) => {
            Problem::new(ErrorCode::BranchNotFound, missing.to_string()).hint("choose an existing branch")
        }
        VerifyBranchError::Program(error) => Problem::internal(error),
    }
}
