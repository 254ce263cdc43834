//! The items of a response, independent of the tools that a client offers.
//!
//! Only `Call` names a tool. For other items, `tools.rs` finds a suitable tool in the request.

use std::time::Duration;

use serde_json::Value;

/// An item of the model's response.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// Text for the user.
    Message {
        /// The text.
        text: String,
        /// The phase of the turn, if the model marks it.
        phase: Option<Phase>,
    },
    /// A message that arrives word by word.
    LongMessage {
        /// The number of words.
        words: usize,
        /// The pause after each word.
        every: Duration,
    },
    /// A summary of the model's reasoning, in parts.
    Reasoning {
        /// The parts of the summary.
        parts: Vec<String>,
    },
    /// A shell command for Codex to run.
    Shell {
        /// The command line, for `bash -lc`.
        command: String,
        /// The maximum time that the tool call waits for the command before it returns, if the tool supports such a limit.
        wait: Option<Duration>,
    },
    /// A change to files, in the patch language of `apply_patch`.
    Patch(String),
    /// The complete to-do list of the model.
    Plan(Vec<(String, PlanStatus)>),
    /// A web search that the API has already done.
    WebSearch {
        /// The query.
        query: String,
    },
    /// A call of a tool by its name. The arguments may be invalid on purpose.
    Call {
        /// The tool's name.
        tool: String,
        /// The arguments, normally JSON.
        arguments: String,
    },
    /// An output item as JSON.
    Raw(Value),
}

/// The phase of a turn that a message belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A remark before the answer.
    Commentary,
    /// The final answer.
    FinalAnswer,
}

/// The status of a step of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanStatus {
    /// The step has not started.
    Pending,
    /// The step is in progress.
    InProgress,
    /// The step is done.
    Completed,
}

impl Item {
    /// Creates a message without a phase.
    pub fn message(text: impl Into<String>) -> Self {
        Self::Message { text: text.into(), phase: None }
    }

    /// Creates a remark before the answer.
    pub fn commentary(text: impl Into<String>) -> Self {
        Self::Message { text: text.into(), phase: Some(Phase::Commentary) }
    }

    /// Creates the answer that ends the turn.
    pub fn final_answer(text: impl Into<String>) -> Self {
        Self::Message { text: text.into(), phase: Some(Phase::FinalAnswer) }
    }

    /// Creates a reasoning summary with one part.
    pub fn reasoning(text: impl Into<String>) -> Self {
        Self::Reasoning { parts: vec![text.into()] }
    }

    /// Creates a command. The call waits for it as long as the tool does by default.
    pub fn shell(command: impl Into<String>) -> Self {
        Self::Shell { command: command.into(), wait: None }
    }

    /// Creates a command whose tool call returns after at most `wait`.
    pub fn shell_within(command: impl Into<String>, wait: Duration) -> Self {
        Self::Shell { command: command.into(), wait: Some(wait) }
    }

    /// Creates a patch from a text that starts with `*** Begin Patch` and ends with `*** End Patch`.
    pub fn patch(text: impl Into<String>) -> Self {
        Self::Patch(text.into())
    }

    /// Creates a patch that adds a file.
    pub fn add_file(path: &str, contents: &str) -> Self {
        let lines: String = contents.lines().flat_map(|line| ["+", line, "\n"]).collect();
        Self::Patch(format!("*** Begin Patch\n*** Add File: {path}\n{lines}*** End Patch"))
    }

    /// Creates a patch that replaces a line of a file.
    pub fn replace_line(path: &str, old: &str, new: &str) -> Self {
        Self::Patch(format!("*** Begin Patch\n*** Update File: {path}\n@@\n-{old}\n+{new}\n*** End Patch"))
    }

    /// Creates a plan from pairs of step and status.
    pub fn plan<const N: usize>(steps: [(&str, PlanStatus); N]) -> Self {
        Self::Plan(steps.into_iter().map(|(step, status)| (step.to_owned(), status)).collect())
    }

    /// Creates a web search.
    pub fn web_search(query: impl Into<String>) -> Self {
        Self::WebSearch { query: query.into() }
    }

    /// Creates a call of a tool.
    pub fn call(tool: impl Into<String>, arguments: impl Into<String>) -> Self {
        Self::Call { tool: tool.into(), arguments: arguments.into() }
    }
}

impl Phase {
    /// Returns the name of the phase in the API.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Commentary => "commentary",
            Self::FinalAnswer => "final_answer",
        }
    }
}

impl PlanStatus {
    /// Returns the name of the status in calls of the plan tool.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
        }
    }
}
