//! A task from start to end, killed at every crash point: the user repeats the request, and the result is the
//! same as without a kill. `docs/recovery.md` says what happens at each point.
//!
//! Real servers and keepers kill themselves with SIGKILL. The worker runs its prompt as a script.

use engine::CrashPoint;
use process::processes_with_environment;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::upstream::Upstream;
use testkit::worker::scripted_worker;
use testkit::{PREPARED_WORKTREES, TestHome};

use crate::BINARY;

/// The time limit of each request or check, including a restart.
const PATIENCE: std::time::Duration = std::time::Duration::from_mins(1);

/// The time between two checks.
const LOOK: std::time::Duration = std::time::Duration::from_millis(20);

/// A user who repeats requests, and a server that is killed once.
struct Story {
    home: TestHome,
    upstream: Upstream,
    deaths: u32,
}

impl Story {
    /// Starts a story. `at` names a crash point, and which of its occurrences kills the process.
    async fn begin(at: &str) -> Self {
        let upstream = Upstream::new();
        let mut home = TestHome::new(BINARY);
        home.set("ORCH_WORKER", scripted_worker(home.scratch()));
        home.set("ORCH_CRASH_AT", at);
        home.set(PREPARED_WORKTREES, "2");
        // Keepers need the variable, too.
        fs_err::write(home.path().join("config.toml"), "pass_environment = [\"ORCH_CRASH_AT\"]\n").expect("written");
        home.start().await;
        Self { home, upstream, deaths: 0 }
    }

