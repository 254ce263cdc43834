//! Special repositories as seen by an agent in a real container: large files, submodules, and branches that change on both
//! sides.
//!
//! The server, container engine, image, git and git-lfs are real. A shell replaces Codex and runs its prompt.

use serde_json::{Value, json};
use testkit::TestHome;
use testkit::shell_agent::{Attacked, ShellAgent, id_of};
use testkit::upstream::Upstream;

use crate::BINARY;

/// The SHA-256 of `large\n`.
const LARGE: &str = "9bfce334a37bd1bc1d36b0370195b31fe9a9389dd43d0873891a3544ef1140a1";

/// The SHA-256 of `larger\n`.
const LARGER: &str = "ca549af1b3c36fa36639fa240b9c178aec56118d8f24726e667b6f89068e9278";

fn pointer(oid: &str, size: usize) -> String {
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n")
}

fn notes(task: &Value, run: usize) -> String {
    task["runs"][run]["notes"].to_string()
}

#[tokio::test]
async fn large_files_are_real_files_and_stay_pointers_in_commits() {
    let upstream = Upstream::new();
    let attributes = "*.bin filter=lfs diff=lfs merge=lfs -text\n";
    let gone = pointer(&"0".repeat(64), 9);
    let files =
        [(".gitattributes", attributes), ("a.bin", &pointer(LARGE, 6)), ("b.bin", &pointer(LARGE, 6)), ("gone.bin", &gone)];
    upstream.commit("main", &files, "large");
    let kept = upstream.path().join("lfs/objects").join(&LARGE[..2]).join(&LARGE[2..4]);
    fs_err::create_dir_all(&kept).expect("made");
    fs_err::write(kept.join(LARGE), "large\n").expect("written");
    let stage = ShellAgent::on(BINARY, upstream, &json!({})).await;
    let script = "echo A $(cat a.bin); git status --short; echo larger > a.bin; git add a.bin; git commit -qm mine; echo larger > c.bin; \
        git checkout -q HEAD~1 -- a.bin; echo BACK $(cat a.bin); git checkout -q HEAD -- a.bin; git status --short";
    let task = stage.attack(script).await;
    task.completed();
    assert_eq!((task.said("A"), task.said("BACK")), ("large", "large"), "{}", task.log);
    assert!(!task.log.contains(" M "), "checking out a file changes nothing: {}", task.log);
    assert!(notes(&task.task, 0).contains("1 large files are only pointers"), "{}", task.task);
    let branch = format!("codex/{}", id_of(&task.task));
    for (name, oid, size) in [("a.bin", LARGER, 7), ("b.bin", LARGE, 6), ("c.bin", LARGER, 7)] {
        assert_eq!(stage.git(&["show", &format!("{branch}:{name}")]), pointer(oid, size), "{name}");
    }
    assert_eq!(stage.git(&["show", &format!("{branch}:gone.bin")]), gone);
    let object = stage.mirror().join("lfs/objects").join(&LARGER[..2]).join(&LARGER[2..4]).join(LARGER);
    assert_eq!(fs_err::read_to_string(object).expect("the mirror has the large file"), "larger\n");
    stage.lives_on(&task).await;
}

#[tokio::test]
async fn submodules_are_there_to_read_where_the_host_may_fetch_them() {
    let module = Upstream::new();
    let commit = module.commit("main", &[("lib.txt", "of the module\n")], "a module");
    module.commit("main", &[("lib.txt", "newer\n")], "newer");
    let upstream = Upstream::new();
    let config = format!(
        "[submodule \"near\"]\n\tpath = libs/near\n\turl = {}\n[submodule \"far\"]\n\tpath = far\n\turl = https://far.example/x.git\n",
        module.file_url()
    );
    upstream.commit("main", &[(".gitmodules", &config), ("libs/plain", "x\n")], "a start");
    upstream.submodule("main", "libs/near", &commit);
    upstream.submodule("main", "far", &commit);
    let stage = ShellAgent::on(BINARY, upstream, &json!({})).await;
    let script = "echo NEAR $(cat libs/near/lib.txt); git status --short; echo x > libs/near/lib.txt && echo WENT; rm -rf libs/near && echo WENT; \
        echo FAR $(ls far | wc -l); echo y > libs/plain; git add -A; git status --short | tr '\\n' ';'";
    let task = stage.attack(script).await;
    task.completed();
    assert_eq!((task.said("NEAR"), task.said("FAR")), ("of the module", "0"), "{}", task.log);
    assert!(!task.log.contains("WENT") && task.log.contains("M  libs/plain;"), "{}", task.log);
    let notes = notes(&task.task, 0);
    assert!(notes.contains("`libs/near` is read-only") && notes.contains("`far` is empty"), "{notes}");
    let branch = format!("codex/{}", id_of(&task.task));
    let listed = stage.git(&["ls-tree", "-r", "--format=%(objectmode) %(path)", &branch]);
    assert_eq!(listed, "100644 .gitmodules\n100644 README.md\n160000 far\n160000 libs/near\n100644 libs/plain\n");
    assert_eq!(stage.git(&["rev-parse", &format!("{branch}:libs/near")]).trim(), commit);
    stage.lives_on(&task).await;
}

