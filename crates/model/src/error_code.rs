//! All error codes for people and scripts, in one table: the string, the HTTP status, the meaning and the topic of each code.
//!
//! Codes are stable. Programs match on them, so a released code is never renamed or reused for something else. Records and other
//! programs may contain codes that this version does not know: [`AnyCode`] keeps them unchanged.
use std::fmt;

use crate::problem_kind::ProblemKind;

/// What an error is about. The reference lists the codes by topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Requests to the HTTP API and the pages.
    Request,
    /// Values in a request, a form or a command.
    Value,
    /// Repositories: cloning, fetching and settings.
    Repository,
    /// Tasks, runs, follow-ups and the trash.
    Task,
    /// Diffs, branch updates and exports.
    Branch,
    /// Pushes and pull requests.
    PullRequest,
    /// Why a run failed or was interrupted.
    Run,
    /// The server, its home directory, its login and its notifications.
    Server,
    /// The command line.
    CommandLine,
    /// Containers, images and the container engine: failures of `codex-docker`.
    Container,
    /// The broker, which passes a run's requests on to the model provider.
    Broker,
}

/// Whether the server retries a run that failed with this code, if the repository allows retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// No: the run would fail again for the same reason.
    Never,
    /// Yes, after a delay that doubles with each retry.
    Backoff,
    /// Yes, after twice the usual delay.
    SlowBackoff,
    /// Only if the message says when the limit resets.
    AtReset,
}

macro_rules! retry {
    () => {
        Retry::Never
    };
    ($retry:ident) => {
        Retry::$retry
    };
}

macro_rules! error_codes {
    ($($topic:ident { $(
        #[doc = $meaning:literal] $code:ident $name:literal [$($kind:ident),*] $(=> $($status:literal)|+)? $(retry $retry:ident)?;
    )* })*) => {
        /// Why something failed. [`ErrorCode::as_str`] is the code in the API, in `--json` output and in records.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ErrorCode { $($( #[doc = $meaning] $code, )*)* }

        impl ErrorCode {
            /// Every code, grouped by topic.
            pub const ALL: &[Self] = &[$($( Self::$code, )*)*];

            /// Returns the code as scripts see it, in `snake_case`.
            pub fn as_str(self) -> &'static str {
                match self { $($( Self::$code => $name, )*)* }
            }

            /// Returns the code with this string, if this version has one.
            pub fn parse(name: &str) -> Option<Self> {
                match name { $($( $name => Some(Self::$code), )*)* _ => None }
            }

            /// Returns what the code is about.
            pub fn topic(self) -> Topic {
                match self { $($( Self::$code => Topic::$topic, )*)* }
            }

            /// Returns what the code means, in one sentence.
            pub fn meaning(self) -> &'static str {
                match self { $($( Self::$code => $meaning.trim_ascii(), )*)* }
            }

            /// Returns the kinds of problems that have this code, the usual one first. Empty if no request fails with the code.
            pub fn kinds(self) -> &'static [ProblemKind] {
                match self { $($( Self::$code => &[$(ProblemKind::$kind),*], )*)* }
            }

            /// Returns the HTTP statuses of responses with this code, if they differ from the statuses of its kinds.
            pub(super) fn special_statuses(self) -> &'static [u16] {
                match self { $($( Self::$code => &[$($($status),+)?], )*)* }
            }

            /// Returns whether a run that failed with this code is retried.
            pub fn retry(self) -> Retry {
                match self { $($( Self::$code => retry!($($retry)?), )*)* }
            }
        }
    };
}

mod advice;
mod any;
mod catalogue;
mod example;

pub use any::AnyCode;
pub use catalogue::ErrorCode;

impl ErrorCode {
    /// Returns the usual kind of problem with this code.
    pub fn kind(self) -> ProblemKind {
        self.kinds().first().copied().unwrap_or(ProblemKind::Internal)
    }

    /// Returns the HTTP statuses of responses with this code, the usual one first.
    pub fn statuses(self) -> Vec<u16> {
        match self.special_statuses() {
            [] => self.kinds().iter().map(|kind| kind.status()).collect(),
            special => special.to_vec(),
        }
    }

    /// Returns the exit code of a command that fails with this code.
    pub fn exit_code(self) -> u8 {
        match (self, self.topic()) {
            (Self::Usage, _) => 2,
            (_, Topic::Container) => 125,
            _ => 1,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
