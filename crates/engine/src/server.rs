//! A running server: its parts, which are created and connected here, and its start and end.
//!
//! Invariant: the records in memory equal those on disk, and nothing is decided about a task before its actual state is observed.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use config::Config;
use durable::{blocking, crash};
use environments::{BuiltImages, EnvironmentSlot, Environments, PreparedWorktrees, Publishing, Redaction, Tenants};
use git::Git;
use jiff::Timestamp;
use model::ErrorCode;
use model::environment::EnvironmentRecord;
use model::problem::Problem;
use model::run::RunPhase;
use model::task::TaskRecord;
use notifications::Notifications;
use process::{boot_id, pretend_boot};
use protocol::{Damaged, EnvironmentView, ServerStatus};
use runner::journal::FolderWatch;
use runner::worker::Login;
use runner::{LocalRunner, Runner};
use spine::{Common, Feed, Mailbox as _, Queue};
use store::{Boot, CodexHome, Home, Records};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::Admission;
use crate::follow_pull_requests::PullRequests;
use crate::readiness::Readiness;
use crate::recovery::Recovery;
use crate::shells::Shells;
use crate::task::{TaskParts, Tasks};
use crate::trash::Trash;
use sign_in::Password;
use sign_in::Sessions;

/// Where runs execute.
pub(crate) enum ChosenRunner {
    /// On this machine.
    Local,
    /// Where this runner executes them.
    Other(Arc<dyn Runner>),
}

/// A running server. Each part owns what it needs, and no part knows the server.
pub(crate) struct Server {
    pub(crate) common: Common,
    pub(crate) environments: Arc<Environments>,
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) publishing: Arc<Publishing>,
    pub(crate) pull_requests: Arc<PullRequests>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) trash: Arc<Trash>,
    pub(crate) shells: Arc<Shells>,
    pub(crate) notifications: Arc<Notifications>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) password: Password,
    git: Git,
    prepared: Arc<PreparedWorktrees>,
    recovery: Arc<Recovery>,
    started_at: Timestamp,
    listen: Mutex<Option<SocketAddr>>,
}

