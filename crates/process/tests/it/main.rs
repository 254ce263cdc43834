//! Tests of the crate over its public interface, with real programs.
//!
//! They find their own processes by a marker in the environment, so that they never touch those of other tests.

mod identity;
mod output;
mod redact;
mod run;
