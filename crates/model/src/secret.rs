//! Values that nobody may see: taken, kept, handed to the agent's process, and masked wherever a person reads.
//! No secret is printed, answered or repeated in an error.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::names::VariableName;
use crate::problem::{Problem, ProblemKind};

/// The most bytes of a variable's value: what fits an argument list with room to spare.
pub const VARIABLE_LIMIT_BYTES: usize = 32 * 1024;

/// A shorter value would turn up in ordinary words, so it could not be masked.
pub const SHORTEST_SECRET_BYTES: usize = 4;

/// A value that nobody may see: it is taken, kept and handed to the agent's process, and never answered or shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value that came from a person or a file.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, if it can be a variable's and can be masked. `name` is for the message; the value is never in it.
    pub fn checked(self, name: &VariableName) -> Result<Self, Problem> {
        let refused = |why: String| Problem::new(ProblemKind::Unusable, "secret_refused", format!("the secret `{name}` {why}"));
        if self.0.len() > VARIABLE_LIMIT_BYTES || self.0.contains('\0') {
            return Err(refused(format!("has a NUL or more than {VARIABLE_LIMIT_BYTES} bytes")));
        }
        if self.0.len() < SHORTEST_SECRET_BYTES {
            return Err(refused(format!("has fewer than {SHORTEST_SECRET_BYTES} bytes, too few to be masked"))
                .hint("make it a plain variable, or use a longer secret"));
        }
        Ok(self)
    }

    /// The value itself, for whoever hands it on.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Not the value.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_to_nobody_and_refused_without_being_repeated() {
        let name = VariableName::parse("TOKEN").expect("a name");
        let sound = Secret::new("hunter2").checked(&name).expect("long enough");
        assert_eq!((format!("{sound:?}"), sound.expose()), ("***".to_owned(), "hunter2"));
        for value in ["", "abc", "a\0bcdef", &"x".repeat(VARIABLE_LIMIT_BYTES + 1)] {
            let problem = Secret::new(value).checked(&name).expect_err("unusable");
            assert!(problem.detail.contains("`TOKEN`") && (value.is_empty() || !problem.detail.contains(value)), "{problem:?}");
        }
    }
}
