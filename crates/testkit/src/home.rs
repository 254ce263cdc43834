//! A temporary home directory with a real server, which tests call over its socket.
//!
//! `PATH` is the only variable that the server inherits from the machine's environment. When the home is dropped, all processes
//! that the test has left are ended: the server, its keepers and their workers.

mod leftovers;

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::contract;

/// A time limit that is far longer than any operation of a server takes.
const LIMIT: Duration = Duration::from_mins(2);

/// The interval between health checks of a starting server.
const TRY_EVERY: Duration = Duration::from_millis(10);

/// The variable with the number of prepared worktrees. It is 0 in a new home.
pub const PREPARED_WORKTREES: &str = "ORCH_PREPARED_WORKTREES";

/// A temporary `ORCH_HOME`, with or without a running server.
#[derive(Debug)]
pub struct TestHome {
    folder: TempDir,
    binary: PathBuf,
    environment: Vec<(OsString, OsString)>,
    server: Option<Child>,
    client: reqwest::Client,
}

impl TestHome {
    /// Creates a home without a server. `binary` is the test's `env!("CARGO_BIN_EXE_codex-orchestrator")`.
    pub fn new(binary: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("orch-").tempdir().expect("a temporary folder can be created");
        for name in ["home", "user"] {
            fs_err::create_dir(folder.path().join(name)).expect("a new folder can be written");
        }
        let socket = folder.path().join("home/orchestrator.sock");
        let client = crate::http_client().unix_socket(socket).build().expect("a plain client can be created");
        // Allow as many runs as a test needs, even on an almost full disk. Most tests have no use for prepared worktrees, which cost as
        // much as those of tasks.
        let environment = [("ORCH_MAX_PARALLEL_RUNS", "100"), ("ORCH_FREE_SPACE_FLOOR", "0"), (PREPARED_WORKTREES, "0")];
        let environment = environment.map(|(name, value)| (name.into(), value.into())).to_vec();
        Self { folder, binary: binary.into(), environment, server: None, client }
    }

    /// Creates a home with a running server. Its worker runs the prompt as a script (see [`crate::worker`]).
    pub async fn started(binary: &str) -> Self {
        let mut home = Self::new(binary);
        let worker = crate::worker::scripted_worker(home.folder.path());
        home.set("ORCH_WORKER", worker);
        home.start().await;
        home
    }

