//! Tasks as an aggregate: their mailbox, and the effects of decisions about them.

use std::io;
use std::sync::Arc;

use durable::blocking;
use durable::crash::{self, CrashPoint};
use jiff::Timestamp;
use model::ids::TaskId;
use model::image::Image;
use model::problem::Problem;
use model::run::RunPhase;
use model::task::{
    Observation, TaskEffect, TaskEvent, TaskRecord, TaskRequest, UpdateEvent, begin, decide, is_unfinished, reconcile, request,
    with_notice,
};
use protocol::FeedEvent;
use spine::{Aggregate, Decided, Mailbox as _, Recorded};
use store::{Home, StoreError};
use tokio_util::task::TaskTracker;

use super::live::TaskLive;
use super::tasks::{TaskSlot, TaskTable, Tasks};

impl Recorded for Tasks {
    type Id = TaskId;
    type Record = TaskRecord;
    type Live = TaskLive;

    fn id_of(record: &TaskRecord) -> TaskId {
        record.task_id
    }

    fn created_at(record: &TaskRecord) -> Timestamp {
        record.created_at
    }

    fn key_of(record: &TaskRecord) -> Option<&str> {
        record.idempotency_key.as_deref()
    }

    fn live(&self, record: &TaskRecord) -> TaskLive {
        TaskLive::new(record.env_id)
    }
}

impl Aggregate for Tasks {
    type Event = TaskEvent;
    type Request = TaskRequest;
    type Effect = TaskEffect;
    type Observation = Observation;

    const NAME: &'static str = "task";
    const CREATED: CrashPoint = CrashPoint::TaskRecorded;
    const DISCARDED: CrashPoint = CrashPoint::TaskInTrash;

    fn table(&self) -> &TaskTable {
        &self.table
    }

    fn home(&self) -> &Arc<Home> {
        &self.home
    }

    fn tracker(&self) -> &TaskTracker {
        &self.tracker
    }

    fn begin(&self, event: TaskEvent) -> Option<Decided<Self>> {
        begin(event, Timestamp::now())
    }

    fn decide(&self, record: &TaskRecord, event: TaskEvent) -> Decided<Self> {
        let decision = decide(record, event, &self.environments.run_policy(record.env_id), Timestamp::now());
        // Without receivers, there is nothing to record.
        if self.notifications.has_receivers() { with_notice(record, decision) } else { decision }
    }

    fn request(&self, record: &TaskRecord, asked: TaskRequest) -> Result<Decided<Self>, Problem> {
        request(record, asked, Timestamp::now()).map_err(Problem::from)
    }

    fn request_after_removal(&self, id: TaskId, asked: TaskRequest) -> Result<(), Problem> {
        match asked {
            // Removing a task twice is harmless.
            TaskRequest::Remove => Ok(()),
            TaskRequest::Resume(_)
            | TaskRequest::FollowUp(_)
            | TaskRequest::EditFollowUp(..)
            | TaskRequest::RemoveFollowUp(_)
            | TaskRequest::Continue
            | TaskRequest::Retry(_)
            | TaskRequest::Answer(..)
            | TaskRequest::Publish(..)
            | TaskRequest::Update(_)
            | TaskRequest::See
            | TaskRequest::Archive
            | TaskRequest::RewordFollowUp(..)
            | TaskRequest::Unarchive
            | TaskRequest::RefreshEnvironment
            | TaskRequest::Stop => Err(Problem::no_task(id)),
        }
    }

    fn is_unfinished(&self, slot: &TaskSlot) -> bool {
        is_unfinished(&slot.record())
    }

    async fn observe(self: &Arc<Self>, slot: &TaskSlot) -> io::Result<Observation> {
        self.observed(slot, &slot.record()).await
    }

    fn reconcile(record: &TaskRecord, seen: &Observation) -> Vec<TaskEvent> {
        reconcile(record, seen)
    }

