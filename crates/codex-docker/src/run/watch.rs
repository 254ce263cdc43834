//! Waits for the end of a container, with the engine's events and by inspecting the container regularly.
//!
//! If the engine does not respond, the state of the container is unknown, and the engine is asked again. Only the result of
//! `inspect` counts as an end.

use std::collections::HashMap;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{ContainerState, ContainerStateStatusEnum, EventMessage};
use bollard::query_parameters::{EventsOptionsBuilder, InspectContainerOptions};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::time::Instant;

use crate::connect::{is_silence, status_of};

/// How often the container is inspected if there are no events.
const LOOK: Duration = Duration::from_secs(2);

/// How soon the engine is asked again if it did not respond.
const AGAIN: Duration = Duration::from_millis(300);

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The container's main process exited.
    Exited {
        /// The exit code. After a signal, it is 128 plus the signal's number.
        code: i64,
        /// Whether the container ran out of memory.
        out_of_memory: bool,
        /// Whether the engine stopped responding in the meantime.
        engine_was_away: bool,
        /// The engine's error message, which is usually empty.
        words: String,
    },
    /// Another program removed the container.
    Gone,
}

/// Watches one container.
pub(crate) struct Watch<'a> {
    docker: &'a Docker,
    container: &'a str,
    events: BoxStream<'a, Result<EventMessage, Error>>,
    look_at: Instant,
    silent_since: Option<Instant>,
    was_away: bool,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(docker: &'a Docker, container: &'a str) -> Self {
        let events = events(docker, container);
        Self { docker, container, events, look_at: Instant::now(), silent_since: None, was_away: false }
    }

    /// Returns how long the engine has not responded.
    pub(crate) fn silence(&self) -> Duration {
        self.silent_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Waits for the next event or the next regular check. Returns how the container ended, if it did. Cancel-safe.
    pub(crate) async fn step(&mut self) -> Option<End> {
        tokio::select! {
            event = self.events.next() => {
                // The stream ends when the engine stops.
                if !matches!(event, Some(Ok(_))) {
                    self.events = futures_util::stream::pending().boxed();
                }
                self.look_at = Instant::now();
            }
            () = tokio::time::sleep_until(self.look_at) => {}
        }
        self.look().await
    }

    async fn look(&mut self) -> Option<End> {
        self.look_at = Instant::now() + LOOK;
        match self.docker.inspect_container(self.container, None::<InspectContainerOptions>).await {
            Ok(found) => {
                if self.silent_since.take().is_some() {
                    self.was_away = true;
                    self.events = events(self.docker, self.container);
                }
                self.end_of(found.state.unwrap_or_default())
            }
            Err(error) if status_of(&error) == Some(404) => Some(End::Gone),
            Err(error) => {
                if is_silence(&error) {
                    self.silent_since.get_or_insert_with(Instant::now);
                }
                self.look_at = Instant::now() + AGAIN;
                None
            }
        }
    }

    fn end_of(&self, state: ContainerState) -> Option<End> {
        match state.status {
            Some(ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD) => Some(End::Exited {
                code: state.exit_code.unwrap_or(-1),
                out_of_memory: state.oom_killed.unwrap_or(false),
                engine_was_away: self.was_away,
                words: state.error.unwrap_or_default(),
            }),
            Some(
                ContainerStateStatusEnum::EMPTY
                | ContainerStateStatusEnum::CREATED
                | ContainerStateStatusEnum::RUNNING
                | ContainerStateStatusEnum::PAUSED
                | ContainerStateStatusEnum::RESTARTING
                | ContainerStateStatusEnum::REMOVING
                | ContainerStateStatusEnum::STOPPING,
            )
            | None => None,
        }
    }
}

