//! Submodules from URLs that are not trusted yet: the task asks before its run starts, over the API, on the command line
//! and across a restart. The repositories are real; the private repository must not be read before a user allows it.

use serde_json::{Value, json};
use testkit::upstream::Upstream;

use crate::stage::Stage;

/// A server and a private repository, which branches of the server's repository use as a submodule.
struct Submodule {
    stage: Stage,
    private: Upstream,
}

impl Submodule {
    async fn new() -> Self {
        let private = Upstream::new();
        private.commit("main", &[("secret.txt", "PRIVATE-CONTENT\n")], "private");
        let this = Self { stage: Stage::new().await, private };
        this.branch("agent");
        this
    }

    /// Creates a branch with a submodule from the private repository.
    fn branch(&self, name: &str) {
        let config = format!("[submodule \"x\"]\n\tpath = libs/x\n\turl = {}\n", self.private.url());
        self.stage.upstream.commit(name, &[(".gitmodules", &config)], "a submodule");
        self.stage.upstream.submodule(name, "libs/x", &self.private.commit_of("main").expect("the branch `main` exists"));
    }

    async fn task(&self, git_ref: &str) -> String {
        let body = json!({ "env_id": self.stage.env, "prompt": "begin; end", "ref": git_ref });
        let (status, task) = self.stage.home.post("/api/v1/tasks", &body).await;
        assert_eq!(status, 201, "{task}");
        task["task_id"].as_str().expect("the task has an ID").to_owned()
    }

    async fn asking(&self, git_ref: &str) -> (String, Value) {
        let id = self.task(git_ref).await;
        // The question is recorded a moment before the queue learns about it.
        let asks = |task: &Value| task["question"].is_object() && task["queue"]["waits_for"] == "answer";
        let task = self.stage.home.wait_for(&format!("/api/v1/tasks/{id}"), asks).await;
        (id, task)
    }

    fn secret(&self, task: &str) -> Option<String> {
        fs_err::read_to_string(self.stage.folder(task).join("worktree/libs/x/secret.txt")).ok()
    }

    async fn answer(&self, task: &str, body: Value) -> (u16, Value) {
        self.stage.home.post(&format!("/api/v1/tasks/{task}/answer"), &body).await
    }
}

#[tokio::test]
async fn a_task_asks_before_it_fetches_and_the_answer_is_remembered() {
    let module = Submodule::new().await;
    let (id, task) = module.asking("agent").await;
    assert_eq!((task["status"].as_str(), task["group"].as_str()), (Some("queued"), Some("needs_you")), "{task}");
    assert_eq!((&task["queue"]["waits_for"], &task["question"]["urls"]), (&json!("answer"), &json!([module.private.url()])));
    assert_eq!(module.secret(&id), None);
    // The waiting task occupies no slot, so other tasks run.
    let other = module.task("main").await;
    assert_eq!(module.stage.home.settled(&other).await["status"], "completed");
    let (status, refused) = module.answer(&id, json!({ "answer": "fetch", "question": 77 })).await;
    assert_eq!((status, refused["code"].as_str()), (409, Some("question_changed")), "{refused}");
    assert_eq!(module.answer(&id, json!({ "answer": "yes" })).await.0, 422);
    let question = task["question"]["number"].clone();
    let (status, answered) = module.answer(&id, json!({ "answer": "fetch", "question": question })).await;
    assert_eq!((status, &answered["question"]), (200, &Value::Null), "{answered}");
    let settled = module.stage.home.settled(&id).await;
    assert_eq!((settled["status"].as_str(), module.secret(&id).as_deref()), (Some("completed"), Some("PRIVATE-CONTENT\n")));
    let (status, refused) = module.answer(&id, json!({ "answer": "fetch" })).await;
    assert_eq!((status, refused["code"].as_str()), (409, Some("no_question")), "{refused}");
    // The next task of any branch does not ask again, and the owner can revoke the permission.
    module.branch("another");
    let next = module.task("another").await;
    assert_eq!(module.stage.home.settled(&next).await["status"], "completed");
    assert!(module.secret(&next).is_some());
    let (_, env) = module.stage.home.get(&format!("/api/v1/envs/{}", module.stage.env)).await;
    assert_eq!(env["sources"]["allowed_urls"], json!([module.private.url()]));
    let edit = json!({ "sources": { "allowed_urls": [] } });
    assert_eq!(module.stage.home.patch(&format!("/api/v1/envs/{}", module.stage.env), &edit).await.0, 200);
    module.asking("another").await;
}

