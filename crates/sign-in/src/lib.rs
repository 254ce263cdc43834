//! Sign-in to the pages: one-time codes, the sessions of browsers, and the password.
//!
//! Invariant: neither a code, a session's secret nor the password is stored; only hashes are compared.

mod password;
mod sessions;

pub use password::Password;
pub use sessions::{Browser, SessionView, Sessions};