#[tokio::test]
async fn a_server_that_dies_with_the_harvest_in_its_hands_takes_it_in_at_the_next_start() {
    let mut home = TestHome::new(BINARY);
    home.set("ORCH_CRASH_AT", "harvested");
    let mut stage = ShellAgent::in_home(home, Upstream::new(), &json!({})).await;
    let script = "echo x > own; git add own; git commit -qm own; echo y > work";
    let task = stage.home.task(&stage.env, script).await;
    stage.home.ended().await;
    stage.home.set("ORCH_CRASH_AT", "");
    stage.home.start().await;
    let view = stage.home.settled(&task).await;
    assert_eq!(view["status"], "completed", "{view}");
    assert_eq!(stage.committed(&view), ["README.md", "own", "work"]);
    assert_eq!(stage.git(&["rev-list", "--count", &format!("main..codex/{task}")]).trim(), "2", "each commit is imported once");
    let log = stage.home.text(&format!("/api/v1/tasks/{task}/runs/1/log")).await;
    stage.lives_on(&Attacked { task: view, log }).await;
}

#[tokio::test]
async fn an_agent_goes_on_where_its_branch_was_brought_up_to_its_base() {
    let stage = ShellAgent::with(BINARY, &json!({})).await;
    let task = stage.attack("echo one > one; git add one; git commit -qm own; git branch idea; echo two > two").await;
    task.completed();
    let id = id_of(&task.task);
    let update = async |asked: Value, outcome: &str| {
        let (status, view) = stage.home.post(&format!("/api/v1/tasks/{id}/update"), &asked).await;
        assert_eq!((status, view["outcome"].as_str()), (200, Some(outcome)), "{view}");
        view
    };
    let resumed = async |script: &str, run: u32| {
        let view = stage.resumed(&task.task, script).await;
        assert_eq!(view["status"], "completed", "{view}");
        (view, stage.home.text(&format!("/api/v1/tasks/{id}/runs/{run}/log")).await)
    };
    let look = "echo CLEAN $(git status --porcelain | wc -l); git merge-base --is-ancestor BASE HEAD && echo HAS-IT; git fsck --strict; ";
    // The update rewrites the task's commits, so the agent gets a new repository.
    let base = stage.upstream.commit("main", &[("base", "1\n")], "base");
    update(json!({}), "updated").await;
    let (view, log) =
        resumed(&format!("{}echo three > three; git add three; git commit -qm three", look.replace("BASE", &base)), 2).await;
    assert!(log.contains("CLEAN 0") && log.contains("HAS-IT"), "{log}");
    assert!(view["runs"][1].get("notes").is_none(), "the agent's own commits are imported: {view}");
    let aside = stage.folder(&view).join("agent.git.aside");
    assert!(aside.join("refs/heads/idea").exists(), "the agent's other branch is kept");
    assert_eq!(stage.git(&["log", "--format=%s", "--reverse", &format!("main..codex/{id}")]).lines().nth(2), Some("three"));
    // The agent's branch can be fast-forwarded after a merge.
    let base = stage.upstream.commit("main", &[("base", "2\n")], "base");
    update(json!({ "strategy": "merge" }), "updated").await;
    let (view, log) = resumed(&format!("git branch idea; {}echo four > four", look.replace("BASE", &base)), 3).await;
    assert!(log.contains("CLEAN 0") && log.contains("HAS-IT"), "{log}");
    assert_eq!(stage.committed(&view), ["README.md", "base", "four", "one", "src/a.txt", "three", "two"]);
    assert!(stage.folder(&view).join("agent.git/refs/heads").join(format!("codex/{id}")).exists());
    // The agent resolves a conflict: it can merge the base commit without a network.
    let base = stage.upstream.commit("main", &[("one", "theirs\n")], "base");
    let view = update(json!({ "hand_over": true }), "handed_over").await;
    assert_eq!(view["conflicts"], json!([{ "path": "one", "kind": "add_add" }]));
    stage.home.settled(&id).await;
    let script = format!(
        "git merge -q {base}; echo both > one; git add one; git commit -qm merged; echo CLEAN $(git status --porcelain | wc -l)"
    );
    let (view, log) = resumed(&script, 5).await;
    assert!(log.contains("CLEAN 0"), "{log}");
    assert_eq!(stage.git(&["show", &format!("codex/{id}:one")]), "both\n", "{view}");
    let view = update(json!({}), "updated").await;
    assert_eq!(view["task"]["base_sha"], json!(base));
    stage.lives_on(&Attacked { task: view["task"].clone(), log }).await;
}

