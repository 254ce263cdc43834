//! The failures of a connection: what the tests order next, then random ones.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A failure of a single request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The request does not arrive.
    LostRequest,
    /// The request arrives, but the answer does not.
    LostAnswer,
    /// There is no answer, and the request arrives later.
    LateRequest(Duration),
    /// The answer arrives later.
    LateAnswer(Duration),
    /// The host cannot be reached for a while.
    Away(Duration),
    /// The host restarts while it processes the request.
    Restart,
}

/// Decides which requests fail.
pub(crate) struct Faults {
    random: Mutex<fastrand::Rng>,
    /// How many of a hundred requests fail.
    percentage: u32,
    ordered: Mutex<VecDeque<Option<Fault>>>,
}

impl Faults {
    pub(crate) fn new(seed: u64, percentage: u32) -> Self {
        Self { random: Mutex::new(fastrand::Rng::with_seed(seed)), percentage, ordered: Mutex::default() }
    }

    /// Orders the failures of the next requests. `None` is a request that succeeds.
    pub(crate) fn order(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.ordered.lock().unwrap_or_else(PoisonError::into_inner).extend(faults);
    }

    /// Returns the failure of the next request.
    pub(crate) fn next(&self) -> Option<Fault> {
        if let Some(ordered) = self.ordered.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
            return ordered;
        }
        if self.below(100) >= self.percentage {
            return None;
        }
        let moment = Duration::from_millis(u64::from(5 + self.below(60)));
        Some(match self.below(6) {
            0 => Fault::LostRequest,
            1 => Fault::LostAnswer,
            2 => Fault::LateRequest(moment),
            3 => Fault::LateAnswer(moment),
            4 => Fault::Away(moment * 3),
            _ => Fault::Restart,
        })
    }

    /// Whether a connection breaks now.
    pub(crate) fn breaks(&self) -> bool {
        self.below(100) < self.percentage
    }

    /// Returns a number below `end`.
    pub(crate) fn below(&self, end: u32) -> u32 {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).u32(0..end)
    }
}
