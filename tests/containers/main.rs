//! `codex-docker` called by hand, with the real container engine and the real image.
//!
//! Tests about the container and not about Codex replace Codex by a shell: a script that is mounted over the program runs its
//! first argument. Tests wait for a line, a file, or the end of a process.

mod by_hand;
mod contract;
mod endings;
mod engine;
mod hand;
mod isolation;
mod kernel;
mod ledger;
mod mistakes;
mod ownership;
