//! Errors of Git hosts, with hints. No error contains a token, and none contains a URL with one.

use jiff::Timestamp;
use model::ErrorCode;
use model::forge::ForgeKind;
use model::run::RunError;

/// Why a Git host did not do what was requested.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ForgeError {
    /// It cannot be reached, or the connection was lost.
    #[error("cannot reach it: {0}")]
    Unreachable(String),
    /// It has an internal error.
    #[error("it answered {status}: {message}")]
    Broken {
        /// The HTTP status.
        status: u16,
        /// Its message.
        message: String,
    },
    /// The token is invalid or expired.
    #[error("it rejected the token: {0}")]
    TokenRefused(String),
    /// The token does not allow this.
    #[error("the token does not allow this: {0}")]
    Forbidden(String),
    /// The repository does not exist, or this token cannot see it.
    #[error("repository not found, or not visible to this token: {0}")]
    NotFound(String),
    /// It rejected the request.
    #[error("{0}")]
    Refused(String),
    /// The request quota is used up until this time.
    #[error("it accepts no more requests until {0}")]
    RateLimited(Timestamp),
    /// Its answer is not understood.
    #[error("it gave an unexpected answer: {0}")]
    Unreadable(String),
}

impl ForgeError {
    /// Whether a retry may help.
    pub(crate) fn is_passing(&self) -> bool {
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
    pub(crate) fn to_run_error(&self, kind: ForgeKind) -> RunError {
        let (code, hint) = match self {
            Self::Unreachable(_) => (ErrorCode::ForgeUnreachable, "the branch is pushed; try again when the network is back".to_owned()),
            Self::Broken { .. } => (ErrorCode::ForgeUnavailable, "the branch is pushed; try again later".to_owned()),
            Self::TokenRefused(_) => (
                ErrorCode::ForgeTokenRefused,
                "it may be expired, revoked or mistyped: create a new one, and set ORCH_GITHUB_TOKEN or `env edit --forge-token-file`"
                    .to_owned(),
            ),
            Self::Forbidden(_) => (ErrorCode::ForgeForbidden, needed_rights(kind).to_owned()),
            Self::NotFound(_) => (
                ErrorCode::ForgeNotFound,
                "if it was renamed, set its new name with `env edit --forge-project owner/name`".to_owned(),
            ),
            Self::Refused(_) => (ErrorCode::ForgeRefused, "fix what the message says, then try again".to_owned()),
            Self::RateLimited(_) => (ErrorCode::ForgeRateLimited, "the branch is pushed; try again after that time".to_owned()),
            Self::Unreadable(_) => (ErrorCode::ForgeUnreadable, "check the URL of its API: `env edit --forge-api`".to_owned()),
        };
        RunError::new(code, format!("{}: {self}", kind.name())).hint(hint)
    }
}

fn needed_rights(kind: ForgeKind) -> &'static str {
    match kind {
        ForgeKind::GitHub => {
            "a fine-grained token needs `Contents` and `Pull requests` with write access to this repository; a classic one `repo`"
        }
        ForgeKind::GitLab => "the token needs the scope `api`, and its user the role Developer",
        ForgeKind::Forgejo => "the token needs `write:repository` and `write:issue`",
    }
}
