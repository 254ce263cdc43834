//! Hostile agents: scripts that attack from a task's container, and checks of the host afterwards.
//!
//! The server, container engine, image, git and containers are real. A shell replaces Codex and runs its prompt. After every attack,
//! the task must still work: its diff is shown, a follow-up can commit work, and the task can be removed.

mod files;
mod git;
mod labels;
mod machine;
mod ownership;
mod siblings;
mod work;
