//! The content of a repository, as a client of the API sees it: branches and tags, fetching, and a retried clone. A real server
//! and real git; the remote is a folder that changes.

use serde_json::{Value, json};
use testkit::TestHome;
use testkit::upstream::Upstream;

use crate::BINARY;

fn names(refs: &Value) -> Vec<&str> {
    refs["items"].as_array().expect("items").iter().map(|item| item["name"].as_str().expect("a name")).collect()
}

#[tokio::test]
async fn branches_and_tags_are_listed_and_task_branches_only_when_asked_for() {
    let upstream = Upstream::new();
    upstream.git(&["update-ref", "refs/heads/<b>&\"'\u{202e}", "refs/heads/main"]);
    upstream.tag("v1", "main");
    // The commit has a date in the future, so that it is the newest.
    let tree = upstream.git(&["rev-parse", "main^{tree}"]);
    let commit = format!("tree {}\nauthor a <a@b> 4000000000 +0000\ncommitter a <a@b> 4000000000 +0000\n\nx\n", tree.trim());
    let file = upstream.path().join("commit");
    fs_err::write(&file, commit).expect("the test's folder is writable");
    let newest = upstream.git(&["hash-object", "-t", "commit", "-w", &file.display().to_string()]);
    upstream.point("refs/heads/newest", newest.trim());
    let home = TestHome::started(BINARY).await;
    let env = home.environment(&upstream.url()).await;
    let task = home.task(&env, "begin; end done").await;
    home.settled(&task).await;
    let path = format!("/api/v1/envs/{env}/refs");
    let (status, refs) = home.get(&path).await;
    assert_eq!((status, &refs["default_branch"], &refs["truncated"]), (200, &json!("main"), &json!(false)));
    let mut found = names(&refs);
    assert_eq!(found.remove(0), "newest", "the branch with the newest commit comes first");
    found.sort_unstable();
    assert_eq!(found, ["<b>&\"'\u{202e}", "main", "v1"]);
    assert!(refs["items"].as_array().is_some_and(|items| items.contains(&json!({ "name": "v1", "kind": "tag" }))), "{refs}");
    let (_, all) = home.get(&format!("{path}?tasks=true")).await;
    assert!(names(&all).contains(&format!("codex/{task}").as_str()), "{all}");
    let (_, some) = home.get(&format!("{path}?q=MAI")).await;
    assert_eq!(names(&some), ["main"]);
    let (status, missing) = home.get("/api/v1/envs/01890a5d-ac96-774b-bcce-b302099a8057/refs").await;
    assert_eq!((status, &missing["code"]), (404, &json!("environment_not_found")));
}

#[tokio::test]
async fn what_an_agent_installed_is_proposed_and_becomes_the_description() {
    let upstream = Upstream::new();
    let home = TestHome::started(BINARY).await;
    let env = home.environment(&upstream.url()).await;
    let item = |command: &str, code: u8| {
        let status = if code == 0 { "completed" } else { "failed" };
        json!({ "type": "item.completed", "item": { "id": "item_1", "type": "command_execution", "command": command,
            "aggregated_output": "", "exit_code": code, "status": status } })
    };
    let task =
        home.task(&env, &format!("begin; echo '{}'; echo '{}'; end done", item("npm ci", 0), item("pip install x", 1))).await;
    let ended = home.settled(&task).await;
    assert_eq!(ended["runs"][0]["installed"], true, "{ended}");
    let said = home.command(&["task", "installed", &task, "--toml"]).output().await.expect("the command can be started");
    let text = String::from_utf8(said.stdout).expect("text");
    assert_eq!(text, "[setup]\nrun = \"npm ci\"\n");
    let file = home.scratch().join("environment.toml");
    fs_err::write(&file, &text).expect("the test's folder is writable");
    let words = ["env", "setup", "edit", "upstream", "--file", file.to_str().expect("text")];
    let edited = home.command(&words).output().await.expect("the command can be started");
    assert!(edited.status.success(), "{edited:?}");
    let (_, found) = home.get(&format!("/api/v1/tasks/{task}/installed")).await;
    assert_eq!((&found["proposal"], &found["commands"][0]["described"]), (&Value::Null, &json!(true)), "{found}");
}

