//! The programs in `examples/`, run against a real server: curl, the Python client and the script of the GitHub Action.
//!
//! The worker runs its prompt as a script. Nothing here reaches a Git host or the network.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use testkit::TestHome;
use testkit::upstream::Upstream;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::BINARY;

/// The time limit of a program, much longer than any of them takes.
const LIMIT: Duration = Duration::from_mins(1);

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(path)
}

/// Starts a server with one repository, and returns the repository's name.
async fn server() -> (TestHome, Upstream, String) {
    let upstream = Upstream::new();
    let home = TestHome::started(BINARY).await;
    let env_id = home.environment(&upstream.url()).await;
    let (_, environment) = home.get(&format!("/api/v1/envs/{env_id}")).await;
    let name = environment["name"].as_str().expect("a name").to_owned();
    (home, upstream, name)
}

/// Returns an example that connects to the server over its Unix socket.
fn over_the_socket(home: &TestHome, path: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(example(path));
    command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").expect("PATH is set"));
    command.env("ORCH_HOME", home.path()).stdin(Stdio::null()).kill_on_drop(true);
    // Keep Python from writing bytecode next to the examples.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Returns an example that connects to the server over TCP, with a token.
async fn over_tcp(home: &TestHome, path: &str, arguments: &[&str]) -> Command {
    let mut command = over_the_socket(home, path, arguments);
    command.env_remove("ORCH_HOME").env("HOME", "/nonexistent");
    command.env("ORCH_URL", format!("http://{}/", home.tcp_address().await)).env("ORCH_TOKEN", home.token());
    command
}

async fn finished(mut command: Command) -> Output {
    let output = tokio::time::timeout(LIMIT, command.output()).await.expect("the example ends in time");
    output.expect("the example starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// Returns the only task of the server.
async fn task(home: &TestHome) -> serde_json::Value {
    let (_, tasks) = home.get("/api/v1/tasks").await;
    let tasks = tasks["items"].as_array().expect("tasks").clone();
    assert_eq!(tasks.len(), 1, "{tasks:?}");
    tasks.into_iter().next().expect("the server has a task")
}

#[tokio::test]
async fn curl_creates_a_task_follows_it_and_shows_what_changed() {
    let (home, _upstream, name) = server().await;
    let prompt = "begin; printf 'a\\nb\\n' > new.txt; say 'Two lines'; echo 'not JSON'; end 'All done'";
    let output = finished(over_the_socket(&home, "curl.sh", &[&name, prompt])).await;

    let task = task(&home).await;
    let (id, branch) = (task["task_id"].as_str().expect("the task has an ID"), task["branch"].as_str().expect("a branch"));
    let expected = format!("task: {id}\nTwo lines\nAll done\nrun: completed\nbranch: {branch}\n  new.txt  +2 -0\n");
    assert_eq!((text(&output.stdout), text(&output.stderr)), (expected.as_str(), ""));
    assert!(output.status.success());
}

#[tokio::test]
async fn curl_with_a_token_reports_a_failed_run() {
    let (home, _upstream, name) = server().await;
    let output = finished(over_tcp(&home, "curl.sh", &[&name, "begin; failed 'no such model'"]).await).await;
    assert!(text(&output.stdout).contains("\nrun: failed\nerror: "), "{output:?}");
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn curl_shows_the_problem_and_its_hints_if_the_token_is_wrong() {
    let (home, _upstream, name) = server().await;
    let mut command = over_tcp(&home, "curl.sh", &[&name, "end done"]).await;
    command.env("ORCH_TOKEN", "wrong");
    let output = finished(command).await;
    let errors = text(&output.stderr);
    assert!(errors.starts_with("error: ") && errors.contains(" (unauthenticated)\nhint: "), "{errors}");
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn the_python_client_resumes_after_the_server_was_killed() {
    let (mut home, _upstream, name) = server().await;
    let gate = home.scratch().join("gate");
    let prompt = format!("begin; say First; await '{}'; echo new > new.txt; end Second", gate.display());
    let mut command = over_the_socket(&home, "python/run_task.py", &[&name, &prompt]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the example starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();

    let follow = async {
        let created = lines.next_line().await.expect("readable").expect("the example prints the task");
        assert!(created.starts_with("task: "), "{created}");
        assert_eq!(lines.next_line().await.expect("readable").as_deref(), Some("First"));
        home.kill().await;
        fs_err::write(&gate, "").expect("the test's folder is writable");
        home.start().await;
        let mut rest = Vec::new();
        while let Some(line) = lines.next_line().await.expect("readable") {
            rest.push(line);
        }
        rest
    };
    let rest = tokio::time::timeout(LIMIT, follow).await.expect("the example ends in time");

    assert_eq!(rest[..2], ["Second", "run: completed"], "no event is lost or repeated");
    assert!(rest.contains(&"+++ b/new.txt".to_owned()) && rest.contains(&"+new".to_owned()), "{rest:?}");
    let output = child.wait_with_output().await.expect("the example ends");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[tokio::test]
async fn the_python_client_checks_requests_against_the_document_and_shows_problems() {
    let (home, _upstream, _) = server().await;
    let script = "\
from orchestrator import Client, Problem
client = Client(os.environ['ORCH_URL'], os.environ['ORCH_TOKEN'])
for call in (
    lambda: client.call('show_task'),
    lambda: client.call('list_tasks', grop='running'),
    lambda: client.call('create_task', {'env_id': 'x', 'promt': 'y'}),
    lambda: client.call('show_task', task_id='00000000-0000-7000-8000-000000000000'),
):
    try:
        print(call())
    except TypeError as error:
        print('TypeError:', error)
    except Problem as problem:
        print(problem.status, problem.code, len(problem.hints) > 0)
print(client.call('list_tasks', limit=1)['items'])
";
    let folder = example("python");
    let script = format!("import os, sys\nsys.path.insert(0, {:?})\n{script}", folder.display().to_string());
    let mut command = over_tcp(&home, "python/run_task.py", &[]).await;
    let mut python = Command::new("python3");
    python
        .args(["-c", &script])
        .env_clear()
        .envs(command.as_std_mut().get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = finished(python).await;
    let expected = "TypeError: show_task needs task_id\n\
        TypeError: list_tasks has no parameter 'grop'\n\
        TypeError: body of create_task: unknown fields ['promt'], missing fields ['prompt']\n\
        404 task_not_found True\n\
        []\n";
    assert_eq!((text(&output.stdout), text(&output.stderr)), (expected, ""));
}

/// Runs the action's script with a prompt, as a runner does. Its outputs and its summary are files in the home's folder.
async fn action(home: &TestHome, repository: &str, prompt: &str) -> (Output, String, String) {
    let mut command = over_tcp(home, "github-action/run-task.sh", &[]).await;
    let (outputs, summary) = (home.scratch().join("outputs"), home.scratch().join("summary"));
    command.env("REPOSITORY", repository).env("PROMPT", prompt).env("REF", "main").env("TIMEOUT_MINUTES", "1");
    command.env("GITHUB_OUTPUT", &outputs).env("GITHUB_STEP_SUMMARY", &summary).env("POLL_SECONDS", "0.1");
    let output = finished(command).await;
    let read = |path| fs_err::read_to_string(path).unwrap_or_default();
    (output, read(outputs), read(summary))
}

#[tokio::test]
async fn the_action_waits_for_its_task_and_sets_its_outputs() {
    let (home, _upstream, name) = server().await;
    let (output, outputs, summary) =
        action(&home, &name, "begin; echo new > new.txt; end '![](https://example.com/x.png)'").await;
    assert!(output.status.success(), "{output:?}");
    let task = task(&home).await;
    let (id, branch) = (task["task_id"].as_str().expect("the task has an ID"), task["branch"].as_str().expect("a branch"));
    assert_eq!(outputs, format!("task-id={id}\nstatus=completed\nbranch={branch}\n"));
    assert!(summary.contains(&format!("/tasks/{id}): completed\n\n    ![](https://example.com/x.png)\n")), "{summary}");
}

#[tokio::test]
async fn the_action_fails_if_the_run_fails_or_the_repository_is_unknown() {
    let (home, _upstream, name) = server().await;
    let (output, outputs, _) = action(&home, &name, "begin; failed 'no such model'").await;
    assert_eq!(output.status.code(), Some(1));
    assert!(outputs.contains("status=failed\n"), "{outputs}");

    let (output, _, _) = action(&home, "unknown", "end done").await;
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), "error: repository not found: unknown\n"));
}

#[test]
fn the_action_passes_every_variable_that_its_script_reads() {
    let script = fs_err::read_to_string(example("github-action/run-task.sh")).expect("the script exists");
    let action = fs_err::read_to_string(example("github-action/action.yml")).expect("the action exists");
    for name in ["ORCH_URL", "ORCH_TOKEN", "REPOSITORY", "PROMPT", "REF", "TIMEOUT_MINUTES"] {
        assert!(script.contains(&format!("{{{name}:")), "the script does not read {name}");
        assert!(action.contains(&format!("        {name}: ${{{{ inputs.")), "the action does not pass {name}");
    }
}
