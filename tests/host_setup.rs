//! The setup on the machine of the server, for the worker `host`: only after the owner of the server allowed it.
//!
//! The server and git are real. A shell replaces Codex and runs its prompt.

use serde_json::{Value, json};
use testkit::TestHome;
use testkit::upstream::Upstream;

use crate::BINARY;

const SECRET: &str = "setup-s3cret-value";

/// A description whose setup shows what it gets, and leaves a process behind.
const DESCRIPTION: &str = r#"
image = "codex-docker-test/missing:1"

[setup]
run = """
set -e
echo line >> made
printf %s "$SETUP_TOKEN" | wc -c > length
echo "token $SETUP_TOKEN in $(pwd) with $MODE"
sleep 600 &
echo $! > child
"""
secrets = ["SETUP_TOKEN"]
"#;

/// Prints what a run finds in its worktree, and the variable with the secret of the setup.
const LOOK: &str = "begin; end \"$(cat made 2>/dev/null | wc -l) $(cat length 2>/dev/null) ${SETUP_TOKEN:-none}\"";

struct Stage {
    home: TestHome,
    env: String,
    _upstream: Upstream,
}

impl Stage {
    /// Starts a server whose worker is `host`, with a repository that has this description.
    async fn new(description: &str) -> Self {
        let upstream = Upstream::new();
        let files = [(".codex-orchestrator/environment.toml", description), (".gitignore", "made\nlength\nchild\n")];
        upstream.commit("main", &files, "a start");
        let mut home = TestHome::new(BINARY);
        let bin = home.scratch().join("bin");
        fs_err::create_dir(&bin).expect("a folder");
        fs_err::rename(testkit::worker::scripted_worker(&bin), bin.join("codex")).expect("renamed");
        home.set("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").expect("PATH is set")));
        home.set("ORCH_WORKER", "host");
        home.set("ORCH_DRIVER", "exec");
        home.start().await;
        let env = home.environment(&upstream.url()).await;
        Self { home, env, _upstream: upstream }
    }

    /// Changes the settings of the repository.
    async fn edit(&self, edit: Value) {
        let (status, answer) = self.home.patch(&format!("/api/v1/envs/{}", self.env), &edit).await;
        assert_eq!(status, 200, "{answer}");
    }

    async fn allow(&self) {
        self.edit(json!({ "runs": { "setup_on_host": true } })).await;
    }

    async fn setup(&self) -> Value {
        self.home.get(&format!("/api/v1/envs/{}/setup", self.env)).await.1
    }

    async fn run(&self, prompt: &str) -> Value {
        let task = self.home.task(&self.env, prompt).await;
        self.home.settled(&task).await
    }

    /// Prints the output of the setup of a task's first run.
    async fn output(&self, task: &Value) -> String {
        let task = task["task_id"].as_str().expect("the task has an ID");
        let mut command = self.home.command(&["task", "logs", task, "--run", "1", "--setup"]);
        let output = command.output().await.expect("the program starts");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    }
}

fn has_ended(pid: &str) -> bool {
    testkit::process::has_ended(pid.trim().parse().expect("a process ID"))
}

#[tokio::test]
async fn a_setup_runs_on_the_host_only_after_the_owner_allowed_it_and_once_for_each_task() {
    let stage = Stage::new(DESCRIPTION).await;
    stage.edit(json!({ "secrets": { "SETUP_TOKEN": SECRET }, "variables": { "MODE": "test" } })).await;
    let view = stage.setup().await;
    assert_eq!((&view["applies"], &view["runs_on_host"]), (&json!(false), &json!(false)), "{view}");
    let before = stage.run(LOOK).await;
    assert_eq!(before["runs"][0]["last_message"], format!("0  {SECRET}").replace(SECRET, "***"), "{before}");
    assert_eq!(stage.output(&before).await, "");
    stage.allow().await;
    let view = stage.setup().await;
    assert_eq!((&view["applies"], &view["runs_on_host"]), (&json!(false), &json!(true)), "{view}");
    let unapproved = stage.run(LOOK).await;
    assert_eq!(unapproved["runs"][0]["last_message"], "1 0 ***", "the secret is not released yet: {unapproved}");
    let approve = json!({ "approve": view["description"]["hash"] });
    assert_eq!(stage.home.patch(&format!("/api/v1/envs/{}/setup", stage.env), &approve).await.0, 200);
    let task = stage.run(LOOK).await;
    assert_eq!(task["runs"][0]["last_message"], format!("1 {} none", SECRET.len()), "{task}");
    let output = stage.output(&task).await;
    let worktree = stage.home.path().join("tasks").join(task["task_id"].as_str().expect("an ID")).join("worktree");
    assert_eq!(output, format!("token *** in {} with test\n", worktree.display()));
    let child = fs_err::read_to_string(worktree.join("child")).expect("the setup wrote it");
    assert!(has_ended(&child), "nothing that the setup started runs on");
    let path = format!("/api/v1/tasks/{}", task["task_id"].as_str().expect("an ID"));
    for (step, body) in
        [("resume", json!({ "prompt": LOOK })), ("environment/refresh", json!({})), ("resume", json!({ "prompt": LOOK }))]
    {
        let (status, answer) = stage.home.post(&format!("{path}/{step}"), &body).await;
        assert!(matches!(status, 200 | 201), "{step}: {answer}");
        let settled = stage.home.settled(task["task_id"].as_str().expect("an ID")).await;
        let last = settled["runs"].as_array().and_then(|runs| runs.last()).expect("it ran");
        assert_eq!(last["last_message"], format!("1 {} none", SECRET.len()), "it ran before the first run only: {settled}");
    }
}

#[tokio::test]
async fn a_setup_on_the_host_that_fails_fails_the_run_with_its_output() {
    let stage = Stage::new("[setup]\nrun = \"echo the reason; exit 7\"\n").await;
    stage.allow().await;
    let task = stage.run(LOOK).await;
    let run = &task["runs"][0];
    assert_eq!((&run["status"], &run["error"]["code"]), (&json!("failed"), &json!("setup_failed")), "{task}");
    assert_eq!(run["error"]["message"], "the setup script exited with code 7", "{task}");
    assert_eq!(stage.output(&task).await, "the reason\n");
    let shown = stage.home.command(&["env", "setup", "show", &stage.env]).output().await.expect("the program starts");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("runs on the machine of the server, without isolation"), "{shown}");
    assert_eq!(shown.matches("note ").count(), 1, "the text appears once: {shown}");
}

#[tokio::test]
async fn a_setup_on_the_host_whose_server_dies_runs_again_and_the_first_one_is_ended() {
    let mut stage = Stage::new("[setup]\nrun = \"echo $$ >> $OUT/pids; while [ ! -e $OUT/go ]; do sleep 0.02; done\"\n").await;
    let out = stage.home.scratch().join("out");
    fs_err::create_dir(&out).expect("a folder");
    stage.edit(json!({ "variables": { "OUT": out.display().to_string() } })).await;
    stage.allow().await;
    let task = stage.home.task(&stage.env, "begin; end done").await;
    let pids = || {
        let text = fs_err::read_to_string(out.join("pids")).unwrap_or_default();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let limit = std::time::Duration::from_mins(1);
    testkit::until(limit, "the setup runs", || pids().len() == 1);
    stage.home.kill().await;
    stage.home.start().await;
    testkit::until(limit, "the setup runs again", || pids().len() == 2);
    assert!(has_ended(&pids()[0]), "the first one is ended");
    fs_err::write(out.join("go"), "").expect("written");
    assert_eq!(stage.home.settled(&task).await["status"], "completed");
    assert_eq!(pids().len(), 2);
}
