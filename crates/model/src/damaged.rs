//! A state file that cannot be read.
//!
//! The server reports it and leaves it unchanged.

use serde::{Deserialize, Serialize};

/// A task or repository whose files cannot be read. The server does not change them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Damaged {
    /// Name of the item's folder.
    pub id: String,
    /// Path of the file that cannot be read.
    pub path: String,
    /// Why the file cannot be read.
    pub reason: String,
    /// How to fix the problem.
    pub hints: Vec<String>,
}
