//! A home with notifications, a receiver whose responses a test decides, and tasks that changed.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use model::decision::Decision;
use model::ids::{EnvironmentId, TaskId};
use model::names::{Prompt, RefName, RepositoryUrl, Title};
use model::notice::{NoticeGroup, NoticeSettings, QuietHours, notice};
use model::run::{RunEnd, RunOutcome, RunPhase};
use model::secret::Secret;
use model::task::{NewRun, NewTask, TaskRecord, with_notice};
use notifications::{NoticeTarget, Notifications, PushSubscription};
use store::Home;
use testkit::push::PushService;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Much longer than any exchange on the loopback interface takes.
const LIMIT: Duration = Duration::from_mins(1);

/// The session of the first browser.
pub(crate) const SESSION: &str = "session-1";

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A server's notifications.
pub(crate) struct Stage {
    pub(crate) home: Arc<Home>,
    pub(crate) notifications: Arc<Notifications>,
    pub(crate) tracker: TaskTracker,
    pub(crate) cancel: CancellationToken,
    /// The sessions of the browsers that are signed out.
    pub(crate) signed_out: Arc<Mutex<BTreeSet<String>>>,
}

impl Stage {
    /// Starts a server with these settings in `config.toml`.
    pub(crate) fn open(folder: &Path, fixed: NoticeSettings) -> Self {
        let home = Arc::new(Home::open(folder).expect("a home"));
        let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
        let signed_out: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let known = Arc::clone(&signed_out);
        let is_signed_in = Box::new(move |session: &str, _: Timestamp| !locked(&known).contains(session));
        let notifications = Notifications::open(Arc::clone(&home), fixed, is_signed_in, tracker.clone(), cancel.clone());
        Self { home, notifications, tracker, cancel, signed_out }
    }

    /// Records the notification for a change, and sends it in the background.
    pub(crate) fn announce(&self, before: &TaskRecord, after: &TaskRecord, repository: &str) {
        let task = with_notice(before, Decision::keep(after.clone(), vec![])).record;
        let Some(pending) = task.notices.first().filter(|_| self.notifications.has_receivers()) else { return };
        let notice = notice(&task, pending, repository, self.notifications.public_url().as_deref());
        let notifications = Arc::clone(&self.notifications);
        self.tracker.spawn(async move { notifications.deliver(notice).await });
    }

    /// Waits until everything that was announced is sent or held.
    pub(crate) async fn settle(&self) {
        self.tracker.close();
        tokio::time::timeout(LIMIT, self.tracker.wait()).await.expect("nothing waits forever");
        self.tracker.reopen();
    }

    /// Stops the server.
    pub(crate) async fn stop(self) {
        self.cancel.cancel();
        self.settle().await;
    }

    /// Returns why the last notification to a receiver failed.
    pub(crate) fn why_not(&self, target: &NoticeTarget) -> Option<String> {
        let outcomes = self.notifications.view().outcomes;
        outcomes.get(target).expect("a notification was sent").why_not.clone()
    }

    /// Subscribes a browser with this name to push notifications. Returns the ID of its device.
    pub(crate) fn subscribe(&self, service: &PushService, name: &str, session: &str) -> String {
        let wish = self.wish(service, name);
        self.notifications.subscribe(session.to_owned(), wish).expect("subscribed");
        let devices = self.notifications.view().devices;
        devices.last().expect("the newest device is last").id.clone()
    }

    pub(crate) fn wish(&self, service: &PushService, name: &str) -> PushSubscription {
        let key = self.notifications.push_key().expect("a key");
        let made = service.subscribe(name, &key);
        PushSubscription {
            endpoint: made.endpoint,
            p256dh: made.p256dh,
            auth: made.auth,
            server_key: key,
            label: format!("browser {name}"),
        }
    }
}

/// A request that a receiver got.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Heard {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).map(|value| value.to_str().expect("text").to_owned())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }
}

