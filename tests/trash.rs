//! The trash: removed items can be restored completely until they are permanently deleted, even if the server is
//! killed in between.
//!
//! Real servers, real git, and a worker that runs its prompt as a script.

use serde_json::{Value, json};
use testkit::TestHome;
use testkit::small_disk::SmallDisk;
use testkit::upstream::Upstream;

use crate::BINARY;

const WORK: &str = "begin; echo one > one.txt; git add one.txt; git -c user.name=a -c user.email=a@b commit -qm own; echo two > two.txt; mkdir -p build; \
    echo build > .gitignore; echo junk > build/junk; end done";

async fn stage() -> (Upstream, TestHome, String) {
    let upstream = Upstream::new();
    let home = TestHome::started(BINARY).await;
    let env = home.environment(&upstream.url()).await;
    (upstream, home, env)
}

async fn done(home: &TestHome, env: &str) -> (String, Value) {
    let task = home.task(env, WORK).await;
    let view = home.settled(&task).await;
    assert_eq!(view["status"], "completed", "{view}");
    (task, view)
}

async fn removed(home: &TestHome, path: &str) {
    let (status, answer) = home.delete(path).await;
    assert_eq!(status, 204, "{answer}");
    assert_eq!(home.get(path).await.0, 404);
}

async fn trash(home: &TestHome) -> Vec<Value> {
    let (status, page) = home.get("/api/v1/trash").await;
    assert_eq!(status, 200, "{page}");
    page["items"].as_array().expect("a list").clone()
}

async fn restored(home: &TestHome, path: &str) -> Value {
    let (status, view) = home.post(&format!("{path}/restore"), &json!({})).await;
    assert_eq!(status, 200, "{view}");
    view
}

/// Returns a task's view without the time of its last change.
fn essence(view: &Value) -> Value {
    let mut view = view.clone();
    view["updated_at"] = Value::Null;
    view
}

#[tokio::test]
async fn a_removed_task_comes_back_whole() {
    let (upstream, mut home, env) = stage().await;
    let (task, before) = done(&home, &env).await;
    let path = format!("/api/v1/tasks/{task}");
    let changes = home.text(&format!("{path}/diff?format=patch")).await;
    let log = home.text(&format!("{path}/runs/1/log")).await;
    removed(&home, &path).await;
    let folder = home.path().join("trash").join(&task);
    let found = trash(&home).await;
    assert_eq!((found.len(), &found[0]["kind"], &found[0]["id"]), (1, &json!("task"), &json!(task)));
    let mirror = home.path().join("envs").join(&env).join("mirror");
    let branches = || upstream.git_in(&mirror, &["for-each-ref", "--format=%(refname)", "refs/heads/codex"]);
    assert_eq!(branches(), "", "the removed task's branch is deleted");
    let heads = upstream.git_in(&mirror, &["bundle", "list-heads", folder.join("branch.bundle").to_str().expect("text")]);
    assert!(heads.contains(&format!("refs/heads/codex/{task}")), "{heads}");
    // A restart does not change the trash.
    home.kill().await;
    home.start().await;
    let view = restored(&home, &path).await;
    assert_eq!(essence(&view), essence(&before));
    assert_eq!(essence(&restored(&home, &path).await), essence(&before), "a second restore succeeds");
    assert_eq!(home.text(&format!("{path}/diff?format=patch")).await, changes);
    assert_eq!(home.text(&format!("{path}/runs/1/log")).await, log);
    let worktree = home.path().join("tasks").join(&task).join("worktree");
    assert_eq!(fs_err::read_to_string(worktree.join("build/junk")).expect("ignored files are restored"), "junk\n");
    assert!(trash(&home).await.is_empty());
    // The task's thread, branch and worktree still work.
    let prompt = "begin; git status --short | grep -q . && exit 1; echo three > three.txt; end done";
    let (status, answer) = home.post(&format!("{path}/resume"), &json!({ "prompt": prompt })).await;
    assert_eq!(status, 201, "{answer}");
    let resumed = home.settled(&task).await;
    assert_eq!(resumed["status"], "completed", "{resumed}");
    let history = upstream.git_in(&mirror, &["log", "--format=%s", &format!("main..codex/{task}")]);
    assert_eq!(history.lines().count(), 3, "{history}");
    upstream.git_in(&mirror, &["fsck", "--strict", "--no-dangling"]);
    removed(&home, &path).await;
    restored(&home, &path).await;
}