#[tokio::test]
async fn a_task_of_a_shallow_clone_is_committed_updated_and_pushed() {
    let upstream = Upstream::new();
    for number in 0..5 {
        upstream.commit("main", &[("number", &format!("{number}\n"))], "earlier");
    }
    let mut stage = ShellAgent::on(BINARY, Upstream::new(), &json!({})).await;
    let new = json!({ "repo_url": upstream.file_url(), "name": "shallow", "sources": { "depth": 2 } });
    let (status, created) = stage.home.post("/api/v1/envs", &new).await;
    assert_eq!(status, 201, "{created}");
    created["env_id"].as_str().expect("an ID").clone_into(&mut stage.env);
    let path = format!("/api/v1/envs/{}", stage.env);
    stage.home.wait_for(&path, |view| view["status"] == "ready").await;
    let commits = |stage: &ShellAgent| stage.git(&["rev-list", "--count", "main"]).trim().to_owned();
    assert_eq!(commits(&stage), "2");
    let look = "echo COUNT $(git log --oneline | wc -l); echo CLEAN $(git status --porcelain | wc -l); git fsck --strict || echo BROKEN;";
    let first = stage.attack(&format!("{look} echo one > one; git add one; git commit -qm own; echo two > two")).await;
    first.completed();
    assert_eq!((first.said("COUNT"), first.said("CLEAN")), ("2", "0"), "{}", first.log);
    // The base moves by more commits than were cloned.
    for number in 0..4 {
        upstream.commit("main", &[("base", &format!("{number}\n"))], "later");
    }
    let id = id_of(&first.task);
    let (status, view) = stage.home.post(&format!("/api/v1/tasks/{id}/update"), &json!({ "strategy": "merge" })).await;
    assert_eq!((status, &view["outcome"]), (200, &json!("updated")), "{view}");
    let resumed = stage.resumed(&first.task, &format!("{look} echo three > three")).await;
    assert_eq!(resumed["status"], "completed", "{resumed}");
    let log = stage.home.text(&format!("/api/v1/tasks/{id}/runs/2/log")).await;
    assert!(log.contains("CLEAN 0") && !log.contains("BROKEN"), "{log}");
    assert_eq!(stage.committed(&resumed), ["README.md", "base", "number", "one", "three", "two"]);
    let (status, view) = stage.home.post(&format!("/api/v1/tasks/{id}/push"), &json!({})).await;
    assert_eq!(status, 202, "{view}");
    let ended = |task: &Value| matches!(task["publication"]["status"].as_str(), Some("done" | "failed"));
    let published = stage.home.wait_for(&format!("/api/v1/tasks/{id}"), ended).await;
    assert_eq!(published["publication"]["status"], "done", "{published}");
    let pushed = stage.git(&["rev-parse", &format!("codex/{id}")]);
    assert_eq!(upstream.commit_of(&format!("codex/{id}")).as_deref(), Some(pushed.trim()));
    // An older commit is not there, and the error says why.
    let old = upstream.git(&["rev-parse", "main~8"]);
    let request = json!({ "env_id": stage.env, "prompt": "true", "ref": old.trim() });
    let (status, created) = stage.home.post("/api/v1/tasks", &request).await;
    assert_eq!(status, 201, "{created}");
    let failed = stage.home.settled(&id_of(&created)).await;
    let error = &failed["runs"][0]["error"];
    assert!(error["code"] == "ref_not_found" && error["hints"].to_string().contains("--depth default"), "{error}");
    let (status, view) = stage.home.patch(&path, &json!({ "sources": { "depth": null } })).await;
    assert_eq!((status, &view["sources"]), (200, &json!({})), "{view}");
    let (status, view) = stage.home.post(&format!("{path}/fetch"), &json!({})).await;
    assert!(status < 300, "{view}");
    assert_eq!((commits(&stage).as_str(), stage.mirror().join("shallow").exists()), ("10", false));
    stage.lives_on(&Attacked { task: resumed, log }).await;
}

