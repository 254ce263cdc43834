//! All repositories: their records, their mirrors, and the effects of decisions about them.

use std::io;
use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock, Weak};

use config::Config;
use durable::crash::CrashPoint;
use futures_util::future::BoxFuture;
use git::{Contents, Git, History, Landing};
use jiff::Timestamp;
use model::ErrorCode;
use model::commit::CommitSettings;
use model::environment::{
    EnvironmentEffect, EnvironmentEvent, EnvironmentRecord, EnvironmentRequest, EnvironmentStatus, begin, decide, is_unfinished,
    reconcile, request,
};
use model::ids::EnvironmentId;
use model::policy::RunPolicy;
use model::problem::Problem;
use model::run::RunError;
use notifications::Notifications;
use process::RunProgramError;
use protocol::{Damaged, FeedEvent};
use spine::{Aggregate, Common, Decided, Feed, Mailbox as _, Queue, Recorded, Slot, Table};
use store::{Boot, Home, Records, StoreError};
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::failures::not_ready;
use crate::live::EnvironmentLive;

/// What repositories need to know about the tasks in them.
pub trait Tenants: Send + Sync {
    /// Removes the repository's tasks, and returns when nothing outside of the trash refers to them.
    fn remove_all(self: Arc<Self>, id: EnvironmentId) -> BoxFuture<'static, Result<(), Problem>>;

    /// Runs the setup that the repository's record calls running.
    fn set_up(self: Arc<Self>, environment: Arc<EnvironmentSlot>) -> BoxFuture<'static, ()>;

    /// Continues updates of branches that were interrupted.
    fn continue_updates(self: Arc<Self>, landings: Vec<Landing>) -> BoxFuture<'static, ()>;

    /// Whether the run of any task is being prepared.
    fn is_preparing(&self) -> bool;
}

/// All repositories.
pub struct Environments {
    /// The records that could not be read.
    pub damaged: Vec<Damaged>,
    pub(crate) config: Arc<Config>,
    pub(crate) home: Arc<Home>,
    pub(crate) git: Git,
    pub(crate) boot: Arc<Boot>,
    pub(crate) feed: Feed,
    pub(crate) queue: Arc<Queue>,
    /// Held for reading while something is being created.
    pub(crate) creating: Arc<RwLock<()>>,
    pub(crate) tracker: TaskTracker,
    pub(crate) cancel: CancellationToken,
    pub(crate) notifications: Arc<Notifications>,
    table: Table<Self>,
    tenants: OnceLock<Weak<dyn Tenants>>,
}

impl Environments {
    /// Creates the repositories with these records, which were read from disk.
    pub fn new(common: Common, git: Git, notifications: Arc<Notifications>, found: Records<EnvironmentRecord>) -> Arc<Self> {
        let Records { records, damaged } = found;
        let Common { config, home, boot, feed, queue, creating, tracker, cancel } = common;
        let (table, tenants) = (Table::default(), OnceLock::new());
        let this = Arc::new(Self {
            damaged,
            config,
            home,
            git,
            boot,
            feed,
            queue,
            creating,
            tracker,
            cancel,
            notifications,
            table,
            tenants,
        });
        for record in records {
            this.adopt(record);
        }
        this
    }

    /// Introduces the tasks. Only the first call counts.
    pub fn set_tenants(&self, tenants: Weak<dyn Tenants>) {
        self.tenants.get_or_init(|| tenants);
    }

    pub(crate) fn tenants(&self) -> Option<Arc<dyn Tenants>> {
        self.tenants.get()?.upgrade()
    }

    /// Returns a repository.
    pub fn get(&self, id: EnvironmentId) -> Option<Arc<EnvironmentSlot>> {
        self.table.get(id)
    }

    /// Returns the record of a repository.
    pub fn record(&self, id: EnvironmentId) -> Option<Arc<EnvironmentRecord>> {
        self.get(id).map(|slot| slot.record())
    }

    /// Returns all repositories, newest first.
    pub fn all(&self) -> Vec<Arc<EnvironmentSlot>> {
        self.table.all()
    }

    /// Whether this server removed the repository.
    pub fn was_removed(&self, id: EnvironmentId) -> bool {
        self.table.was_removed(id)
    }

