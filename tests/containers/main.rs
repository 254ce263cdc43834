//! `codex-docker` by hand, with the real container engine and the real image.
//!
//! Where a story is about the container and not about Codex, a shell stands in for Codex: a script mounted over the program
//! runs its first argument. What a test waits for is a line, a file, or the end of a process.

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
