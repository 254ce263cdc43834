//! Publishing from the API and the command line to a real remote and a simulated Git host: what is pushed, what is
//! opened, what fails, and what is left if the server is killed.

mod contract;
mod faults;
mod following;
mod kills;
mod makes;
mod pull_requests;
mod pushes;

use serde_json::{Value, json};
use testkit::TestHome;
use testkit::forge::{FakeForge, Make, PROJECT, TOKEN};
use testkit::upstream::Upstream;
use testkit::worker::scripted_worker;

use crate::BINARY;

/// A server with a Git host and its token, and a repository with a real remote.
struct Stage {
    upstream: Upstream,
    forge: FakeForge,
    home: TestHome,
    env: String,
}

impl Stage {
    async fn new() -> Self {
        Self::with(&[("ORCH_GITHUB_TOKEN", TOKEN)]).await
    }

    /// Creates a stage with these variables in the server's environment, in addition to the Git host's URL and the repository's name.
    async fn with(variables: &[(&str, &str)]) -> Self {
        let upstream = Upstream::new();
        let forge = FakeForge::start(Make::GitHub, &upstream).await;
        let mut home = TestHome::new(BINARY);
        home.set("ORCH_WORKER", scripted_worker(home.scratch()));
        home.set("ORCH_GITHUB_REPO", PROJECT);
        home.set("ORCH_GITHUB_API_URL", forge.api_url());
        for (name, value) in variables {
            home.set(name, *value);
        }
        fs_err::write(home.path().join("config.toml"), "forge_poll_interval = \"100ms\"\n").expect("written");
        home.start().await;
        let env = home.environment(&upstream.url()).await;
        Self { upstream, forge, home, env }
    }

    /// Creates a finished task with a commit.
    async fn task(&self) -> String {
        self.task_that("begin; echo work > work.txt; end \"I did the work.\"").await
    }

    async fn task_that(&self, prompt: &str) -> String {
        let task = self.home.task(&self.env, prompt).await;
        self.home.settled(&task).await;
        task
    }

    /// Requests a push, waits until publishing has ended, and returns the publication.
    async fn push(&self, task: &str, asked: &Value) -> Value {
        let (status, answer) = self.home.post(&format!("/api/v1/tasks/{task}/push"), asked).await;
        assert_eq!(status, 202, "{answer}");
        self.published(task).await
    }

    async fn published(&self, task: &str) -> Value {
        let ended = |task: &Value| matches!(task["publication"]["status"].as_str(), Some("done" | "failed"));
        self.home.wait_for(&format!("/api/v1/tasks/{task}"), ended).await["publication"].clone()
    }

    fn remote_commit(&self, task: &str) -> Option<String> {
        self.upstream.commit_of(&format!("codex/{task}"))
    }
}

fn wanted() -> Value {
    json!({ "pull_request": true })
}

#[track_caller]
fn done(publication: &Value) -> &Value {
    assert_eq!(publication["status"], "done", "{publication}");
    publication
}

/// Checks that publishing failed, and returns the error code.
#[track_caller]
fn failed(publication: &Value) -> String {
    assert_eq!(publication["status"], "failed", "{publication}");
    publication["error"]["code"].as_str().expect("a code").to_owned()
}
