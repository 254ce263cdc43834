//! Requests do not wait for the commit of a task's work: stop, removal and restart take effect immediately. The commits in
//! these tests hang forever, in a filter that never answers or an export that does not end.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::stage::Stage;

/// The time limit for a request: far less than a hanging commit takes, and more than a busy machine needs.
const SOON: Duration = Duration::from_secs(15);

#[derive(Clone, Copy)]
enum Kind {
    Host,
    Contained,
}

/// Starts a server whose exports hang in containers.
async fn stage(kind: Kind) -> Stage {
    match kind {
        Kind::Host => Stage::new().await,
        Kind::Contained => {
            let stage = Stage::setup().scripted_containers().start().await;
            let sign = stage.home.scratch().join("committing").display().to_string();
            stage.containers().harvests(&format!("touch '{sign}'; sleep 600; exit 0"));
            stage
        }
    }
}

impl Stage {
    /// Creates a task whose commit has started and will not end.
    async fn committing(&self, kind: Kind) -> String {
        let sign = self.home.scratch().join("committing");
        drop(fs_err::remove_file(&sign));
        let prompt = format!(
            "begin; git config filter.lfs.clean \"touch '{}'; sleep 600\"; echo '*.txt filter=lfs' > .gitattributes; echo 1 > work.txt; end done",
            sign.display()
        );
        let prompt = match kind {
            Kind::Host => &prompt,
            Kind::Contained => "begin; echo 1 > work.txt; end done",
        };
        let id = self.home.task(&self.env, prompt).await;
        testkit::until(Duration::from_mins(1), "the commit has begun", || sign.exists());
        id
    }

    async fn stop(&self, id: &str) -> Value {
        let (status, answer) = self.home.post(&format!("/api/v1/tasks/{id}/stop"), &json!({})).await;
        assert!((200..300).contains(&status), "{answer}");
        self.home.settled(id).await
    }
}

fn assert_soon(since: Instant, what: &str) {
    assert!(since.elapsed() < SOON, "{what} took too long: {:?}", since.elapsed());
}

#[tokio::test]
async fn a_stop_cuts_off_a_commit_and_the_next_run_commits_the_work() {
    for kind in [Kind::Host, Kind::Contained] {
        let stage = stage(kind).await;
        let id = stage.committing(kind).await;
        let asked = Instant::now();
        let task = stage.stop(&id).await;
        assert_soon(asked, "the stop");
        let run = &task["runs"][0];
        assert_eq!((&run["status"], &run["commit"]), (&json!("stopped"), &Value::Null), "{run}");
        let notes = run["notes"].to_string();
        assert!(notes.contains("stopped before the changes were committed"), "{notes}");
        if matches!(kind, Kind::Contained) {
            continue;
        }
        let prompt = "begin; git config --remove-section filter.lfs; rm .gitattributes; end done";
        let (status, answer) = stage.home.post(&format!("/api/v1/tasks/{id}/resume"), &json!({ "prompt": prompt })).await;
        assert_eq!(status, 201, "{answer}");
        let task = stage.home.settled(&id).await;
        assert_eq!(task["status"], "completed", "{task}");
        let (_, diff) = stage.home.get(&format!("/api/v1/tasks/{id}/diff")).await;
        assert!(diff.to_string().contains("work.txt"), "{diff}");
    }
}

#[tokio::test]
async fn a_removal_cuts_off_a_commit() {
    for kind in [Kind::Host, Kind::Contained] {
        let stage = stage(kind).await;
        let id = stage.committing(kind).await;
        let asked = Instant::now();
        let (status, answer) = stage.home.delete(&format!("/api/v1/tasks/{id}")).await;
        assert_eq!(status, 204, "{answer}");
        assert_soon(asked, "the removal");
        assert!(!stage.home.path().join("tasks").join(&id).exists());
    }
}

#[tokio::test]
async fn a_server_stops_and_starts_while_a_commit_hangs() {
    for kind in [Kind::Host, Kind::Contained] {
        let mut stage = stage(kind).await;
        let id = stage.committing(kind).await;
        let asked = Instant::now();
        assert!(stage.home.stop().await.success());
        assert_soon(asked, "the server's stop");
        let sign = stage.home.scratch().join("committing");
        fs_err::remove_file(&sign).expect("the file exists");
        stage.home.start().await;
        testkit::until(Duration::from_mins(1), "the next server starts the commit", || sign.exists());
        let asked = Instant::now();
        let task = stage.stop(&id).await;
        assert_soon(asked, "the stop");
        assert_eq!(task["runs"][0]["status"], "stopped", "{task}");
    }
}
