//! After a power cut: a server that starts in a new boot finds what a cut leaves, and nothing recorded is lost.
//!
//! The cut is simulated: files are written as a cut leaves them, and the next server sees a different boot. `chaos` cuts the
//! power of a real file system.

use std::path::{Path, PathBuf};

use scripted_model::{CodexConfig, Script, ScriptedModel};
use serde_json::{Value, json};
use testkit::TestHome;
use testkit::codex::{CodexCli, CodexHome};
use testkit::power_disk::{FileSystem, PowerDisk};
use testkit::upstream::Upstream;

use crate::BINARY;

const LONG: &str = "one two three four five six seven eight";

/// Starts a home whose first server runs in the boot `first`.
async fn started() -> (TestHome, String, Upstream) {
    let upstream = Upstream::new();
    let mut home = TestHome::new(BINARY);
    home.set("ORCH_WORKER", testkit::worker::scripted_worker(home.scratch()));
    home.set(testkit::PREPARED_WORKTREES, "2");
    home.set("ORCH_TEST_BOOT_ID", "first");
    home.start().await;
    let env = home.environment(&upstream.url()).await;
    (home, env, upstream)
}

/// Starts the next server as after a reboot.
async fn reboot(home: &mut TestHome) {
    home.set("ORCH_TEST_BOOT_ID", "second");
    home.start().await;
}

fn worktree(home: &TestHome, task: &str) -> PathBuf {
    home.path().join("tasks").join(task).join("worktree")
}

fn notes(task: &Value, run: usize) -> String {
    task["runs"][run]["notes"].to_string()
}

async fn noted(home: &TestHome, task: &str, words: &str) -> Value {
    home.wait_for(&format!("/api/v1/tasks/{task}"), |task| notes(task, 0).contains(words)).await
}

async fn resume(home: &TestHome, task: &str, prompt: &str) -> Value {
    let (status, answer) = home.post(&format!("/api/v1/tasks/{task}/resume"), &json!({ "prompt": prompt })).await;
    assert_eq!(status, 201, "{answer}");
    home.settled(task).await
}

fn read(path: &Path) -> String {
    fs_err::read_to_string(path).expect("the file exists")
}

#[tokio::test]
async fn after_a_cut_torn_files_of_an_ended_run_are_restored_and_edits_stay() {
    let (mut home, env, _upstream) = started().await;
    let task = home.task(&env, &format!("begin; echo {LONG} > torn; echo {LONG} > edited; end done")).await;
    home.settled(&task).await;
    home.kill().await;
    let tree = worktree(&home, &task);
    fs_err::write(tree.join("torn"), "").expect("written");
    fs_err::write(tree.join("edited"), format!("{LONG} nine\n")).expect("written");
    reboot(&mut home).await;
    let checked = noted(&home, &task, "restored from the last commit: `torn`").await;
    assert!(notes(&checked, 0).contains("left unchanged: `edited`"), "{checked}");
    assert_eq!(read(&tree.join("torn")), format!("{LONG}\n"));
    assert_eq!(read(&tree.join("edited")), format!("{LONG} nine\n"));
    // The check happens only once: a file that a user empties afterwards stays empty.
    fs_err::write(tree.join("torn"), "").expect("written");
    home.kill().await;
    home.start().await;
    let resumed = resume(&home, &task, "begin; end again").await;
    assert_eq!(resumed["status"], "completed", "{resumed}");
    assert_eq!(read(&tree.join("torn")), "");
}

#[tokio::test]
async fn a_server_that_is_only_restarted_or_a_machine_that_was_stopped_in_order_checks_nothing() {
    let (mut home, env, _upstream) = started().await;
    let task = home.task(&env, &format!("begin; echo {LONG} > file; end done")).await;
    home.settled(&task).await;
    let file = worktree(&home, &task).join("file");
    fs_err::write(&file, "").expect("written");
    home.kill().await;
    home.start().await;
    home.stop().await;
    reboot(&mut home).await;
    let resumed = resume(&home, &task, "begin; end again").await;
    assert_eq!((notes(&resumed, 0).contains("unexpectedly"), read(&file)), (false, String::new()), "{resumed}");
}