#[tokio::test]
async fn a_question_survives_a_restart_and_can_be_answered_with_no() {
    let mut module = Submodule::new().await;
    let (id, before) = module.asking("agent").await;
    module.stage.home.kill().await;
    module.stage.home.start().await;
    let (_, after) = module.stage.home.get(&format!("/api/v1/tasks/{id}")).await;
    assert_eq!((&after["question"], after["status"].as_str()), (&before["question"], Some("queued")));
    let (status, _) = module.answer(&id, json!({ "answer": "skip" })).await;
    assert_eq!(status, 200);
    let settled = module.stage.home.settled(&id).await;
    assert_eq!((settled["status"].as_str(), module.secret(&id)), (Some("completed"), None), "{settled}");
    let notes = settled["runs"][0]["notes"].to_string();
    assert!(notes.contains("`libs/x` is empty"), "{notes}");
    // The answer allowed nothing: another task asks again, and can be stopped or removed while it waits.
    let (second, _) = module.asking("agent").await;
    let (_, stopped) = module.stage.home.post(&format!("/api/v1/tasks/{second}/stop"), &json!({})).await;
    assert_eq!((stopped["status"].as_str(), &stopped["question"]), (Some("stopped"), &Value::Null), "{stopped}");
    let (third, _) = module.asking("agent").await;
    assert_eq!(module.stage.home.delete(&format!("/api/v1/tasks/{third}")).await.0, 204);
}

#[tokio::test]
async fn tasks_that_ask_the_same_are_answered_once() {
    let module = Submodule::new().await;
    let (first, _) = module.asking("agent").await;
    let (second, _) = module.asking("agent").await;
    assert_eq!(module.answer(&first, json!({ "answer": "fetch" })).await.0, 200);
    assert_eq!(module.stage.home.settled(&second).await["status"], "completed");
    assert!(module.secret(&first).is_some() && module.secret(&second).is_some());
}

#[tokio::test]
async fn the_command_line_shows_the_question_takes_the_answer_and_trusts_branches() {
    let module = Submodule::new().await;
    let run = async |arguments: &[&str]| {
        let output = module.stage.home.command(arguments).output().await.expect("the command can be started");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {text}");
        text
    };
    let (id, _) = module.asking("agent").await;
    let shown = run(&["task", "show", &id]).await;
    assert!(shown.contains("fetch submodules from these URLs") && shown.contains(&module.private.url()), "{shown}");
    assert!(run(&["task", "list"]).await.contains("needs answer"));
    assert!(run(&["task", "answer", &id, "skip"]).await.contains("Skipped /"));
    module.stage.home.settled(&id).await;
    assert_eq!(module.secret(&id), None);
    // The branch is now trusted by its name.
    let shown = run(&["env", "edit", &module.stage.env, "--trust-branch", "ag*"]).await;
    assert!(shown.contains("ag*"), "{shown}");
    let task = module.task("agent").await;
    assert_eq!(module.stage.home.settled(&task).await["status"], "completed");
    assert!(module.secret(&task).is_some());
    let shown = run(&["env", "edit", &module.stage.env, "--trust-branch", "default"]).await;
    assert!(!shown.contains("ag*"), "{shown}");
    module.asking("agent").await;
}

#[tokio::test]
async fn bringing_a_branch_up_to_its_base_fetches_no_submodule() {
    let module = Submodule::new().await;
    let id = module.task("main").await;
    module.stage.home.settled(&id).await;
    module.branch("main");
    let (status, updated) = module.stage.home.post(&format!("/api/v1/tasks/{id}/update"), &json!({})).await;
    assert_eq!(status, 200, "{updated}");
    assert_eq!(module.secret(&id), None);
}