    /// Sets a variable for servers and commands that start from now on.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.into(), value.into()));
    }

    /// Returns `ORCH_HOME`.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// Returns a folder for the test's own files, outside of `ORCH_HOME`.
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the server's socket.
    pub fn socket(&self) -> PathBuf {
        self.path().join("orchestrator.sock")
    }

    /// Returns the content of the home's `token` file.
    pub fn token(&self) -> String {
        let token = fs_err::read_to_string(self.path().join("token")).expect("a started server has created a token");
        token.trim().to_owned()
    }

    /// Returns a command that runs the binary with this home's environment: only `PATH`, `HOME`, `ORCH_HOME`, `ORCH_LISTEN` and the
    /// variables that were set.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.folder.path().join("user"))
            .env("ORCH_HOME", self.path())
            .env("ORCH_LISTEN", "127.0.0.1:0")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    /// If the server exits or does not answer in time.
    pub async fn start(&mut self) {
        assert!(self.try_start().await, "the server starts: {}", self.log());
    }

    /// Starts the server and waits until it answers or exits. Returns whether it answers.
    ///
    /// # Panics
    /// If the server neither answers nor exits in time.
    pub async fn try_start(&mut self) -> bool {
        assert!(self.server.is_none(), "no server is running yet");
        let mut child = self.spawn_server();
        let answers = async {
            loop {
                if self.healthy().await {
                    return true;
                }
                if child.try_wait().expect("the status of our own child can be read").is_some() {
                    return false;
                }
                tokio::time::sleep(TRY_EVERY).await;
            }
        };
        let lives = within("the server's first answer", answers).await;
        self.server = lives.then_some(child);
        lives
    }

    /// Starts a server that is expected to fail. Returns its exit status and its output.
    pub async fn start_refused(&self) -> (ExitStatus, String) {
        let mut child = self.spawn_server();
        let status = within("the server's refusal", child.wait()).await.expect("our own child can be waited for");
        (status, self.log())
    }

    /// Stops the server (SIGTERM) and waits until it has exited. Its runs continue.
    pub async fn stop(&mut self) -> ExitStatus {
        self.end_with(Signal::TERM).await
    }

    /// Kills the server (SIGKILL). Its runs continue.
    pub async fn kill(&mut self) {
        let status = self.end_with(Signal::KILL).await;
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "the server exited on its own: {status}");
    }

    /// Copies the record of a task several times, with new IDs. No server may be running.
    pub fn copy_task(&self, task: &str, times: usize) {
        let tasks = self.path().join("tasks");
        let record = fs_err::read_to_string(tasks.join(task).join("meta.json")).expect("there");
        for n in 0..times {
            let id = format!("01a20000-0000-7000-8000-{n:012x}");
            let folder = tasks.join(&id);
            fs_err::create_dir(&folder).expect("made");
            fs_err::write(folder.join("meta.json"), record.replace(task, &id)).expect("written");
        }
    }

    /// Waits until the server has exited on its own.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut server = self.server.take().expect("a server runs");
        within("the server's end", server.wait()).await.expect("our own child can be waited for")
    }

    /// Returns whether the server has exited on its own.
    pub fn has_ended(&mut self) -> bool {
        let ended = |server: &mut Child| server.try_wait().expect("the status of our own child can be read").is_some();
        let ended = self.server.as_mut().is_none_or(ended);
        if ended {
            self.server = None;
        }
        ended
    }

    /// Returns the server's TCP address, as host and port.
    pub async fn tcp_address(&self) -> String {
        let (status, view) = self.get("/api/v1/status").await;
        assert_eq!(status, 200, "{view}");
        view["listen"].as_str().expect("an address").to_owned()
    }

    /// Returns what the home's servers have printed to stderr so far.
    pub fn log(&self) -> String {
        fs_err::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Returns the server's process ID.
    pub fn server_pid(&self) -> u32 {
        self.server.as_ref().and_then(Child::id).expect("a server runs")
    }

    /// Creates a request over the socket.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://localhost{path}"))
    }

    /// Sends `GET`. Returns the status and the body as JSON (null if the body is not JSON).
    pub async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.request(Method::GET, path)).await
    }

    /// Sends `POST` with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        answer(self.request(Method::POST, path).json(body)).await
    }

    /// Sends `PATCH` with a JSON body.
    pub async fn patch(&self, path: &str, body: &Value) -> (u16, Value) {
        answer(self.request(Method::PATCH, path).json(body)).await
    }

    /// Sends `PUT` with a JSON body.
    pub async fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        answer(self.request(Method::PUT, path).json(body)).await
    }

    /// Kills the keeper and the worker of a task's run, like a power cut.
    ///
    /// # Panics
    /// If no keeper supervises the run.
    pub fn cut_off(&self, task: &str, run: u32) {
        let path = self.path().join(format!("tasks/{task}/logs/run-{run:03}.keeper.json"));
        let record: Value =
            serde_json::from_slice(&fs_err::read(path).expect("the keeper has written its record")).expect("JSON");
        for name in ["keeper", "worker"] {
            let pid =
                record[name]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
            let pid = pid.expect("a process");
            // Kill the whole process group, which may have ended already.
            let _gone = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }

    /// Kills the server and every keeper, worker and git process of the home, like a power cut.
    ///
    /// # Panics
    /// If the server does not exit.
    pub async fn power_off(&mut self) {
        self.kill_everything();
        if let Some(mut server) = self.server.take() {
            within("the server's end", server.wait()).await.expect("our own child can be waited for");
        }
    }

    /// Kills every process of the home without waiting.
    pub fn kill_everything(&self) {
        leftovers::end(self.folder.path());
    }

    /// Sends `DELETE`.
    pub async fn delete(&self, path: &str) -> (u16, Value) {
        answer(self.request(Method::DELETE, path)).await
    }

    /// Returns the body of a successful `GET` as text. Reads a stream to its end.
    pub async fn text(&self, path: &str) -> String {
        let response = within(path, self.request(Method::GET, path).send()).await.expect("the server answers");
        assert_eq!(response.status(), 200, "{path}");
        within(path, response.text()).await.expect("the answer is complete")
    }

    /// Adds a repository and waits until it is cloned. Returns its ID.
    pub async fn environment(&self, url: &str) -> String {
        let (status, created) = self.post("/api/v1/envs", &serde_json::json!({ "repo_url": url })).await;
        assert_eq!(status, 201, "{created}");
        let id = text_of(&created, "env_id");
        let path = format!("/api/v1/envs/{id}");
        let settled = self.wait_for(&path, |environment| environment["status"] != "cloning").await;
        assert_eq!(settled["status"], "ready", "{settled}");
        id
    }

    /// Creates a task. Returns its ID.
    pub async fn task(&self, env_id: &str, prompt: &str) -> String {
        let (status, created) = self.post("/api/v1/tasks", &serde_json::json!({ "env_id": env_id, "prompt": prompt })).await;
        assert_eq!(status, 201, "{created}");
        text_of(&created, "task_id")
    }

    /// Waits until no run of a task is active. Returns the task.
    pub async fn settled(&self, task_id: &str) -> Value {
        self.wait_for(&format!("/api/v1/tasks/{task_id}"), |task| task["active"] == false).await
    }

    /// Waits until `wanted` accepts the answer at `path`. Checks again after each change that the server reports.
    ///
    /// # Panics
    /// If that does not happen in time. The message contains the last answer and the server's log.
    pub async fn wait_for(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut found = Value::Null;
        let waiting = async {
            let mut changes = self.request(Method::GET, "/api/v1/events").send().await.expect("the server answers");
            loop {
                let (status, now) = self.get(path).await;
                assert_eq!(status, 200, "{now}");
                found = now;
                if wanted(&found) {
                    return;
                }
                let change = changes.chunk().await.expect("the feed continues");
                assert!(change.is_some(), "the server's feed stays open");
            }
        };
        let came = tokio::time::timeout(LIMIT, waiting).await;
        assert!(
            came.is_ok(),
            "the wanted state is reached in time; the last state was {found:#}\nthe log of the server:\n{}",
            self.log()
        );
        found
    }

    fn spawn_server(&self) -> Child {
        let log =
            fs_err::File::options().create(true).append(true).open(self.log_path()).expect("a test's folder can be written");
        let mut command = self.command(&["serve"]);
        command.stdout(Stdio::null()).stderr(log.into_parts().0).kill_on_drop(true);
        command.spawn().expect("the binary can be started")
    }

    fn log_path(&self) -> PathBuf {
        self.scratch().join("server.log")
    }

    async fn healthy(&self) -> bool {
        self.request(Method::GET, "/healthz").send().await.is_ok_and(|response| response.status() == 200)
    }

    async fn end_with(&mut self, signal: Signal) -> ExitStatus {
        let mut server = self.server.take().expect("a server runs");
        let pid = server.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).expect("the server has not been waited for");
        kill_process(pid, signal).expect("our own child can be signalled");
        within("the server's end", server.wait()).await.expect("our own child can be waited for")
    }
}

impl Drop for TestHome {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            // An error means that the server has already exited.
            server.start_kill().ok();
        }
        leftovers::end(self.folder.path());
    }
}

async fn answer(request: RequestBuilder) -> (u16, Value) {
    let (client, request) = request.build_split();
    let request = request.expect("the request is valid");
    let (method, path) = (request.method().clone(), request.url().path().to_owned());
    let asked = async {
        let response = client.execute(request).await.expect("the server answers");
        let status = response.status().as_u16();
        let body = response.bytes().await.expect("the answer is complete");
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    };
    let (status, body) = within("an answer", asked).await;
    contract::check(method.as_str(), &path, status, &body);
    (status, body)
}

fn text_of(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no `{field}` in {value}")).to_owned()
}

async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    let Ok(done) = tokio::time::timeout(LIMIT, work).await else { panic!("{what} did not come within {LIMIT:?}") };
    done
}
