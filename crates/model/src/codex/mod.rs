//! Parses the output of the Codex CLI and determines the outcome of a run.
//!
//! [`LineSplitter`] splits the log into lines, [`CodexEvent::parse`] parses a line, [`JournalSummary`] summarizes the events of a
//! run, [`classify`] determines its outcome, and [`transcribe`] formats an event for people. Every step is a total function:
//! no output of a worker causes an error or a panic, and no line is lost.

pub mod app_server;
mod event;
mod installs;
mod item;
mod journal;
mod lines;
mod outcome;
mod shell;
mod transcript;
mod trouble;
mod usage;
mod version;

pub use event::CodexEvent;
pub use installs::{InstallCommand, Installs, LeftOutInstall, LeftOutInstallReason, missing_installs};
pub use item::{
    AgentState, ChangeKind, CollabToolCall, CommandExecution, FileChange, Item, ItemKind, ItemStatus, McpToolCall, PathChange,
    TodoItem,
};
pub use journal::{JournalSummary, TurnEnd};
pub use lines::{LINE_CAP_BYTES, Line, LineContent, LineSplitter};
pub use outcome::{Exit, ProcessEnd, Verdict, classify};
pub use shell::unwrap_shell;
pub use transcript::{EntryKind, TranscriptEntry, activity, transcribe};
pub use usage::{Usage, UsageReport, UsageScope};
pub use version::CodexVersion;