#[tokio::test]
async fn tasks_work_in_some_folders_of_a_partial_clone() {
    let upstream = Upstream::new();
    for setting in ["uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"] {
        upstream.git(&["config", setting, "true"]);
    }
    upstream.commit("main", &[("app/main", "first\n"), ("docs/a", "1\n"), ("libs/b", "1\n")], "first");
    upstream.commit("main", &[("app/main", "second\n")], "second");
    let mut stage = ShellAgent::on(BINARY, Upstream::new(), &json!({})).await;
    let new = json!({ "repo_url": upstream.file_url(), "name": "large",
                      "sources": { "partial_clone": true, "sparse_paths": ["libs"] }, "runs": { "subdirectory": "app" } });
    let (status, created) = stage.home.post("/api/v1/envs", &new).await;
    assert_eq!(status, 201, "{created}");
    created["env_id"].as_str().expect("an ID").clone_into(&mut stage.env);
    let path = format!("/api/v1/envs/{}", stage.env);
    stage.home.wait_for(&path, |view| view["status"] == "ready").await;
    let look = "cd \"$(git rev-parse --show-toplevel)\"; echo FILES $(git ls-files --others --cached -t | grep -v ^S | cut -c3- | sort | tr '\\n' ,); \
                echo CLEAN $(git status --porcelain | wc -l);";
    let first = stage.attack(&format!("{look} git show HEAD~1:app/main 2>&1; echo two > app/two; echo 2 > libs/b")).await;
    first.completed();
    assert_eq!((first.said("FILES"), first.said("CLEAN")), ("README.md,app/main,libs/b,", "0"), "{}", first.log);
    assert!(first.log.contains("only-the-server-can-fetch"), "{}", first.log);
    let changed = |task: &Value| {
        let id = id_of(task);
        stage.git(&["diff", "--name-status", "--no-renames", "main", &format!("codex/{id}")]).replace('\t', " ")
    };
    assert_eq!(changed(&first.task).lines().collect::<Vec<_>>(), ["A app/two", "M libs/b"]);
    // The base moves in the folders and outside of them. Then the agent adds a folder, whose contents the server has fetched.
    upstream.commit("main", &[("docs/a", "2\n"), ("libs/new", "1\n")], "third");
    let id = id_of(&first.task);
    let (status, view) = stage.home.post(&format!("/api/v1/tasks/{id}/update"), &json!({ "strategy": "merge" })).await;
    assert_eq!((status, &view["outcome"]), (200, &json!("updated")), "{view}");
    let more = "git sparse-checkout add docs && cat docs/a && echo 3 > docs/a";
    let resumed = stage.resumed(&first.task, &format!("{look} {more}")).await;
    assert_eq!(resumed["status"], "completed", "{resumed}");
    let log = stage.home.text(&format!("/api/v1/tasks/{id}/runs/2/log")).await;
    assert!(log.contains("FILES README.md,app/main,app/two,libs/b,libs/new,") && log.contains("CLEAN 0"), "{log}");
    assert_eq!(changed(&resumed).lines().collect::<Vec<_>>(), ["A app/two", "M docs/a", "M libs/b"]);
    stage.lives_on(&Attacked { task: resumed, log }).await;
}