    fn name_of(event: &TaskEvent) -> &'static str {
        match event {
            TaskEvent::Created(_) => "created",
            TaskEvent::Restored(_) => "restored",
            TaskEvent::Dequeued { .. } => "dequeued",
            TaskEvent::Prepared { .. } => "prepared",
            TaskEvent::Asked { .. } => "asked",
            TaskEvent::AwaitsSetup { .. } => "awaits_setup",
            TaskEvent::PreparationFailed { .. } => "preparation_failed",
            TaskEvent::PreparationLost { .. } => "preparation_lost",
            TaskEvent::Launched { .. } => "adopted",
            TaskEvent::ThreadStarted { .. } => "thread_started",
            TaskEvent::TurnStarted { .. } => "turn_started",
            TaskEvent::KeeperGone { .. } => "keeper_gone",
            TaskEvent::RunFinished { .. } => "run_finished",
            TaskEvent::SessionLost { .. } => "session_lost",
            TaskEvent::WorktreeChecked { .. } => "worktree_checked",
            TaskEvent::Update(UpdateEvent::Done(_)) => "updated",
            TaskEvent::Update(UpdateEvent::Abandoned) => "update_abandoned",
            TaskEvent::Update(UpdateEvent::Left(_)) => "update_left",
            TaskEvent::RemovalLeft => "removal_left",
            TaskEvent::Vacated => "vacated",
            TaskEvent::Notified(_) => "notified",
            TaskEvent::NoticesLeft => "notices_left",
            TaskEvent::LayersDiscarded(_) => "layers_discarded",
            TaskEvent::LayersLeft => "layers_left",
            TaskEvent::Publication(_) => "publication_left",
        }
    }

    fn put(home: &Home, record: &TaskRecord) -> Result<(), StoreError> {
        home.put_task(record)
    }

    fn write(home: &Home, record: &TaskRecord) -> Result<(), StoreError> {
        home.write_task(record)
    }

    fn discard(home: &Home, record: &TaskRecord) -> Result<(), StoreError> {
        home.discard_task(record.task_id)
    }

    fn announce(&self, slot: &TaskSlot) {
        let record = slot.record();
        self.feed.publish(FeedEvent::Task {
            task_id: record.task_id,
            env_id: record.env_id,
            status: record.status(),
            run: record.last_run().number,
        });
        if record.last_run().phase == RunPhase::Queued || !record.last_run().is_active() {
            self.queue.look();
        }
    }

    async fn perform(self: &Arc<Self>, slot: &Arc<TaskSlot>, effect: TaskEffect) {
        match effect {
            TaskEffect::Prepare { attempt } => self.prepare(slot, attempt).await,
            TaskEffect::Launch { attempt } => self.launch(slot, attempt).await,
            TaskEffect::Follow { attempt } => self.follow(slot, attempt).await,
            TaskEffect::StopRun { attempt } => self.stop_run(slot, attempt).await,
            TaskEffect::Finish { attempt } => self.finish(slot, attempt).await,
            TaskEffect::Publish { attempt } => self.publish(slot, attempt).await,
            TaskEffect::DiscardLayers => self.discard_layers(slot).await,
            TaskEffect::MoveBranch => self.move_branch(slot).await,
            TaskEffect::Notify => self.notify(slot).await,
            TaskEffect::Vacate => self.vacate(slot).await,
            TaskEffect::CleanUp => self.clean_up(slot).await,
        }
    }
}

impl Tasks {
    /// Accepts or rejects a request, with the images that it names. The images are on disk before a record names them.
    pub(crate) async fn ask_with_images(
        self: &Arc<Self>,
        slot: &Arc<TaskSlot>,
        asked: TaskRequest,
        images: Vec<Image>,
    ) -> Result<Arc<TaskRecord>, Problem> {
        if !images.is_empty() && !slot.is_removed() {
            // Images of a request that is rejected are not written.
            self.request(&slot.record(), asked.clone())?;
            let (home, id) = (Arc::clone(&self.home), slot.id);
            blocking(move || home.write_images(id, &images)).await?;
            crash::point(CrashPoint::ImagesWritten);
        }
        self.ask(slot, asked).await
    }
}