#[tokio::test]
async fn a_removal_or_a_restore_that_was_cut_off_is_finished_or_as_before() {
    let (upstream, mut home, env) = stage().await;
    let (task, before) = done(&home, &env).await;
    let path = format!("/api/v1/tasks/{task}");
    let (folder, trashed) = (home.path().join("tasks").join(&task), home.path().join("trash").join(&task));
    // The server was killed right after the rename: the mirror still knows the worktree.
    home.kill().await;
    fs_err::rename(&folder, &trashed).expect("moved");
    home.start().await;
    assert_eq!(home.get(&path).await.0, 404);
    let mirror = home.path().join("envs").join(&env).join("mirror");
    let branches = || upstream.git_in(&mirror, &["for-each-ref", "--format=%(refname)", "refs/heads/codex"]);
    assert_eq!(branches(), "", "the removal is finished");
    // The server was killed in a restore, before the rename: the branch is restored, but the folder is not.
    home.kill().await;
    fs_err::remove_file(trashed.join("removal-finished")).expect("the file exists");
    let removed_ref = format!("refs/orchestrator/removed/{task}");
    upstream.git_in(&mirror, &["update-ref", &format!("refs/heads/codex/{task}"), &removed_ref]);
    home.start().await;
    assert_eq!(branches(), "");
    assert_eq!(essence(&restored(&home, &path).await)["runs"], before["runs"]);
    assert_eq!(home.text(&format!("{path}/diff?format=patch")).await.matches("diff --git").count(), 3);
    // The mirror has lost the branch, but the bundle contains it.
    removed(&home, &path).await;
    upstream.git_in(&mirror, &["update-ref", "-d", &removed_ref]);
    restored(&home, &path).await;
    assert_eq!(branches(), format!("refs/heads/codex/{task}"));
}

#[tokio::test]
async fn an_environment_comes_back_with_the_tasks_that_went_with_it() {
    let (_upstream, mut home, env) = stage().await;
    let (earlier, _) = done(&home, &env).await;
    let (later, _) = done(&home, &env).await;
    removed(&home, &format!("/api/v1/tasks/{earlier}")).await;
    removed(&home, &format!("/api/v1/envs/{env}")).await;
    assert_eq!(trash(&home).await.len(), 3);
    let (status, answer) = home.post(&format!("/api/v1/tasks/{later}/restore"), &json!({})).await;
    assert_eq!((status, &answer["code"]), (409, &json!("environment_gone")));
    assert!(answer["hints"][0].as_str().is_some_and(|hint| hint.contains("env restore")), "{answer}");
    home.stop().await;
    home.start().await;
    let view = restored(&home, &format!("/api/v1/envs/{env}")).await;
    assert_eq!((&view["status"], &view["tasks"]), (&json!("ready"), &json!(1)));
    assert_eq!(home.get(&format!("/api/v1/tasks/{later}")).await.0, 200);
    let kept = trash(&home).await;
    assert_eq!(
        (kept.len(), &kept[0]["id"]),
        (1, &json!(earlier)),
        "a task that was removed before the repository stays in the trash"
    );
    restored(&home, &format!("/api/v1/tasks/{earlier}")).await;
    let (more, _) = done(&home, &env).await;
    assert_eq!(home.get(&format!("/api/v1/tasks/{more}")).await.0, 200);
}

