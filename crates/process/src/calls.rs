//! Counts the programs that this process has run to their end, for metrics.
//!
//! The counters belong to the whole process, because programs are started from many places. Invariant: nothing depends on a counter.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What one counter counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// The file name of the program.
    pub program: String,
    /// The subcommand, or `none`.
    pub verb: String,
    /// How the program ended: `ok`, `failed`, `timed_out`, `cancelled` or `error`.
    pub outcome: &'static str,
}

static CALLS: Mutex<BTreeMap<Call, u64>> = Mutex::new(BTreeMap::new());

/// Counts one more call.
pub(crate) fn count(call: Call) {
    *CALLS.lock().unwrap_or_else(PoisonError::into_inner).entry(call).or_default() += 1;
}

/// Returns how often each call was made since this process started.
pub fn calls() -> BTreeMap<Call, u64> {
    CALLS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
