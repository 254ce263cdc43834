//! A home with a repository, and servers on it that start, stop and die within this process.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use config::Config;
use engine::{Caller, Engine, User};
use futures_util::StreamExt as _;
use git::{Git, Mirror};
use model::ids::RunNumber;
use model::secret::Secret;
use process::BaseEnvironment;
use protocol::{CreateEnvironment, CreateTask, TaskView};
use runner::{RunKey, RunSpec};
use store::Layout;
use tempfile::TempDir;
use testkit::upstream::Upstream;
use tokio::runtime::Runtime;

use crate::fake::{FakeHost, content, git};

/// Far longer than any step of these tests takes.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// The secret of the repository.
pub(crate) const SECRET: &str = "s3cret-value";

/// A home, an upstream repository, and a fake machine.
pub(crate) struct Bench {
    folder: TempDir,
    upstream: Upstream,
    pub(crate) host: FakeHost,
}

/// How a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    ShutDown,
    Killed,
}

/// A server that runs in its own runtime, so that everything it does can be cut off.
pub(crate) struct Server {
    runtime: Option<Runtime>,
    pub(crate) engine: Option<Engine>,
}

impl Bench {
    /// Creates a home whose runs execute on a machine that fails `percentage` of all requests.
    pub(crate) fn new(seed: u64, percentage: u32, capacity: Option<usize>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let elsewhere = folder.path().join("elsewhere");
        fs_err::create_dir(&elsewhere).expect("a folder");
        let host = FakeHost::new(&elsewhere, seed, percentage, capacity);
        Self { folder, upstream: Upstream::new(), host }
    }

    /// Commits files to the default branch of the upstream.
    pub(crate) fn commit(&self, files: &[(&str, &str)]) {
        self.commit_to("main", files);
    }

    /// Commits files to a branch of the upstream.
    pub(crate) fn commit_to(&self, branch: &str, files: &[(&str, &str)]) {
        self.upstream.commit(branch, files, "files");
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    pub(crate) fn layout(&self) -> Layout {
        Layout::new(self.home())
    }

    /// Opens the mirror of a run's repository.
    pub(crate) fn mirror_of(&self, spec: &RunSpec) -> Mirror {
        let base = BaseEnvironment::default().with("PATH", "/usr/local/bin:/usr/bin:/bin");
        let git = block_on(Git::discover(base, None)).expect("git is installed");
        Mirror::open(&git, &self.layout().mirror(spec.source.repository)).expect("the mirror exists")
    }

    /// Starts a server.
    pub(crate) fn server(&self) -> Server {
        self.server_with(|_| {})
    }

    /// Starts a server with other settings.
    pub(crate) fn server_with(&self, change: impl FnOnce(&mut Config)) -> Server {
        let mut config = Config::for_home(&self.home());
        config.base_environment = BaseEnvironment::default().with("PATH", "/usr/local/bin:/usr/bin:/bin");
        config.free_space_floor = 0;
        config.prepared_worktrees = 0;
        config.snapshot_limit = u64::MAX;
        config.max_parallel_runs = 4;
        change(&mut config);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let engine = runtime.block_on(Engine::start_with(config, self.host.connect())).expect("the server starts");
        Server { runtime: Some(runtime), engine: Some(engine) }
    }

    /// Adds the repository and waits for its clone.
    pub(crate) fn add_repository(&self, server: &Server) -> String {
        let new = CreateEnvironment {
            repo_url: self.upstream.url(),
            secrets: [("TOKEN".to_owned(), Secret::new(SECRET))].into(),
            ..CreateEnvironment::default()
        };
        server.run(async |user| {
            let mut feed = std::pin::pin!(user.feed(None));
            let id = user.create_environment(new).await.expect("added").env_id.to_string();
            while user.environment(&id).expect("there").status != model::environment::EnvironmentStatus::Ready {
                feed.next().await;
            }
            id
        })
    }

    /// Checks that a run was executed once, and that its log and its work arrived exactly once.
    pub(crate) async fn check_run(&self, task: &TaskView) {
        let ledger = self.host.ledger();
        let run = &task.runs[0];
        let attempts: Vec<_> = ledger.starts.iter().filter(|(key, _)| key.task == task.task_id).collect();
        let [(key, 1)] = attempts[..] else { panic!("{} was started more than once: {attempts:?}", task.task_id) };
        assert_eq!((key.run, key.attempt), (run.number, run.attempt));
        let log = fs_err::read(self.log_of(*key)).expect("the log was copied");
        let written = ledger.written.get(key).map_or(&[][..], Vec::as_slice);
        assert!(log == written, "{key}: the copy of the log differs from what the agent wrote");
        assert!(ledger.forgotten.contains(key), "{key} was forgotten");
        assert!(run.notes.iter().any(|note| note == "ran elsewhere"), "{:?}", run.notes);
        let commit = run.commit.as_ref().expect("the run has a commit").to_string();
        let base = task.base_sha.as_ref().expect("the task has a base");
        let mirror = self.layout().mirror(task.env_id);
        let file = format!("{commit}:work-{}.txt", key.run);
        assert_eq!(git(&mirror, &["show", &file]).await, content(*key).trim_end());
        assert_eq!(git(&mirror, &["rev-list", "--count", &format!("{base}..{commit}")]).await, "1", "{key} has one commit");
        assert_eq!(git(&mirror, &["rev-parse", &format!("refs/heads/{}", task.branch)]).await, commit);
    }

    /// Adds a commit to a branch of the upstream repository.
    pub(crate) fn push(&self, branch: &str, files: &[(&str, &str)]) -> String {
        self.upstream.commit(branch, files, "more")
    }

    /// Returns the server's copy of a log.
    pub(crate) fn log_of(&self, key: RunKey) -> PathBuf {
        self.layout().logs(key.task).join(format!("run-{}.jsonl", key.run))
    }
}

impl Server {
    /// Runs a request to the end.
    pub(crate) fn run<T>(&self, request: impl AsyncFnOnce(&User) -> T) -> T {
        self.run_within(PATIENCE, request).expect("the server answers in time")
    }

