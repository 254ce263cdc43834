//! A kind of thing that has a record.

use std::fmt::Display;
use std::hash::Hash;

use jiff::Timestamp;

/// A kind of thing that has a record on disk, and more state in memory.
pub trait Recorded: Send + Sync + Sized + 'static {
    /// The ID of a thing.
    type Id: Copy + Ord + Hash + Display + Send + Sync;
    /// The record, as it is on disk.
    type Record: Clone + PartialEq + Send + Sync;
    /// State that exists only in memory, such as progress.
    type Live: Send + Sync;

    /// Returns the ID.
    fn id_of(record: &Self::Record) -> Self::Id;
    /// Returns when the thing was created.
    fn created_at(record: &Self::Record) -> Timestamp;
    /// Returns the idempotency key of the request that created the thing.
    fn key_of(record: &Self::Record) -> Option<&str>;
    /// Returns the state in memory for a record that was just created or read.
    fn live(&self, record: &Self::Record) -> Self::Live;
}
