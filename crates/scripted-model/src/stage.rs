//! Decides how to respond to each request, and keeps the server's state: the log of requests and the counters of faults.
//!
//! This module is independent of HTTP. Each counter belongs to one step of one thread, so parallel threads do not affect each other.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::watch;

use crate::conversation::Conversation;
use crate::{Fault, Item, Request, Script, Step, scenarios};

pub(crate) struct Stage {
    pub script: Script,
    /// Every request so far. Tests watch it to wait for a request.
    pub log: watch::Sender<Vec<Request>>,
    failures: Mutex<HashMap<Place, u32>>,
}

/// The position of a step in a thread.
#[derive(PartialEq, Eq, Hash)]
struct Place {
    thread: String,
    message: usize,
    step: usize,
}

/// The response to a request.
#[derive(Debug, PartialEq)]
pub(crate) enum Cue {
    /// Send these items.
    Items(Vec<Item>),
    /// Fail with this fault.
    Fault(Fault),
}

impl Stage {
    pub(crate) fn new(script: Script) -> Self {
        Self { script, log: watch::Sender::default(), failures: Mutex::default() }
    }

    /// Returns the response to a request. A marker takes precedence over the caller's turns. An unknown scenario is an error.
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

    /// Counts an attempt at `place`. After `times` failures, one attempt succeeds, and the count starts again.
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
    Fault::http(400, "unknown_scenario", &format!("scenario `{name}` not found; available scenarios: {known}"))
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
            panic!("a misspelled marker is an error")
        };
        let message = body["error"]["message"].as_str().unwrap_or_default();
        assert!(message.starts_with("scenario `plane` not found; available scenarios: plain, "), "{message}");
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