    /// Runs a request until its end, but at most for this long.
    pub(crate) fn run_within<T>(&self, limit: Duration, request: impl AsyncFnOnce(&User) -> T) -> Option<T> {
        let (Some(runtime), Some(engine)) = (&self.runtime, &self.engine) else { panic!("the server has ended") };
        let user = engine.as_user(Caller::Program);
        runtime.block_on(async { tokio::time::timeout(limit, request(&user)).await.ok() })
    }

    /// Creates a task that starts from the default branch.
    pub(crate) fn task(&self, repository: &str, prompt: &str) -> String {
        self.task_from(repository, "main", prompt)
    }

    /// Creates a task that starts from a branch.
    pub(crate) fn task_from(&self, repository: &str, branch: &str, prompt: &str) -> String {
        let (env_id, git_ref) = (repository.to_owned(), Some(branch.to_owned()));
        let new = CreateTask { env_id, git_ref, prompt: prompt.to_owned(), ..CreateTask::default() };
        self.run(async |user| user.create_task(new, None).await.expect("accepted").0.task_id.to_string())
    }

    /// Waits until a task has this status, and returns the task.
    pub(crate) fn until(&self, task: &str, status: &str) -> TaskView {
        self.run(async |user| until(user, task, status).await)
    }

    /// Ends the server.
    pub(crate) fn end(mut self, ending: Ending) {
        if ending == Ending::ShutDown {
            let (Some(runtime), Some(engine)) = (&self.runtime, &self.engine) else { panic!("the server has ended") };
            runtime.block_on(engine.shutdown());
        }
        drop(self.engine.take());
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(PATIENCE);
        }
    }
}

/// Waits until a task has this status, and returns the task.
pub(crate) async fn until(user: &User, task: &str, status: &str) -> TaskView {
    let mut feed = std::pin::pin!(user.feed(None));
    loop {
        let view = user.task(task).expect("the task exists");
        if view.status.as_str() == status {
            return view;
        }
        feed.next().await;
    }
}

/// Waits until a condition of the fake machine holds.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "{what}");
}

/// Returns the key of the first attempt of a task's first run.
pub(crate) fn first(task: &str) -> RunKey {
    let attempt = model::ids::Attempt::FIRST;
    RunKey { task: task.parse().expect("an ID"), run: RunNumber::FIRST, attempt }
}

/// Runs a future without a server.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}
