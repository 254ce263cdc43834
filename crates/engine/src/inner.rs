//! The engine's state and its start: open the home, read the records, adopt running work, then accept new work.
//!
//! Invariant: the records in memory equal those on disk, and nothing is decided about a task before its actual state is observed.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use config::Config;
use durable::{blocking, crash};
use forge::Forges;
use git::{Git, Mirror};
use jiff::Timestamp;
use model::ErrorCode;
use model::problem::Problem;
use model::queue::Blocker;
use model::run::RunError;
use model::task::TaskRecord;
use notifications::Notifications;
use process::Redactor;
use process::{boot_id, pretend_boot};
use protocol::{Damaged, EnvironmentView, ServerStatus, TaskView};
use runner::journal::FolderWatch;
use runner::worker::Login;
use runner::{LocalRunner, Runner};
use store::{Boot, CodexHome, Home};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::environment::{EnvironmentParts, EnvironmentSlot, Environments, Tenants};
use crate::feed::Feed;
use crate::following::Following;
use crate::password::Password;
use crate::queue::Queue;
use crate::reach::Revisits;
use crate::sessions::Sessions;
use crate::spine::{Mailbox as _, Slot, Table};
use crate::task::Removals;

/// The maximum number of cached redactors.
const MOST_REDACTORS: usize = 16;

/// A task in memory.
pub(crate) type TaskSlot = Slot<Inner>;

/// All tasks in memory.
pub(crate) type TaskTable = Table<Inner>;

/// Where runs execute.
pub(crate) enum ChosenRunner {
    /// On this machine.
    Local,
    /// Where this runner executes them.
    Other(Arc<dyn Runner>),
}

/// The state that all mailboxes share.
pub(crate) struct Inner {
    pub(crate) config: Arc<Config>,
    pub(crate) home: Arc<Home>,
    pub(crate) git: Git,
    pub(crate) runner: Arc<dyn Runner>,
    /// Allows one sweep of the runner at a time.
    pub(crate) sweep_turn: tokio::sync::Mutex<()>,
    /// The tasks whose state is asked for again, because their runner did not answer.
    pub(crate) revisits: Revisits,
    pub(crate) codex_home: CodexHome,
    /// Values that no reader of any repository may see.
    secrets: Vec<String>,
    /// Cached redactors, each for these values and those of a repository. Creating a redactor is slow if there are many
    /// values.
    redactors: Mutex<VecDeque<(Vec<String>, Redactor)>>,
    pub(crate) tasks: TaskTable,
    pub(crate) environments: Arc<Environments>,
    pub(crate) damaged_tasks: Vec<Damaged>,
    /// Which items in the trash need no further work.
    pub(crate) removals: Removals,
    /// Held for reading while something is being created.
    pub(crate) creating: tokio::sync::RwLock<()>,
    pub(crate) feed: Feed,
    pub(crate) queue: Arc<Queue>,
    pub(crate) forges: Forges,
    pub(crate) following: Following,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) password: Password,
    pub(crate) notifications: Arc<Notifications>,
    pub(crate) watch: Arc<FolderWatch>,
    pub(crate) tracker: TaskTracker,
    pub(crate) cancel: CancellationToken,
    /// Makes requests with the same key wait for each other.
    pub(crate) keys: tokio::sync::Mutex<()>,
    /// Allows one restore or deletion of items in the trash at a time.
    pub(crate) trash_turn: tokio::sync::Mutex<()>,
    /// Allows one repack at a time.
    pub(crate) repack_turn: tokio::sync::Mutex<()>,
    /// Allows one change of the list of built images at a time.
    pub(crate) images_turn: tokio::sync::Mutex<()>,
    /// Problems that a person must fix, as of the last check.
    pub(crate) troubles: Mutex<Vec<Blocker>>,
    /// The current boot of the machine, and how the previous one ended.
    pub(crate) boot: Arc<Boot>,
    started_at: Timestamp,
    listen: Mutex<Option<SocketAddr>>,
}

