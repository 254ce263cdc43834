//! Files with secrets in real containers: the agent and the setup see them, and no commit and no snapshot contains them.
//!
//! The server, container engine, image and git are real. A shell replaces Codex and runs its prompt.

use serde_json::{Value, json};
use testkit::shell_agent::{ShellAgent, id_of};

use crate::BINARY;
use crate::container_setup::{log_of, said, setup, until_phase, upstream};

const DOTENV: &str = "API_TOKEN=dotenv-secret-4711\nDEBUG=1\n";
const NPMRC: &str = "//registry.test/:_authToken=npm-secret-0815\n";

/// A description with a file in the worktree, one in a new folder, and one in the home directory.
const FILES: &str = r#"
[files]
".env" = { secret = "DOTENV" }
"config/local/.env" = { secret = "DOTENV" }
"~/.npmrc" = { secret = "NPMRC" }
"#;

/// Prints what an agent finds.
const LOOK: &str = "echo ENV $(cat .env); echo LOCAL $(cat config/local/.env); echo NPMRC $(cat ~/.npmrc); \
                    echo GIT $(git status --porcelain); echo VARIABLE $DOTENV;";

async fn stage(description: &str) -> ShellAgent {
    let stage = ShellAgent::on(BINARY, upstream(description), &json!({})).await;
    let secrets = json!({ "secrets": { "DOTENV": DOTENV, "NPMRC": NPMRC } });
    let (status, answer) = stage.home.patch(&format!("/api/v1/envs/{}", stage.env), &secrets).await;
    assert_eq!(status, 200, "{answer}");
    stage
}

pub(crate) async fn approve(stage: &ShellAgent) {
    let hash = setup(stage).await["description"]["hash"].clone();
    let (status, answer) = stage.home.patch(&format!("/api/v1/envs/{}/setup", stage.env), &json!({ "approve": hash })).await;
    assert_eq!((status, &answer["description"]["approved"]), (200, &json!(true)), "{answer}");
}

/// Checks that no commit in the mirror contains a secret.
fn is_clean(stage: &ShellAgent) {
    let changes = stage.git(&["log", "--all", "--patch", "--text", "-m"]);
    assert!(changes.contains("README.md"));
    for secret in ["dotenv-secret-4711", "npm-secret-0815", "bnBtLXNlY3JldC0wODE1"] {
        assert!(!changes.contains(secret), "{secret}");
    }
}

