//! What a kind of thing must provide to use the spine.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use durable::crash::CrashPoint;
use model::decision::Decision;
use model::problem::Problem;
use store::{Home, StoreError};
use tokio_util::task::TaskTracker;

use crate::recorded::Recorded;
use crate::slot::Slot;
use crate::table::Table;

/// A decision about a thing of this kind.
pub type Decided<A> = Decision<<A as Recorded>::Record, <A as Aggregate>::Effect>;

/// Things with records, events and effects. The implementing type owns what the effects need.
pub trait Aggregate: Recorded {
    /// Something that happened.
    type Event: Debug + Send;
    /// A request from a user.
    type Request: Send;
    /// An action that follows from a decision.
    type Effect: Send;
    /// What is observed about a thing for its reconciliation.
    type Observation: Send;

    /// The name of the kind in the server's log.
    const NAME: &'static str;
    /// The crash point after a new record is written and before anything else happens.
    const CREATED: CrashPoint;
    /// The crash point after the files are in the trash and before anything else happens.
    const DISCARDED: CrashPoint;

    /// Returns all things of this kind.
    fn table(&self) -> &Table<Self>;
    /// Returns the home that contains the records.
    fn home(&self) -> &Arc<Home>;
    /// Returns what tracks the effects of this process.
    fn tracker(&self) -> &TaskTracker;

    /// Decides what follows from an event about a thing that does not exist. `None` means nothing.
    fn begin(&self, event: Self::Event) -> Option<Decided<Self>>;
    /// Decides what follows from an event.
    fn decide(&self, record: &Self::Record, event: Self::Event) -> Decided<Self>;
    /// Accepts or rejects a request.
    fn request(&self, record: &Self::Record, asked: Self::Request) -> Result<Decided<Self>, Problem>;
    /// Accepts or rejects a request about a thing that was removed. Nothing follows from it.
    fn request_after_removal(&self, id: Self::Id, asked: Self::Request) -> Result<(), Problem>;

    /// Whether something about the thing may be unfinished, so that it must be observed.
    fn is_unfinished(&self, slot: &Slot<Self>) -> bool;
    /// Observes the actual state of a thing.
    fn observe(self: &Arc<Self>, slot: &Slot<Self>) -> impl Future<Output = io::Result<Self::Observation>> + Send;
    /// Returns the events that lead from the record to the observed state.
    fn reconcile(record: &Self::Record, seen: &Self::Observation) -> Vec<Self::Event>;
    /// Returns the name of an event in metrics.
    fn name_of(event: &Self::Event) -> &'static str;

    /// Writes the record of a thing that does not exist. It gets a folder, or its folder returns from the trash. Blocks.
    fn put(home: &Home, record: &Self::Record) -> Result<(), StoreError>;
    /// Writes the new record of a thing that exists. Blocks.
    fn write(home: &Home, record: &Self::Record) -> Result<(), StoreError>;
    /// Moves the files of a thing to the trash. Doing it twice is harmless. Blocks.
    fn discard(home: &Home, record: &Self::Record) -> Result<(), StoreError>;
    /// Tells everybody in this process who shows or uses the record that it has changed. Clients that connect later read the
    /// records, so nothing is lost if the process dies first.
    fn announce(&self, slot: &Slot<Self>);
    /// Performs an effect.
    fn perform(self: &Arc<Self>, slot: &Arc<Slot<Self>>, effect: Self::Effect) -> impl Future<Output = ()> + Send;
}