#[tokio::test]
async fn a_fetch_brings_what_is_new_and_says_why_it_failed() {
    let upstream = Upstream::new();
    let home = TestHome::started(BINARY).await;
    let env = home.environment(&upstream.url()).await;
    let path = format!("/api/v1/envs/{env}");
    assert_eq!(home.get(&path).await.1["fetch"], json!({ "running": false, "ended_at": null, "error": null }));
    upstream.commit("feature/new", &[("new.txt", "x\n")], "new");
    assert_eq!(names(&home.get(&format!("{path}/refs")).await.1), ["main"], "the list shows the state of the last fetch");
    let (status, fetched) = home.post(&format!("{path}/fetch"), &json!({})).await;
    assert_eq!((status, fetched["fetch"]["ended_at"].is_string(), &fetched["fetch"]["error"]), (200, true, &Value::Null));
    assert_eq!(names(&home.get(&format!("{path}/refs")).await.1), ["feature/new", "main"]);
    let said = home.command(&["env", "refs", "upstream", "feat"]).output().await.expect("the command can be started");
    assert!(String::from_utf8_lossy(&said.stdout).contains("feature/new"), "{said:?}");
    let said = home.command(&["env", "fetch", "upstream"]).output().await.expect("the command can be started");
    assert!(said.status.success() && String::from_utf8_lossy(&said.stdout).contains("upstream is up to date"), "{said:?}");
    fs_err::rename(upstream.path(), upstream.path().with_extension("away")).expect("the test's folder is writable");
    let (status, failed) = home.post(&format!("{path}/fetch"), &json!({})).await;
    assert_eq!((status, &failed["code"]), (503, &json!("repository_not_found")), "{failed}");
    let (_, view) = home.get(&path).await;
    assert_eq!((&view["fetch"]["error"]["code"], &view["status"]), (&json!("repository_not_found"), &json!("ready")));
    assert!(!view["fetch"]["error"]["hints"].as_array().expect("hints").is_empty(), "{view}");
    let said = home.command(&["env", "show", "upstream"]).output().await.expect("the command can be started");
    assert!(String::from_utf8_lossy(&said.stdout).contains("failed: repository not found"), "{said:?}");
}

#[tokio::test]
async fn a_clone_that_failed_is_tried_again_with_what_was_set_meanwhile() {
    let upstream = Upstream::new();
    let home = TestHome::started(BINARY).await;
    let later = home.scratch().join("later.git");
    let (_, created) =
        home.post("/api/v1/envs", &json!({ "repo_url": later.display().to_string(), "default_branch": "nope" })).await;
    let path = format!("/api/v1/envs/{}", created["env_id"].as_str().expect("the repository has an ID"));
    let failed = home.wait_for(&path, |view| view["status"] != "cloning").await;
    assert_eq!((&failed["status"], &failed["error"]["code"]), (&json!("failed"), &json!("repository_not_found")));
    let (status, refused) = home.post(&format!("{path}/fetch"), &json!({})).await;
    assert_eq!((status, &refused["code"]), (409, &json!("environment_not_ready")));
    upstream.git_in(home.scratch(), &["clone", "--quiet", "--bare", &upstream.url(), "later.git"]);
    let (status, again) = home.post(&format!("{path}/retry"), &json!({})).await;
    assert_eq!((status, &again["status"], &again["error"]), (200, &json!("cloning"), &Value::Null));
    let failed = home.wait_for(&path, |view| view["status"] != "cloning").await;
    assert_eq!(failed["error"]["code"], "branch_not_found");
    assert_eq!(home.patch(&path, &json!({ "default_branch": "main" })).await.0, 200);
    home.post(&format!("{path}/retry"), &json!({})).await;
    let ready = home.wait_for(&path, |view| view["status"] != "cloning").await;
    assert_eq!((&ready["status"], &ready["default_branch"]), (&json!("ready"), &json!("main")));
    let (status, same) = home.post(&format!("{path}/retry"), &json!({})).await;
    assert_eq!((status, &same["status"]), (200, &json!("ready")), "a repeated retry changes nothing");
}
