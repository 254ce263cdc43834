//! Which pull requests somebody looks at, and what was last requested about them. `follow_pull_requests` sends the requests.
//!
//! This is only in memory: after a restart, everything is requested again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::forge::ForgePlace;
use model::ids::TaskId;
use model::publication::follow::Question;

/// How long a task counts as watched after somebody looked at its publication.
const WATCHED_FOR: Duration = Duration::from_mins(10);

/// Answers that are newer than this are not requested again.
const FRESH_FOR: Duration = Duration::from_secs(15);

/// Past requests to Git hosts, and the tasks that are being watched.
#[derive(Default)]
pub struct Following {
    watched: Mutex<HashMap<TaskId, Instant>>,
    refreshed: Mutex<HashMap<TaskId, Instant>>,
    answered: Mutex<HashMap<(ForgePlace, Question), Instant>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The guarded data is consistent after every statement, even if a holder panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Following {
    /// Whether somebody looked at the task's publication a short time ago.
    pub fn is_watched(&self, id: TaskId) -> bool {
        let mut watched = locked(&self.watched);
        watched.retain(|_, since| since.elapsed() < WATCHED_FOR);
        watched.contains_key(&id)
    }

    /// Whether the task's data is old enough for a refresh. If so, records that a refresh starts now.
    pub fn begins_refresh(&self, id: TaskId) -> bool {
        let mut refreshed = locked(&self.refreshed);
        refreshed.retain(|_, since| since.elapsed() < FRESH_FOR);
        !refreshed.contains_key(&id) && refreshed.insert(id, Instant::now()).is_none()
    }

    /// Records that somebody looks at the task's publication.
    pub fn watch(&self, id: TaskId) {
        locked(&self.watched).insert(id, Instant::now());
    }

    /// Records that a request was sent now, with or without success.
    pub fn note_request(&self, place: &ForgePlace, question: Question) {
        locked(&self.answered).insert((place.clone(), question), Instant::now());
    }

    /// Returns how long ago the request was sent.
    pub fn age(&self, place: &ForgePlace, question: Question) -> Option<Duration> {
        locked(&self.answered).get(&(place.clone(), question)).map(Instant::elapsed)
    }
}