    /// Repeats a request until the server answers, even if the server is killed.
    async fn ask(&mut self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let asking = async {
            loop {
                if self.home.has_ended() {
                    self.deaths += 1;
                    self.home.set("ORCH_CRASH_AT", "");
                    self.home.start().await;
                }
                let request = self.home.request(method.clone(), path).header("Idempotency-Key", "story");
                let request = if method == Method::GET { request } else { request.json(body) };
                if let Ok(answer) = request.send().await {
                    let status = answer.status().as_u16();
                    if let Ok(text) = answer.text().await {
                        return (status, serde_json::from_str(&text).unwrap_or_default());
                    }
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("no answer from {path}"))
    }

    async fn get(&mut self, path: &str) -> (u16, Value) {
        self.ask(Method::GET, path, &Value::Null).await
    }

    /// Repeats a check until it succeeds, even if the server is killed.
    async fn until(&mut self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let begun = std::time::Instant::now();
        loop {
            let (_, seen) = self.get(path).await;
            if is_so(&seen) {
                return seen;
            }
            assert!(begun.elapsed() < PATIENCE, "the expected state of {path} is reached in time: {seen}\n{}", self.home.log());
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn environment(&mut self) -> String {
        let url = self.upstream.url();
        // The repository may have been recorded without an answer, so the user checks before repeating the request.
        let (_, listed) = self.get("/api/v1/envs").await;
        if listed["items"].as_array().is_some_and(Vec::is_empty) {
            let asked = self.home.request(Method::POST, "/api/v1/envs").json(&json!({ "repo_url": url })).send().await;
            if let Err(error) = asked {
                assert!(!error.is_builder(), "{error}");
            }
        }
        let is_there =
            |page: &Value| page["items"].as_array().is_some_and(|items| items.len() == 1 && items[0]["status"] == "ready");
        self.until("/api/v1/envs", is_there).await["items"][0]["env_id"].as_str().expect("the repository has an ID").to_owned()
    }

    /// Waits until a worktree is prepared for the task, if the point needs one. Otherwise, the task usually comes first.
    async fn until_prepared(&mut self, at: &str, env: &str) {
        let ready = self.home.path().join("prepared").join(env).join("ready");
        match at {
            // The server dies while it prepares the worktree.
            "worktree-made" if self.deaths == 0 => {
                self.home.ended().await;
            }
            "prepared-taken" | "prepared-moved" => {
                self.until("/api/v1/envs", |_| ready.exists()).await;
            }
            _ => {}
        }
    }

    /// Returns a prompt that adds a line to a file outside of the worktree, and writes a file to the worktree.
    fn prompt(&self, name: &str) -> String {
        let ran = self.home.scratch().join("ran");
        format!("echo {name} >> {}; begin; echo {name} > {name}.txt; end {name}", ran.display())
    }

    async fn task(&mut self, env: &str, first: &str) -> String {
        let body = json!({ "env_id": env, "prompt": first });
        let (status, view) = self.ask(Method::POST, "/api/v1/tasks", &body).await;
        assert!(matches!(status, 200 | 201), "{view}");
        view["task_id"].as_str().expect("the task has an ID").to_owned()
    }

    async fn settled(&mut self, task: &str) -> Value {
        self.until(&format!("/api/v1/tasks/{task}"), |task| task["active"] == false).await
    }

    async fn resumed(&mut self, task: &str) -> Value {
        let body = json!({ "prompt": self.prompt("two") });
        // The run may have been recorded without an answer, so the user checks before repeating the request.
        if self.get(&format!("/api/v1/tasks/{task}")).await.1["runs"].as_array().map(Vec::len) == Some(1) {
            let path = format!("/api/v1/tasks/{task}/resume");
            let asked = self.home.request(Method::POST, &path).json(&body).send().await;
            if let Err(error) = asked {
                assert!(!error.is_builder(), "{error}");
            }
        }
        let view = self.settled(task).await;
        if view["runs"].as_array().map(Vec::len) == Some(1) {
            let (status, answer) = self.ask(Method::POST, &format!("/api/v1/tasks/{task}/resume"), &body).await;
            assert_eq!(status, 201, "{answer}");
            return self.settled(task).await;
        }
        view
    }

    /// Adds a commit to the base branch, updates the task, and checks the result.
    async fn updated(&mut self, task: &str) {
        let newest = self.upstream.commit("main", &[("base.txt", "base\n")], "meanwhile");
        let (status, view) = self.ask(Method::POST, &format!("/api/v1/tasks/{task}/update"), &json!({})).await;
        assert_eq!(status, 200, "{view}");
        let (base, updates) = (&view["task"]["base_sha"], view["task"]["updates"].as_array().map(Vec::len));
        assert_eq!((base, updates), (&json!(newest), Some(1)), "the update is recorded once: {view}");
        let worktree = self.home.path().join("tasks").join(task).join("worktree");
        assert_eq!(self.upstream.git_in(&worktree, &["status", "--porcelain"]), "", "the worktree matches the updated branch");
        assert!(worktree.join("base.txt").exists() && worktree.join("one.txt").exists(), "{view}");
    }

    /// Refreshes the environment of the task, and checks that layers of an earlier generation are deleted.
    async fn refreshed(&mut self, task: &str) {
        let earlier = self.home.path().join("tasks").join(task).join("upper/keep-node_modules");
        fs_err::create_dir_all(&earlier).expect("made");
        let (status, view) = self.ask(Method::POST, &format!("/api/v1/tasks/{task}/environment/refresh"), &json!({})).await;
        assert_eq!((status, &view["environment_refreshed"]), (200, &json!(true)), "{view}");
        self.until(&format!("/api/v1/tasks/{task}"), |_| !earlier.exists()).await;
    }

    async fn removed(&mut self, path: &str) {
        let (status, answer) = self.ask(Method::DELETE, path, &json!({})).await;
        assert!(matches!(status, 204 | 404), "{answer}");
        self.until(path, |view| view["status"] == 404).await;
    }

    async fn restored(&mut self, path: &str) -> Value {
        let (status, view) = self.ask(Method::POST, &format!("{path}/restore"), &json!({})).await;
        assert_eq!(status, 200, "{view}");
        view
    }

    fn git(&self, env: &str, arguments: &[&str]) -> String {
        let mirror = self.home.path().join("envs").join(env).join("mirror");
        self.upstream.git_in(&mirror, arguments)
    }

    /// Checks that every run and commit exists at most once, and that no process and no lock is left.
    fn check(&self, env: &str, task: &str, view: &Value) {
        let ran = fs_err::read_to_string(self.home.scratch().join("ran")).unwrap_or_default();
        for name in ["one", "two"] {
            assert!(ran.lines().filter(|line| *line == name).count() <= 1, "{name} runs at most once: {ran}");
        }
        let branch = format!("codex/{task}");
        let runs = self.git(env, &["log", "--format=%(trailers:key=Run,valueonly)", &format!("main..{branch}")]);
        for number in ["1", "2"] {
            assert!(runs.lines().filter(|line| *line == number).count() <= 1, "run {number} is committed at most once: {runs}");
        }
        for (number, name) in [(0, "one"), (1, "two")] {
            if view["runs"][number]["status"] == "completed" {
                assert_eq!(self.git(env, &["show", &format!("{branch}:{name}.txt")]), name, "{view}");
            }
        }
        self.git(env, &["fsck", "--strict", "--no-dangling"]);
        for number in 1..=2 {
            for attempt in 1..=4 {
                let mark = format!("{task}/{number}/{attempt}");
                assert!(processes_with_environment("ORCH_RUN", &mark).expect("asked").is_empty(), "no process of {mark} is left");
            }
        }
        let mirror = self.home.path().join("envs").join(env).join("mirror");
        let locks = walk(&mirror).into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "lock"));
        assert_eq!(locks.collect::<Vec<_>>(), Vec::<std::path::PathBuf>::new());
    }
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = vec![];
    for entry in fs_err::read_dir(folder).expect("a folder") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            found.extend(walk(&path));
        }
        found.push(path);
    }
    found
}

