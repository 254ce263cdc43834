//! The stage of a test: a server in its own home with one repository, and the parts that the test adds.
//!
//! By default, the worker runs its prompt as a script. [`Setup`] adds variables, lines of `config.toml`, a Git host, a scripted model or
//! a stand-in for the built-in worker. Modules define what only they need.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;

use scripted_model::ScriptedModel;
use serde_json::{Value, json};
use testkit::TestHome;
use testkit::forge::FakeForge;
use testkit::upstream::Upstream;
use testkit::worker::{ScriptedContainers, scripted_worker};

use crate::BINARY;

/// A server and one repository.
pub(crate) struct Stage {
    pub(crate) home: TestHome,
    /// The ID of the repository.
    pub(crate) env: String,
    /// The upstream of the repository.
    pub(crate) upstream: Upstream,
    parts: Parts,
}

#[derive(Default)]
struct Parts {
    containers: Option<ScriptedContainers>,
    forge: Option<FakeForge>,
    model: Option<ScriptedModel>,
}

/// What a test chooses before its server starts.
pub(crate) struct Setup {
    home: TestHome,
    upstream: Upstream,
    worker: Option<OsString>,
    container: Value,
    parts: Parts,
}

impl Setup {
    /// Sets a variable of the server's environment.
    pub(crate) fn set(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.home.set(name, value);
        self
    }

    /// Adds lines to the server's `config.toml`.
    pub(crate) fn config(self, lines: &str) -> Self {
        let path = self.home.path().join("config.toml");
        let mut file = fs_err::OpenOptions::new().create(true).append(true).open(path).expect("the test's home is writable");
        file.write_all(lines.as_bytes()).expect("the test's home is writable");
        self
    }

    /// Uses this worker instead of one that runs its prompt as a script.
    pub(crate) fn worker(self, worker: impl Into<OsString>) -> Self {
        Self { worker: Some(worker.into()), ..self }
    }

    /// Uses the built-in worker with a stand-in that creates no containers and records its calls.
    pub(crate) fn scripted_containers(mut self) -> Self {
        self.parts.containers = Some(ScriptedContainers::install(&self.home));
        Self { worker: None, ..self }
    }

    /// Sets container settings of the repository.
    pub(crate) fn container(self, settings: &Value) -> Self {
        Self { container: settings.clone(), ..self }
    }

    /// Uses this upstream instead of a new one.
    pub(crate) fn upstream(self, upstream: Upstream) -> Self {
        Self { upstream, ..self }
    }

    /// Adds a Git host and the upstream that it serves. The test sets its URL.
    pub(crate) fn forge(mut self, forge: FakeForge, upstream: Upstream) -> Self {
        self.parts.forge = Some(forge);
        Self { upstream, ..self }
    }

    /// Adds a scripted model. The test sets its URL.
    pub(crate) fn model(mut self, model: ScriptedModel) -> Self {
        self.parts.model = Some(model);
        self
    }

    /// Starts the server and adds the repository.
    pub(crate) async fn start(self) -> Stage {
        let Self { mut home, upstream, worker, container, parts } = self;
        if let Some(worker) = worker {
            home.set("ORCH_WORKER", worker);
        }
        home.start().await;
        let env = home.environment(&upstream.url()).await;
        let stage = Stage { home, env, upstream, parts };
        if container != json!({}) {
            stage.edit(json!({ "container": container })).await;
        }
        stage
    }
}

impl Stage {
    /// Starts a server with the default setup.
    pub(crate) async fn new() -> Self {
        Self::setup().start().await
    }

    /// Sets up a stage in a new home.
    pub(crate) fn setup() -> Setup {
        Self::in_home(TestHome::new(BINARY))
    }

    /// Sets up a stage in a home that has no server yet.
    pub(crate) fn in_home(home: TestHome) -> Setup {
        let worker = Some(scripted_worker(home.scratch()).into());
        Setup { home, upstream: Upstream::new(), worker, container: json!({}), parts: Parts::default() }
    }

    /// Returns the stand-in for the built-in worker.
    pub(crate) fn containers(&self) -> &ScriptedContainers {
        self.parts.containers.as_ref().expect("the setup of this test adds the stand-in")
    }

    /// Returns the Git host.
    pub(crate) fn forge(&self) -> &FakeForge {
        self.parts.forge.as_ref().expect("the setup of this test adds a Git host")
    }

    /// Returns the scripted model.
    pub(crate) fn model(&self) -> &ScriptedModel {
        self.parts.model.as_ref().expect("the setup of this test adds a model")
    }

    /// Runs a new task, waits until it ends, and returns it.
    pub(crate) async fn run(&self, prompt: &str) -> Value {
        let task = self.home.task(&self.env, prompt).await;
        self.home.settled(&task).await
    }

    /// Runs a new task, checks that it completes, and returns its ID.
    pub(crate) async fn done(&self, prompt: &str) -> String {
        id_of(completed(&self.run(prompt).await)).to_owned()
    }

    /// Continues a task, waits until it ends, and returns it.
    pub(crate) async fn resume(&self, task: &Value, prompt: &str) -> Value {
        let id = id_of(task);
        let (status, answer) = self.home.post(&format!("/api/v1/tasks/{id}/resume"), &json!({ "prompt": prompt })).await;
        assert_eq!(status, 201, "{answer}");
        self.home.settled(id).await
    }

    /// Edits the settings of the repository, and returns the repository.
    pub(crate) async fn edit(&self, edit: Value) -> Value {
        let (status, answer) = self.home.patch(&format!("/api/v1/envs/{}", self.env), &edit).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Returns the log of a run.
    pub(crate) async fn log(&self, task: &Value, run: u32) -> String {
        self.home.text(&format!("/api/v1/tasks/{}/runs/{run}/log", id_of(task))).await
    }

    /// Returns a task's folder.
    pub(crate) fn folder(&self, task: &str) -> PathBuf {
        self.home.path().join("tasks").join(task)
    }

    /// Returns the path of the repository's mirror.
    pub(crate) fn mirror(&self) -> PathBuf {
        self.home.path().join("envs").join(&self.env).join("mirror")
    }

    /// Runs git in the mirror, and returns its output without the last line end.
    #[track_caller]
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        self.upstream.git_in(&self.mirror(), arguments)
    }
}

/// Returns a task's ID.
#[track_caller]
pub(crate) fn id_of(task: &Value) -> &str {
    task["task_id"].as_str().unwrap_or_else(|| panic!("no task: {task}"))
}

/// Checks that a task has completed.
#[track_caller]
pub(crate) fn completed(task: &Value) -> &Value {
    assert_eq!(task["status"], "completed", "{task}");
    task
}