#[tokio::test]
async fn what_cannot_be_deleted_is_named_and_keeps_nothing_else_back() {
    let (_upstream, home, env) = stage().await;
    let mut tasks = vec![];
    for _ in 0..3 {
        let (task, _) = done(&home, &env).await;
        removed(&home, &format!("/api/v1/tasks/{task}")).await;
        tasks.push(task);
    }
    tasks.sort();
    // Not even root can delete the mount point of a mounted file system.
    let disk = SmallDisk::mount(&home.path().join("trash").join(&tasks[0]).join("busy"), 1);
    let (status, done) = home.post("/api/v1/gc", &json!({ "older_than_days": 0 })).await;
    assert_eq!((status, done["items"].as_array().map(Vec::len)), (200, Some(2)), "{done}");
    assert_eq!((done["failed"].as_array().map(Vec::len), &done["failed"][0]["id"]), (Some(1), &json!(tasks[0])), "{done}");
    assert!(done["failed"][0]["detail"].as_str().is_some_and(|detail| detail.len() < 300), "{done}");
    let (status, answer) = home.post("/api/v1/gc", &json!({ "older_than_days": 0, "id": tasks[0] })).await;
    assert_eq!(status, 500, "a named item that cannot be deleted is an error: {answer}");
    drop(disk);
    let (_, done) = home.post("/api/v1/gc", &json!({ "older_than_days": 0 })).await;
    assert_eq!((done["items"].as_array().map(Vec::len), &done["failed"]), (Some(1), &json!(null)), "{done}");
}