#[tokio::test]
async fn after_a_cut_no_task_gets_a_worktree_that_was_prepared_before() {
    let (mut home, env, _upstream) = started().await;
    let pool = home.path().join("prepared").join(&env);
    let ready = pool.join("ready-1");
    testkit::until(std::time::Duration::from_mins(1), "worktrees are prepared", || ready.exists());
    home.power_off().await;
    // This file shows where the files of a worktree come from.
    for name in ["ready", "ready-1"] {
        fs_err::write(pool.join(name).join("files/before-the-cut"), "").expect("written");
    }
    reboot(&mut home).await;
    let task = home.task(&env, "begin; end done").await;
    home.settled(&task).await;
    let tree = worktree(&home, &task);
    assert!(tree.join("README.md").exists() && !tree.join("before-the-cut").exists());
    testkit::until(std::time::Duration::from_mins(1), "new worktrees are prepared", || ready.exists());
    assert!(!ready.join("files/before-the-cut").exists());
}

#[tokio::test]
async fn a_run_that_the_cut_ended_is_interrupted_and_commits_no_emptied_files() {
    let (mut home, env, upstream) = started().await;
    upstream.commit("main", &[("base", &format!("{LONG}\n"))], "more");
    let never = home.scratch().join("never");
    let task = home.task(&env, &format!("begin; echo work > work; say ready; await {}; end done", never.display())).await;
    let log = home.path().join("tasks").join(&task).join("logs/run-001.jsonl");
    home.wait_for(&format!("/api/v1/tasks/{task}"), |task| task["runs"][0]["turn_started"] == true).await;
    home.wait_for(&format!("/api/v1/tasks/{task}"), |_| read(&log).contains("ready")).await;
    home.power_off().await;
    // The power cut left an emptied file of the base, and a log that reports the end of the turn and then breaks off.
    fs_err::write(worktree(&home, &task).join("base"), "").expect("written");
    let torn = format!("{}{{\"type\":\"turn.completed\",\"usage\":{{}}}}\n{{\"type\":\"it", read(&log));
    fs_err::write(&log, torn).expect("written");
    reboot(&mut home).await;
    let ended = home.settled(&task).await;
    assert_eq!(ended["status"], "interrupted", "{ended}");
    assert!(notes(&ended, 0).contains("restored from the last commit: `base`"), "{ended}");
    let diff = home.get(&format!("/api/v1/tasks/{task}/diff")).await.1;
    let files: Vec<_> = diff["files"].as_array().expect("files").iter().map(|file| file["new_path"].clone()).collect();
    assert_eq!(files, ["work"], "{diff}");
}

#[tokio::test]
async fn a_worktree_whose_administration_was_emptied_keeps_work_that_is_not_committed() {
    let (mut home, env, _upstream) = started().await;
    let task = home.task(&env, "begin; echo one > one; end done").await;
    home.settled(&task).await;
    home.kill().await;
    let tree = worktree(&home, &task);
    fs_err::write(tree.join("by-hand"), "mine\n").expect("written");
    let admin = home.path().join("envs").join(&env).join("mirror/worktrees/worktree");
    for name in ["HEAD", "gitdir", "commondir", "index", "codex-orchestrator-ready"] {
        fs_err::write(admin.join(name), "").expect("written");
    }
    reboot(&mut home).await;
    let resumed = resume(&home, &task, "begin; cat by-hand > copy; end again").await;
    assert_eq!(resumed["status"], "completed", "{resumed}");
    assert_eq!(read(&tree.join("copy")), "mine\n");
    assert!(!tree.with_file_name("worktree.found").exists());
}

/// Lets a repository's runs commit two new files without asking.
async fn limit_new_files(home: &TestHome, env: &str) {
    let (status, answer) = home.patch(&format!("/api/v1/envs/{env}"), &json!({ "commits": { "max_new_files": 2 } })).await;
    assert_eq!(status, 200, "{answer}");
}