impl Server {
    /// Opens the home, reads all records, reconciles them with the actual state, and starts the periodic work.
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
        let codex_home = blocking(move || CodexHome::open(&layout).and_then(|home| adopt_login(&home).map(|()| home)));
        let codex_home = codex_home.await.map_err(|error| {
            Problem::new(ErrorCode::HomeUnusable, format!("could not create Codex's folder in the home directory: {error}"))
                .hint("make the home directory writable for this user, or set ORCH_HOME to another folder")
        })?;
        let server =
            Self::connected(config, chosen, Opened { home, git, boot, codex_home, started_at }, environments, tasks.damaged)?;
        server.begin(tasks.records).await;
        Ok(server)
    }

    /// Creates the parts of a server, each with the parts that it needs.
    fn connected(
        config: Config,
        chosen: ChosenRunner,
        opened: Opened,
        environments: Records<EnvironmentRecord>,
        damaged_tasks: Vec<Damaged>,
    ) -> Result<Arc<Self>, Problem> {
        let Opened { home, git, boot, codex_home, started_at } = opened;
        let (sessions, password) = (Arc::new(Sessions::open(&home)?), Password::open(&home)?);
        let common = Common {
            config: Arc::new(config),
            home,
            boot: Arc::new(boot),
            feed: Feed::starting_after(u64::try_from(started_at.as_microsecond()).unwrap_or_default()),
            queue: Arc::new(Queue::default()),
            creating: Arc::default(),
            tracker: TaskTracker::new(),
            cancel: CancellationToken::new(),
        };
        let notifications = notifications(&common, &sessions);
        let environments = Environments::new(common.clone(), git.clone(), Arc::clone(&notifications), environments);
        let watch = FolderWatch::new();
        let runner: Arc<dyn Runner> = match chosen {
            ChosenRunner::Local => {
                let home = Arc::clone(&common.home);
                Arc::new(LocalRunner::new(&common.config, home, codex_home.clone(), Arc::clone(&watch)))
            }
            ChosenRunner::Other(runner) => runner,
        };
        let redaction = Redaction::new(common.config.secret_values(), codex_home.clone(), Arc::clone(&environments));
        let redaction = Arc::new(redaction);
        let publishing = Arc::new(Publishing::new(common.clone(), Arc::clone(&environments), Arc::clone(&redaction)));
        let images = Arc::new(BuiltImages::new(common.clone(), Arc::clone(&runner), Arc::clone(&environments)));
        let readiness = Readiness::new(common.clone(), Arc::clone(&runner), Arc::clone(&environments), damaged_tasks.clone());
        let readiness = Arc::new(readiness);
        let parts = TaskParts {
            codex_home,
            runner: Arc::clone(&runner),
            environments: Arc::clone(&environments),
            publishing: Arc::clone(&publishing),
            images: Arc::clone(&images),
            readiness: Arc::clone(&readiness),
            redaction,
            notifications: Arc::clone(&notifications),
            watch,
        };
        let tasks = Tasks::new(common.clone(), parts, damaged_tasks);
        let as_tenants: Arc<dyn Tenants> = Arc::<Tasks>::clone(&tasks);
        environments.set_tenants(Arc::downgrade(&as_tenants));
        let pull_requests = PullRequests::new(common.clone(), Arc::clone(&tasks), Arc::clone(&publishing));
        let admission = Admission::new(common.clone(), Arc::clone(&tasks), Arc::clone(&environments), Arc::clone(&readiness));
        let prepared = PreparedWorktrees::new(common.clone(), Arc::clone(&environments));
        let prepared = Arc::new(prepared);
        let shells = Shells::new(common.clone(), Arc::clone(&environments), Arc::clone(&tasks), Arc::clone(&runner));
        let shells = Arc::new(shells);
        let trash = Trash::new(
            common.clone(),
            runner,
            Arc::clone(&environments),
            Arc::clone(&tasks),
            images,
            Arc::clone(&prepared),
            Arc::clone(&shells),
        );
        let trash = Arc::new(trash);
        let recovery = Recovery::new(
            common.clone(),
            Arc::clone(&tasks),
            Arc::clone(&environments),
            Arc::clone(&trash),
            Arc::clone(&shells),
            Arc::clone(&readiness),
        );
        Ok(Arc::new(Self {
            environments,
            tasks,
            publishing,
            pull_requests: Arc::new(pull_requests),
            admission: Arc::new(admission),
            readiness,
            trash,
            shells,
            notifications,
            sessions,
            password,
            common,
            git,
            prepared,
            recovery: Arc::new(recovery),
            started_at,
            listen: Mutex::default(),
        }))
    }

    /// Reconciles everything with its actual state, then starts the periodic work.
    async fn begin(&self, records: Vec<TaskRecord>) {
        for damaged in self.tasks.damaged.iter().chain(&self.environments.damaged) {
            tracing::error!(path = damaged.path, reason = damaged.reason, "could not read a state file; left it unchanged");
        }
        for record in records {
            self.tasks.adopt(record);
        }
        if let Err(error) = self.prepared.discard_after(&self.common.boot).await {
            tracing::error!(%error, "could not discard prepared worktrees after an unclean stop of the machine");
        }
        self.recovery.recover().await;
        self.recovery.sweep().await;
        self.tasks.check_worktrees();
        self.begin_boot();
        self.recovery.keep_recovering();
        self.readiness.hear_of_the_engine().await;
        self.readiness.look_for_troubles().await;
        self.prepared.keep_preparing();
        self.admission.keep_admitting();
        self.pull_requests.keep_following();
        self.notifications.keep_sending_held();
    }

    /// Syncs the home and records that this server has ended cleanly. Blocks.
    pub(crate) fn end_boot(&self) {
        if let Err(error) = self.common.home.end_boot(&self.common.boot) {
            tracing::warn!(%error, "could not record a clean shutdown");
        }
    }

    /// Records that a server has run in this boot. Call this after everything that only the first server in a boot may do, and
    /// before anything is started.
    fn begin_boot(&self) {
        if let Err(error) = self.common.home.begin_boot(&self.common.boot) {
            // A server must start even if the disk is full.
            tracing::warn!(%error, "could not record the boot ID");
        }
    }

    pub(crate) fn set_listen(&self, address: SocketAddr) {
        *self.listen.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
    }

    /// Returns the URL of the pages on this machine, for a server that listens on `address`.
    fn pages(&self, address: SocketAddr) -> String {
        let ip = address.ip().to_canonical();
        if ip.is_loopback() || ip.is_unspecified() {
            format!("http://{}:{}", self.common.home.pages_host, address.port())
        } else {
            // The host name resolves to the loopback address, where this server does not listen.
            format!("http://{address}")
        }
    }

    pub(crate) fn status(&self) -> ServerStatus {
        let listen = *self.listen.lock().unwrap_or_else(PoisonError::into_inner);
        let tasks = self.tasks.table.all();
        let unfinished: Vec<_> = tasks.iter().map(|slot| slot.record()).filter(|record| record.last_run().is_active()).collect();
        let queued = unfinished.iter().filter(|record| record.last_run().phase == RunPhase::Queued).count();
        ServerStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            home: self.common.home.layout.home().display().to_string(),
            worker: self.readiness.worker_status(),
            git: format!("{} ({})", self.git.version(), self.git.tool().path().display()),
            started_at: self.started_at,
            listen: listen.map(|address| address.to_string()),
            pages: listen.map(|address| self.pages(address)),
            environments: self.environments.all().len(),
            tasks: tasks.len(),
            active_runs: unfinished.len() - queued,
            queued_runs: queued,
            hold: self.common.queue.hold(),
            troubles: self.readiness.troubles(),
        }
    }

    pub(crate) fn environment_view(&self, slot: &EnvironmentSlot) -> EnvironmentView {
        let tasks = self.tasks.count_of_environment(slot.id);
        let view = EnvironmentView::new(&slot.record(), slot.progress(), slot.fetch(), tasks);
        EnvironmentView { image_error: slot.image.error(), ..view }
    }
}

/// Opens the notifications of a server. A device receives notifications as long as its browser is signed in.
fn notifications(common: &Common, sessions: &Arc<Sessions>) -> Arc<Notifications> {
    let sessions = Arc::clone(sessions);
    let is_signed_in = Box::new(move |session: &str, now| sessions.holds(session, now));
    let Common { config, home, tracker, cancel, .. } = common;
    Notifications::open(Arc::clone(home), config.notices.clone(), is_signed_in, tracker.clone(), cancel.clone())
}

/// What a server has opened before its parts are created.
struct Opened {
    home: Arc<Home>,
    git: Git,
    boot: Boot,
    codex_home: CodexHome,
    started_at: Timestamp,
}

/// Adopts the login of an older version. Blocks.
fn adopt_login(home: &CodexHome) -> std::io::Result<()> {
    if let Some(login) = Login::adopt(home)? {
        tracing::warn!(
            login = login.describe(),
            "recorded the existing Codex login; if you are not sure that it is yours, log in again: codex-orchestrator login"
        );
    }
    Ok(())
}
