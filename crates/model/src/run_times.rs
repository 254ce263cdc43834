//! How long the phases of a run took.
//!
//! Invariant: a duration that is not known, for example because no server was running, is not set instead of guessed.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::setup::SnapshotKey;

/// The durations of a run's phases, in milliseconds. A phase is not set if it has not ended, did not happen, or was not measured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PhaseTimes {
    /// Waiting in the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_ms: Option<u64>,
    /// Waiting for the setup of the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup_ms: Option<u64>,
    /// Waiting for the newest commits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetch_ms: Option<u64>,
    /// Preparing the worktree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worktree_ms: Option<u64>,
    /// From then until Codex reported its thread: the start of the container and of Codex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_ms: Option<u64>,
    /// From then until Codex ended. Without `container_ms`, this includes the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codex_ms: Option<u64>,
    /// Determining the result and committing the changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_ms: Option<u64>,
    /// The snapshot that the run started from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotUse>,
}

/// The durations of a run's phases, and the start of the current phase.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunTimes {
    /// The durations of the phases that have ended.
    #[serde(default, skip_serializing_if = "PhaseTimes::is_empty")]
    pub phases: PhaseTimes,
    /// When the current phase started. Not set if that is unknown, or if the run is in the queue since it was requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// What the run waits for in the queue.
    #[serde(default, skip_serializing_if = "Wait::is_for_a_turn")]
    pub wait: Wait,
}

/// What a queued run waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// Its turn, or an answer.
    #[default]
    Turn,
    /// The setup of its repository.
    Setup,
}

impl Wait {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_for_a_turn(&self) -> bool {
        *self == Self::Turn
    }
}

/// The use of a snapshot by a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SnapshotUse {
    /// The key of the snapshot.
    #[schema(value_type = String)]
    pub key: SnapshotKey,
    /// The age of the snapshot when the run was prepared, in seconds.
    pub age_seconds: u64,
    /// Whether the snapshot existed already, so that the run did not wait for a setup.
    pub hit: bool,
}

/// What was measured while a run was prepared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PreparationTimes {
    /// How long the newest commits took to arrive, in milliseconds, if the run waited for them.
    pub fetch_ms: Option<u64>,
    /// When the snapshot was created.
    pub snapshot_created_at: Option<Timestamp>,
}

/// Returns the time between two instants in milliseconds.
fn between(start: Timestamp, end: Timestamp) -> u64 {
    u64::try_from(end.duration_since(start).as_millis()).unwrap_or(0)
}

/// Returns a duration in milliseconds.
pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Adds to a duration that consists of several parts.
fn add(total: &mut Option<u64>, part: u64) {
    *total = Some(total.unwrap_or(0) + part);
}

impl PhaseTimes {
    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the phases that have a duration, in their order, with their durations in milliseconds.
    pub fn durations(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("queued", self.queued_ms),
            ("setup", self.setup_ms),
            ("fetch", self.fetch_ms),
            ("worktree", self.worktree_ms),
            ("container", self.container_ms),
            ("codex", self.codex_ms),
            ("commit", self.commit_ms),
        ]
        .into_iter()
        .filter_map(|(name, duration)| Some((name, duration?)))
    }
}

/// Formats the phases in one line: `queued 0.1 s · snapshot 3f2a9c1d0b7e (4 h old) · codex 41.0 s · commit 0.4 s`.
impl fmt::Display for PhaseTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snapshot = self.snapshot.iter().map(|found| {
            let age = if found.hit { format!("{} old", age(found.age_seconds)) } else { "new".to_owned() };
            format!("snapshot {} ({age})", found.key.short())
        });
        let phases = self.durations().map(|(name, ms)| format!("{name} {}.{} s", ms / 1000, ms % 1000 / 100));
        f.write_str(&snapshot.chain(phases).collect::<Vec<_>>().join(" · "))
    }
}

