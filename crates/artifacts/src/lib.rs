//! Keeps the files that agents leave in `/artifacts`, and reads them.
//!
//! The folder that an agent can write to is hostile: [`keep`] copies its regular files into a folder that no agent can reach, and then
//! deletes it. The copies have numbers as names, and a list has the names that the agent chose. Invariant: this crate follows no links.
//! All functions block.

mod copy;
mod kept;

pub use copy::Limits;
pub use kept::{ArtifactList, keep};
