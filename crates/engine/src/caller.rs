//! Who makes a request. Every operation of the engine has a caller.
//!
//! A home has one owner, who may do everything. A caller is the owner in one of these ways.

use std::fmt;

/// Who makes a request, and how the caller was authenticated.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Caller {
    /// A program that may open the socket of the home.
    Socket,
    /// A program that knows the token of the home.
    Token,
    /// A browser that is signed in.
    Browser {
        /// The ID of its session, as listed by [`User::sessions`](crate::User::sessions).
        session: String,
    },
    /// A browser that has just sent the sign-in password.
    Password,
    /// This program itself, outside of any request.
    Program,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket => f.write_str("the socket"),
            Self::Token => f.write_str("the token"),
            Self::Browser { session } => write!(f, "the browser session {session}"),
            Self::Password => f.write_str("the sign-in password"),
            Self::Program => f.write_str("this program"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_named_without_its_secret() {
        let callers =
            [Caller::Socket, Caller::Token, Caller::Browser { session: "a1b2".to_owned() }, Caller::Password, Caller::Program];
        let names: Vec<_> = callers.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["the socket", "the token", "the browser session a1b2", "the sign-in password", "this program"]);
    }
}
