//! How runs end: every outcome is distinguished, usage is counted per run, each run has one commit, the thread is kept, and
//! failures leave nothing behind. Real servers on temporary homes, real git, and a worker that runs its prompt as a script.

use serde_json::{Value, json};

use crate::stage::Stage;

#[tokio::test]
async fn every_outcome_is_told_apart() {
    let stage = Stage::new().await;
    for (prompt, status, code) in [
        ("begin; end done", "completed", None),
        (
            "begin; echo 'not json'; printf '{\"type\":\"error\",\"message\":\"Reconnecting... 1/5\"}\\n'; end done",
            "completed",
            None,
        ),
        ("begin; failed 'Incorrect API key provided'", "failed", Some("unauthorized")),
        ("begin; end done; exit 3", "failed", Some("worker_failed")),
        ("exit 0", "failed", Some("nothing_ran")),
        ("begin; exit 1", "failed", Some("ended_without_result")),
        ("begin; kill -9 $$", "failed", Some("worker_killed")),
        ("echo 'Error: thread/resume failed: no rollout found for thread id x' >&2; exit 1", "failed", Some("unknown_thread")),
    ] {
        let task = stage.run(prompt).await;
        let run = &task["runs"][0];
        assert_eq!((task["status"].as_str(), run["error"]["code"].as_str()), (Some(status), code), "{prompt}: {run}");
        if code.is_some_and(|code| code != "ended_without_result") {
            assert!(run["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{run}");
        }
    }
}

#[tokio::test]
async fn usage_is_that_of_the_run_alone() {
    let stage = Stage::new().await;
    let first = stage.run("begin; usage 100 10").await;
    let second = stage.resume(&first, "begin; usage 250 25").await;
    let figures = |run: &Value| (run["usage"]["input_tokens"].as_u64(), run["usage"]["output_tokens"].as_u64());
    assert_eq!((figures(&second["runs"][0]), figures(&second["runs"][1])), ((Some(100), Some(10)), (Some(150), Some(15))));
}

#[tokio::test]
async fn a_resume_that_starts_another_thread_fails_and_the_task_keeps_its_thread() {
    let stage = Stage::new().await;
    let first = stage.run("begin; end one").await;
    let second = stage.resume(&first, "thread 01a201f5-b7dd-79a1-8a6e-7e6639f5c650; turn; sleep 600").await;
    assert_eq!(
        (&second["status"], &second["runs"][1]["error"]["code"]),
        (&json!("failed"), &json!("thread_changed")),
        "{second}"
    );
    assert_eq!(second["thread_id"], first["thread_id"]);
    let third = stage.resume(&second, "begin; end three").await;
    assert_eq!((&third["status"], &third["runs"][2]["thread_id"]), (&json!("completed"), &first["thread_id"]));
}

#[tokio::test]
async fn each_run_is_one_commit_with_its_trailers_and_the_agents_own_commits_are_kept() {
    let stage = Stage::new().await;
    let own = "begin; echo a > a; git add a; git -c user.name=Agent -c user.email=agent@x commit -qm 'my own'; echo b > b; end 'said it'";
    let task = stage.run(own).await;
    assert_eq!(task["status"], "completed", "{task}");
    let id = task["task_id"].as_str().expect("the task has an ID");
    let thread = task["thread_id"].as_str().expect("a thread");
    let log = stage.git(&["log", "--format=%an%n%B", "-2", &format!("codex/{id}")]);
    for part in ["said it", &format!("Task-Id: {id}"), "Run: 1", &format!("Thread-Id: {thread}"), "Agent\nmy own"] {
        assert!(log.contains(part), "`{part}` is missing in:\n{log}");
    }
    assert_eq!(task["runs"][0]["commit"].as_str(), Some(stage.git(&["rev-parse", &format!("codex/{id}")]).trim()));
    let idle = stage.resume(&task, "begin; end 'nothing to do'").await;
    assert_eq!((&idle["status"], &idle["runs"][1]["commit"]), (&json!("completed"), &Value::Null));
}

#[tokio::test]
async fn a_failed_run_keeps_its_work_and_the_next_fetch_keeps_its_branch() {
    let stage = Stage::new().await;
    let task = stage.run("begin; echo precious > work; exit 1").await;
    assert_eq!(task["status"], "failed");
    stage.upstream.rewrite("main", &[("other", "x")], "history was rewritten");
    let other = stage.run("begin; ls; end done").await;
    assert_eq!(other["status"], "completed", "{other}");
    let branch = task["branch"].as_str().expect("a branch");
    assert_eq!(stage.git(&["show", &format!("{branch}:work")]).trim(), "precious");
    let worktree = stage.home.path().join("tasks").join(task["task_id"].as_str().expect("the task has an ID")).join("worktree");
    stage.upstream.git_in(&worktree, &["push", "origin", branch]);
    assert_eq!(stage.upstream.commit_of(branch).as_deref(), task["runs"][0]["commit"].as_str());
}

#[tokio::test]
async fn a_stop_in_the_middle_ends_the_run_and_the_thread_goes_on() {
    let stage = Stage::new().await;
    let id = stage.home.task(&stage.env, "begin; echo half > half; sleep 600").await;
    stage.home.wait_for(&format!("/api/v1/tasks/{id}"), |task| task["runs"][0]["turn_started"] == true).await;
    stage.home.post(&format!("/api/v1/tasks/{id}/stop"), &Value::Null).await;
    let stopped = stage.home.settled(&id).await;
    assert_eq!((&stopped["status"], &stopped["runs"][0]["error"]), (&json!("stopped"), &Value::Null));
    let resumed = stage.resume(&stopped, "begin; cat half; end 'went on'").await;
    assert_eq!((&resumed["status"], &resumed["thread_id"]), (&json!("completed"), &stopped["thread_id"]));
}

#[tokio::test]
async fn a_missing_ref_and_a_moved_remote_fail_clearly_and_leave_nothing() {
    let stage = Stage::new().await;
    let body = json!({ "env_id": stage.env, "prompt": "begin; end x", "ref": "no/such" });
    let (status, created) = stage.home.post("/api/v1/tasks", &body).await;
    assert_eq!(status, 201, "{created}");
    let id = created["task_id"].as_str().expect("the task has an ID");
    let failed = stage.home.settled(id).await;
    let error = &failed["runs"][0]["error"];
    assert_eq!((&failed["status"], &error["code"]), (&json!("failed"), &json!("ref_not_found")), "{failed}");
    assert!(error["hints"][0].as_str().is_some_and(|hint| hint.contains("`main`")), "{error}");
    assert!(!stage.home.path().join("tasks").join(id).join("worktree").exists());
    let (status, refused) = stage.home.post(&format!("/api/v1/tasks/{id}/resume"), &json!({ "prompt": "again" })).await;
    assert_eq!((status, &refused["code"]), (409, &json!("no_thread")));

    fs_err::rename(stage.upstream.path(), stage.upstream.path().with_extension("moved")).expect("ours");
    let gone = stage.run("begin; end x").await;
    assert_eq!(
        (&gone["status"], &gone["runs"][0]["error"]["code"]),
        (&json!("failed"), &json!("repository_not_found")),
        "{gone}"
    );
}

#[tokio::test]
async fn a_clone_that_cannot_be_leaves_nothing_behind() {
    let stage = Stage::new().await;
    for (url, branch, code) in
        [("/no/such/repository", None, "repository_not_found"), (stage.upstream.url().as_str(), Some("nope"), "branch_not_found")]
    {
        let (status, created) = stage.home.post("/api/v1/envs", &json!({ "repo_url": url, "default_branch": branch })).await;
        assert_eq!(status, 201, "{created}");
        let id = created["env_id"].as_str().expect("the repository has an ID");
        let failed = stage.home.wait_for(&format!("/api/v1/envs/{id}"), |environment| environment["status"] != "cloning").await;
        assert_eq!((&failed["status"], &failed["error"]["code"]), (&json!("failed"), &json!(code)), "{failed}");
        assert!(!stage.home.path().join("envs").join(id).exists());
        assert_eq!(stage.home.delete(&format!("/api/v1/envs/{id}")).await.0, 204);
    }
    for (url, code) in
        [("ext::sh -c x", "repository_url_refused"), ("-x", "repository_url_refused"), ("https://a:b@c/d", "url_has_credentials")]
    {
        let (status, problem) = stage.home.post("/api/v1/envs", &json!({ "repo_url": url })).await;
        assert_eq!((status, &problem["code"]), (422, &json!(code)), "{problem}");
    }
    assert_eq!(fs_err::read_dir(stage.home.path().join("envs")).expect("there").count(), 1);
}

#[tokio::test]
async fn a_removed_tasks_commits_can_be_brought_back() {
    let stage = Stage::new().await;
    let task = stage.run("begin; echo precious > work; end done").await;
    let id = task["task_id"].as_str().expect("the task has an ID");
    assert_eq!(stage.home.delete(&format!("/api/v1/tasks/{id}")).await.0, 204);
    assert_eq!(stage.home.delete(&format!("/api/v1/tasks/{id}")).await.0, 204, "a second removal succeeds");
    assert!(!stage.home.path().join("tasks").join(id).exists());
    assert_eq!(stage.git(&["show", &format!("refs/orchestrator/removed/{id}:work")]).trim(), "precious");
    assert_eq!(stage.git(&["branch", "--list", "codex/*"]).trim(), "");
}
