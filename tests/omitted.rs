//! What the commit of a run leaves out or holds, over HTTP and the command line, and what kills, restarts and the trash do to it.
//!
//! Real servers, real git, and a worker that runs its prompt as a script. The rules themselves are tested in the crate `git`.

use serde_json::{Value, json};
use testkit::TestHome;

use crate::stage::Stage;

const VENV: &str = "mkdir -p .venv/bin; printf 'home = /usr/bin\\ninclude-system-site-packages = false\\n' > .venv/pyvenv.cfg; \
    echo x > .venv/bin/python";
const JUNK: &str = "mkdir -p junk; for n in 1 2 3 4 5; do echo $n > junk/$n; done";

/// Runs a command, and returns its output.
async fn said(home: &TestHome, arguments: &[&str]) -> String {
    let done = home.command(arguments).output().await.expect("the binary can be started");
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("text")
}

async fn stage() -> Stage {
    let stage = Stage::new().await;
    stage.edit(json!({ "commits": { "max_new_files": 2 } })).await;
    stage
}

/// Returns the new files on a task's branch.
fn files(stage: &Stage, id: &str) -> Vec<String> {
    let listed = stage.git(&["ls-tree", "-r", "--name-only", &format!("refs/heads/codex/{id}")]);
    listed.lines().filter(|file| *file != "README.md").map(str::to_owned).collect()
}

async fn answer(home: &TestHome, id: &str, answer: &str, question: &Value) -> (u16, Value) {
    home.post(&format!("/api/v1/tasks/{id}/answer"), &json!({ "answer": answer, "question": question })).await
}

async fn held(stage: &Stage) -> (String, Value) {
    let task = stage.run(&format!("begin; {JUNK}; echo 1 > work.txt; end done")).await;
    let id = task["task_id"].as_str().expect("an ID").to_owned();
    assert_eq!((&task["status"], &task["group"]), (&json!("completed"), &json!("needs_you")), "{task}");
    assert_eq!((&task["held"]["files"], &task["held"]["run"]), (&json!(4), &json!(1)), "{task}");
    assert_eq!(files(stage, &id), ["junk/1", "work.txt"]);
    (id, task)
}

#[tokio::test]
async fn a_generated_folder_is_omitted_and_listed_and_can_be_committed_anyway() {
    let stage = Stage::new().await;
    let task = stage.run(&format!("begin; {VENV}; echo 1 > work.txt; end done")).await;
    let id = task["task_id"].as_str().expect("an ID");
    let omitted = json!([{ "path": ".venv/", "reason": "virtual_environment", "files": 2, "bytes": 55 }]);
    assert_eq!((&task["runs"][0]["omitted"], &task["held"]), (&omitted, &Value::Null), "{task}");
    assert_eq!(files(&stage, id), ["work.txt"]);
    let shown = said(&stage.home, &["task", "show", id]).await;
    assert!(shown.contains("omitted   .venv/ (2 files, 55 bytes): virtual environment"), "{shown}");

    for (path, expected, code) in [("../x", 422, "files_refused"), ("nothing-here", 409, "files_unchanged")] {
        let (status, refused) = stage.home.post(&format!("/api/v1/tasks/{id}/commit"), &json!({ "paths": [path] })).await;
        assert_eq!((status, &refused["code"]), (expected, &json!(code)), "{refused}");
    }
    assert_eq!(said(&stage.home, &["task", "commit", id, ".venv/"]).await, "Committed .venv/\n");
    assert_eq!(files(&stage, id), [".venv/bin/python", ".venv/pyvenv.cfg", "work.txt"]);
    let task = stage.resume(&task, "begin; echo 2 > .venv/more; end done").await;
    assert_eq!((&task["status"], &task["runs"][1]["omitted"]), (&json!("completed"), &Value::Null), "{task}");
    assert!(files(&stage, id).contains(&".venv/more".to_owned()), "the folder belongs to the branch now");
    assert_eq!(stage.git(&["fsck", "--strict", "--no-dangling"]), "");
}

