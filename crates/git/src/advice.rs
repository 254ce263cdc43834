//! Converts errors of git into problems that tell people what to do.

use model::ErrorCode;
use model::problem::{Problem, ProblemKind};
use model::run::RunError;

use super::clone::CloneError;
use super::fetch_error::FetchError;
use super::land::LandError;
use super::replay::ReplayError;

impl CloneError {
    /// Converts this into an error with hints.
    pub fn to_run_error(&self) -> RunError {
        let (code, hint) = match self {
            Self::Remote(error) => return error.to_run_error(),
            Self::BranchMissing(_) => {
                (ErrorCode::BranchNotFound, "choose an existing branch, or omit it to use the remote's default")
            }
            Self::Empty => (ErrorCode::RepositoryEmpty, "push a first commit to the repository, then add it again"),
            Self::NoDefaultBranch(_) => (ErrorCode::NoDefaultBranch, "choose an existing branch"),
            Self::AlreadyThere { .. } | Self::Program(_) | Self::Files(_) | Self::Remove(_) | Self::Open(_) => (
                ErrorCode::CloneFailed,
                "make sure that the home directory is writable and has free space, then add the repository again",
            ),
        };
        RunError::new(code, self.to_string()).hint(hint)
    }
}

impl FetchError {
    /// Converts this into an error with hints.
    pub fn to_run_error(&self) -> RunError {
        let (code, hint) = match self {
            Self::AuthenticationNeeded { .. } => (
                ErrorCode::AuthenticationNeeded,
                "set up a login for git that needs no prompt: an ssh key in the ssh agent, or a credential helper (`git credential approve`)",
            ),
            Self::NotFound { .. } => {
                (ErrorCode::RepositoryNotFound, "check the URL, and check that your login can read the repository")
            }
            Self::HostUnreachable { .. } => (ErrorCode::HostUnreachable, "check the network and the host name, then try again"),
            Self::TimedOut { .. } => (ErrorCode::RemoteTimedOut, "try again, or raise the limit in config.toml"),
            Self::HostKeyUnknown { .. } => {
                (ErrorCode::HostKeyUnknown, "connect once by hand (`ssh -T` to that host) and confirm its key, then try again")
            }
            Self::Cancelled => (ErrorCode::Cancelled, "try again"),
            Self::Other { .. } | Self::Unusable { .. } => {
                (ErrorCode::FetchFailed, "fix the problem that git reports, then try again")
            }
        };
        RunError::new(code, self.to_string()).hint(hint)
    }
}

impl ReplayError {
    /// Converts this into a problem with hints.
    pub fn to_problem(&self) -> Problem {
        match self {
            Self::TooMany { .. } => Problem::new(ErrorCode::TooManyCommits, self.to_string())
                .hint("merge the base instead: codex-orchestrator task update --merge"),
            Self::TooOld { .. } => Problem::new(ErrorCode::GitTooOld, self.to_string()).hint("install git 2.39 or newer"),
            Self::Fetch(error) => error.to_run_error().into_problem(ProblemKind::Unavailable),
            Self::Unexpected { .. } | Self::Program(_) | Self::Files(_) => {
                Problem::internal(format!("could not merge the commits: {self}")).hint("nothing has changed")
            }
        }
    }
}

impl LandError {
    /// Converts this into a problem with hints.
    pub fn to_problem(&self) -> Problem {
        match self {
            Self::InTheWay { .. } => Problem::new(ErrorCode::FilesInTheWay, self.to_string())
                .hint("commit, move or delete these files in the task's worktree, then try again; nothing has changed"),
            Self::Unsettled { .. } => Problem::new(ErrorCode::WorktreeUnsettled, self.to_string()).hint(
                "finish or abort the git operation in the task's worktree, check out its branch, then try again; nothing has changed",
            ),
            Self::Refused(_) => Problem::new(ErrorCode::WorktreeUnsettled, self.to_string())
                .hint("fix the problem that git reports, then try again; nothing has changed"),
            Self::Moved => Problem::new(ErrorCode::BranchMoved, self.to_string()).hint("try again"),
            Self::Worktree(_) | Self::Program(_) | Self::Files(_) => {
                Problem::internal(format!("could not update the worktree: {self}"))
                    .hint("try again; the interrupted update also continues automatically before the next run")
            }
        }
    }
}
