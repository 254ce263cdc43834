//! The hostile agent: scripts that run in a task's container and try, and a look from the host at what came of it.
//!
//! Server, engine, image, git and containers are real; a shell stands in for Codex and runs its prompt. After every attack the
//! task must still live as any other: its difference is shown, a follow-up's work arrives, and it can be removed.

mod files;
mod git;
mod labels;
mod machine;
mod ownership;
mod siblings;
mod work;

const BINARY: &str = env!("CARGO_BIN_EXE_codex-orchestrator");
