//! The built-in worker from the outside: how it is called for runs, what the server rejects while the worker is unusable, and what readers
//! see. A stand-in for `codex-docker` creates no containers and records its calls.

mod calls;
mod commands;
mod login;
mod readiness;
mod secrets;

use serde_json::{Value, json};
use testkit::TestHome;
use testkit::upstream::Upstream;
use testkit::worker::ScriptedContainers;

use crate::BINARY;

/// A server whose built-in worker is a stand-in, and an environment.
struct Stage {
    upstream: Upstream,
    home: TestHome,
    containers: ScriptedContainers,
    env: String,
}

impl Stage {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    /// Creates a stage with these variables in the server's environment.
    async fn with(variables: &[(&str, &str)]) -> Self {
        let upstream = Upstream::new();
        let mut home = TestHome::new(BINARY);
        for (name, value) in variables {
            home.set(name, *value);
        }
        let containers = ScriptedContainers::install(&home);
        home.start().await;
        let env = home.environment(&upstream.url()).await;
        Self { upstream, home, containers, env }
    }

    async fn edit(&self, edit: Value) -> Value {
        let (status, answer) = self.home.patch(&format!("/api/v1/envs/{}", self.env), &edit).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    async fn run(&self, prompt: &str) -> Value {
        let task = self.home.task(&self.env, prompt).await;
        self.home.settled(&task).await
    }

    async fn resume(&self, task: &Value, prompt: &str) -> Value {
        let id = id_of(task);
        let (status, answer) = self.home.post(&format!("/api/v1/tasks/{id}/resume"), &json!({ "prompt": prompt })).await;
        assert_eq!(status, 201, "{answer}");
        self.home.settled(id).await
    }

    /// Returns the calls of a subcommand. Calls of `reap` are included only if they are for a task.
    fn calls(&self, verb: &str) -> Vec<String> {
        let begins = format!("codex-docker {verb}");
        let calls = self.containers.calls().into_iter().filter(|call| call.starts_with(&begins));
        calls.filter(|call| verb != "reap" || call.contains(" --label task=")).collect()
    }
}

fn id_of(task: &Value) -> &str {
    task["task_id"].as_str().expect("the task has an ID")
}
