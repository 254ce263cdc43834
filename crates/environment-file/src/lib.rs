//! Descriptions of environments as text: parses them, writes them, and proposes one for a repository that has none.
//!
//! * [`parse()`] and [`format()`]: the file `.codex-orchestrator/environment.toml`. Its format is described in `docs/environment.md`.
//! * [`propose()`]: a description from the files that other tools use, such as `devcontainer.json` or a lock file.
//! * [`with_commands()`]: a description whose setup runs further commands, such as those of an agent.
//!
//! This crate has no I/O: the caller passes texts. Any text is accepted as input, because it comes from a repository.

mod check;
mod extend;
mod format;
mod parse;
mod propose;

pub use extend::with_commands;
pub use format::format;
pub use parse::{InvalidDescription, LIMIT_BYTES, parse};
pub use propose::{Proposal, SOURCE_LIMIT_BYTES, SOURCES, limit_bytes, propose};

/// The path of the description in a repository.
pub const PATH: &str = ".codex-orchestrator/environment.toml";