/// Returns whether the point is in a keeper, whose death affects a run but not the server.
fn is_a_keepers(point: CrashPoint) -> bool {
    matches!(point, CrashPoint::KeeperRecorded | CrashPoint::WorkerStarted | CrashPoint::WorkerEnded)
}

/// Adds a repository, performs two runs with an update and a refresh in between, removes and restores the task, and removes and restores the
/// repository.
async fn tell(at: String) {
    let mut story = Story::begin(&at).await;
    let env = story.environment().await;
    let never = story.home.scratch().join("never");
    let first = match at.as_str() {
        // The turn must not end before its keeper is killed.
        "worker-started" => format!("begin; await {}", never.display()),
        _ => story.prompt("one"),
    };
    story.until_prepared(&at, &env).await;
    let task = story.task(&env, &first).await;
    let path = format!("/api/v1/tasks/{task}");
    let first = story.settled(&task).await;
    let point = CrashPoint::ALL.iter().find(|point| at.starts_with(point.as_str())).expect("`at` names a crash point");
    if is_a_keepers(*point) {
        story.check(&env, &task, &first);
        // If the turn has ended, its last line tells the outcome.
        let expected = if *point == CrashPoint::WorkerEnded { "completed" } else { "interrupted" };
        assert_eq!((first["status"].as_str(), story.deaths), (Some(expected), 0), "{at}: {first}");
        return;
    }
    story.updated(&task).await;
    story.refreshed(&task).await;
    let view = story.resumed(&task).await;
    story.check(&env, &task, &view);
    let runs = view["runs"].clone();
    let statuses: Vec<_> = (0..2).map(|n| runs[n]["status"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(statuses, ["completed", "completed"], "{at}: {view}");
    story.removed(&path).await;
    assert_eq!(story.restored(&path).await["runs"], runs, "{at}");
    story.check(&env, &task, &view);
    story.removed(&format!("/api/v1/envs/{env}")).await;
    story.restored(&format!("/api/v1/envs/{env}")).await;
    let back = story.until(&path, |view| view["task_id"] == json!(task)).await;
    assert_eq!(back["runs"], runs, "{at}");
    story.check(&env, &task, &back);
    let (_, tasks) = story.get("/api/v1/tasks").await;
    assert_eq!(tasks["items"].as_array().map(Vec::len), Some(1), "{at}: {tasks}");
    assert_eq!(story.deaths, 1, "{at}: the server is killed once");
}

/// Runs a limited number of stories at once.
async fn tell_all(points: Vec<String>) {
    use futures_util::StreamExt as _;
    futures_util::stream::iter(points)
        .for_each_concurrent(4, |at| async { tokio::spawn(tell(at)).await.expect("the story succeeds") })
        .await;
}

/// Crash points that other tests cover: with a container in `container_repositories` and `container_artifacts`, with a Git host in `publish`, with an image in
/// `images`, with a receiver of notifications in `notices`.
const ELSEWHERE: &[CrashPoint] = &[
    // `app_server`
    CrashPoint::MessageReceived,
    CrashPoint::AppServerAnswered,
    CrashPoint::TurnAccepted,
    CrashPoint::TurnOver,
    CrashPoint::OmissionDecided,
    CrashPoint::Harvested,
    CrashPoint::ArtifactsKept,
    CrashPoint::Pushed,
    CrashPoint::PullRequestOpened,
    CrashPoint::NoticeSent,
    CrashPoint::HeldTold,
    CrashPoint::ImagesWritten,
    CrashPoint::SetUp,
    CrashPoint::SnapshotDiscarded,
];

fn points(wanted: impl Fn(CrashPoint) -> bool) -> Vec<String> {
    CrashPoint::ALL.iter().filter(|point| wanted(**point)).map(|point| point.as_str().to_owned()).collect()
}

#[tokio::test]
async fn whoever_dies_at_a_named_point_loses_nothing() {
    let named = points(|point| !is_a_keepers(point) && point != CrashPoint::RecordWritten && !ELSEWHERE.contains(&point));
    tell_all(named).await;
}

#[tokio::test]
async fn whoever_dies_after_any_record_does_what_follows_from_it() {
    // A clone, two runs, an update, a refresh and a removal write this many records, apart from restarts.
    tell_all((1..=18).map(|n| format!("record-written:{n}")).collect()).await;
}

#[tokio::test]
async fn a_keeper_that_dies_leaves_a_run_that_is_judged_and_nobody_behind() {
    tell_all(points(is_a_keepers)).await;
}

#[test]
fn every_point_is_in_the_documentation() {
    let text = fs_err::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/recovery.md")).expect("the file exists");
    for point in CrashPoint::ALL {
        assert!(text.contains(&format!("`{}`", point.as_str())), "{} is not in docs/recovery.md", point.as_str());
    }
}