#[tokio::test]
async fn what_is_deleted_for_good_is_gone_and_what_is_young_stays() {
    let (upstream, home, env) = stage().await;
    let (task, _) = done(&home, &env).await;
    removed(&home, &format!("/api/v1/tasks/{task}")).await;
    let gc = async |body: Value| {
        let (status, answer) = home.post("/api/v1/gc", &body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    };
    assert_eq!(gc(json!({})).await["items"], json!([]), "an item that has not expired is kept");
    let said = gc(json!({ "older_than_days": 0, "dry_run": true })).await;
    assert!(said["items"].as_array().map(Vec::len) == Some(1) && said["bytes"].as_u64() > Some(0), "{said}");
    assert_eq!(trash(&home).await.len(), 1, "a dry run deletes nothing");
    gc(json!({ "older_than_days": 0 })).await;
    assert!(trash(&home).await.is_empty());
    let (status, answer) = home.post(&format!("/api/v1/tasks/{task}/restore"), &json!({})).await;
    assert_eq!((status, &answer["code"]), (404, &json!("task_not_found")));
    let mirror = home.path().join("envs").join(&env).join("mirror");
    assert_eq!(upstream.git_in(&mirror, &["for-each-ref", "refs/orchestrator"]), "");
    let (status, disk) = home.get("/api/v1/disk").await;
    assert_eq!((status, disk["environments"][0]["env_id"].as_str()), (200, Some(env.as_str())), "{disk}");
    assert!(disk["mirrors"].as_u64() > Some(0) && disk["free"].as_u64() > Some(0), "{disk}");
}

#[tokio::test]
async fn a_folder_without_a_record_is_put_away_and_not_deleted() {
    let (_upstream, mut home, env) = stage().await;
    let (task, _) = done(&home, &env).await;
    home.stop().await;
    let folder = home.path().join("tasks").join(&task);
    fs_err::remove_file(folder.join("meta.json")).expect("the file exists");
    home.start().await;
    assert_eq!(home.get(&format!("/api/v1/tasks/{task}")).await.0, 404);
    let found = trash(&home).await;
    assert_eq!((found.len(), &found[0]["kind"]), (1, &json!("other")));
    let kept = home.path().join("trash").join(found[0]["id"].as_str().expect("a name")).join("worktree/one.txt");
    assert_eq!(fs_err::read_to_string(kept).expect("the task's files are kept"), "one\n");
}

#[tokio::test]
async fn one_thing_is_deleted_for_good_and_the_others_stay() {
    let upstream = Upstream::new();
    let home = TestHome::started(BINARY).await;
    let env = home.environment(&upstream.url()).await;
    let (first, second) = (home.task(&env, "begin; echo x > x; end one").await, home.task(&env, "begin; end two").await);
    for task in [&first, &second] {
        home.settled(task).await;
        home.delete(&format!("/api/v1/tasks/{task}")).await;
    }
    let (_, trash) = home.get("/api/v1/trash").await;
    let items = trash["items"].as_array().expect("items");
    assert!(items.iter().all(|item| item["bytes"].as_u64().is_some_and(|bytes| bytes > 0)), "{trash}");
    let (_, said) = home.post("/api/v1/gc", &json!({ "older_than_days": 0, "id": first, "dry_run": true })).await;
    assert_eq!(said["items"].as_array().map(Vec::len), Some(1), "{said}");
    let (_, done) = home.post("/api/v1/gc", &json!({ "older_than_days": 0, "id": first })).await;
    assert_eq!((&done["items"][0]["id"], done["items"].as_array().map(Vec::len)), (&json!(first), Some(1)), "{done}");
    let (_, none) = home.post("/api/v1/gc", &json!({ "older_than_days": 0, "id": first })).await;
    assert_eq!(none["items"], json!([]), "a second deletion succeeds");
    assert_eq!(home.post(&format!("/api/v1/tasks/{second}/restore"), &json!({})).await.0, 200, "the other task can be restored");
}

/// Makes unreachable objects look as if a repack had found them a number of days earlier.
fn age(mirror: &std::path::Path, days: u32) {
    for entry in fs_err::read_dir(mirror.join("objects/pack")).expect("the folder exists") {
        let path = entry.expect("the entry can be read").path();
        if path.extension().is_none_or(|extension| extension != "mtimes") {
            continue;
        }
        let mut bytes = fs_err::read(&path).expect("the file can be read");
        let end = bytes.len() - 40;
        for time in bytes[12..end].chunks_exact_mut(4) {
            let seconds = u32::from_be_bytes(time.try_into().expect("4 bytes")) - days * 24 * 60 * 60;
            time.copy_from_slice(&seconds.to_be_bytes());
        }
        fs_err::remove_file(&path).expect("the file can be removed");
        fs_err::write(&path, bytes).expect("written");
    }
}

#[tokio::test]
async fn a_mirror_shrinks_two_weeks_after_a_task_was_deleted() {
    const BIG: u64 = 4_000_000;
    let (upstream, home, env) = stage().await;
    let task = home.task(&env, &format!("begin; head -c {BIG} /dev/urandom > big.bin; end done")).await;
    let kept = home.task(&env, "begin; echo kept > kept.txt; end done").await;
    for task in [&task, &kept] {
        assert_eq!(home.settled(task).await["status"], "completed");
    }
    let mirror = home.path().join("envs").join(&env).join("mirror");
    let collect = async |body: Value| {
        let (status, answer) = home.post("/api/v1/gc", &body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let disk = async || home.get("/api/v1/disk").await.1;
    removed(&home, &format!("/api/v1/tasks/{task}")).await;
    let done = collect(json!({})).await;
    assert_eq!(done["mirrors"][0]["unreachable"], json!(0), "the objects of a task in the trash are reachable: {done}");
    let said = collect(json!({ "older_than_days": 0, "dry_run": true })).await;
    assert_eq!(said["mirrors"], json!([]), "a dry run plans no repack before the deletion: {said}");
    let done = collect(json!({ "older_than_days": 0 })).await;
    let view = &done["mirrors"][0];
    assert_eq!((&view["state"], &view["env_id"]), (&json!("done"), &json!(env)), "{done}");
    assert!(view["unreachable"].as_u64() > Some(BIG) && view["after"].as_u64() > Some(BIG), "{done}");
    let shown = disk().await;
    assert!(
        shown["unreachable"].as_u64() > Some(BIG) && shown["environments"][0]["unreachable"] == shown["unreachable"],
        "{shown}"
    );
    age(&mirror, 13);
    assert!(collect(json!({})).await["mirrors"][0]["after"].as_u64() > Some(BIG), "unreachable objects are kept for 13 days");
    // Add two days instead of one: git compares seconds, and this test may take less than one.
    age(&mirror, 2);
    let said = collect(json!({ "dry_run": true })).await;
    assert_eq!(said["mirrors"][0]["state"], "planned", "{said}");
    let done = collect(json!({})).await;
    assert!(done["mirrors"][0]["after"].as_u64().is_some_and(|after| after < BIG / 10), "{done}");
    assert_eq!(disk().await["unreachable"], json!(0));
    upstream.git_in(&mirror, &["fsck", "--strict", "--no-dangling"]);
    assert_eq!(upstream.git_in(&mirror, &["show", &format!("codex/{kept}:kept.txt")]), "kept");
    let another = home.task(&env, WORK).await;
    assert_eq!(home.settled(&another).await["status"], "completed");
}