/// Commits the held files of a task, and checks the files of `junk` on its branch.
async fn commits_junk(home: &TestHome, env: &str, upstream: &Upstream, task: &Value, expected: &[String]) {
    let id = task["task_id"].as_str().expect("the task has an ID");
    let answer = json!({ "answer": "commit", "question": task["held"]["number"] });
    let (status, done) = home.post(&format!("/api/v1/tasks/{id}/answer"), &answer).await;
    assert_eq!((status, &done["held"]), (200, &Value::Null), "{done}");
    let git = |arguments: &[&str]| upstream.git_in(&home.path().join("envs").join(env).join("mirror"), arguments);
    assert_eq!(git(&["fsck", "--strict", "--no-dangling"]), "");
    let branch = format!("refs/heads/codex/{id}");
    let files = git(&["ls-tree", "-r", "--name-only", &branch, "junk/"]);
    assert_eq!(files, "junk/1\njunk/2\njunk/3\njunk/4\njunk/5");
    let is_as_expected = |(file, content): (&str, &String)| git(&["cat-file", "blob", &format!("{branch}:{file}")]) == *content;
    assert_eq!(files.lines().zip(expected).map(is_as_expected).collect::<Vec<_>>(), [true; 5]);
}

/// Leaves five files of more than 100 KB each.
const JUNK: &str = "mkdir junk; for n in 1 2 3 4 5; do seq $n 20000 > junk/$n; done";

/// Returns the content of these files.
fn junk() -> Vec<String> {
    let lines = |n: u32| (n..=20_000).map(|line| line.to_string()).collect::<Vec<_>>().join("\n");
    (1..=5).map(lines).collect()
}

#[tokio::test]
async fn held_files_survive_a_power_cut_of_a_real_disk_and_another_one_while_their_task_is_in_the_trash() {
    let upstream = Upstream::new();
    let mut home = TestHome::new(BINARY);
    let mut disk = PowerDisk::mount(FileSystem::Ext4, home.scratch(), &home.path());
    home.set("ORCH_WORKER", testkit::worker::scripted_worker(home.scratch()));
    home.set("ORCH_TEST_BOOT_ID", "first");
    home.start().await;
    let env = home.environment(&upstream.url()).await;
    limit_new_files(&home, &env).await;
    let task = home.task(&env, &format!("begin; {JUNK}; echo 1 > work.txt; end done")).await;
    let ended = home.settled(&task).await;
    assert_eq!((&ended["status"], &ended["held"]["files"]), (&json!("completed"), &json!(4)), "{ended}");
    cut(&mut home, &mut disk, "second").await;
    let path = format!("/api/v1/tasks/{task}");
    let (_, found) = home.get(&path).await;
    assert_eq!((&found["held"], &found["group"]), (&ended["held"], &json!("needs_you")), "{found}");
    assert_eq!(home.delete(&path).await.0, 204);
    cut(&mut home, &mut disk, "third").await;
    let (status, back) = home.post(&format!("{path}/restore"), &json!({})).await;
    assert_eq!((status, &back["held"]), (200, &ended["held"]), "{back}");
    commits_junk(&home, &env, &upstream, &back, &junk()).await;
}

/// Cuts the power of the disk with the home, and starts the next server.
async fn cut(home: &mut TestHome, disk: &mut PowerDisk, boot: &str) {
    disk.cut();
    home.power_off().await;
    disk.power_on(|| home.kill_everything());
    home.set("ORCH_TEST_BOOT_ID", boot);
    home.start().await;
}

#[tokio::test]
async fn held_files_of_a_run_that_the_cut_ended_wait_for_an_answer_and_a_torn_file_of_the_base_is_restored() {
    let (mut home, env, upstream) = started().await;
    limit_new_files(&home, &env).await;
    let never = home.scratch().join("never");
    let task = home.task(&env, &format!("begin; {JUNK}; say ready; await {}; end done", never.display())).await;
    let log = home.path().join("tasks").join(&task).join("logs/run-001.jsonl");
    home.wait_for(&format!("/api/v1/tasks/{task}"), |task| task["runs"][0]["turn_started"] == true).await;
    home.wait_for(&format!("/api/v1/tasks/{task}"), |_| read(&log).contains("ready")).await;
    home.power_off().await;
    // The power cut emptied a file of the base. A new file lost its end, but nobody knows its complete content.
    fs_err::write(worktree(&home, &task).join("README.md"), "").expect("written");
    fs_err::write(worktree(&home, &task).join("junk/5"), "5\n6").expect("written");
    reboot(&mut home).await;
    let ended = home.settled(&task).await;
    assert_eq!((&ended["status"], &ended["held"]["files"]), (&json!("interrupted"), &json!(3)), "{ended}");
    assert!(notes(&ended, 0).contains("restored from the last commit: `README.md`"), "{ended}");
    let mut expected = junk();
    expected[4] = "5\n6".to_owned();
    commits_junk(&home, &env, &upstream, &ended, &expected).await;
    assert_eq!(read(&worktree(&home, &task).join("README.md")), "hello\n");
}

