//! Tests of the crate over its public interface, with receivers and a push service on the loopback interface.
//!
//! No test waits for a retry: every pause between attempts takes seconds.

mod announce;
mod devices;
mod held;
mod messages;
mod settings;
mod support;
