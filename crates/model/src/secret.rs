//! Values that must stay hidden. A secret is stored, passed to the agent's process, and masked in everything that people read. It
//! is never printed, returned by the API, or repeated in an error.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};

use crate::error_code::ErrorCode;
use crate::names::VariableName;
use crate::problem::Problem;
use crate::schema::{described, text, text_in_requests};

/// The maximum size of a variable's value in bytes. A value of this size easily fits in an argument list.
pub const VARIABLE_LIMIT_BYTES: usize = 32 * 1024;

/// The minimum size of a secret in bytes. Shorter values appear in ordinary words, so they cannot be masked.
pub const SHORTEST_SECRET_BYTES: usize = 4;

/// The minimum length of a password in characters. Shorter passwords are easy to guess.
pub const SHORTEST_PASSWORD: usize = 10;

/// The maximum size of a password in bytes.
pub const LONGEST_PASSWORD_BYTES: usize = 1024;

/// A value that must stay hidden. It is passed to the agent's process, but never returned or shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

described!(
    Secret,
    schema_of_secret(&format!("A secret of {SHORTEST_SECRET_BYTES} to {VARIABLE_LIMIT_BYTES} bytes without NUL characters."))
);

text_in_requests!(
    /// The new value of a secret, or null to delete it.
    pub SecretChange,
    |description| schema_of_secret(description).schema_type(SchemaType::Array(vec![Type::String, Type::Null]))
);

fn schema_of_secret(description: &str) -> ObjectBuilder {
    // Fewer than four characters can have four bytes.
    let (any, two, three, four) = (r"[^\x00]", r"[^\x00-\x7f]", r"[^\x00-\u07ff]", r"[^\x00-\uffff]");
    let starts = [
        format!("{any}{{4}}|{two}{any}{{2}}|{any}{two}{any}|{any}{{2}}{two}"),
        format!("{two}{{2}}|{three}{any}|{any}{three}|{four}"),
    ];
    text(description, format!("^(?:{}){any}*$", starts.join("|"))).max_length(Some(VARIABLE_LIMIT_BYTES)).write_only(true)
}

text_in_requests!(
    /// The value of an environment variable: at most 32 KiB without NUL characters.
    pub VariableValue,
    |description| text(description, r"^[^\x00]*$").max_length(Some(VARIABLE_LIMIT_BYTES))
);

text_in_requests!(
    /// A password of at least 10 characters and at most 1,024 bytes.
    pub PasswordText,
    |description| {
        text(description, "").pattern(None::<String>).min_length(Some(SHORTEST_PASSWORD)).max_length(Some(LONGEST_PASSWORD_BYTES))
    }
);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// Checks that the value can be stored in a variable and can be masked. `name` appears in the error message; the value
    /// never does.
    pub fn checked(self, name: &VariableName) -> Result<Self, Problem> {
        let refused = |why: String| Problem::new(ErrorCode::SecretRefused, format!("the secret `{name}` {why}"));
        if self.0.len() > VARIABLE_LIMIT_BYTES || self.0.contains('\0') {
            return Err(refused(format!("contains a NUL character or is longer than {VARIABLE_LIMIT_BYTES} bytes")));
        }
        if self.0.len() < SHORTEST_SECRET_BYTES {
            return Err(refused(format!("is shorter than {SHORTEST_SECRET_BYTES} bytes and cannot be masked"))
                .hint("use a plain variable or a longer secret"));
        }
        Ok(self)
    }

    /// Returns the value itself, for code that passes it on.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Prints `***` instead of the value.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::tests::agree;

    #[test]
    fn the_schema_describes_what_the_parser_accepts() {
        const PIECES: &[&str] = &["a", "é", "€", "🦀", "\0", "\n"];
        let name = VariableName::parse("TOKEN").expect("the name is valid");
        let long = ["x".repeat(VARIABLE_LIMIT_BYTES), "x".repeat(VARIABLE_LIMIT_BYTES + 1)];
        let samples = ["hunter2", "abc", "ab€", "€a", "éa", "éé", "🦀", "a\0bcd", &long[0], &long[1]];
        agree::<Secret>(|text| Secret::new(text).checked(&name).is_ok(), &samples, PIECES);
    }

    #[test]
    fn a_secret_is_shown_to_nobody_and_refused_without_being_repeated() {
        let name = VariableName::parse("TOKEN").expect("the name is valid");
        let sound = Secret::new("hunter2").checked(&name).expect("the secret is valid");
        assert_eq!((format!("{sound:?}"), sound.expose()), ("***".to_owned(), "hunter2"));
        for value in ["", "abc", "a\0bcdef", &"x".repeat(VARIABLE_LIMIT_BYTES + 1)] {
            let problem = Secret::new(value).checked(&name).expect_err("the secret is invalid");
            assert!(
                problem.report.message.contains("`TOKEN`") && (value.is_empty() || !problem.report.message.contains(value)),
                "{problem:?}"
            );
        }
    }
}