/// Runs the real Codex on the host once, and returns the ended task and its session.
async fn with_session(prompt: &str) -> (TestHome, Value, PathBuf, ScriptedModel, CodexHome) {
    let codex = CodexCli::pinned();
    let model = ScriptedModel::start(Script::new()).expect("the scripted model starts");
    let codex_home = CodexHome::with_config(&CodexConfig::new(model.url()).retries(2));
    let upstream = Upstream::new();
    let mut home = TestHome::new(BINARY);
    let folder = codex.program().parent().expect("the program has a parent folder").display().to_string();
    home.set("PATH", format!("{folder}:{}", std::env::var("PATH").expect("PATH is set")));
    home.set("ORCH_WORKER", "host");
    home.set("CODEX_HOME", codex_home.path());
    home.set("ORCH_TEST_BOOT_ID", "first");
    home.start().await;
    let env = home.environment(&upstream.url()).await;
    let task = home.task(&env, prompt).await;
    let first = home.settled(&task).await;
    assert_eq!(first["status"], "completed", "{first}");
    let thread = first["thread_id"].as_str().expect("a thread").to_owned();
    let session = find(&codex_home.path().join("sessions"), &thread).expect("Codex has written a session");
    (home, first, session, model, codex_home)
}

fn find(folder: &Path, thread: &str) -> Option<PathBuf> {
    let entries = fs_err::read_dir(folder).expect("a folder").map(|entry| entry.expect("the entry can be read").path());
    entries.into_iter().find_map(|path| {
        if path.is_dir() { find(&path, thread) } else { path.to_string_lossy().contains(thread).then_some(path) }
    })
}

#[tokio::test]
async fn a_torn_session_is_cut_at_its_last_line_and_the_thread_continues() {
    let (mut home, first, session, _model, _codex_home) = with_session("SCENARIO:plain").await;
    home.kill().await;
    let whole = fs_err::read(&session).expect("there");
    fs_err::write(&session, [&whole[..], b"{\"timestamp\":\"2026", &[0; 512]].concat()).expect("written");
    reboot(&mut home).await;
    let task = first["task_id"].as_str().expect("the task has an ID");
    let second = resume(&home, task, "SCENARIO:plain").await;
    assert_eq!((&second["status"], &second["thread_id"]), (&json!("completed"), &first["thread_id"]), "{second}");
    let after = fs_err::read(&session).expect("there");
    assert!(after.starts_with(&whole) && !after.contains(&0), "Codex appends to the last complete line");
}

#[tokio::test]
async fn a_thread_whose_session_is_gone_becomes_a_new_one_with_a_summary_and_says_so() {
    let (mut home, first, session, model, _codex_home) = with_session("SCENARIO:plain").await;
    home.kill().await;
    fs_err::remove_file(&session).expect("there");
    reboot(&mut home).await;
    let task = first["task_id"].as_str().expect("the task has an ID");
    let second = resume(&home, task, "SCENARIO:plain again").await;
    assert_eq!(second["status"], "completed", "{second}");
    assert_ne!(second["thread_id"], first["thread_id"], "{second}");
    assert_eq!(second["runs"][1]["lost_thread"], first["thread_id"], "{second}");
    assert!(notes(&second, 1).contains("started a new thread with a summary"), "{second}");
    assert_eq!(second["runs"][1]["prompt"], "SCENARIO:plain again", "the record contains the user's prompt");
    let asked = model.requests().last().expect("a request").body.to_string();
    assert!(asked.contains("Hello from the scripted model.") && asked.contains("## Current request"), "{asked}");
    let third = resume(&home, task, "SCENARIO:plain").await;
    assert_eq!((&third["thread_id"], &third["runs"][2]["lost_thread"]), (&second["thread_id"], &Value::Null), "{third}");
}
