//! The stage: keeps the log of requests, counts what is to fail only a few times, and says what is due.
//!
//! The only state of the server. It decides and never speaks HTTP. Counters belong to one thread and one step, so parallel
//! threads never use up each other's faults.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::watch;

use crate::conversation::Conversation;
use crate::{Fault, Item, Request, Script, Step, scenarios};

pub(crate) struct Stage {
    pub script: Script,
    /// Every request so far; watched, so that a test can wait for one.
    pub log: watch::Sender<Vec<Request>>,
    failures: Mutex<HashMap<Place, u32>>,
}

/// A step of a turn of a thread.
#[derive(PartialEq, Eq, Hash)]
struct Place {
    thread: String,
    message: usize,
    step: usize,
}

/// What is due for a request.
#[derive(Debug, PartialEq)]
pub(crate) enum Cue {
    /// Say or ask for this.
    Items(Vec<Item>),
    /// Go wrong.
    Fault(Fault),
}

impl Stage {
    pub(crate) fn new(script: Script) -> Self {
        Self { script, log: watch::Sender::default(), failures: Mutex::default() }
    }

    /// What the script says to this request. A marker beats the caller's turns; a marker nobody knows is a loud error.
    pub(crate) fn cue(&self, body: &Value) -> Cue {
        let conversation = Conversation::read(body);
        let turn = match conversation.scenario() {
            Some(name) => match scenarios::named(name) {
                Some(turn) => turn,
                None => return Cue::Fault(unknown_scenario(name)),
            },
            None => self
                .script
                .turn_for(conversation.last_message(), conversation.user_messages.len())
                .cloned()
                .unwrap_or_else(scenarios::greeting),
        };
        match turn.step_at(conversation.step) {
            Step::Items(items) => Cue::Items(items),
            Step::Fault(fault) => Cue::Fault(fault),
            Step::Flaky { fault, times, then } => {
                let place = Place {
                    thread: body["prompt_cache_key"].as_str().unwrap_or_default().to_owned(),
                    message: conversation.user_messages.len(),
                    step: conversation.step,
                };
                if self.is_still_failing(place, times) { Cue::Fault(fault) } else { Cue::Items(then) }
            }
        }
    }

    /// Counts one more try at `place`; after `times` failures it succeeds, and the next round starts anew.
    fn is_still_failing(&self, place: Place, times: u32) -> bool {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let so_far = failures.entry(place).or_default();
        let failing = *so_far < times;
        *so_far = if failing { *so_far + 1 } else { 0 };
        failing
    }
}

fn unknown_scenario(name: &str) -> Fault {
    let known = scenarios::SCENARIOS.join(", ");
    Fault::http(400, "unknown_scenario", &format!("there is no scenario `{name}`; there are: {known}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Turn;

    fn ask(thread: &str, text: &str) -> Value {
        json!({"prompt_cache_key": thread, "input": [{"type": "message", "role": "user", "content": text}]})
    }

    fn said(text: &str) -> Cue {
        Cue::Items(vec![Item::message(text)])
    }

    #[test]
    fn a_marker_beats_the_callers_script() {
        let stage = Stage::new(Script::new().turn(Turn::always().says("mine")));
        assert_eq!(stage.cue(&ask("t", "anything")), said("mine"));
        assert_eq!(stage.cue(&ask("t", "SCENARIO:json")), said(r#"{"answer":"42","ok":true}"#));
    }

    #[test]
    fn a_script_without_an_answer_greets() {
        assert_eq!(Stage::new(Script::new()).cue(&ask("t", "hi")), said("Hello from the scripted model."));
    }

    #[test]
    fn a_misspelt_scenario_is_an_error_that_names_the_others() {
        let Cue::Fault(Fault::Http { status: 400, body }) = Stage::new(Script::new()).cue(&ask("t", "SCENARIO:plane")) else {
            panic!("a misspelt marker must not be played as something else")
        };
        let message = body["error"]["message"].as_str().unwrap_or_default();
        assert!(message.starts_with("there is no scenario `plane`; there are: plain, "), "{message}");
    }

    #[test]
    fn threads_do_not_use_up_each_others_faults() {
        let stage = Stage::new(Script::new());
        let failing = |thread| matches!(stage.cue(&ask(thread, "SCENARIO:e500x2")), Cue::Fault(_));
        assert_eq!([failing("a"), failing("b"), failing("a"), failing("b")], [true; 4]);
        assert_eq!([failing("a"), failing("b")], [false; 2]);
    }

    #[test]
    fn a_fault_that_was_overcome_comes_back_the_next_time() {
        let stage = Stage::new(Script::new());
        let failing = || matches!(stage.cue(&ask("a", "SCENARIO:cut1")), Cue::Fault(_));
        assert_eq!([failing(), failing(), failing(), failing()], [true, false, true, false]);
    }
}
