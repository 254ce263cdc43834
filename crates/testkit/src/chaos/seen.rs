//! What earlier power cuts proved: runs and commits that were complete on the disk afterwards.
//!
//! They must still be there after every later cut.

use std::collections::BTreeSet;

/// The runs and commits that were complete after an earlier cut, which proves that they were synced.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) runs: BTreeSet<(String, u64)>,
    pub(super) commits: BTreeSet<String>,
}

/// A run that had ended before a cut, according to the server.
pub(super) struct Ended {
    pub(super) status: Option<String>,
    pub(super) commit: Option<String>,
    /// The log of the run, unless the run was complete after an earlier cut.
    pub(super) log: Option<Vec<u8>>,
}

impl Seen {
    /// Returns whether a run was complete after an earlier cut.
    pub(super) fn has(&self, task: &str, number: u64) -> bool {
        self.runs.contains(&(task.to_owned(), number))
    }
}
