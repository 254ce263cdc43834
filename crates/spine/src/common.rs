//! What every part of a server has in common.

use std::sync::Arc;

use config::Config;
use store::{Boot, Home};
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::feed::Feed;
use crate::queue::Queue;

/// The settings, the home, and the signals between the parts of a server. Cheap to clone.
#[derive(Clone)]
pub struct Common {
    /// The settings of the server.
    pub config: Arc<Config>,
    /// The home, with all state files.
    pub home: Arc<Home>,
    /// The current boot of the machine, and how the previous one ended.
    pub boot: Arc<Boot>,
    /// Numbered state changes.
    pub feed: Feed,
    /// The queue as readers see it.
    pub queue: Arc<Queue>,
    /// Held for reading while something is being created, so that its folder without a record is not taken for a leftover.
    pub creating: Arc<RwLock<()>>,
    /// Knows the work of this process, for which a shutdown waits.
    pub tracker: TaskTracker,
    /// Cancelled when the server stops.
    pub cancel: CancellationToken,
}

/// Whether items are deleted or only listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// Items are deleted.
    Perform,
    /// Items are only listed.
    DryRun,
}
