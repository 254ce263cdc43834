//! What a scripted model can say or ask for, in words that do not depend on the tools a client offers.
//!
//! An item never names a tool: `tools.rs` finds the one that the client sent.

use std::time::Duration;

use serde_json::Value;

/// One thing the model puts into its answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// Text for the user.
    Message {
        /// The words.
        text: String,
        /// Whether the model marks it as commentary or as its final answer.
        phase: Option<Phase>,
    },
    /// A message that arrives word by word.
    LongMessage {
        /// How many words.
        words: usize,
        /// The pause after each of them.
        every: Duration,
    },
    /// A summary of the model's reasoning, in parts.
    Reasoning {
        /// The parts of the summary.
        parts: Vec<String>,
    },
    /// A shell command that Codex is to run.
    Shell {
        /// The command line, for `bash -lc`.
        command: String,
        /// How long the tool call waits before it returns with the command still running, where the tool knows that.
        wait: Option<Duration>,
    },
    /// A change to files, in the patch language of `apply_patch`.
    Patch(String),
    /// The model's to-do list, whole, each time.
    Plan(Vec<(String, PlanStatus)>),
    /// A search on the web that has already happened on the model's side.
    WebSearch {
        /// What was searched for.
        query: String,
    },
    /// A call of a tool by its name with arguments as they are, well formed or not.
    Call {
        /// The tool's name.
        tool: String,
        /// The arguments, normally JSON.
        arguments: String,
    },
    /// An output item as it goes over the wire.
    Raw(Value),
}

/// The part that a message plays in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Said on the way.
    Commentary,
    /// The answer.
    FinalAnswer,
}

/// How far one step of a plan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanStatus {
    /// Not begun.
    Pending,
    /// Being worked on.
    InProgress,
    /// Done.
    Completed,
}

impl Item {
    /// A message without a phase.
    pub fn message(text: impl Into<String>) -> Self {
        Self::Message { text: text.into(), phase: None }
    }

    /// A remark on the way to the answer.
    pub fn commentary(text: impl Into<String>) -> Self {
        Self::Message { text: text.into(), phase: Some(Phase::Commentary) }
    }

    /// The answer that closes the turn.
    pub fn final_answer(text: impl Into<String>) -> Self {
        Self::Message { text: text.into(), phase: Some(Phase::FinalAnswer) }
    }

    /// A reasoning summary of one part.
    pub fn reasoning(text: impl Into<String>) -> Self {
        Self::Reasoning { parts: vec![text.into()] }
    }

    /// A command that is waited for as long as the client does by itself.
    pub fn shell(command: impl Into<String>) -> Self {
        Self::Shell { command: command.into(), wait: None }
    }

    /// A command whose tool call returns after `wait` at the latest.
    pub fn shell_within(command: impl Into<String>, wait: Duration) -> Self {
        Self::Shell { command: command.into(), wait: Some(wait) }
    }

    /// A patch from `*** Begin Patch` to `*** End Patch`.
    pub fn patch(text: impl Into<String>) -> Self {
        Self::Patch(text.into())
    }

    /// A patch that adds one file with these contents.
    pub fn add_file(path: &str, contents: &str) -> Self {
        let lines: String = contents.lines().flat_map(|line| ["+", line, "\n"]).collect();
        Self::Patch(format!("*** Begin Patch\n*** Add File: {path}\n{lines}*** End Patch"))
    }

    /// A patch that replaces one line of a file by another.
    pub fn replace_line(path: &str, old: &str, new: &str) -> Self {
        Self::Patch(format!("*** Begin Patch\n*** Update File: {path}\n@@\n-{old}\n+{new}\n*** End Patch"))
    }

    /// A plan from pairs of step and status.
    pub fn plan<const N: usize>(steps: [(&str, PlanStatus); N]) -> Self {
        Self::Plan(steps.into_iter().map(|(step, status)| (step.to_owned(), status)).collect())
    }

    /// A web search for `query`.
    pub fn web_search(query: impl Into<String>) -> Self {
        Self::WebSearch { query: query.into() }
    }

    /// A call of the tool named `tool`.
    pub fn call(tool: impl Into<String>, arguments: impl Into<String>) -> Self {
        Self::Call { tool: tool.into(), arguments: arguments.into() }
    }
}

impl Phase {
    /// The word the API uses.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Commentary => "commentary",
            Self::FinalAnswer => "final_answer",
        }
    }
}

impl PlanStatus {
    /// The word the tool uses.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
        }
    }
}
