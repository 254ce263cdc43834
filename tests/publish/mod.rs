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
use testkit::forge::{FakeForge, Make, PROJECT, TOKEN};
use testkit::upstream::Upstream;

use crate::stage::{Setup, Stage};

/// Starts a server with a Git host and its token.
async fn stage() -> Stage {
    setup().await.set("ORCH_GITHUB_TOKEN", TOKEN).start().await
}

/// Sets up a server that uses the Git host of the variables, without a token.
async fn setup() -> Setup {
    let (forge, upstream) = git_host(Make::GitHub).await;
    let setup = Stage::setup().set("ORCH_GITHUB_REPO", PROJECT).set("ORCH_GITHUB_API_URL", forge.api_url());
    setup.forge(forge, upstream).config(POLL_OFTEN)
}

/// The server polls pull requests ten times a second.
const POLL_OFTEN: &str = "forge_poll_interval = \"100ms\"\n";

async fn git_host(make: Make) -> (FakeForge, Upstream) {
    let upstream = Upstream::new();
    (FakeForge::start(make, &upstream).await, upstream)
}

impl Stage {
    /// Creates a finished task with a commit.
    async fn with_work(&self) -> String {
        self.done("begin; echo work > work.txt; end \"I did the work.\"").await
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