    /// Returns the complete mirror of a repository.
    pub fn mirror_of(&self, id: EnvironmentId) -> Result<git::Mirror, RunError> {
        self.get(id).and_then(|slot| slot.mirror()).ok_or_else(|| {
            RunError::new(ErrorCode::MirrorMissing, format!("the mirror of the repository {id} is missing"))
                .hint("its folder in `envs/` is missing or damaged; the task's worktree is unchanged")
        })
    }

    /// Returns the policy for runs of a repository, including the server's settings.
    pub fn run_policy(&self, id: EnvironmentId) -> RunPolicy {
        let policy = self.record(id).map(|record| record.runs.clone()).unwrap_or_default();
        RunPolicy { resume_interrupted: policy.resume_interrupted.or(Some(self.config.resume_interrupted)), ..policy }
    }

    /// Returns the settings for the commits of a repository.
    pub fn commit_settings(&self, id: EnvironmentId) -> CommitSettings {
        self.record(id).map(|record| record.commits.clone()).unwrap_or_default()
    }

    /// Returns the name of a repository, or nothing if it was removed.
    pub fn name_of(&self, id: EnvironmentId) -> String {
        self.record(id).map(|record| record.name.to_string()).unwrap_or_default()
    }

    /// Tells followers of the feed that something about a repository has changed.
    pub fn publish(&self, slot: &EnvironmentSlot) {
        self.feed.publish(FeedEvent::Environment { env_id: slot.id, status: slot.record().status, progress: slot.progress() });
    }
}

/// A repository in memory.
pub type EnvironmentSlot = Slot<Environments>;

/// Sets the mirror's default branch to the recorded one, and how much history its next fetch gets, if there is a mirror.
pub async fn follow_settings(slot: &EnvironmentSlot) -> Result<(), RunProgramError> {
    let (Some(mirror), record) = (slot.mirror(), slot.record()) else { return Ok(()) };
    mirror.want_history(history_of(&record));
    mirror.want_contents(contents_of(&record));
    match &record.default_branch {
        Some(branch) => mirror.follow_default_branch(branch.as_str()).await,
        None => Ok(()),
    }
}

/// Like [`follow_settings`], but only logs an error. Each new task tries again.
pub(crate) async fn try_to_follow_settings(slot: &EnvironmentSlot) {
    if let Err(error) = follow_settings(slot).await {
        tracing::error!(environment = %slot.id, %error, "could not set a mirror's default branch");
    }
}

/// Returns how much history the mirror of a repository should have.
pub(crate) fn history_of(record: &EnvironmentRecord) -> History {
    History::of_depth(record.sources.depth.and_then(NonZeroU32::new))
}

/// Returns which contents of files the mirror of a repository should have.
pub(crate) fn contents_of(record: &EnvironmentRecord) -> Contents {
    if record.sources.partial_clone { Contents::OfUsedCommits } else { Contents::All }
}

impl Recorded for Environments {
    type Id = EnvironmentId;
    type Record = EnvironmentRecord;
    type Live = EnvironmentLive;

    fn id_of(record: &EnvironmentRecord) -> EnvironmentId {
        record.env_id
    }

    fn created_at(record: &EnvironmentRecord) -> Timestamp {
        record.created_at
    }

    fn key_of(_record: &EnvironmentRecord) -> Option<&str> {
        None
    }

    fn live(&self, _record: &EnvironmentRecord) -> EnvironmentLive {
        EnvironmentLive::new(&self.cancel)
    }
}

impl Aggregate for Environments {
    type Event = EnvironmentEvent;
    type Request = EnvironmentRequest;
    type Effect = EnvironmentEffect;
    type Observation = ();

    const NAME: &'static str = "repository";
    const CREATED: CrashPoint = CrashPoint::EnvironmentRecorded;
    const DISCARDED: CrashPoint = CrashPoint::EnvironmentInTrash;

    fn table(&self) -> &Table<Self> {
        &self.table
    }

    fn home(&self) -> &Arc<Home> {
        &self.home
    }

    fn tracker(&self) -> &TaskTracker {
        &self.tracker
    }

    fn begin(&self, event: EnvironmentEvent) -> Option<Decided<Self>> {
        begin(event, Timestamp::now())
    }

    fn decide(&self, record: &EnvironmentRecord, event: EnvironmentEvent) -> Decided<Self> {
        decide(record, event, Timestamp::now())
    }

