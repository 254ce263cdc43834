//! The model server over HTTP, as Codex meets it.
//!
//! A client of the tests' own asks and reads; the real Codex is tested in `testkit`, which knows where to get it.

mod answers;
mod faults;
mod support;
