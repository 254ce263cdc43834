//! Processes the events and requests of a thing one at a time: decides, writes the record, and performs the effects.
//!
//! If a record cannot be written, nothing changes: no effect is performed, and recovery finds the same state again.

use std::sync::Arc;

use durable::blocking;
use durable::crash::{self, CrashPoint};
use model::decision::{Decision, Retention};
use model::problem::Problem;
use store::StoreError;

use crate::aggregate::{Aggregate, Decided};
use crate::counters::COUNTED;
use crate::slot::Slot;

/// The operations of a mailbox. Every aggregate has them.
pub trait Mailbox: Aggregate {
    /// Adds a thing that was read from disk.
    fn adopt(&self, record: Self::Record) -> Arc<Slot<Self>> {
        let live = self.live(&record);
        let slot: Arc<Slot<Self>> = Slot::new(record, live);
        self.table().insert(&slot);
        slot
    }

    /// Creates or restores a thing. Nothing exists if this fails.
    fn create(self: &Arc<Self>, event: Self::Event) -> impl Future<Output = Result<Arc<Slot<Self>>, Problem>> + Send {
        async move {
            let unexpected = format!("{event:?} does not create a {}", Self::NAME);
            let Decision { record, effects, .. } = self.begin(event).ok_or_else(|| Problem::internal(unexpected))?;
            let live = self.live(&record);
            let slot: Arc<Slot<Self>> = Slot::new(record, live);
            let (home, written) = (Arc::clone(self.home()), slot.record());
            let turn = slot.turn.lock().await;
            blocking(move || Self::put(&home, &written)).await?;
            crash::point(Self::CREATED);
            self.table().insert(&slot);
            self.announce(&slot);
            start(self, &slot, effects);
            drop(turn);
            Ok(slot)
        }
    }

    /// Processes an event.
    fn post(self: &Arc<Self>, slot: &Arc<Slot<Self>>, event: Self::Event) -> impl Future<Output = ()> + Send {
        async move {
            let _turn = slot.turn.lock().await;
            take(self, slot, event).await;
        }
    }

    /// Accepts or rejects a request of a user. The request may depend on the record, which does not change in between.
    fn ask_with(
        self: &Arc<Self>,
        slot: &Arc<Slot<Self>>,
        asked: impl FnOnce(&Self::Record) -> Result<Self::Request, Problem> + Send,
    ) -> impl Future<Output = Result<Arc<Self::Record>, Problem>> + Send {
        async move {
            let _turn = slot.turn.lock().await;
            let asked = asked(&slot.record())?;
            if slot.is_removed() {
                return self.request_after_removal(slot.id, asked).map(|()| slot.record());
            }
            let decision = self.request(&slot.record(), asked)?;
            commit(self, slot, decision).await?;
            Ok(slot.record())
        }
    }

    /// Accepts or rejects a request of a user.
    fn ask(
        self: &Arc<Self>,
        slot: &Arc<Slot<Self>>,
        asked: Self::Request,
    ) -> impl Future<Output = Result<Arc<Self::Record>, Problem>> + Send {
        self.ask_with(slot, |_| Ok(asked))
    }

    /// Reconciles every unfinished thing with its actual state.
    fn reconcile_all(self: &Arc<Self>) -> impl Future<Output = ()> + Send {
        async move {
            for slot in self.table().all() {
                self.reconcile_one(&slot).await;
            }
        }
    }

    /// Reconciles a thing with its actual state if it is unfinished.
    fn reconcile_one(self: &Arc<Self>, slot: &Arc<Slot<Self>>) -> impl Future<Output = ()> + Send {
        async move {
            if self.is_unfinished(slot) {
                reconcile(self, slot).await;
            }
        }
    }
}

impl<A: Aggregate> Mailbox for A {}

/// Compares a record with the actual state, and processes the resulting events. Safe to call at any time.
async fn reconcile<A: Aggregate>(aggregate: &Arc<A>, slot: &Arc<Slot<A>>) {
    let _turn = slot.turn.lock().await;
    if slot.is_busy() || slot.is_removed() {
        return;
    }
    let seen = match aggregate.observe(slot).await {
        Ok(seen) => seen,
        Err(error) => {
            tracing::warn!(kind = A::NAME, id = %slot.id, %error, "could not inspect the actual state; left it unchanged");
            return;
        }
    };
    for event in A::reconcile(&slot.record(), &seen) {
        tracing::info!(kind = A::NAME, id = %slot.id, ?event, "found unfinished work");
        COUNTED.recovery(A::name_of(&event));
        take(aggregate, slot, event).await;
    }
}

/// Processes an event. The caller holds the turn.
async fn take<A: Aggregate>(aggregate: &Arc<A>, slot: &Arc<Slot<A>>, event: A::Event) {
    if slot.is_removed() {
        return;
    }
    let decision = aggregate.decide(&slot.record(), event);
    if let Err(error) = commit(aggregate, slot, decision).await {
        tracing::error!(kind = A::NAME, id = %slot.id, %error, "could not write a record; recovery retries");
    }
}

async fn commit<A: Aggregate>(aggregate: &Arc<A>, slot: &Arc<Slot<A>>, decision: Decided<A>) -> Result<(), StoreError> {
    let Decision { record, effects, retention } = decision;
    let home = Arc::clone(aggregate.home());
    match retention {
        Retention::Keep if record == *slot.record() => {}
        Retention::Keep => {
            let record = Arc::new(record);
            let written = Arc::clone(&record);
            blocking(move || A::write(&home, &written)).await?;
            crash::point(CrashPoint::RecordWritten);
            slot.replace(record);
            aggregate.announce(slot);
        }
        Retention::Trash => {
            let record = Arc::new(record);
            let discarded = Arc::clone(&record);
            blocking(move || A::discard(&home, &discarded)).await?;
            crash::point(A::DISCARDED);
            slot.replace(record);
            aggregate.table().remove(slot);
            slot.mark_discarded();
        }
    }
    start(aggregate, slot, effects);
    Ok(())
}

fn start<A: Aggregate>(aggregate: &Arc<A>, slot: &Arc<Slot<A>>, effects: Vec<A::Effect>) {
    for effect in effects {
        let (aggregate, slot, working) = (Arc::clone(aggregate), Arc::clone(slot), slot.start_work());
        let tracker = aggregate.tracker().clone();
        tracker.spawn(async move {
            aggregate.perform(&slot, effect).await;
            drop(working);
        });
    }
}
