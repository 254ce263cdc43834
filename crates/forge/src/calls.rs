//! Counts the responses of Git hosts, for metrics.
//!
//! Invariant: nothing depends on a counter.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What one counter counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// The Git host.
    pub host: String,
    /// The HTTP method.
    pub method: String,
    /// The status of the response.
    pub status: u16,
}

/// The counters of all clients.
#[derive(Debug, Default)]
pub(crate) struct Calls(Mutex<BTreeMap<Call, u64>>);

impl Calls {
    /// Counts one more response.
    pub(crate) fn count(&self, call: Call) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(call).or_default() += 1;
    }

    /// Returns how often each response was received.
    pub(crate) fn all(&self) -> BTreeMap<Call, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
