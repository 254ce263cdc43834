//! The command line from an empty home to a diff, with exit codes and error messages. The tests use real servers on
//! temporary homes, real git, and a worker that runs its prompt as a script.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Output, Stdio};

use futures_util::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use store::holder;
use testkit::TestHome;
use testkit::process::has_ended;
use testkit::upstream::Upstream;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use crate::BINARY;

fn home() -> TestHome {
    let mut home = TestHome::new(BINARY);
    let worker = testkit::worker::scripted_worker(home.scratch());
    home.set("ORCH_WORKER", worker);
    home
}

async fn run(home: &TestHome, arguments: &[&str]) -> Output {
    let limit = std::time::Duration::from_mins(1);
    let done = tokio::time::timeout(limit, home.command(arguments).output()).await;
    done.unwrap_or_else(|_| panic!("{arguments:?} did not end in time")).expect("the binary can be started")
}

async fn said(home: &TestHome, arguments: &[&str]) -> String {
    let output = run(home, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

async fn refused(home: &TestHome, arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(home, arguments).await;
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn from_nothing_to_a_diff_with_the_server_started_on_the_way() {
    let (upstream, home) = (Upstream::new(), home());
    let added = said(&home, &["env", "add", &upstream.url(), "--name", "app"]).await;
    assert!(added.starts_with("Added app"), "{added}");
    let listed = said(&home, &["env", "list"]).await;
    assert!(listed.contains("ready") && !listed.contains('\u{1b}'), "output to a pipe has no colours: {listed}");
    let lines: Vec<_> = listed.lines().collect();
    assert_eq!(lines[0].find("BRANCH"), lines[1].find("main"), "columns are aligned: {listed}");

    let followed = run(&home, &["task", "create", "--env", "app", "--follow", "begin; echo one > one; end 'wrote one'"]).await;
    assert_eq!(followed.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&followed.stdout).contains("wrote one"));
    let list: Value = serde_json::from_str(&said(&home, &["task", "list", "--json"]).await).expect("JSON");
    let id = list["items"][0]["task_id"].as_str().expect("the task has an ID").to_owned();
    let short = &id[..13];
    let failed = run(&home, &["task", "resume", short, "--follow", "begin; failed 'Incorrect API key provided'"]).await;
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("unauthorized"), "the reason for the failure is shown");
    assert!(said(&home, &["task", "show", short]).await.contains("wrote one"));
    assert!(said(&home, &["task", "logs", short, "--run", "1"]).await.contains("wrote one"));
    assert!(said(&home, &["task", "logs", short, "--run", "1", "--raw"]).await.ends_with("}}\n"));
    assert!(said(&home, &["task", "diff", short]).await.contains("+one"));
    let figures = said(&home, &["task", "diff", short, "--stat"]).await;
    assert!(figures.contains("1 file changed: +1 -0"), "{figures}");
    let stopped = said(&home, &["task", "stop", short]).await;
    assert!(stopped.contains("Nothing to stop"), "{stopped}");
    said(&home, &["task", "remove", short]).await;
    said(&home, &["env", "remove", "app", "--yes"]).await;
    let empty: Value = serde_json::from_str(&said(&home, &["env", "list", "--json"]).await).expect("JSON");
    assert_eq!(empty["items"], serde_json::json!([]));
}

#[tokio::test]
async fn prompts_that_look_like_options_or_subcommands_are_prompts() {
    let (upstream, home) = (Upstream::new(), home());
    said(&home, &["env", "add", &upstream.url(), "--name", "app"]).await;
    for prompt in ["help", "--json", "-x", "resume"] {
        let id = said(&home, &["task", "create", "--env", "app", "--", prompt]).await;
        let shown: Value = serde_json::from_str(&said(&home, &["--json", "task", "show", id.trim()]).await).expect("JSON");
        assert_eq!(shown["runs"][0]["prompt"], prompt);
    }
}

#[tokio::test]
async fn what_goes_wrong_is_said_with_what_to_do() {
    let (upstream, home) = (Upstream::new(), home());
    said(&home, &["env", "add", &upstream.url(), "--name", "app"]).await;
    let file = home.scratch().join("prompt");
    fs_err::write(&file, b"caf\xe9").expect("written");
    let file = file.display().to_string();
    let large = home.scratch().join("large");
    fs_err::write(&large, "x".repeat(1024 * 1024 + 1)).expect("written");
    let large = large.display().to_string();
    for (arguments, code, words) in [
        (&["env", "add", "/no/such/repository"][..], 1, "repository not found"),
        (&["env", "add", "ext::sh -c x"], 1, "remote helper"),
        (&["env", "add", "--", "-x"], 1, "looks like a command-line option"),
        (&["env", "add", upstream.url().as_str(), "--default-branch", "nope"], 1, "existing branches: `main`"),
        (&["task", "create", "--env", "aap", "x"], 1, "no repository named `aap`, and no ID that starts with it"),
        (&["task", "list", "--env", "aap"], 1, "did you mean `app`?"),
        (&["env", "show", "aap"], 1, "did you mean `app`?"),
        (&["env", "edit", "zzzz", "--name", "x"], 1, "no repository named `zzzz`"),
        (&["env", "remove", "--yes", "0000"], 1, "no repository named `0000`, and no ID that starts with it"),
        (&["env", "restore", "nope"], 1, "no repository named `nope`"),
        (&["task", "create", "--env", "app", ""], 1, "the prompt is empty"),
        (&["task", "create", "--env", "app", "--prompt-file", &file], 1, "not UTF-8"),
        (&["task", "create", "--env", "app", "--prompt-file", &large], 1, "1 MiB"),
        (&["task", "create", "--env", "app", "--ref", "a..b", "x"], 1, "not a branch, tag or commit"),
        (&["task", "show", "../../etc"], 1, "no task has an ID that starts with `../../etc`"),
        (&["task", "show", "abc"], 1, "no task has an ID that starts with `abc`"),
        (&["task", "show", "zzzz"], 1, "no task has an ID that starts with `zzzz`"),
        (&["task", "stop", "0000"], 1, "no task has an ID that starts with `0000`"),
        (&["task", "restore", "0000"], 1, "codex-orchestrator trash"),
        (&["task", "fly"], 2, "unrecognized subcommand"),
    ] {
        let (found, said) = refused(&home, arguments).await;
        assert_eq!(found, Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
        assert!(code == 2 || said.contains("hint:") || words == "not UTF-8", "{arguments:?}: {said}");
    }
    let list: Value = serde_json::from_str(&said(&home, &["task", "list", "--json"]).await).expect("JSON");
    assert_eq!(list["items"], serde_json::json!([]), "rejected requests leave no tasks behind");
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let mut home = home();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    home.set("ORCH_LISTEN", taken.local_addr().expect("the listener has an address").to_string());
    let (code, said) = refused(&home, &["env", "list"]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("did not start") && said.contains("ORCH_LISTEN"), "{said}");

    let mut nowhere = TestHome::new(BINARY);
    nowhere.set("ORCH_HOME", "/proc/nowhere");
    let (code, said) = refused(&nowhere, &["env", "list"]).await;
    assert!(code == Some(1) && said.contains("ORCH_HOME"), "{said}");
}

#[tokio::test]
async fn doctor_needs_no_server_and_starts_none() {
    let home = home();
    let found: Value = serde_json::from_str(&said(&home, &["doctor", "--json"]).await).expect("JSON");
    let checks: Vec<_> = found.as_array().expect("a list").iter().filter_map(|finding| finding["check"].as_str()).collect();
    assert_eq!(checks, ["git", "home", "disk", "worker", "server"]);
    assert!(!home.socket().exists());

    let mut without = TestHome::new(BINARY);
    without.set("ORCH_WORKER", "/no/such/worker");
    let output = run(&without, &["doctor"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("ORCH_WORKER"));
}

/// Returns the finding of one check, with its level.
async fn finding(doctor: &mut tokio::process::Command, check: &str) -> (String, String) {
    let output = doctor.output().await.expect("the binary can be started");
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let finding = found.as_array().into_iter().flatten().find(|finding| finding["check"] == check);
    let text = |field: &str| finding.and_then(|finding| finding[field].as_str()).unwrap_or_default().to_owned();
    (text("level"), text("found"))
}

#[tokio::test]
async fn doctor_asks_the_running_server_and_looks_in_its_own_shell_only_without_one() {
    let mut home = demo_home();
    home.set("ORCH_WORKER", "host");
    let without_key = home.command(&["doctor", "--json"]);
    home.set("CODEX_API_KEY", "sk-test-1234");
    let with_key = home.command(&["doctor", "--json"]);
    let (mut without_key, mut with_key) = (without_key, with_key);
    assert_eq!(
        finding(&mut without_key, "login").await.0,
        "warning",
        "the login check warns without a server and without a key in the shell"
    );
    assert_eq!(finding(&mut with_key, "login").await.0, "ok", "without a server, the login check accepts the key in the shell");
    assert!(finding(&mut without_key, "server").await.1.contains("the environment of this shell"));

    said(&home, &["up"]).await;
    let (level, found) = finding(&mut without_key, "login").await;
    assert!(level == "ok" && found.contains("CODEX_API_KEY"), "the check uses the server's key: {found}");
    let (level, found) = finding(&mut without_key, "server").await;
    assert!(level == "ok" && found.contains("it ran these checks"), "{found}");

    said(&home, &["down"]).await;
    home.set("CODEX_API_KEY", "");
    let mut up = home.command(&["up"]);
    assert!(up.env_remove("CODEX_API_KEY").status().await.expect("the command can be started").success());
    assert_eq!(finding(&mut with_key, "login").await.0, "warning", "the check ignores the shell's key while a server runs");
}

#[tokio::test]
async fn up_fails_when_no_task_could_start() {
    let mut home = home();
    assert!(said(&home, &["up"]).await.contains("Next steps:"));
    said(&home, &["down"]).await;
    home.set("ORCH_WORKER", "/no/such/worker");
    let (code, said) = refused(&home, &["up"]).await;
    assert!(code == Some(1) && said.contains("no task can start") && said.contains("ORCH_WORKER"), "{said}");
}

#[tokio::test]
async fn without_a_worker_no_task_is_started() {
    let (upstream, mut home) = (Upstream::new(), home());
    home.set("ORCH_WORKER", "/no/such/worker");
    said(&home, &["env", "add", &upstream.url(), "--name", "app"]).await;
    let (code, said) = refused(&home, &["task", "create", "--env", "app", "x"]).await;
    assert!(code == Some(1) && said.contains("ORCH_WORKER"), "{said}");
}

/// Returns the server of this home, as named in the home's lock.
fn server_of(folder: &Path) -> Pid {
    let said = fs_err::read_to_string(folder.join("lock")).expect("a server has written the lock");
    let pid = said.trim().strip_prefix("process ").and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
    pid.unwrap_or_else(|| panic!("no process in {said}"))
}

#[tokio::test]
async fn commands_that_find_no_server_at_the_same_moment_share_one() {
    let home = home();
    let all = join_all((0..8).map(|_| run(&home, &["status", "--json"]))).await;
    let mut servers: Vec<_> = all
        .iter()
        .map(|output| {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            serde_json::from_slice::<Value>(&output.stdout).expect("JSON")["pid"].as_u64().expect("a process")
        })
        .collect();
    servers.dedup();
    assert_eq!(servers.len(), 1);
}

/// Sends a request without a body. A server that is stopping waits a moment for the body and keeps its home locked.
async fn half_a_request(socket: &Path) -> UnixStream {
    let mut stream = UnixStream::connect(socket).await.expect("the server listens");
    let head = "POST /api/v1/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
        content-length: 9\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("the server reads the request");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("the server asks for the body");
    assert_eq!(&answer, b"HTTP/1.1 100");
    stream
}

#[tokio::test]
async fn a_command_while_a_server_is_stopping_waits_and_gets_the_next_one() {
    let home = home();
    said(&home, &["up"]).await;
    let first = server_of(&home.path());
    let _held = half_a_request(&home.socket()).await;
    kill_process(first, Signal::TERM).expect("the signal can be sent");
    said(&home, &["env", "list"]).await;
    assert_ne!(server_of(&home.path()), first);
}

#[tokio::test]
async fn down_stops_the_server_and_the_next_command_finds_its_tasks_still_running() {
    let (upstream, home) = (Upstream::new(), home());
    said(&home, &["env", "add", &upstream.url(), "--name", "app"]).await;
    let go = home.scratch().join("go");
    let prompt = format!("begin; say one; await '{}'; end two", go.display());
    let id = said(&home, &["task", "create", "--env", "app", &prompt]).await;
    home.wait_for(&format!("/api/v1/tasks/{}", id.trim()), |task| task["status"] == "running").await;
    let server = holder(&home.path()).expect("the lock can be read").expect("a server is running");
    let stopped = said(&home, &["down"]).await;
    assert!(!server.is_alive().expect("/proc can be read"), "the server has exited when the command ends");
    assert!(stopped.contains(&format!("(process {})", server.pid)), "{stopped}");
    assert!(stopped.contains("1 running task continues under its keeper"), "{stopped}");

    assert_eq!(said(&home, &["down"]).await, "No server is running.\n");
    let again: Value = serde_json::from_str(&said(&home, &["down", "--json"]).await).expect("JSON");
    assert_eq!((&again["stopped"], &again["pid"]), (&Value::Bool(false), &Value::Null));
    assert_eq!(holder(&home.path()).expect("the lock can be read"), None, "the second `down` starts no server");

    fs_err::write(&go, "").expect("written");
    let ended = run(&home, &["task", "logs", "--follow", id.trim()]).await;
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let stopped: Value = serde_json::from_str(&said(&home, &["down", "--json"]).await).expect("JSON");
    assert_eq!((&stopped["stopped"], &stopped["running_tasks"]), (&Value::Bool(true), &Value::from(0)));
}

#[tokio::test]
async fn down_never_signals_a_process_that_was_given_the_servers_number() {
    let home = home();
    said(&home, &["up"]).await;
    said(&home, &["down"]).await;
    let mut stranger =
        tokio::process::Command::new("sleep").arg("600").kill_on_drop(true).spawn().expect("`sleep` can be started");
    let pid = stranger.id().expect("`sleep` is running");
    fs_err::write(home.path().join("lock"), format!("process {pid}\n")).expect("written");
    assert_eq!(said(&home, &["down"]).await, "No server is running.\n");
    assert_eq!(stranger.try_wait().expect("the child process can be waited for"), None, "the other process is still running");
}

#[tokio::test]
async fn a_home_with_a_long_path_works_like_any_other() {
    let mut home = home();
    let long = home.scratch().join("long".repeat(40));
    home.set("ORCH_HOME", &long);
    assert!(said(&home, &["status"]).await.contains(&long.display().to_string()));
    let again = said(&home, &["up"]).await;
    assert!(again.contains("already running"), "`up` finds the first server: {again}");
}

#[tokio::test]
async fn following_goes_on_where_it_was_when_the_server_is_killed_and_started_anew() {
    let (upstream, home) = (Upstream::new(), home());
    said(&home, &["env", "add", &upstream.url(), "--name", "app"]).await;
    let go = home.scratch().join("go");
    let prompt = format!("begin; say one; await '{}'; end two", go.display());
    let mut following = home
        .command(&["task", "create", "--env", "app", "--follow", &prompt])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary can be started");
    let mut lines = BufReader::new(following.stdout.take().expect("a pipe")).lines();
    let mut shown = vec![];
    while shown.last().is_none_or(|line: &String| !line.contains("one")) {
        shown.push(lines.next_line().await.expect("readable").expect("the run says `one`"));
    }
    kill_process(server_of(&home.path()), Signal::KILL).expect("the signal can be sent");
    said(&home, &["up"]).await;
    fs_err::write(&go, "").expect("written");
    while let Some(line) = lines.next_line().await.expect("readable") {
        shown.push(line);
    }
    assert_eq!(following.wait().await.expect("the command ends").code(), Some(0));
    for text in ["one", "two"] {
        assert_eq!(shown.iter().filter(|line| line.trim() == text).count(), 1, "`{text}` is shown once: {shown:#?}");
    }
}

#[tokio::test]
async fn ctrl_c_ends_the_following_and_stop_ends_the_run() {
    let (upstream, home) = (Upstream::new(), home());
    said(&home, &["env", "add", &upstream.url(), "--name", "app"]).await;
    let id = said(&home, &["task", "create", "--env", "app", "begin; say one; await /never"]).await;
    let id = id.trim();
    let mut following = home
        .command(&["task", "logs", "--follow", id])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary can be started");
    let mut lines = BufReader::new(following.stdout.take().expect("a pipe")).lines();
    while !lines.next_line().await.expect("readable").expect("the run says `one`").contains("one") {}
    let pid = following.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).expect("the command is running");
    kill_process(pid, Signal::INT).expect("the signal can be sent");
    let output = following.wait_with_output().await.expect("the command ends");
    assert_eq!(output.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the run keeps going"), "{output:?}");

    let shown: Value = serde_json::from_str(&said(&home, &["task", "show", id, "--json"]).await).expect("JSON");
    assert_eq!(shown["active"], true);
    assert!(said(&home, &["task", "stop", id]).await.contains("stopped"));
    let ended = run(&home, &["task", "logs", "--follow", id]).await;
    assert_eq!(ended.status.code(), Some(130), "the exit code reports a stopped run");
}

#[tokio::test]
async fn a_prompt_comes_from_stdin_or_a_file_as_it_is() {
    let (upstream, home) = (Upstream::new(), home());
    said(&home, &["env", "add", &upstream.url(), "--name", "app"]).await;
    let file = home.scratch().join("prompt");
    fs_err::write(&file, "begin; end 'caf\u{e9}'\n").expect("written");
    for (arguments, stdin) in [
        (&["task", "create", "--env", "app", "--json", "-"][..], true),
        (&["task", "create", "--env", "app", "--json"], true),
        (&["task", "create", "--env", "app", "--json", "--prompt-file", file.to_str().expect("text")], false),
    ] {
        let mut command = home.command(arguments);
        if stdin {
            command.stdin(fs_err::File::open(&file).expect("the file exists").into_parts().0);
        }
        let output = command.output().await.expect("the binary can be started");
        let created: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(created["runs"][0]["prompt"], "begin; end 'caf\u{e9}'\n", "{arguments:?}");
    }
}

#[tokio::test]
async fn an_ambiguous_id_names_the_candidates_and_lists_show_enough_of_each() {
    let (upstream, home) = (Upstream::new(), home());
    said(&home, &["env", "add", &upstream.url(), "--name", "app"]).await;
    let mut ids = vec![];
    for _ in 0..2 {
        ids.push(said(&home, &["task", "create", "--env", "app", "begin; end x"]).await.trim().to_owned());
    }
    let (code, words) = refused(&home, &["task", "show", &ids[0][..4]]).await;
    assert_eq!(code, Some(1));
    assert!(ids.iter().all(|id| words.contains(id.as_str())) && words.contains("use more characters"), "{words}");
    let list = said(&home, &["task", "list"]).await;
    let shown: Vec<_> = list.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    for (shown, id) in shown.iter().zip(ids.iter().rev()) {
        let task: Value = serde_json::from_str(&said(&home, &["task", "show", shown, "--json"]).await).expect("JSON");
        assert_eq!(task["task_id"].as_str(), Some(id.as_str()), "the list starts with the newest task");
    }
    assert_eq!(shown.len(), 2);
}

#[tokio::test]
async fn a_setting_that_is_no_setting_is_named_by_every_command() {
    let home = home();
    fs_err::write(home.path().join("config.toml"), "wroker = 'host'\n").expect("written");
    for arguments in [&["env", "list"][..], &["doctor"], &["serve"]] {
        let (code, words) = refused(&home, arguments).await;
        assert!(code == Some(1) && words.contains("wroker") && words.contains("config.toml"), "{arguments:?}: {words}");
    }
}

#[tokio::test]
async fn help_and_completions_need_no_home() {
    let mut home = TestHome::new(BINARY);
    home.set("ORCH_HOME", "/proc/nowhere");
    assert!(said(&home, &["task", "create", "--help"]).await.contains("Example:"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(said(&home, &["completions", shell]).await.contains("codex-orchestrator"), "{shell}");
    }
}

/// Creates a home for the demo, with the pinned Codex CLI on PATH.
fn demo_home() -> TestHome {
    let mut home = TestHome::new(BINARY);
    let codex = testkit::codex::CodexCli::pinned();
    put_first_on_path(&mut home, codex.program().parent().expect("a folder"));
    home
}

fn put_first_on_path(home: &mut TestHome, folder: &Path) {
    home.set("PATH", format!("{}:{}", folder.display(), std::env::var("PATH").expect("PATH is set")));
}

#[tokio::test]
async fn the_demo_shows_the_real_thing() {
    let home = demo_home();
    let output = run(&home, &["demo"]).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    for part in [
        "model is scripted",
        "description  from .codex-orchestrator/environment.toml in the default branch",
        "run = \"apt-get install -y shellcheck\"",
        "has no effect, because the worker does not run Codex in containers",
        "expected 'Hello, Ada!', found 'Helo, Ada!'",
        "the test passes",
        "+echo \"Hello, $1!\"",
        "README.md",
    ] {
        assert!(said.contains(part), "`{part}` is missing in:\n{said}");
    }
    assert!(!home.path().join("demo/orchestrator.sock").exists(), "the demo's server has ended");
}

#[tokio::test]
async fn the_demo_without_a_sandbox_says_so_and_goes_on() {
    let mut home = TestHome::new(BINARY);
    let codex = testkit::codex::CodexCli::pinned();
    let script = format!("#!/bin/sh\n[ \"$1\" = sandbox ] && exit 1\nexec {} \"$@\"\n", codex.program().display());
    let program = home.scratch().join("codex");
    fs_err::write(&program, script).expect("written");
    fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("ours");
    let folder = home.scratch().to_owned();
    put_first_on_path(&mut home, &folder);
    let output = run(&home, &["demo"]).await;
    let (said, remarks) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{remarks}");
    assert!(remarks.contains("sandbox does not work"), "{remarks}");
    assert!(said.contains("the test passes"), "{said}");
}

#[tokio::test]
async fn an_interrupted_demo_leaves_no_run_and_no_server_and_can_be_run_again() {
    let home = demo_home();
    let mut demo = home.command(&["demo"]).stdout(Stdio::piped()).spawn().expect("the binary can be started");
    let mut lines = BufReader::new(demo.stdout.take().expect("a pipe")).lines();
    while !lines.next_line().await.expect("readable").expect("the demo reaches the run").contains("turn started") {}
    let server = server_of(&home.path().join("demo"));
    let pid = demo.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).expect("the command is running");
    kill_process(pid, Signal::INT).expect("the signal can be sent");
    assert_eq!(demo.wait().await.expect("the command ends").code(), Some(130));
    // The server may still be a zombie that its parent has not reaped.
    assert!(has_ended(server.as_raw_pid().unsigned_abs()), "the demo's server has ended");
    let task = fs_err::read_dir(home.path().join("demo/tasks")).expect("there").next().expect("one").expect("readable");
    let meta: Value = serde_json::from_slice(&fs_err::read(task.path().join("meta.json")).expect("there")).expect("JSON");
    assert_eq!(meta["status"], "stopped");

    let output = run(&home, &["demo"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