#[tokio::test]
async fn held_files_wait_for_an_answer_and_do_not_stop_the_next_run() {
    let mut stage = stage().await;
    let (id, task) = held(&stage).await;
    let first = task["held"]["number"].clone();
    stage.home.kill().await;
    stage.home.start().await;
    let task = stage.resume(&task, "begin; echo 2 > more.txt; end done").await;
    assert_eq!((&task["held"]["number"], &task["held"]["files"]), (&first, &json!(4)), "{task}");
    assert_eq!(files(&stage, &id), ["junk/1", "more.txt", "work.txt"]);
    let task = stage.resume(&task, "begin; for n in 6 7 8; do echo $n > junk/$n; done; end done").await;
    assert_eq!(task["held"]["files"], 5, "one of the new files is beyond the limit: {task}");
    let (status, changed) = answer(&stage.home, &id, "commit", &first).await;
    assert_eq!((status, &changed["code"]), (409, &json!("question_changed")), "{changed}");

    let path = format!("/api/v1/tasks/{id}");
    assert_eq!(stage.home.delete(&path).await.0, 204);
    let (status, back) = stage.home.post(&format!("{path}/restore"), &json!({})).await;
    assert_eq!((status, &back["held"]), (200, &task["held"]), "{back}");
    let (status, done) = answer(&stage.home, &id, "commit", &task["held"]["number"]).await;
    assert_eq!((status, &done["held"]), (200, &Value::Null), "{done}");
    let all = files(&stage, &id);
    assert_eq!(all.iter().filter(|file| file.starts_with("junk/")).count(), 8, "{all:?}");
    let task = stage.resume(&done, "begin; git status --porcelain > status.txt; end done").await;
    assert_eq!(task["status"], "completed", "{task}");
    assert_eq!(fs_err::read_to_string(stage.folder(&id).join("worktree/status.txt")).expect("a file"), "?? status.txt\n");
    assert_eq!(stage.git(&["fsck", "--strict", "--no-dangling"]), "");
}

#[tokio::test]
async fn ignored_files_stay_in_the_worktree_and_are_not_asked_about_again() {
    let stage = stage().await;
    let (id, task) = held(&stage).await;
    let (status, refused) = answer(&stage.home, &id, "fetch", &Value::Null).await;
    assert_eq!((status, &refused["code"]), (409, &json!("no_question")), "{refused}");
    let ignored = said(&stage.home, &["task", "answer", &id, "ignore"]).await;
    assert_eq!(ignored, "Ignored junk/2\nIgnored junk/3\nIgnored junk/4\nIgnored junk/5\n");
    let task = stage.resume(&task, "begin; echo 2 > more.txt; end done").await;
    assert_eq!((&task["held"], &task["runs"][1]["omitted"][0]["reason"]), (&Value::Null, &json!("ignored")), "{task}");
    assert_eq!(files(&stage, &id), ["junk/1", "more.txt", "work.txt"]);
    assert!(stage.folder(&id).join("worktree/junk/5").exists());
    let (status, task) = stage.home.post(&format!("/api/v1/tasks/{id}/commit"), &json!({ "paths": ["junk/2"] })).await;
    assert_eq!((status, task["ignored_paths"].as_array().map(Vec::len)), (200, Some(3)), "{task}");
    assert_eq!(files(&stage, &id), ["junk/1", "junk/2", "more.txt", "work.txt"]);
}

#[tokio::test]
async fn the_repository_chooses_author_committer_and_trailers() {
    let stage = Stage::new().await;
    let commits = json!({ "author": "Ada L <ada@example.org>", "committer": "Bot <bot@example.org>", "sign_off": true,
        "co_author": "Codex <codex@example.org>" });
    stage.edit(json!({ "commits": commits })).await;
    let task = stage.run("begin; echo 1 > work.txt; end done").await;
    let head = task["runs"][0]["commit"].as_str().expect("a commit");
    let shown = stage.git(&["show", "--no-patch", "--format=%an <%ae>|%cn <%ce>", head]);
    assert_eq!(shown, "Ada L <ada@example.org>|Bot <bot@example.org>");
    let trailers = stage.git(&["show", "--no-patch", "--format=%(trailers:key=Signed-off-by,key=Co-authored-by)", head]);
    assert_eq!(trailers, "Co-authored-by: Codex <codex@example.org>\nSigned-off-by: Bot <bot@example.org>");
}
