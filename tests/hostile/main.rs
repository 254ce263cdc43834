//! The hostile agent: scripts that attack from a task's container, and a check of the host afterwards.
//!
//! Server, container engine, image, git and containers are real; a shell replaces Codex and runs its prompt. After every attack
//! the task must still work like any other: its diff is shown, a follow-up's work arrives, and it can be removed.

mod files;
mod git;
mod labels;
mod machine;
mod ownership;
mod siblings;
mod work;

const BINARY: &str = env!("CARGO_BIN_EXE_codex-orchestrator");
