//! Types for identifiers. IDs are parsed once, when they enter the program, and raw text never becomes part of a path.
//!
//! Invariant: the text of every ID is safe as a file name, a branch component and a process argument.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::schema::{described, formatted, text};

/// An error for text that is not a valid ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct IdError {
    /// The rejected text, shortened to fit a message.
    pub text: String,
    /// What was expected, including the article.
    pub expected: &'static str,
}

impl IdError {
    fn new(text: &str, expected: &'static str) -> Self {
        let text = text.chars().filter(|c| !c.is_control()).take(80).collect();
        Self { text, expected }
    }
}

/// The canonical form of a UUID, as a pattern.
pub const UUID: &str = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";

/// Accepts only the canonical form (36 lower-case characters with hyphens), so that each ID has only one spelling and one folder.
fn parse_uuid(text: &str, expected: &'static str) -> Result<Uuid, IdError> {
    let id = Uuid::try_parse(text).map_err(|_| IdError::new(text, expected))?;
    if id.hyphenated().to_string() == text { Ok(id) } else { Err(IdError::new(text, expected)) }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $expected:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps an existing UUID. New IDs use UUID version 7.
            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            /// Returns the UUID.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_uuid(text, $expected).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        described!($name, formatted("", "uuid", format!("^{UUID}$")));
    };
}

uuid_id!(
    /// The ID of a repository, which the API calls an environment.
    EnvironmentId,
    "a repository ID (a UUID)"
);
uuid_id!(
    /// The ID of a task.
    TaskId,
    "a task ID (a UUID)"
);
uuid_id!(
    /// The ID of a Codex thread. Only a UUID can be resumed: for anything else, Codex silently starts a new thread.
    ThreadId,
    "a thread ID (a UUID)"
);
uuid_id!(
    /// The ID of a shell in the environment of a repository.
    ShellId,
    "a shell ID (a UUID)"
);

/// The number of a run within its task, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(transparent)]
pub struct RunNumber(pub u32);

impl RunNumber {
    /// The number of a task's first run.
    pub const FIRST: Self = Self(1);

    /// Returns the number of the next run.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Formats the number with at least three digits, as in `run-001.jsonl`.
impl fmt::Display for RunNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03}", self.0)
    }
}

/// The number of an attempt to perform a run. Attempts are counted across all runs of a task, so that events of older attempts can
/// be recognized and dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(transparent)]
pub struct Attempt(pub u32);

impl Attempt {
    /// The first attempt of the first run.
    pub const FIRST: Self = Self(1);

    /// Returns the next attempt.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The name of a Git object: 40 (SHA-1) or 64 (SHA-256) lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ObjectId(String);

described!(
    ObjectId,
    text(
        "The name of a Git object: 40 (SHA-1) or 64 (SHA-256) lower-case hexadecimal digits.",
        "^(?:[0-9a-f]{40}|[0-9a-f]{64})$"
    )
);

impl ObjectId {
    /// Returns all digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the first 12 digits, for display.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ObjectId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if digits && matches!(text.len(), 40 | 64) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError::new(text, "a Git object ID"))
        }
    }
}

impl<'de> Deserialize<'de> for ObjectId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::tests::agree;

    #[test]
    fn the_schemas_describe_what_the_parsers_accept() {
        const PIECES: &[&str] = &["0", "a", "F", "-", "{", "}", " ", "\n", ID];
        let digits = ["0a".repeat(20), "0a".repeat(32)];
        let samples = [ID, "01A201F5-B7DD-79A1-8A6E-7E6639F5C650", "01a201f5b7dd79a18a6e7e6639f5c650", &digits[0], &digits[1]];
        agree::<TaskId>(|text| text.parse::<TaskId>().is_ok(), &samples, PIECES);
        agree::<ObjectId>(|text| text.parse::<ObjectId>().is_ok(), &samples, PIECES);
    }

    const ID: &str = "01a201f5-b7dd-79a1-8a6e-7e6639f5c650";

    #[test]
    fn an_id_survives_the_way_through_text() {
        let id: TaskId = ID.parse().expect("the UUID is canonical");
        assert_eq!(id.to_string(), ID);
        assert_eq!(serde_json::to_string(&id).expect("an ID can be serialized"), format!("\"{ID}\""));
    }

    #[test]
    fn only_the_canonical_spelling_is_an_id() {
        for text in [
            "",
            "../etc",
            "01a201f5",
            "01a201f5b7dd79a18a6e7e6639f5c650",
            "01A201F5-B7DD-79A1-8A6E-7E6639F5C650",
            "{01a201f5-b7dd-79a1-8a6e-7e6639f5c650}",
            "01a201f5-b7dd-79a1-8a6e-7e6639f5c650/..",
        ] {
            assert!(text.parse::<TaskId>().is_err(), "{text} was accepted as an ID");
        }
    }

    #[test]
    fn an_error_about_an_id_stays_short_and_printable() {
        let error = format!("\u{1b}[31m{}", "x".repeat(5000)).parse::<TaskId>().expect_err("the text is not an ID");
        assert!(error.text.len() <= 80 && !error.text.contains('\u{1b}'), "{error}");
    }

    #[test]
    fn run_numbers_have_three_digits_or_more() {
        assert_eq!(RunNumber::FIRST.to_string(), "001");
        assert_eq!(RunNumber(1234).next().to_string(), "1235");
    }

    #[test]
    fn an_object_id_is_40_or_64_hexadecimal_digits() {
        assert!("a".repeat(40).parse::<ObjectId>().is_ok());
        assert!("a".repeat(64).parse::<ObjectId>().is_ok());
        for text in ["a".repeat(41), "A".repeat(40), "-".repeat(40), String::new()] {
            assert!(text.parse::<ObjectId>().is_err(), "{text} was accepted as an object ID");
        }
    }
}
