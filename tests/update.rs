//! Updating a task: its branch, its worktree and its record follow the base, and no uncommitted change is lost.
//!
//! Real servers, real git, and a worker that runs its prompt as a script.

use serde_json::{Value, json};

use crate::stage::Stage;

impl Stage {
    async fn update(&self, task: &str, asked: &Value) -> (u16, Value) {
        self.home.post(&format!("/api/v1/tasks/{task}/update"), asked).await
    }

    async fn updated(&self, task: &str, asked: &Value) -> Value {
        let (status, view) = self.update(task, asked).await;
        assert_eq!((status, view["outcome"].as_str()), (200, Some("updated")), "{view}");
        view
    }

    async fn resumed(&self, task: &str, prompt: &str) -> Value {
        let (status, answer) = self.home.post(&format!("/api/v1/tasks/{task}/resume"), &json!({ "prompt": prompt })).await;
        assert_eq!(status, 201, "{answer}");
        let view = self.home.settled(task).await;
        assert_eq!(view["status"], "completed", "{view}");
        view
    }

    fn worktree(&self, task: &str) -> std::path::PathBuf {
        self.folder(task).join("worktree")
    }

    async fn patch(&self, task: &str, query: &str) -> String {
        self.home.text(&format!("/api/v1/tasks/{task}/diff?format=patch{query}")).await
    }

    /// Checks that the diffs contain the task's own changes and none from the base.
    async fn check_diffs(&self, task: &str, own: &[&str]) {
        let all = self.patch(task, "").await;
        assert!(!all.contains("base.txt"), "{all}");
        for (number, name) in own.iter().enumerate() {
            assert!(all.contains(name), "{name}: {all}");
            let run = self.patch(task, &format!("&run={}", number + 1)).await;
            assert!(run.contains(name) && !run.contains("base.txt"), "{name}: {run}");
        }
    }
}

#[tokio::test]
async fn a_task_follows_its_base_and_its_diffs_show_only_its_own_work() {
    for strategy in ["rebase", "merge"] {
        let stage = Stage::new().await;
        let task = stage.done("begin; echo one > one.txt; end done").await;
        let (status, current) = stage.update(&task, &json!({})).await;
        assert_eq!((status, current["outcome"].as_str()), (200, Some("current")), "{current}");
        assert!(current["task"].get("updates").is_none(), "{current}");
        let newest = stage.upstream.commit("main", &[("base.txt", "base\n")], "meanwhile");
        let view = stage.updated(&task, &json!({ "strategy": strategy })).await;
        assert_eq!((view["base"]["name"].as_str(), view["base"]["commit"].as_str()), (Some("main"), Some(newest.as_str())));
        assert_eq!((&view["task"]["base_sha"], &view["task"]["updates"][0]["strategy"]), (&json!(newest), &json!(strategy)));
        let worktree = stage.worktree(&task);
        assert!(worktree.join("base.txt").exists() && worktree.join("one.txt").exists());
        assert_eq!(stage.upstream.git_in(&worktree, &["status", "--porcelain"]), "");
        stage.check_diffs(&task, &["one.txt"]).await;
        // Codex continues on the updated branch, and the task is updated again.
        stage
            .resumed(&task, "begin; git status --short | grep -q . && exit 1; test -e base.txt; echo two > two.txt; end done")
            .await;
        stage.check_diffs(&task, &["one.txt", "two.txt"]).await;
        stage.upstream.commit("main", &[("base.txt", "again\n")], "again");
        stage.updated(&task, &json!({ "strategy": strategy })).await;
        stage.check_diffs(&task, &["one.txt", "two.txt"]).await;
        let log = stage.git(&["log", "--format=%(trailers:key=Run,valueonly,separator=%x2C)", &format!("main..codex/{task}")]);
        let mut runs: Vec<_> = log.lines().filter(|line| !line.is_empty()).collect();
        runs.sort_unstable();
        assert_eq!(runs, ["1", "2"], "the trailers are kept");
        stage.git(&["fsck", "--strict", "--no-dangling"]);
        // A restored task keeps its update.
        let path = format!("/api/v1/tasks/{task}");
        assert_eq!(stage.home.delete(&path).await.0, 204);
        assert_eq!(stage.home.post(&format!("{path}/restore"), &json!({})).await.0, 200);
        stage.check_diffs(&task, &["one.txt", "two.txt"]).await;
    }
}

