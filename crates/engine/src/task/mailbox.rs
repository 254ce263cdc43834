//! Processes the events of a task one at a time: decides, writes the record, and performs the effects.
//!
//! If a record cannot be written, nothing changes: no effect is performed, and recovery finds the same state again.

use std::sync::Arc;

use durable::crash::{self, CrashPoint};
use jiff::Timestamp;
use model::image::Image;
use model::problem::Problem;
use model::run::RunPhase;
use model::task::{Decision, TaskEffect, TaskEvent, TaskRecord, TaskRequest, decide, reconcile, request};
use protocol::FeedEvent;
use store::StoreError;

use super::TaskSlot;
use crate::counters::COUNTED;
use crate::inner::Inner;

impl Inner {
    /// Processes an event.
    pub(crate) async fn post(self: &Arc<Self>, slot: &Arc<TaskSlot>, event: TaskEvent) {
        let _turn = slot.turn.lock().await;
        self.take(slot, event).await;
    }

    /// Accepts or rejects a request of a user.
    pub(crate) async fn ask(self: &Arc<Self>, slot: &Arc<TaskSlot>, asked: TaskRequest) -> Result<Arc<TaskRecord>, Problem> {
        self.ask_with(slot, asked, vec![]).await
    }

    /// Accepts or rejects a request, with the images that it names. The images are on disk before a record names them.
    pub(crate) async fn ask_with(
        self: &Arc<Self>,
        slot: &Arc<TaskSlot>,
        asked: TaskRequest,
        images: Vec<Image>,
    ) -> Result<Arc<TaskRecord>, Problem> {
        let _turn = slot.turn.lock().await;
        if slot.is_gone() {
            return match asked {
                // Removing a task twice is harmless.
                TaskRequest::Remove => Ok(slot.record()),
                TaskRequest::Resume(_)
                | TaskRequest::FollowUp(_)
                | TaskRequest::EditFollowUp(..)
                | TaskRequest::RemoveFollowUp(_)
                | TaskRequest::Continue
                | TaskRequest::Retry(_)
                | TaskRequest::Answer(..)
                | TaskRequest::Publish(..)
                | TaskRequest::See
                | TaskRequest::Archive
                | TaskRequest::RewordFollowUp(..)
                | TaskRequest::Unarchive
                | TaskRequest::Stop => Err(Problem::no_task(slot.id)),
            };
        }
        let decision = request(&slot.record(), asked, Timestamp::now()).map_err(Problem::from)?;
        if !images.is_empty() {
            let (home, id) = (Arc::clone(&self.home), slot.id);
            durable::blocking(move || home.write_images(id, &images)).await?;
            crash::point(CrashPoint::ImagesWritten);
        }
        self.commit(slot, decision).await.map_err(Problem::from)?;
        Ok(slot.record())
    }

    /// Compares a task's record with its actual state, and processes the resulting events. Safe to call at any time.
    pub(crate) async fn reconcile(self: &Arc<Self>, slot: &Arc<TaskSlot>) {
        let _turn = slot.turn.lock().await;
        let record = slot.record();
        let seen = match self.observe(slot, &record).await {
            Ok(seen) => seen,
            Err(error) => {
                tracing::warn!(task = %slot.id, %error, "could not inspect a task; left it unchanged");
                return;
            }
        };
        for event in reconcile(&record, &seen) {
            tracing::info!(task = %slot.id, ?event, "recovered a task");
            COUNTED.recovery(&event);
            self.take(slot, event).await;
        }
    }

    /// Processes an event. The caller holds the task's lock.
    pub(super) async fn take(self: &Arc<Self>, slot: &Arc<TaskSlot>, event: TaskEvent) {
        if slot.is_gone() {
            return;
        }
        let decision = decide(&slot.record(), event, &self.run_policy(slot.env_id), Timestamp::now());
        if let Err(error) = self.commit(slot, decision).await {
            tracing::error!(task = %slot.id, %error, "could not write a task's record; recovery retries");
        }
    }

    async fn commit(self: &Arc<Self>, slot: &Arc<TaskSlot>, decision: Decision) -> Result<(), StoreError> {
        let Decision { record, effects } = decision;
        if record != *slot.record() {
            let record = Arc::new(record);
            let (inner, written) = (Arc::clone(self), Arc::clone(&record));
            durable::blocking(move || inner.home.write_task(&written)).await?;
            crash::point(CrashPoint::RecordWritten);
            let before = slot.record();
            slot.replace(Arc::clone(&record));
            self.publish_task(&record);
            self.notifications.announce(&before, &record, &self.repository_name(record.env_id));
            if record.last_run().phase == RunPhase::Queued || !record.last_run().is_active() {
                self.queue.look();
            }
        }
        for effect in effects {
            self.perform(slot, effect);
        }
        Ok(())
    }

    pub(crate) fn publish_task(&self, record: &TaskRecord) {
        self.feed.publish(FeedEvent::Task {
            task_id: record.task_id,
            env_id: record.env_id,
            status: record.status(),
            run: record.last_run().number,
        });
    }

    fn perform(self: &Arc<Self>, slot: &Arc<TaskSlot>, effect: TaskEffect) {
        let (inner, slot, working) = (Arc::clone(self), Arc::clone(slot), slot.start_work());
        self.tracker.spawn(async move {
            match effect {
                TaskEffect::Prepare { attempt } => inner.prepare(&slot, attempt).await,
                TaskEffect::Launch { attempt } => inner.launch(&slot, attempt).await,
                TaskEffect::Follow { attempt } => inner.follow(&slot, attempt).await,
                TaskEffect::StopRun { attempt } => inner.stop_run(&slot, attempt).await,
                TaskEffect::Finish { attempt } => inner.finish(&slot, attempt).await,
                TaskEffect::Remove => inner.remove(&slot).await,
                TaskEffect::Publish { attempt } => inner.publish(&slot, attempt).await,
            }
            drop(working);
        });
    }
}