    fn request(&self, record: &EnvironmentRecord, asked: EnvironmentRequest) -> Result<Decided<Self>, Problem> {
        request(record, asked, Timestamp::now()).ok_or_else(|| not_ready(record))
    }

    fn request_after_removal(&self, id: EnvironmentId, asked: EnvironmentRequest) -> Result<(), Problem> {
        match asked {
            EnvironmentRequest::Remove => Ok(()),
            EnvironmentRequest::Edit(_)
            | EnvironmentRequest::AllowSources(_)
            | EnvironmentRequest::EditSetup(_)
            | EnvironmentRequest::SetUp { .. }
            | EnvironmentRequest::SkipSetup
            | EnvironmentRequest::Retry => Err(Problem::no_environment(id)),
        }
    }

    fn is_unfinished(&self, slot: &EnvironmentSlot) -> bool {
        let record = slot.record();
        is_unfinished(&record) || (record.status == EnvironmentStatus::Ready && slot.mirror().is_none())
    }

    async fn observe(self: &Arc<Self>, slot: &EnvironmentSlot) -> io::Result<()> {
        self.open_mirror(slot).await;
        Ok(())
    }

    fn reconcile(record: &EnvironmentRecord, _seen: &()) -> Vec<EnvironmentEvent> {
        reconcile(record)
    }

    fn name_of(event: &EnvironmentEvent) -> &'static str {
        match event {
            EnvironmentEvent::Created(_) => "environment_created",
            EnvironmentEvent::Restored(_) => "environment_restored",
            EnvironmentEvent::Cloned { .. } => "environment_cloned",
            EnvironmentEvent::CloneFailed(_) => "environment_clone_failed",
            EnvironmentEvent::CloneLost => "environment_clone_lost",
            EnvironmentEvent::RemovalLeft => "environment_removal_left",
            EnvironmentEvent::Vacated => "environment_vacated",
            EnvironmentEvent::SetupWanted(_) => "setup_wanted",
            EnvironmentEvent::SetupRefused { .. } => "setup_refused",
            EnvironmentEvent::SetupEnded { .. } => "setup_ended",
            EnvironmentEvent::SetupLost => "setup_lost",
            EnvironmentEvent::SetupNotified { .. } => "setup_notified",
            EnvironmentEvent::SetupNoticeLeft => "setup_notice_left",
        }
    }

    fn put(home: &Home, record: &EnvironmentRecord) -> Result<(), StoreError> {
        home.put_environment(record)
    }

    fn write(home: &Home, record: &EnvironmentRecord) -> Result<(), StoreError> {
        match record.status {
            // A failed clone leaves nothing on disk.
            EnvironmentStatus::Failed => delete_files(home, record.env_id),
            EnvironmentStatus::Cloning | EnvironmentStatus::Ready | EnvironmentStatus::Removing => home.write_environment(record),
        }
    }

    fn discard(home: &Home, record: &EnvironmentRecord) -> Result<(), StoreError> {
        // Without a mirror, the folder contains no work.
        if home.layout.mirror(record.env_id).exists() {
            home.discard_environment(record.env_id)
        } else {
            delete_files(home, record.env_id)
        }
    }

    fn announce(&self, slot: &EnvironmentSlot) {
        self.publish(slot);
        self.queue.look();
    }

    async fn perform(self: &Arc<Self>, slot: &Arc<EnvironmentSlot>, effect: EnvironmentEffect) {
        match effect {
            EnvironmentEffect::Clone => self.clone_mirror(slot).await,
            EnvironmentEffect::FollowSettings => try_to_follow_settings(slot).await,
            EnvironmentEffect::SetUp => {
                if let Some(tenants) = self.tenants() {
                    tenants.set_up(Arc::clone(slot)).await;
                }
            }
            EnvironmentEffect::Notify => self.notify(slot).await,
            EnvironmentEffect::Vacate => self.vacate(slot).await,
            EnvironmentEffect::CleanUp => {
                self.feed.publish(FeedEvent::EnvironmentRemoved { env_id: slot.id });
                slot.mark_gone();
            }
        }
    }
}

/// Deletes the files of a repository that contains no work. Blocks.
pub(crate) fn delete_files(home: &Home, id: EnvironmentId) -> Result<(), StoreError> {
    home.discard_environment(id)?;
    home.delete_discarded_environment(id)
}
