//! The result of a request or an event: the new record, and what to do next.
//!
//! Everything that has a record works this way: a pure function makes the decision, the caller writes the record, and then it
//! performs the effects, each of which is idempotent.

/// Whether a record stays, or its files are moved to the trash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// The record stays.
    Keep,
    /// The record and its files are moved to the trash.
    Trash,
}

/// A new record and the effects that follow from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision<Record, Effect> {
    /// The record to write before any effect.
    pub record: Record,
    /// The effects, in order.
    pub effects: Vec<Effect>,
    /// Whether the record stays.
    pub retention: Retention,
}

impl<Record, Effect> Decision<Record, Effect> {
    /// Returns the decision to keep this record and to perform these effects.
    pub fn keep(record: Record, effects: Vec<Effect>) -> Self {
        Self { record, effects, retention: Retention::Keep }
    }

    /// Returns the decision to move the files of this record to the trash, and to perform these effects afterwards.
    pub fn trash(record: Record, effects: Vec<Effect>) -> Self {
        Self { record, effects, retention: Retention::Trash }
    }
}