struct Answering {
    answer: Mutex<(u16, Vec<(&'static str, String)>)>,
    heard: mpsc::UnboundedSender<Heard>,
}

/// An HTTP server that receives notifications.
pub(crate) struct Hook {
    url: String,
    shared: Arc<Answering>,
    heard: mpsc::UnboundedReceiver<Heard>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Hook {
    /// Starts a receiver that accepts everything.
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("the loopback has a free port");
        let url = format!("http://{}/hook", listener.local_addr().expect("it is bound"));
        let (sender, heard) = mpsc::unbounded_channel();
        let shared = Arc::new(Answering { answer: Mutex::new((200, vec![])), heard: sender });
        let app = Router::new().fallback(hear).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.expect("the server runs until it is dropped") });
        Self { url, shared, heard, server }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Sets the response to all following requests.
    pub(crate) fn answer(&self, status: u16, headers: &[(&'static str, &str)]) {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        *locked(&self.shared.answer) = (status, headers);
    }

    /// Waits for the next request.
    pub(crate) async fn next(&mut self) -> Heard {
        let heard = tokio::time::timeout(LIMIT, self.heard.recv()).await.expect("a request arrives");
        heard.expect("the server listens")
    }

    /// Returns all requests that already arrived.
    pub(crate) fn already(&mut self) -> Vec<Heard> {
        std::iter::from_fn(|| self.heard.try_recv().ok()).collect()
    }
}

async fn hear(State(shared): State<Arc<Answering>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let (status, answered) = locked(&shared.answer).clone();
    shared.heard.send(Heard { target: uri.to_string(), headers, body }).expect("the receiver outlives its server");
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    for (name, value) in answered {
        response.headers_mut().insert(name, value.parse().expect("a header"));
    }
    response
}

pub(crate) fn ntfy(url: &str) -> NoticeSettings {
    NoticeSettings { ntfy_url: Some(url.to_owned()), ..NoticeSettings::default() }
}

pub(crate) fn webhook(url: &str, secret: Option<&str>) -> NoticeSettings {
    NoticeSettings { webhook_url: Some(url.to_owned()), webhook_secret: secret.map(Secret::new), ..NoticeSettings::default() }
}

/// Returns quiet hours that started an hour ago and last for two more hours.
pub(crate) fn quiet_now(let_through: &[NoticeGroup]) -> QuietHours {
    let clock = |hours: i64| {
        let time = Timestamp::now() + SignedDuration::from_hours(hours);
        time.to_zoned(TimeZone::UTC).strftime("%H:%M").to_string()
    };
    QuietHours::parse(&clock(-1), &clock(2), "UTC", let_through.iter().copied().collect()).expect("valid quiet hours")
}

fn running(n: u128) -> TaskRecord {
    let new = NewTask {
        env_id: EnvironmentId::from_uuid(uuid::Uuid::from_u128(7)),
        repo_url: RepositoryUrl::parse("/srv/repo").expect("a URL"),
        git_ref: RefName::parse("main").expect("a ref"),
        title: Title::parse(&format!("Task {n}")).expect("a title"),
        driver: None,
        run: NewRun {
            prompt: Prompt::parse("The secret plan").expect("a prompt"),
            images: vec![],
            model: None,
            effort: None,
            priority: model::queue::Priority::Normal,
            idempotency_key: None,
        },
        idempotency_key: None,
    };
    let mut task = TaskRecord::new(TaskId::from_uuid(uuid::Uuid::from_u128(n)), new, Timestamp::UNIX_EPOCH);
    task.runs[0].phase = RunPhase::Running;
    task
}

/// Returns the records of a task before and after its run ended.
pub(crate) fn ended(n: u128, outcome: RunOutcome) -> [TaskRecord; 2] {
    let before = running(n);
    let mut after = before.clone();
    after.runs[0].phase = RunPhase::Ended(Box::new(RunEnd {
        outcome,
        started_at: Some(Timestamp::UNIX_EPOCH),
        finished_at: Timestamp::UNIX_EPOCH,
        exit_code: Some(0),
        commit: None,
        usage: None,
        usage_total: None,
        last_message: Some("The secret result".to_owned()),
        changes: None,
        omitted: vec![],
        artifacts: 0,
        installed: false,
        notes: vec![],
    }));
    [before, after]
}

/// Announces that a task completed.
pub(crate) fn announce(stage: &Stage, n: u128) {
    let [before, after] = ended(n, RunOutcome::Completed);
    stage.announce(&before, &after, "app");
}
