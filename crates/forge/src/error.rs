//! Errors of Git hosts, with hints. No error contains a token or a URL with a token.

use jiff::Timestamp;
use model::ErrorCode;
use model::forge::ForgeKind;
use model::run::RunError;

/// Why a Git host did not do what was requested.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForgeError {
    /// The Git host cannot be reached, or the connection was lost.
    #[error("the host is unreachable: {0}")]
    Unreachable(String),
    /// The Git host has an internal error.
    #[error("the host returned status {status}: {message}")]
    Broken {
        /// The HTTP status.
        status: u16,
        /// The message of the Git host.
        message: String,
    },
    /// The token is invalid or expired.
    #[error("the token was rejected: {0}")]
    TokenRefused(String),
    /// The token does not allow this.
    #[error("the token does not allow this: {0}")]
    Forbidden(String),
    /// The repository does not exist, or this token cannot see it.
    #[error("repository not found, or not visible to this token: {0}")]
    NotFound(String),
    /// The Git host rejected the request.
    #[error("{0}")]
    Refused(String),
    /// The request quota is used up until this time.
    #[error("the rate limit is used up until {0}")]
    RateLimited(Timestamp),
    /// The response has an unexpected format.
    #[error("unexpected response: {0}")]
    Unreadable(String),
}

impl ForgeError {
    /// Whether a retry may help.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Broken { .. } => true,
            Self::TokenRefused(_)
            | Self::Forbidden(_)
            | Self::NotFound(_)
            | Self::Refused(_)
            | Self::RateLimited(_)
            | Self::Unreadable(_) => false,
        }
    }

    /// Converts the error for a record, with hints.
    pub fn to_run_error(&self, kind: ForgeKind) -> RunError {
        let (code, hint) = match self {
            Self::Unreachable(_) => (ErrorCode::ForgeUnreachable, "the branch is pushed; try again when the network is back".to_owned()),
            Self::Broken { .. } => (ErrorCode::ForgeUnavailable, "the branch is pushed; try again later".to_owned()),
            Self::TokenRefused(_) => (
                ErrorCode::ForgeTokenRefused,
                "the token may be expired, revoked or mistyped: create a new one, and set it with ORCH_GITHUB_TOKEN or `env edit --forge-token-file`"
                    .to_owned(),
            ),
            Self::Forbidden(_) => (ErrorCode::ForgeForbidden, needed_rights(kind).to_owned()),
            Self::NotFound(_) => (
                ErrorCode::ForgeNotFound,
                "if the repository was renamed, set its new name with `env edit --forge-project owner/name`".to_owned(),
            ),
            Self::Refused(_) => (ErrorCode::ForgeRefused, "fix the reported problem, then try again".to_owned()),
            Self::RateLimited(_) => (ErrorCode::ForgeRateLimited, "the branch is pushed; try again after that time".to_owned()),
            Self::Unreadable(_) => (ErrorCode::ForgeUnreadable, "check the API URL: `env edit --forge-api`".to_owned()),
        };
        RunError::new(code, format!("{}: {self}", kind.name())).hint(hint)
    }
}

fn needed_rights(kind: ForgeKind) -> &'static str {
    match kind {
        ForgeKind::GitHub => {
            "a fine-grained token needs write access to `Contents` and `Pull requests` of this repository; a classic token needs `repo`"
        }
        ForgeKind::GitLab => "the token needs the `api` scope, and its user needs the Developer role",
        ForgeKind::Forgejo => "the token needs `write:repository` and `write:issue`",
    }
}