impl Inner {
    pub(crate) async fn start(config: Config, chosen: ChosenRunner) -> Result<Arc<Self>, Problem> {
        let path = config.home.clone();
        let variable = |name: &str| config.environment.get(std::ffi::OsStr::new(name))?.to_str().map(str::to_owned);
        crash::arm(variable);
        pretend_boot(variable);
        let home = Arc::new(blocking(move || Home::open(&path)).await?);
        let git = Git::discover(config.base_environment.clone(), None)
            .await
            .map_err(|error| Problem::new(ErrorCode::GitUnusable, error.to_string()).hint("install git 2.39 or newer"))?;
        let boot = home.read_boot(boot_id().map_err(Problem::internal)?, Timestamp::now())?;
        let reader = Arc::clone(&home);
        let (environments, tasks) =
            blocking(move || Ok::<_, Problem>((reader.read_environments()?, reader.read_tasks()?))).await?;
        let started_at = Timestamp::now();
        let layout = home.layout.clone();
        let codex_home = blocking(move || CodexHome::open(&layout).and_then(|home| Self::adopt_login(&home).map(|()| home)));
        let codex_home = codex_home.await.map_err(|error| {
            Problem::new(ErrorCode::HomeUnusable, format!("could not create Codex's folder in the home directory: {error}"))
                .hint("make the home directory writable for this user, or set ORCH_HOME to another folder")
        })?;
        let (watch, secrets) = (FolderWatch::new(), config.secret_values());
        let (sessions, password) = (Arc::new(Sessions::open(&home)?), Password::open(&home)?);
        let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
        let signed_in = Arc::clone(&sessions);
        let notifications = Notifications::open(
            Arc::clone(&home),
            config.notices.clone(),
            Box::new(move |session, now| signed_in.holds(session, now)),
            tracker.clone(),
            cancel.clone(),
        );
        let (config, boot, queue) = (Arc::new(config), Arc::new(boot), Arc::new(Queue::default()));
        let feed = Feed::starting_after(u64::try_from(started_at.as_microsecond()).unwrap_or_default());
        let parts = EnvironmentParts {
            config: Arc::clone(&config),
            home: Arc::clone(&home),
            git: git.clone(),
            boot: Arc::clone(&boot),
            feed: feed.clone(),
            queue: Arc::clone(&queue),
            tracker: tracker.clone(),
            cancel: cancel.clone(),
        };
        let environments = Environments::new(parts, environments.records, environments.damaged);
        let runner = match chosen {
            ChosenRunner::Local => Arc::new(LocalRunner::new(&config, Arc::clone(&home), codex_home.clone(), Arc::clone(&watch))),
            ChosenRunner::Other(runner) => runner,
        };
        let inner = Arc::new(Self {
            home,
            git,
            runner,
            sweep_turn: tokio::sync::Mutex::default(),
            revisits: Revisits::default(),
            codex_home,
            secrets,
            redactors: Mutex::default(),
            tasks: TaskTable::default(),
            environments,
            damaged_tasks: tasks.damaged,
            removals: Removals::default(),
            creating: tokio::sync::RwLock::default(),
            feed,
            queue,
            forges: Forges::default(),
            following: Following::default(),
            sessions,
            password,
            notifications,
            watch,
            tracker,
            cancel,
            keys: tokio::sync::Mutex::default(),
            trash_turn: tokio::sync::Mutex::default(),
            repack_turn: tokio::sync::Mutex::default(),
            images_turn: tokio::sync::Mutex::default(),
            troubles: Mutex::default(),
            boot,
            started_at,
            listen: Mutex::default(),
            config,
        });
        inner.begin(tasks.records).await;
        Ok(inner)
    }

    /// Reconciles everything with its actual state, then starts the periodic work.
    async fn begin(self: &Arc<Self>, records: Vec<TaskRecord>) {
        for damaged in self.damaged_tasks.iter().chain(&self.environments.damaged) {
            tracing::error!(path = damaged.path, reason = damaged.reason, "could not read a state file; left it unchanged");
        }
        for record in records {
            self.adopt(record);
        }
        let as_tenants: Arc<dyn Tenants> = Arc::<Self>::clone(self);
        self.environments.set_tenants(Arc::downgrade(&as_tenants));
        self.recover().await;
        self.sweep().await;
        self.check_worktrees();
        self.begin_boot();
        self.keep_recovering();
        self.hear_of_the_engine().await;
        self.look_for_troubles().await;
        self.keep_admitting();
        self.keep_following();
        self.notifications.keep_sending_held();
    }

