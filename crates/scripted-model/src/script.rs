//! The script: which turn answers which user message, and what happens in each of its steps.
//!
//! A turn's steps follow one another as the client sends back the outputs of the tools it was asked to run. This file only
//! describes; it never serves. A script that has no answer still gives one, so that Codex never waits for nothing.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{Item, Usage};

/// What a model answers, turn by turn.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Script {
    turns: Vec<Turn>,
    pace: Duration,
    usage: Option<Usage>,
}

/// The answer to one user message: steps, played in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    when: When,
    steps: Vec<Step>,
}

/// The user messages that a turn answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// The last user message contains this text.
    Contains(String),
    /// The last user message is the nth of the thread, counted from 1.
    Nth(usize),
    /// Every message that no earlier turn answers.
    Always,
}

/// One answer of the model to one request.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// These items, then the end of the response.
    Items(Vec<Item>),
    /// Something goes wrong, however often it is tried.
    Fault(Fault),
    /// Something goes wrong the first `times` times; then these items.
    Flaky {
        /// What goes wrong.
        fault: Fault,
        /// How many requests meet the fault before one succeeds.
        times: u32,
        /// What the request after them gets.
        then: Vec<Item>,
    },
}

/// What can go wrong between Codex and its model.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// An HTTP error instead of a stream; 429 comes with `retry-after: 1`.
    Http {
        /// The status code.
        status: u16,
        /// The JSON body.
        body: Value,
    },
    /// The stream ends with `response.failed`.
    Failed {
        /// The error's code.
        code: String,
        /// Its message.
        message: String,
    },
    /// The stream ends with `response.incomplete` for want of output tokens.
    Incomplete,
    /// The connection breaks in the middle of a message.
    Cut,
    /// The stream falls silent in the middle of a message.
    Hang,
    /// Not even the response's headers are sent.
    HangBeforeHeaders,
}

impl Script {
    /// A script without turns of its own: it plays the named scenarios, and greets whoever names none.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a turn; the first one that fits a message answers it.
    pub fn turn(mut self, turn: Turn) -> Self {
        self.turns.push(turn);
        self
    }

    /// Waits this long before each item, so that a person can follow.
    pub fn pace(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }

    /// Reports this usage for every response, instead of an estimate from the sizes of request and answer.
    pub fn usage(mut self, usage: Usage) -> Self {
        self.usage = Some(usage);
        self
    }

    /// The turn that answers `message`, the `nth` of its thread.
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
    /// A turn for the messages that `when` describes.
    pub fn on(when: When) -> Self {
        Self { when, steps: Vec::new() }
    }

    /// A turn for messages that contain `text`.
    pub fn containing(text: impl Into<String>) -> Self {
        Self::on(When::Contains(text.into()))
    }

    /// A turn for the nth user message of a thread, counted from 1.
    pub fn nth(nth: usize) -> Self {
        Self::on(When::Nth(nth))
    }

    /// A turn for whatever no earlier turn answers.
    pub fn always() -> Self {
        Self::on(When::Always)
    }

    /// Adds a step of several items.
    pub fn step(mut self, items: impl Into<Vec<Item>>) -> Self {
        self.steps.push(Step::Items(items.into()));
        self
    }

    /// Adds a step that is one message; without a tool call the turn ends there.
    pub fn says(self, text: impl Into<String>) -> Self {
        self.step([Item::message(text)])
    }

    /// Adds a step that always goes wrong.
    pub fn fault(mut self, fault: Fault) -> Self {
        self.steps.push(Step::Fault(fault));
        self
    }

    /// Adds a step that goes wrong `times` times in each thread, then answers with `then`.
    pub fn flaky(mut self, fault: Fault, times: u32, then: impl Into<Vec<Item>>) -> Self {
        self.steps.push(Step::Flaky { fault, times, then: then.into() });
        self
    }

    /// The step at `index`, or a closing message where the script has ended and the client still asks.
    pub(crate) fn step_at(&self, index: usize) -> Step {
        let closing = || Step::Items(vec![Item::message("That was the last step of my script.")]);
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
    /// An HTTP error whose body is an API error of this code and message.
    pub fn http(status: u16, code: &str, message: &str) -> Self {
        Self::Http { status, body: json!({"error": {"message": message, "type": code, "code": code}}) }
    }

    /// A stream that ends with `response.failed`.
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
            let turn = script.turn_for(message, nth).expect("`always` fits everything");
            assert_eq!(turn.step_at(0), Step::Items(vec![Item::message(expect)]), "{message} as number {nth}");
        };
        check("fix the tests", 2, "by text");
        check("go on", 2, "by number");
        check("go on", 3, "otherwise");
    }

    #[test]
    fn a_script_without_turns_has_no_opinion() {
        assert_eq!(Script::new().turn_for("hello", 1), None);
    }

    #[test]
    fn a_turn_that_is_asked_for_more_than_it_has_closes() {
        let turn = Turn::always().step([Item::shell("true")]);
        let Step::Items(items) = turn.step_at(1) else { panic!("a closing step is items") };
        assert!(matches!(items.as_slice(), [Item::Message { .. }]), "no call, or Codex would go round for ever: {items:?}");
    }
}
