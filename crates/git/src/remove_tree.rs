//! Deletes a folder that an agent wrote, from async code, using the `remove-tree` crate. No link is followed, and no async
//! thread waits for a disk.

use std::io;
use std::path::PathBuf;

pub use remove_tree::{RemoveTreeError, remove_tree};

/// Deletes a folder on a thread for blocking work.
pub(super) async fn remove_tree_aside(path: PathBuf) -> Result<(), RemoveTreeError> {
    let shown = path.clone();
    let removed = tokio::task::spawn_blocking(move || remove_tree(&path)).await;
    removed.unwrap_or_else(|error| Err(RemoveTreeError { path: shown, source: io::Error::other(error) }))
}