    /// Syncs the home and records that this server has ended cleanly. Blocks.
    pub(crate) fn end_boot(&self) {
        if let Err(error) = self.home.end_boot(&self.boot) {
            tracing::warn!(%error, "could not record a clean shutdown");
        }
    }

    /// Records that a server has run in this boot. Call this after everything that only the first server in a boot may do, and
    /// before anything is started.
    fn begin_boot(&self) {
        if let Err(error) = self.home.begin_boot(&self.boot) {
            // A server must start even if the disk is full.
            tracing::warn!(%error, "could not record the boot ID");
        }
    }

    /// Returns the complete mirror of a repository.
    pub(crate) fn mirror_of(&self, env_id: model::ids::EnvironmentId) -> Result<Mirror, RunError> {
        self.environments.mirror_of(env_id)
    }

    pub(crate) fn set_listen(&self, address: SocketAddr) {
        *self.listen.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
    }

    /// Returns the URL of the pages on this machine, for a server that listens on `address`.
    fn pages(&self, address: SocketAddr) -> String {
        let ip = address.ip().to_canonical();
        if ip.is_loopback() || ip.is_unspecified() {
            format!("http://{}:{}", self.home.pages_host, address.port())
        } else {
            // The host name resolves to the loopback address, where this server does not listen.
            format!("http://{address}")
        }
    }

    pub(crate) fn status(self: &Arc<Self>) -> ServerStatus {
        let listen = *self.listen.lock().unwrap_or_else(PoisonError::into_inner);
        let tasks = self.tasks.all();
        let unfinished: Vec<_> = tasks.iter().map(|slot| slot.record()).filter(|record| record.last_run().is_active()).collect();
        let queued = unfinished.iter().filter(|record| record.last_run().phase == model::run::RunPhase::Queued).count();
        ServerStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            home: self.home.layout.home().display().to_string(),
            worker: self.worker_status(),
            git: format!("{} ({})", self.git.version(), self.git.tool().path().display()),
            started_at: self.started_at,
            listen: listen.map(|address| address.to_string()),
            pages: listen.map(|address| self.pages(address)),
            environments: self.environments.all().len(),
            tasks: tasks.len(),
            active_runs: unfinished.len() - queued,
            queued_runs: queued,
            hold: self.queue.hold(),
            troubles: self.troubles.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Returns the redactor for readers of a repository's runs.
    pub(crate) fn redactor(&self, env_id: model::ids::EnvironmentId) -> Redactor {
        let mut secrets = self.secrets.clone();
        match Login::stored(&self.codex_home) {
            Ok(login) => secrets.extend(login.iter().flat_map(Login::secrets).map(|secret| secret.expose().to_owned())),
            Err(error) => tracing::warn!(%error, "could not read the Codex login"),
        }
        if let Some(environment) = self.environments.get(env_id) {
            secrets.extend(environment.record().secret_values().map(str::to_owned));
        }
        let mut known = self.redactors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, redactor)) = known.iter().find(|(of, _)| *of == secrets) {
            return redactor.clone();
        }
        let redactor = Redactor::new(secrets.iter().cloned());
        if known.len() >= MOST_REDACTORS {
            known.pop_front();
        }
        known.push_back((secrets, redactor.clone()));
        redactor
    }

    pub(crate) fn environment_view(&self, slot: &EnvironmentSlot) -> EnvironmentView {
        EnvironmentView::new(&slot.record(), slot.progress(), slot.fetch(), self.tasks.count_of_environment(slot.id))
    }

    pub(crate) fn task_view(&self, slot: &TaskSlot) -> TaskView {
        let name = self.environments.get(slot.env_id).map(|environment| environment.record().name.clone());
        let record = slot.record();
        let is_queued = record.last_run().phase == model::run::RunPhase::Queued;
        let place = is_queued.then(|| self.queue.place(slot.id)).flatten();
        let activity = slot.activity().filter(|_| record.last_run().is_active());
        TaskView { activity, ..TaskView::new(&record, name, slot.progress(), place) }
    }
}
