//! Tests the model server over HTTP.
//!
//! These tests use their own client. The tests in `testkit` use the real Codex.

mod answers;
mod faults;
mod support;
