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
pub(crate) struct Common {
    pub(crate) config: Arc<Config>,
    pub(crate) home: Arc<Home>,
    /// The current boot of the machine, and how the previous one ended.
    pub(crate) boot: Arc<Boot>,
    pub(crate) feed: Feed,
    pub(crate) queue: Arc<Queue>,
    /// Held for reading while something is being created, so that its folder without a record is not taken for a leftover.
    pub(crate) creating: Arc<RwLock<()>>,
    /// Knows the work of this process, for which a shutdown waits.
    pub(crate) tracker: TaskTracker,
    /// Cancelled when the server stops.
    pub(crate) cancel: CancellationToken,
}

/// Whether items are deleted or only listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deletion {
    Perform,
    DryRun,
}