/// Formats an age in its largest unit.
fn age(seconds: u64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

impl RunTimes {
    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The run, which was requested at `queued_at`, leaves the queue.
    pub(crate) fn dequeued(&mut self, queued_at: Timestamp, now: Timestamp) {
        let waited = between(self.since.unwrap_or(queued_at), now);
        match std::mem::take(&mut self.wait) {
            Wait::Turn => add(&mut self.phases.queued_ms, waited),
            Wait::Setup => add(&mut self.phases.setup_ms, waited),
        }
        self.since = Some(now);
    }

    /// The run returns to the queue, or its preparation starts again.
    pub(crate) fn waits(&mut self, wait: Wait, now: Timestamp) {
        self.wait = wait;
        self.since = Some(now);
    }

    /// The preparation has ended.
    pub(crate) fn prepared(&mut self, times: PreparationTimes, snapshot: Option<&SnapshotKey>, now: Timestamp) {
        let PreparationTimes { fetch_ms, snapshot_created_at } = times;
        if let Some(fetch_ms) = fetch_ms {
            add(&mut self.phases.fetch_ms, fetch_ms);
        }
        if let Some(since) = self.since {
            add(&mut self.phases.worktree_ms, between(since, now).saturating_sub(fetch_ms.unwrap_or(0)));
        }
        self.phases.snapshot = snapshot.zip(snapshot_created_at).map(|(key, created_at)| SnapshotUse {
            key: key.clone(),
            age_seconds: between(created_at, now) / 1000,
            hit: self.phases.setup_ms.is_none(),
        });
        self.since = Some(now);
    }

    /// Codex reported its thread. If it is not known when, the time until then counts as time of Codex.
    pub(crate) fn codex_started(&mut self, seen_at: Option<Timestamp>) {
        if self.phases.container_ms.is_none() {
            self.phases.container_ms = self.since.zip(seen_at).map(|(since, seen_at)| between(since, seen_at));
            self.since = seen_at;
        }
    }

    /// The run has ended.
    pub(crate) fn ended(&mut self, started_at: Option<Timestamp>, finished_at: Timestamp) {
        let start = if self.phases.container_ms.is_some() { self.since } else { started_at };
        self.phases.codex_ms = start.filter(|_| started_at.is_some()).map(|start| between(start, finished_at));
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("a time")
    }

    fn key() -> SnapshotKey {
        SnapshotKey::parse(&"a".repeat(64)).expect("a key")
    }

    fn phases(times: &RunTimes) -> Vec<(&'static str, u64)> {
        times.phases.durations().collect()
    }

    #[test]
    fn each_phase_of_a_run_has_a_duration() {
        let mut times = RunTimes::default();
        times.dequeued(at(0), at(1));
        let preparation = PreparationTimes { fetch_ms: Some(700), snapshot_created_at: Some(at(-58)) };
        times.prepared(preparation, Some(&key()), at(2));
        times.codex_started(Some(at(5)));
        times.phases.commit_ms = Some(80);
        times.ended(Some(at(3)), at(9));
        let expected =
            [("queued", 1000), ("fetch", 700), ("worktree", 300), ("container", 3000), ("codex", 4000), ("commit", 80)];
        assert_eq!(phases(&times), expected);
        assert_eq!(times.phases.snapshot, Some(SnapshotUse { key: key(), age_seconds: 60, hit: true }));
    }

    #[test]
    fn the_phases_fit_in_one_line() {
        let text = |hit, age_seconds| {
            let snapshot = Some(SnapshotUse { key: key(), age_seconds, hit });
            PhaseTimes { queued_ms: Some(120), codex_ms: Some(61_090), snapshot, ..PhaseTimes::default() }.to_string()
        };
        assert_eq!(text(true, 7300), "snapshot aaaaaaaaaaaa (2 h old) · queued 0.1 s · codex 61.0 s");
        assert_eq!(text(false, 1), "snapshot aaaaaaaaaaaa (new) · queued 0.1 s · codex 61.0 s");
        assert_eq!([age(59), age(60), age(90_000)], ["59 s", "1 min", "1 d"]);
    }

    #[test]
    fn a_run_that_waits_for_a_setup_missed_the_snapshot() {
        let mut times = RunTimes::default();
        times.dequeued(at(0), at(1));
        times.waits(Wait::Setup, at(2));
        times.dequeued(at(0), at(32));
        times.prepared(PreparationTimes { fetch_ms: None, snapshot_created_at: Some(at(31)) }, Some(&key()), at(33));
        assert_eq!(phases(&times), [("queued", 1000), ("setup", 30_000), ("worktree", 1000)]);
        assert!(times.phases.snapshot.is_some_and(|snapshot| !snapshot.hit));
    }

    #[test]
    fn waiting_for_an_answer_counts_as_waiting_in_the_queue() {
        let mut times = RunTimes::default();
        times.dequeued(at(0), at(1));
        times.waits(Wait::Turn, at(2));
        times.dequeued(at(0), at(12));
        assert_eq!(phases(&times), [("queued", 11_000)]);
    }

    #[test]
    fn the_start_of_a_run_that_no_server_followed_is_unknown() {
        let mut times = RunTimes::default();
        times.dequeued(at(0), at(1));
        times.prepared(PreparationTimes::default(), None, at(2));
        // The next server finds the thread in a log that may be an hour old.
        times.codex_started(None);
        times.codex_started(Some(at(3600)));
        times.ended(Some(at(3)), at(13));
        assert_eq!(phases(&times), [("queued", 1000), ("worktree", 1000), ("codex", 10_000)]);
    }

    #[test]
    fn a_known_start_survives_a_restart_of_the_server() {
        let mut times = RunTimes::default();
        times.dequeued(at(0), at(0));
        times.prepared(PreparationTimes::default(), None, at(0));
        times.codex_started(Some(at(2)));
        times.codex_started(None);
        times.ended(Some(at(1)), at(12));
        assert_eq!(phases(&times), [("queued", 0), ("worktree", 0), ("container", 2000), ("codex", 10_000)]);
    }

    #[test]
    fn a_run_that_never_started_has_no_time_of_codex() {
        let mut times = RunTimes::default();
        times.dequeued(at(0), at(1));
        times.ended(None, at(2));
        assert_eq!(phases(&times), [("queued", 1000)]);
        assert!(!times.is_empty() && RunTimes::default().is_empty());
    }

    #[test]
    fn a_clock_that_was_set_back_gives_no_negative_duration() {
        let mut times = RunTimes::default();
        times.dequeued(at(10), at(5));
        assert_eq!(phases(&times), [("queued", 0)]);
    }

    #[test]
    fn an_empty_record_takes_no_space() {
        assert_eq!(serde_json::to_string(&RunTimes::default()).expect("JSON"), "{}");
    }
}
