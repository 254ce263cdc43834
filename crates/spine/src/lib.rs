//! The spine: one mailbox for everything that has a record, events and effects.
//!
//! An event or a request arrives, the pure core decides, the record is written, and only then are the effects performed. Effects
//! report back with events. Creation, restoration and removal are events like any other.
//!
//! * [`Recorded`], [`Aggregate`]: what a kind of thing must provide. Tasks and repositories are aggregates. A publication and a branch update
//!   are parts of a task's record, so they use the task's mailbox.
//! * [`Slot`]: one thing in memory, with its current record.
//! * [`Table`]: all things of one kind.
//! * [`Mailbox`]: processes the events and requests of a thing one at a time.
//! * [`Common`]: what all parts of a server share, such as the [`Feed`] of changes and the [`Queue`] as readers see it.
//!
//! Invariants: an effect is performed only after the record on disk accounts for it; only a mailbox writes records; and
//! reconciliation, which runs at startup and on a timer, is the only recovery.

mod aggregate;
mod common;
mod counters;
mod feed;
mod mailbox;
mod queue;
mod recorded;
mod setup_turns;
mod slot;
mod table;

pub use aggregate::{Aggregate, Decided};
pub use common::{Common, Deletion};
pub use counters::{COUNTED, Counters, Labels, OpenStream};
pub use feed::Feed;
pub use mailbox::Mailbox;
pub use queue::Queue;
pub use recorded::Recorded;
pub use setup_turns::{SetupDemand, SetupTurn, SetupTurns, TurnState};
pub use slot::{Existence, Slot};
pub use table::{Age, Table};

#[cfg(test)]
mod tests;
