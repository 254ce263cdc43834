//! How a forge fails, and what a person does about it.
//! No error has a token in it, and none has a URL with one.

use jiff::Timestamp;
use model::forge::ForgeKind;
use model::run::RunError;

/// A forge did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ForgeError {
    /// It cannot be reached, or broke off.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// It has trouble of its own.
    #[error("it answered {status}: {message}")]
    Broken {
        /// The HTTP status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// The token is not one, or no longer.
    #[error("it does not know the token: {0}")]
    TokenRefused(String),
    /// The token may not do this.
    #[error("the token may not do this: {0}")]
    Forbidden(String),
    /// No such repository, or not for this token.
    #[error("it has no such repository, or not for this token: {0}")]
    NotFound(String),
    /// It understood and does not want to.
    #[error("{0}")]
    Refused(String),
    /// It has been asked enough.
    #[error("it takes no more requests until {0}")]
    RateLimited(Timestamp),
    /// It answered something else.
    #[error("its answer was not understood: {0}")]
    Unreadable(String),
}

impl ForgeError {
    /// Whether asking again in a moment may help.
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

    /// For the record, with what to do.
    pub(crate) fn to_run_error(&self, kind: ForgeKind) -> RunError {
        let (code, hint) = match self {
            Self::Unreachable(_) => ("forge_unreachable", "the branch is pushed; ask again when the network is back".to_owned()),
            Self::Broken { .. } => ("forge_unavailable", "the branch is pushed; ask again in a while".to_owned()),
            Self::TokenRefused(_) => (
                "forge_token_refused",
                "it is expired, revoked or misspelt: make a new one, and set ORCH_GITHUB_TOKEN or `env edit --forge-token-file`"
                    .to_owned(),
            ),
            Self::Forbidden(_) => ("forge_forbidden", needed_rights(kind).to_owned()),
            Self::NotFound(_) => (
                "forge_not_found",
                "was it renamed or deleted? `env edit --forge-project owner/name` says what it is called now".to_owned(),
            ),
            Self::Refused(_) => ("forge_refused", "its own words say why; ask again when that is mended".to_owned()),
            Self::RateLimited(_) => ("forge_rate_limited", "the branch is pushed; ask again then".to_owned()),
            Self::Unreadable(_) => ("forge_unreadable", "is the address of its API right? `env edit --forge-api`".to_owned()),
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
