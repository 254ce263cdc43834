//! What uses a container image: the answer of `codex-docker image usage`, shared by the program that gives it and the one that asks,
//! so that they cannot disagree.

use serde::{Deserialize, Serialize};

/// An image of the container engine, and what uses it there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageUsage {
    /// The engine's ID of it.
    pub id: String,
    /// Its size in bytes, with layers that it shares with other images.
    pub size: u64,
    /// All of its names.
    pub names: Vec<String>,
    /// Whether there is a container of it, running or not.
    pub containers: bool,
}