#[tokio::test]
async fn a_branch_that_the_task_started_from_is_its_base() {
    let stage = Stage::new().await;
    stage.upstream.commit("next", &[("next.txt", "1\n")], "next");
    let asked = json!({ "env_id": stage.env, "prompt": "begin; echo one > one.txt; end done", "ref": "next" });
    let (status, created) = stage.home.post("/api/v1/tasks", &asked).await;
    assert_eq!(status, 201, "{created}");
    let task = created["task_id"].as_str().expect("the task has an ID").to_owned();
    stage.home.settled(&task).await;
    let newest = stage.upstream.commit("next", &[("base.txt", "1\n")], "more");
    stage.upstream.commit("main", &[("main.txt", "1\n")], "not its base");
    let view = stage.updated(&task, &json!({})).await;
    assert_eq!((view["base"]["name"].as_str(), view["base"]["commit"].as_str()), (Some("next"), Some(newest.as_str())));
    // If that branch is gone, the default branch is used.
    stage.upstream.delete_branch("next");
    let view = stage.updated(&task, &json!({ "strategy": "merge" })).await;
    assert_eq!(view["base"]["name"], "main");
    assert!(stage.worktree(&task).join("main.txt").exists());
}

#[tokio::test]
async fn it_is_refused_while_a_run_is_active_and_before_there_is_a_branch() {
    let stage = Stage::new().await;
    let gate = stage.home.scratch().join("gate");
    let task = stage.home.task(&stage.env, &format!("begin; await {}; end done", gate.display())).await;
    let path = format!("/api/v1/tasks/{task}");
    stage.home.wait_for(&path, |view| view["status"] == "running").await;
    let (status, refused) = stage.update(&task, &json!({})).await;
    assert_eq!((status, refused["code"].as_str()), (409, Some("run_active")), "{refused}");
    fs_err::write(&gate, "").expect("written");
    stage.home.settled(&task).await;
    let (status, refused) = stage.update(&task, &json!({ "strategy": "squash" })).await;
    assert!(matches!(status, 400 | 422), "{refused}");
    // The ref of this task has never existed.
    let asked = json!({ "env_id": stage.env, "prompt": "begin; end done", "ref": "nowhere" });
    let (_, created) = stage.home.post("/api/v1/tasks", &asked).await;
    let task = created["task_id"].as_str().expect("the task has an ID").to_owned();
    stage.home.settled(&task).await;
    for answer in [stage.update(&task, &json!({})).await, stage.home.get(&format!("/api/v1/tasks/{task}/conflicts")).await] {
        assert_eq!((answer.0, answer.1["code"].as_str()), (409, Some("no_branch")), "{}", answer.1);
    }
    assert_eq!(stage.home.get(&format!("/api/v1/tasks/{task}/bundle")).await.0, 409);
}

#[tokio::test]
async fn what_is_not_committed_stays_or_is_named() {
    let stage = Stage::new().await;
    let task = stage.done("begin; echo one > one.txt; echo '*.log' > .gitignore; end done").await;
    let worktree = stage.worktree(&task);
    fs_err::write(worktree.join("notes.txt"), "mine\n").expect("written");
    fs_err::write(worktree.join("a.log"), "mine\n").expect("written");
    stage.upstream.commit("main", &[("base.txt", "base\n"), ("a.log", "theirs\n")], "meanwhile");
    let before = stage.git(&["for-each-ref", "refs/heads/codex"]);
    let (status, refused) = stage.update(&task, &json!({})).await;
    assert_eq!((status, refused["code"].as_str()), (409, Some("files_in_the_way")), "{refused}");
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.ends_with(": `a.log`")), "{refused}");
    assert!(!worktree.join("base.txt").exists() && before == stage.git(&["for-each-ref", "refs/heads/codex"]));
    fs_err::remove_file(worktree.join("a.log")).expect("the file exists");
    stage.updated(&task, &json!({})).await;
    assert_eq!(fs_err::read_to_string(worktree.join("notes.txt")).expect("the file exists"), "mine\n");
    assert_eq!(stage.upstream.git_in(&worktree, &["status", "--porcelain"]), "?? notes.txt");
}

