//! An error code that came from a record or another program and may be unknown to this version.
//!
//! An unknown code keeps its string, so reading and writing a record changes nothing.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ErrorCode;

/// An error code from a record or a response: a known code, or the string of an unknown code.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AnyCode {
    /// A code that this version knows.
    Known(ErrorCode),
    /// The string of a code that this version does not know.
    Unknown(Box<str>),
}

impl AnyCode {
    /// Returns the code with this string.
    pub fn parse(name: &str) -> Self {
        ErrorCode::parse(name).map_or_else(|| Self::Unknown(name.into()), Self::Known)
    }

    /// Returns the code as scripts see it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(code) => code.as_str(),
            Self::Unknown(name) => name,
        }
    }

    /// Returns the code if this version knows it.
    pub fn known(&self) -> Option<ErrorCode> {
        match self {
            Self::Known(code) => Some(*code),
            Self::Unknown(_) => None,
        }
    }
}

impl From<ErrorCode> for AnyCode {
    fn from(code: ErrorCode) -> Self {
        Self::Known(code)
    }
}

impl PartialEq<ErrorCode> for AnyCode {
    fn eq(&self, other: &ErrorCode) -> bool {
        self.known() == Some(*other)
    }
}

impl fmt::Display for AnyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for AnyCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for AnyCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|name| Self::parse(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_code_survives_a_round_trip() {
        for (text, known) in [(r#""run_active""#, Some(ErrorCode::RunActive)), (r#""of_a_later_version""#, None)] {
            let code: AnyCode = serde_json::from_str(text).expect("every string is a code");
            assert_eq!((code.known(), serde_json::to_string(&code).expect("a code can be serialized").as_str()), (known, text));
        }
    }
}
