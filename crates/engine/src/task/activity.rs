//! Describes in one line what an agent is doing, for lists and previews. The end of the log is read periodically. The
//! description is only kept in memory, and disappears with the run.

use std::sync::Arc;
use std::time::Duration;

use model::codex::{CodexEvent, activity};
use model::ids::RunNumber;
use protocol::FeedEvent;
use tokio::time::Instant;

use super::tasks::{TaskSlot, Tasks};
use run_logs::Reach;

/// The minimum time between two updates.
const PAUSE: Duration = Duration::from_secs(2);

/// How much of a log's end is read, in bytes. Longer lines are ignored.
const LOOK_BYTES: u64 = 64 * 1024;

/// Decides when to read the log next.
pub(super) struct ReadTimer {
    last: Option<Instant>,
    due: Option<Instant>,
}

impl ReadTimer {
    /// The first update is immediate, because the log may already have content.
    pub(super) fn new() -> Self {
        Self { last: None, due: Some(Instant::now()) }
    }

    /// Records that the log has grown.
    pub(super) fn news(&mut self) {
        let soonest = self.last.map_or_else(Instant::now, |last| last + PAUSE);
        self.due.get_or_insert(soonest);
    }

    /// Waits until an update is due, or forever if the log has not grown.
    pub(super) async fn due(&self) {
        match self.due {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    pub(super) fn looked(&mut self) {
        (self.last, self.due) = (Some(Instant::now()), None);
    }
}

impl Tasks {
    /// Updates the description of what the agent of an active run is doing, and publishes the description if it has changed.
    pub(super) async fn glance(self: &Arc<Self>, slot: &Arc<TaskSlot>, run: RunNumber) {
        let window = match self.log_window(slot, run, None, LOOK_BYTES, Reach::Window).await {
            Ok(window) => window,
            Err(problem) => return tracing::debug!(task = %slot.id, %problem, "could not read an agent's activity"),
        };
        let newest = window.lines.iter().rev().find_map(|(_, line)| activity(&CodexEvent::parse(line)));
        if let Some(text) = newest.filter(|text| slot.activity().as_ref() != Some(text)) {
            slot.set_activity(Some(text.clone()));
            self.feed.publish(FeedEvent::TaskActivity { task_id: slot.id, activity: text });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_glance_is_taken_at_once_and_then_now_and_then() {
        let mut glance = ReadTimer::new();
        let begun = Instant::now();
        glance.due().await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        glance.looked();
        glance.news();
        glance.news();
        glance.due().await;
        assert_eq!(begun.elapsed(), PAUSE, "the log's last change is not missed");
        glance.looked();
        assert!(tokio::time::timeout(Duration::from_mins(1), glance.due()).await.is_err(), "no update is due");
    }
}
