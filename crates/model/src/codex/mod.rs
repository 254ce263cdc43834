//! What the Codex CLI says on its stdout, and what follows from it.
//!
//! The way of a byte: [`LineSplitter`] cuts the log into lines, [`CodexEvent::parse`] understands a line, [`JournalSummary`]
//! folds the events of a run, [`classify`] gives the verdict on it, and [`transcribe`] shows an event to people.
//! Every step is a total function: whatever a worker prints, nothing here fails, panics or forgets a line.

mod event;
mod item;
mod journal;
mod lines;
mod outcome;
mod printable;
mod shell;
mod transcript;
mod trouble;
mod usage;
mod version;

pub use event::CodexEvent;
pub use item::{
    AgentState, ChangeKind, CollabToolCall, CommandExecution, FileChange, Item, ItemKind, ItemStatus, McpToolCall, PathChange,
    TodoItem,
};
pub use journal::{JournalSummary, TurnEnd};
pub use lines::{LINE_CAP_BYTES, Line, LineContent, LineSplitter};
pub use outcome::{Exit, ProcessEnd, Verdict, classify};
pub use printable::{printable, printable_line};
pub use shell::unwrap_shell;
pub use transcript::{EntryKind, TranscriptEntry, activity, transcribe};
pub use usage::{Usage, UsageReport, UsageScope};
pub use version::CodexVersion;