pub(crate) fn notes(run: &Value) -> String {
    run["notes"].as_array().expect("notes").iter().map(Value::to_string).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn an_agent_sees_files_with_secrets_once_they_are_approved_and_no_commit_contains_them() {
    let stage = stage(FILES).await;
    let before = stage.attack(LOOK).await;
    before.completed();
    assert_eq!((before.said("ENV"), before.said("NPMRC")), ("", ""), "{}", before.log);
    assert!(before.said("VARIABLE").contains("dotenv"), "until then, it is a variable: {}", before.log);
    assert!(notes(&before.task["runs"][0]).contains("env setup approve"), "{}", before.task);
    approve(&stage).await;
    let steal = "cp .env copy.txt; base64 -w 0 ~/.npmrc > encoded.txt; ln -s $(cut -d= -f2 ~/.npmrc) link; echo work > work.txt";
    let first = stage.attack(&format!("{LOOK} {steal}; echo x > .env || echo READONLY yes")).await;
    first.completed();
    assert_eq!(first.said("ENV"), "API_TOKEN=dotenv-secret-4711 DEBUG=1", "{}", first.log);
    assert_eq!(first.said("LOCAL"), first.said("ENV"));
    assert_eq!((first.said("NPMRC"), first.said("VARIABLE"), first.said("READONLY")), (NPMRC.trim(), "", "yes"));
    assert_eq!(first.said("GIT"), "", "git ignores them: {}", first.log);
    let committed = stage.committed(&first.task);
    assert!(committed.contains(&"work.txt".to_owned()), "{committed:?}");
    for path in [".env", "config/local/.env", "copy.txt", "encoded.txt"] {
        assert!(!committed.contains(&path.to_owned()), "{path}: {committed:?}");
        assert!(path.ends_with("txt") || stage.worktree(&first.task).join(path).metadata().is_ok_and(|found| found.len() == 0));
    }
    let held = first.task["held"]["paths"].as_array().expect("held");
    let held: Vec<_> = held.iter().map(|held| (held["path"].as_str().expect("a path"), held["has_secret"] == true)).collect();
    assert_eq!(held, [("copy.txt", true), ("encoded.txt", true), ("link", true)], "{}", first.task);
    is_clean(&stage);
    // Nobody can commit the files themselves, even with the folder that they are in.
    let id = id_of(&first.task);
    let request = json!({ "paths": [".env", "config/"] });
    let (status, answer) = stage.home.post(&format!("/api/v1/tasks/{id}/commit"), &request).await;
    assert!(status >= 400, "{answer}");
    is_clean(&stage);
}

#[tokio::test]
async fn an_agent_that_commits_a_secret_itself_or_replaces_a_folder_leaks_nothing() {
    let stage = stage(FILES).await;
    approve(&stage).await;
    let commit = "git config user.name a; git config user.email a@b.c; cp .env copy.txt; echo work > work.txt; git add -f -A; \
                  git commit -q -m 'my own commit'; git rm -q --cached copy.txt .env; git commit -q -m 'hide it'";
    let first = stage.attack(&format!("{LOOK} {commit}; mv config elsewhere; ln -s /etc config")).await;
    first.completed();
    let committed = stage.committed(&first.task);
    assert!(committed.contains(&"work.txt".to_owned()) && !committed.contains(&"copy.txt".to_owned()), "{committed:?}");
    assert!(notes(&first.task["runs"][0]).contains("secret `DOTENV`"), "{}", first.task);
    is_clean(&stage);
    let resumed = stage.resumed(&first.task, LOOK).await;
    assert_eq!(resumed["status"], "completed", "{resumed}");
    let log = log_of(&stage, &first.task, 2).await;
    assert!(said(&log, "ENV").starts_with("API_TOKEN"), "{log}");
    assert!(notes(&resumed["runs"][1]).contains("config/local/.env"), "{resumed}");
    assert!(!std::path::Path::new("/etc/local").exists());
    is_clean(&stage);
    stage.lives_on(&first).await;
}

#[tokio::test]
async fn an_agent_reads_other_repositories_and_cannot_change_them() {
    let stage = ShellAgent::with(BINARY, &json!({})).await;
    let library = testkit::upstream::Upstream::new();
    library.commit("main", &[("lib.txt", "first\n"), ("sub/b.txt", "b\n")], "a library");
    library.commit("main", &[("lib.txt", "second\n")], "a change");
    let other = stage.home.environment(&library.file_url()).await;
    let context = json!({ "container": { "context": [other, "no such repository"] } });
    let (status, answer) = stage.home.patch(&format!("/api/v1/envs/{}", stage.env), &context).await;
    assert_eq!(status, 200, "{answer}");
    let look =
        "ls /context; cd /context/* && echo LIB $(cat lib.txt sub/b.txt); (echo x > lib.txt) 2> /dev/null || echo READONLY yes";
    let first = stage.attack(look).await;
    first.completed();
    assert_eq!((first.said("LIB"), first.said("READONLY")), ("second b", "yes"), "{}", first.log);
    assert!(notes(&first.task["runs"][0]).contains("`no such repository`"), "{}", first.task);
    library.commit("main", &[("lib.txt", "third\n")], "a change");
    let second = stage.attack(look).await;
    second.completed();
    assert_eq!(second.said("LIB"), "third b", "{}", second.log);
    // The first task now gets what the server has fetched for the second one.
    let resumed = stage.resumed(&first.task, look).await;
    assert_eq!(resumed["status"], "completed", "{resumed}");
    assert_eq!(said(&log_of(&stage, &first.task, 2).await, "LIB"), "third b");
    let none = json!({ "container": { "context": null } });
    let (status, answer) = stage.home.patch(&format!("/api/v1/envs/{}", stage.env), &none).await;
    assert_eq!(status, 200, "{answer}");
    stage.resumed(&first.task, "ls /context/* 2> /dev/null || echo NONE yes").await;
    assert_eq!(said(&log_of(&stage, &first.task, 3).await, "NONE"), "yes");
    let left = stage.folder(&first.task).join("context").read_dir().map_or(0, Iterator::count);
    assert_eq!(left, 0, "the files are deleted");
}

#[tokio::test]
async fn an_agent_reads_any_file_that_is_attached_to_a_prompt() {
    let stage = ShellAgent::with(BINARY, &json!({})).await;
    // `a,b\n`, in Base64.
    let attachments = json!([{ "name": "../report \"1\".csv", "data": "YSxiCg==" }]);
    let prompt = "echo SEEN $(cat /codex-docker/images/*.bin); echo PROMPT $(tail -n 1 /tmp/prompt); true";
    let request = json!({ "env_id": stage.env, "prompt": prompt, "attachments": attachments });
    let (status, created) = stage.home.post("/api/v1/tasks", &request).await;
    assert_eq!(status, 201, "{created}");
    let task = stage.home.settled(&id_of(&created)).await;
    assert_eq!(task["status"], "completed", "{task}");
    let file = task["runs"][0]["images"][0]["file"].as_str().expect("a file").to_owned();
    let log = log_of(&stage, &task, 1).await;
    assert_eq!(said(&log, "SEEN"), "a,b", "{log}");
    assert_eq!(said(&log, "PROMPT"), format!("- /codex-docker/images/{file} (report \"1\".csv)"), "{log}");
    assert_eq!(task["runs"][0]["prompt"], prompt, "the list is not part of what the user wrote");
    let resumed = stage.resumed(&task, "echo AGAIN $(cat /codex-docker/images/*.bin)").await;
    assert_eq!(resumed["status"], "completed", "{resumed}");
    assert_eq!(said(&log_of(&stage, &task, 2).await, "AGAIN"), "a,b");
    let empty = json!({ "env_id": stage.env, "prompt": prompt, "attachments": [{ "name": "x", "data": "" }] });
    assert_eq!(stage.home.post("/api/v1/tasks", &empty).await.0, 422);
}

#[tokio::test]
async fn a_setup_sees_the_files_and_a_snapshot_that_contains_one_is_refused() {
    let only =
        "[files]\n\"~/.npmrc\" = { secret = \"NPMRC\", only = \"setup\" }\n\".env\" = { secret = \"DOTENV\", only = \"run\" }\n";
    let sound = format!("[setup]\nrun = \"test -s ~/.npmrc && ! test -e .env && echo ready > /opt/seen\"\n{only}");
    let stage = stage(&sound).await;
    approve(&stage).await;
    let first = stage.attack(&format!("{LOOK} echo SEEN $(cat /opt/seen)")).await;
    first.completed();
    assert_eq!(first.said("SEEN"), "ready", "{}", first.log);
    assert!(!first.said("NPMRC").contains("npm-secret") && first.said("ENV").contains("dotenv-secret"), "{}", first.log);
    let leaks = format!("[setup]\nrun = \"cp ~/.npmrc /opt/kept\"\n{only}");
    stage.upstream.commit("main", &[(".codex-orchestrator/environment.toml", &leaks)], "keep the token");
    let waiting = stage.home.task(&stage.env, LOOK).await;
    until_phase(&stage, "failed").await;
    approve(&stage).await;
    let (status, answer) = stage.home.post(&format!("/api/v1/envs/{}/setup/run", stage.env), &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    let failed_again = |view: &Value| view["last"]["number"] == 3 && view["last"]["phase"] == "failed";
    let view = stage.home.wait_for(&format!("/api/v1/envs/{}/setup", stage.env), failed_again).await;
    assert!(view["last"]["error"].to_string().contains("/root/.npmrc"), "{view}");
    let task = stage.home.get(&format!("/api/v1/tasks/{waiting}")).await.1;
    assert_eq!(task["status"], "queued", "{task}");
}
