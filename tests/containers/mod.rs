//! `codex-docker` as users call it, with the real container engine and the real image.
//!
//! Tests that need no Codex replace it with a shell: a script that is mounted over the Codex program runs its
//! first argument. Tests wait for a line, a file, or the end of a process.

mod by_hand;
mod contract;
mod endings;
mod engine;
mod hand;
mod isolation;
mod kept;
mod kernel;
mod layers;
mod ledger;
mod mistakes;
mod ownership;
mod services;
mod setup;
