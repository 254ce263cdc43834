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