fn events<'a>(docker: &'a Docker, container: &str) -> BoxStream<'a, Result<EventMessage, Error>> {
    let filters = HashMap::from([("container", vec![container]), ("event", vec!["die", "destroy"])]);
    docker.events(Some(EventsOptionsBuilder::new().filters(&filters).build())).boxed()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU16, Ordering};

    use serde_json::{Value, json};

    use super::*;
    use crate::tests::{Answer, ScriptedEngine, found, missing, refusal};

    /// Waits for the end of a container that the engine describes in this way.
    async fn end_of(state: Value) -> End {
        let engine = ScriptedEngine::start(move |asked| match asked.line.as_str() {
            "GET /containers/run/json" => found(&json!({ "Id": "1", "State": state })),
            _ => found(&json!({})),
        });
        let mut watch = Watch::new(&engine.docker, "run");
        watch.step().await.expect("the container has ended")
    }

    fn exited(code: i64) -> End {
        End::Exited { code, out_of_memory: false, engine_was_away: false, words: String::new() }
    }

    #[tokio::test]
    async fn the_end_is_what_the_engine_says_of_it() {
        for (state, expected) in [
            (json!({ "Status": "exited", "ExitCode": 0 }), exited(0)),
            (json!({ "Status": "exited", "ExitCode": 137 }), exited(137)),
            (json!({ "Status": "dead", "ExitCode": 1 }), exited(1)),
            // An end without a code must not look like success.
            (json!({ "Status": "exited" }), exited(-1)),
            (
                json!({ "Status": "exited", "ExitCode": 137, "OOMKilled": true, "Error": "no memory" }),
                End::Exited { code: 137, out_of_memory: true, engine_was_away: false, words: "no memory".to_owned() },
            ),
        ] {
            assert_eq!(end_of(state.clone()).await, expected, "{state}");
        }
    }

    #[tokio::test]
    async fn a_container_that_was_removed_is_gone() {
        let engine = ScriptedEngine::start(|_| missing());
        assert_eq!(Watch::new(&engine.docker, "run").step().await, Some(End::Gone));
    }

    #[tokio::test]
    async fn no_state_but_an_end_is_an_end() {
        for status in ["created", "running", "paused", "restarting", "removing", ""] {
            let engine = ScriptedEngine::start(move |asked| match asked.line.as_str() {
                "GET /containers/run/json" => found(&json!({ "State": { "Status": status, "ExitCode": 0 } })),
                _ => found(&json!({})),
            });
            let mut watch = Watch::new(&engine.docker, "run");
            assert_eq!((watch.step().await, watch.silence()), (None, Duration::ZERO), "{status}");
        }
    }

    #[tokio::test]
    async fn an_engine_that_is_away_has_ended_nothing_and_its_absence_is_remembered() {
        let status = Arc::new(AtomicU16::new(0));
        let said = Arc::clone(&status);
        let engine = ScriptedEngine::start(move |asked| match (asked.line.as_str(), said.load(Ordering::SeqCst)) {
            ("GET /containers/run/json", 100) => found(&json!({ "State": { "Status": "running" } })),
            ("GET /containers/run/json", 200) => found(&json!({ "State": { "Status": "exited", "ExitCode": 5 } })),
            (_, 500) => refusal(500, "starting up"),
            _ => Answer::Silence,
        });
        let mut watch = Watch::new(&engine.docker, "run");
        assert_eq!(watch.step().await, None);
        let silence = watch.silence();
        assert!(silence > Duration::ZERO);
        assert_eq!(watch.step().await, None);
        assert!(watch.silence() > silence, "the silence is measured from its start");
        let before = engine.asked("GET /events").len();
        status.store(100, Ordering::SeqCst);
        assert_eq!((watch.step().await, watch.silence()), (None, Duration::ZERO), "the container still runs");
        status.store(200, Ordering::SeqCst);
        let end = watch.step().await.expect("the container ended in the meantime");
        assert_eq!(end, End::Exited { code: 5, out_of_memory: false, engine_was_away: true, words: String::new() });
        assert!(engine.asked("GET /events").len() > before, "the events are followed again");
        status.store(500, Ordering::SeqCst);
        let mut watch = Watch::new(&engine.docker, "run");
        assert_eq!(watch.step().await, None);
        assert_eq!(watch.silence(), Duration::ZERO, "an engine that refuses is not silent");
    }
}
