//! The kinds of problems, each with its HTTP status.
//!
//! The kind is about HTTP; the code of the report says what happened.

use serde::{Deserialize, Serialize};

/// The kind of a problem, which determines the HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// The request could not be read (400).
    Malformed,
    /// The request has no valid token or session (401).
    Unauthenticated,
    /// The host or the origin is not allowed (403).
    Forbidden,
    /// The requested item does not exist (404).
    NotFound,
    /// The state of the item does not allow the request (409).
    WrongState,
    /// The request or a value in it is too large (413).
    TooLarge,
    /// A value is readable but invalid (422).
    Unusable,
    /// There were too many requests in a short time (429).
    TooMany,
    /// The server, or something that it needs, is not available (503).
    Unavailable,
    /// A bug, or a broken disk (500).
    Internal,
}

impl ProblemKind {
    /// Returns the HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::WrongState => 409,
            Self::TooLarge => 413,
            Self::Unusable => 422,
            Self::TooMany => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }

    /// Returns the name of the status in the HTTP specification.
    pub fn title(self) -> &'static str {
        match self {
            Self::Malformed => "Bad Request",
            Self::Unauthenticated => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not Found",
            Self::WrongState => "Conflict",
            Self::TooLarge => "Content Too Large",
            Self::Unusable => "Unprocessable Content",
            Self::TooMany => "Too Many Requests",
            Self::Internal => "Internal Server Error",
            Self::Unavailable => "Service Unavailable",
        }
    }
}
