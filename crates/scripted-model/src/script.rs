//! The types of a script: turns that answer user messages, and their steps.
//!
//! The next step of a turn is played when the client sends the outputs of the tool calls in the previous step. If a script has no
//! matching turn or a turn has no more steps, the server sends a default answer, so that Codex always gets a response.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{Item, Usage};

/// A script that consists of turns.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Script {
    turns: Vec<Turn>,
    pace: Duration,
    usage: Option<Usage>,
}

/// The answer to one user message, as a sequence of steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    when: When,
    steps: Vec<Step>,
}

/// The condition for a turn to answer a user message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// The last user message contains this text.
    Contains(String),
    /// The last user message is the nth one of the thread, counted from 1.
    Nth(usize),
    /// Every message matches that no earlier turn answers.
    Always,
}

/// The response to one request.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// A response with these items.
    Items(Vec<Item>),
    /// A fault on every attempt.
    Fault(Fault),
    /// A fault on the first `times` attempts, then a response.
    Flaky {
        /// The fault.
        fault: Fault,
        /// The number of requests that fail.
        times: u32,
        /// The items of the response after these failures.
        then: Vec<Item>,
    },
}

/// A fault in the communication between Codex and the model.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// An HTTP error instead of a stream. Status 429 includes the header `retry-after: 1`.
    Http {
        /// The status code.
        status: u16,
        /// The JSON body.
        body: Value,
    },
    /// The stream ends with `response.failed`.
    Failed {
        /// The error code.
        code: String,
        /// The error message.
        message: String,
    },
    /// The stream ends with `response.incomplete`, because the output tokens are used up.
    Incomplete,
    /// The connection breaks in the middle of a message.
    Cut,
    /// The stream stops in the middle of a message, but stays open.
    Hang,
    /// The server sends nothing, not even headers.
    HangBeforeHeaders,
}

impl Script {
    /// Creates a script without turns. It plays the scenarios in markers, and answers all other messages with a greeting.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a turn. The first turn that matches a message answers it.
    pub fn turn(mut self, turn: Turn) -> Self {
        self.turns.push(turn);
        self
    }

    /// Sets the pause before each item, so that people can follow the output.
    pub fn pace(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }

    /// Sets the usage of every response. By default, it is estimated from the sizes of the request and the response.
    pub fn usage(mut self, usage: Usage) -> Self {
        self.usage = Some(usage);
        self
    }

    /// Returns the turn that answers `message`, the `nth` one of its thread.
    pub(crate) fn turn_for(&self, message: &str, nth: usize) -> Option<&Turn> {
        self.turns.iter().find(|turn| turn.when.fits(message, nth))
    }

    pub(crate) fn item_pace(&self) -> Duration {
        self.pace
    }

    pub(crate) fn fixed_usage(&self) -> Option<Usage> {
        self.usage
    }
}

impl Turn {
    /// Creates a turn with a condition.
    pub fn on(when: When) -> Self {
        Self { when, steps: Vec::new() }
    }

    /// Creates a turn for messages that contain `text`.
    pub fn containing(text: impl Into<String>) -> Self {
        Self::on(When::Contains(text.into()))
    }

    /// Creates a turn for the nth user message of a thread, counted from 1.
    pub fn nth(nth: usize) -> Self {
        Self::on(When::Nth(nth))
    }

    /// Creates a turn for every message that no earlier turn matches.
    pub fn always() -> Self {
        Self::on(When::Always)
    }

    /// Adds a step with several items.
    pub fn step(mut self, items: impl Into<Vec<Item>>) -> Self {
        self.steps.push(Step::Items(items.into()));
        self
    }

    /// Adds a step with one message, which ends the turn.
    pub fn says(self, text: impl Into<String>) -> Self {
        self.step([Item::message(text)])
    }

    /// Adds a step that always fails.
    pub fn fault(mut self, fault: Fault) -> Self {
        self.steps.push(Step::Fault(fault));
        self
    }

    /// Adds a step that fails `times` times in each thread, then answers with `then`.
    pub fn flaky(mut self, fault: Fault, times: u32, then: impl Into<Vec<Item>>) -> Self {
        self.steps.push(Step::Flaky { fault, times, then: then.into() });
        self
    }

    /// Returns the step at `index`, or a final message after the last step.
    pub(crate) fn step_at(&self, index: usize) -> Step {
        let closing = || Step::Items(vec![Item::message("The script has no more steps.")]);
        self.steps.get(index).cloned().unwrap_or_else(closing)
    }
}

impl When {
    fn fits(&self, message: &str, nth: usize) -> bool {
        match self {
            Self::Contains(text) => message.contains(text),
            Self::Nth(wanted) => *wanted == nth,
            Self::Always => true,
        }
    }
}

impl Fault {
    /// Creates an HTTP error with an API error as its body.
    pub fn http(status: u16, code: &str, message: &str) -> Self {
        Self::Http { status, body: json!({"error": {"message": message, "type": code, "code": code}}) }
    }

    /// Creates a stream that ends with `response.failed`.
    pub fn failed(code: &str, message: &str) -> Self {
        Self::Failed { code: code.to_owned(), message: message.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_turn_that_fits_answers() {
        let script = Script::new()
            .turn(Turn::containing("tests").says("by text"))
            .turn(Turn::nth(2).says("by number"))
            .turn(Turn::always().says("otherwise"));
        let check = |message, nth, expect: &str| {
            let turn = script.turn_for(message, nth).expect("`always` matches every message");
            assert_eq!(turn.step_at(0), Step::Items(vec![Item::message(expect)]), "{message} as number {nth}");
        };
        check("fix the tests", 2, "by text");
        check("continue", 2, "by number");
        check("continue", 3, "otherwise");
    }

    #[test]
    fn a_script_without_turns_has_no_opinion() {
        assert_eq!(Script::new().turn_for("hello", 1), None);
    }

    #[test]
    fn a_turn_that_is_asked_for_more_than_it_has_closes() {
        let turn = Turn::always().step([Item::shell("true")]);
        let Step::Items(items) = turn.step_at(1) else { panic!("the closing step consists of items") };
        assert!(
            matches!(items.as_slice(), [Item::Message { .. }]),
            "the closing step is a message, because a call would make Codex loop forever: {items:?}"
        );
    }
}