#[tokio::test]
async fn conflicts_are_listed_and_given_to_the_agent() {
    let stage = Stage::new().await;
    // The follow-up's prompt is not a script. The test's worker merges only in a later run, whose prompt is a script.
    let task = stage.done("begin; echo mine > README.md; echo one > one.txt; end done").await;
    let other = stage.done("begin; echo other > one.txt; end done").await;
    let commit = stage.upstream.commit("main", &[("README.md", "theirs\n"), ("base.txt", "1\n")], "meanwhile");
    let conflicts = format!("/api/v1/tasks/{task}/conflicts");
    let (_, before) = stage.home.get(&conflicts).await;
    assert_eq!(
        (&before["behind"], &before["conflicts"]),
        (&json!(0), &json!([])),
        "a check without a fetch does not know the new commit: {before}"
    );
    let (status, found) = stage.home.get(&format!("{conflicts}?fetch=true")).await;
    assert_eq!(status, 200, "{found}");
    assert_eq!((&found["base"]["commit"], &found["behind"], &found["looked_at"]), (&json!(commit), &json!(1), &json!(1)));
    assert_eq!(found["conflicts"], json!([{ "path": "README.md", "kind": "content" }]));
    assert_eq!((&found["tasks"][0]["task_id"], &found["tasks"][0]["conflicts"][0]["kind"]), (&json!(other), &json!("add_add")));

    let seen = || (stage.git(&["for-each-ref"]), stage.upstream.git_in(&stage.worktree(&task), &["status", "--porcelain"]));
    let before = (seen(), stage.home.get(&format!("/api/v1/tasks/{task}")).await);
    for strategy in ["rebase", "merge"] {
        let (status, refused) = stage.update(&task, &json!({ "strategy": strategy })).await;
        assert_eq!((status, refused["code"].as_str()), (409, Some("update_conflicts")), "{refused}");
        assert_eq!((&refused["conflicts"], &refused["base"]["commit"]), (&found["conflicts"], &json!(commit)));
    }
    assert_eq!(
        (seen(), stage.home.get(&format!("/api/v1/tasks/{task}")).await),
        before,
        "an update with conflicts changes nothing"
    );
    let output = stage.home.command(&["task", "update", &task]).output().await.expect("the command can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("`README.md` (content)") && said.contains("--hand-over"), "{said}");
    let output = stage.home.command(&["task", "conflicts", &task]).output().await.expect("the command can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("1 commit behind main") && said.contains("add/add"), "{said}");

    let (status, handed) = stage.update(&task, &json!({ "hand_over": true })).await;
    assert_eq!((status, handed["outcome"].as_str()), (200, Some("handed_over")), "{handed}");
    let view = stage.home.settled(&task).await;
    let run = &view["runs"][1];
    let prompt = run["prompt"].as_str().expect("text");
    assert!(prompt.contains(&format!("git merge {commit}")) && prompt.contains("- README.md (content)"), "{prompt}");
    assert_eq!(run["cause"], "follow_up", "{run}");
    // Merge like an agent would, and update again.
    let merge = format!(
        "begin; git -c user.name=a -c user.email=a@b merge -q {commit} || true; echo both > README.md; git add -A; \
         git -c user.name=a -c user.email=a@b commit -qm 'Merge the base'; end done"
    );
    stage.resumed(&task, &merge).await;
    let view = stage.updated(&task, &json!({})).await;
    assert_eq!((&view["task"]["base_sha"], &view["task"]["updates"][0]["to_base"]), (&json!(commit), &json!(commit)), "{view}");
    let all = stage.patch(&task, "").await;
    assert!(!all.contains("base.txt") && all.contains("+both"), "{all}");
    assert_eq!(stage.update(&task, &json!({})).await.1["outcome"], "current");
    // Resolved conflicts stay resolved: a branch that contains merges is merged.
    stage.upstream.commit("main", &[("base.txt", "2\n")], "later");
    let view = stage.updated(&task, &json!({})).await;
    assert_eq!(view["task"]["updates"][1]["strategy"], "merge", "{view}");
    assert_eq!(stage.update(&task, &json!({ "strategy": "rebase" })).await.1["outcome"], "current");
    assert_eq!(fs_err::read_to_string(stage.worktree(&task).join("README.md")).expect("the file exists"), "both\n");
    assert!(!stage.patch(&task, "").await.contains("base.txt"));
}

#[tokio::test]
async fn the_command_line_says_what_was_done() {
    let stage = Stage::new().await;
    let task = stage.done("begin; echo one > one.txt; echo base > base.txt; end done").await;
    stage.upstream.commit("main", &[("one.txt", "one\n"), ("base.txt", "base\n")], "the same");
    let output = stage.home.command(&["task", "update", &task]).output().await.expect("the command can be started");
    let (said, remarked) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(said.starts_with("Updated ") && said.contains("`main` at"), "{said}{remarked}");
    assert!(remarked.contains("dropped 1 commit"), "{remarked}");
    let output = stage.home.command(&["task", "update", "--merge", &task]).output().await.expect("the command can be started");
    assert!(String::from_utf8_lossy(&output.stdout).contains("already"), "{output:?}");
}

#[tokio::test]
async fn many_at_once_move_it_once_and_no_run_begins_on_half_of_it() {
    let stage = Stage::new().await;
    let task = stage.done("begin; echo one > one.txt; end done").await;
    for round in 1..=3 {
        stage.upstream.commit("main", &[("base.txt", &format!("{round}\n"))], "meanwhile");
        let asked = json!({});
        let updates = futures_util::future::join_all((0..6).map(|_| stage.update(&task, &asked)));
        let path = format!("/api/v1/tasks/{task}/resume");
        let prompt =
            json!({ "prompt": format!("begin; git status --short | grep -q . && exit 1; echo {round} > {round}.txt; end done") });
        let (answers, resumed) = tokio::join!(updates, stage.home.post(&path, &prompt));
        for (status, answer) in &answers {
            let is_fine = *status == 200 || answer["code"] == "run_active";
            assert!(is_fine, "{answer}");
        }
        assert_eq!(resumed.0, 201, "{}", resumed.1);
        let view = stage.home.settled(&task).await;
        assert_eq!(view["status"], "completed", "{view}");
        let (status, view) = stage.update(&task, &asked).await;
        assert_eq!(status, 200, "{view}");
        let moves = view["task"]["updates"].as_array().map(Vec::len);
        assert_eq!(moves, Some(round), "each new commit causes one update: {view}");
        assert_eq!(stage.upstream.git_in(&stage.worktree(&task), &["status", "--porcelain"]), "");
    }
    stage.check_diffs(&task, &["one.txt", "1.txt", "2.txt", "3.txt"]).await;
    stage.git(&["fsck", "--strict", "--no-dangling"]);
}

#[tokio::test]
async fn a_remote_that_is_gone_changes_nothing() {
    let stage = Stage::new().await;
    let task = stage.done("begin; echo one > one.txt; end done").await;
    let before = stage.git(&["for-each-ref"]);
    let aside = stage.upstream.path().with_extension("aside");
    fs_err::rename(stage.upstream.path(), &aside).expect("the remote can be moved away");
    let (status, refused) = stage.update(&task, &json!({})).await;
    assert_eq!((status, refused["code"].as_str()), (503, Some("fetch_failed")), "{refused}");
    assert_eq!(stage.git(&["for-each-ref"]), before);
    let (status, found) = stage.home.get(&format!("/api/v1/tasks/{task}/conflicts")).await;
    assert_eq!((status, &found["conflicts"]), (200, &json!([])), "conflicts can be checked without the remote: {found}");
    fs_err::rename(aside, stage.upstream.path()).expect("the remote can be moved back");
}

#[tokio::test]
async fn an_update_that_a_killed_server_began_is_finished_without_a_request() {
    // Older versions did not record an update before they moved anything.
    for (point, is_recorded) in
        [("update-recorded", true), ("branch-moved", true), ("branch-moved", false), ("files-moved", false)]
    {
        let mut stage = Stage::setup().set("ORCH_CRASH_AT", point).start().await;
        let task = stage.done("begin; echo one > one.txt; end done").await;
        let newest = stage.upstream.commit("main", &[("base.txt", "base\n")], "meanwhile");
        let request = stage.home.request(reqwest::Method::POST, &format!("/api/v1/tasks/{task}/update"));
        assert!(request.json(&json!({})).send().await.is_err(), "{point}: the server is killed");
        stage.home.ended().await;
        stage.home.set("ORCH_CRASH_AT", "");
        let meta = stage.folder(&task).join("meta.json");
        let mut record: Value = serde_json::from_str(&fs_err::read_to_string(&meta).expect("there")).expect("JSON");
        assert_eq!(record["updating"]["to_base"], json!(newest), "{point}: {record}");
        if !is_recorded {
            record.as_object_mut().expect("an object").remove("updating");
            fs_err::write(&meta, record.to_string()).expect("written");
        }
        stage.home.start().await;
        let view = stage.home.wait_for(&format!("/api/v1/tasks/{task}"), |task| task["base_sha"] == json!(newest)).await;
        assert_eq!(view["updates"].as_array().map(Vec::len), Some(1), "{point}: {view}");
        let worktree = stage.worktree(&task);
        assert!(worktree.join("base.txt").exists() && worktree.join("one.txt").exists(), "{point}");
        assert_eq!(stage.upstream.git_in(&worktree, &["status", "--porcelain"]), "", "{point}");
        let record: Value = serde_json::from_str(&fs_err::read_to_string(&meta).expect("there")).expect("JSON");
        assert!(record.get("updating").is_none(), "{point}: {record}");
    }
}
