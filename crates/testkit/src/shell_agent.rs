//! Tasks in real containers whose agent is a shell that runs its prompt, and checks of what must hold after each task. The image
//! is that of the product, with a shell script in place of Codex.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::upstream::Upstream;
use crate::{TestHome, docker};
use serde_json::{Value, json};

/// The image of the agent.
const IMAGE: &str = "codex-docker-test/shell:1";

/// The agent: prints the events that Codex would print and runs the prompt as a shell script.
const AGENT: &str = r#"#!/bin/sh
thread=$(cat /proc/sys/kernel/random/uuid)
before=
for word; do
    [ "$before" = resume ] && thread=$word
    before=$word
done
echo "{\"type\":\"thread.started\",\"thread_id\":\"$thread\"}"
echo '{"type":"turn.started"}'
cat > /tmp/prompt
sh /tmp/prompt 2>&1
echo '{"type":"item.completed","item":{"id":"item_0","type":"agent_message","text":"done"}}'
echo '{"type":"turn.completed","usage":{"input_tokens":1,"cached_input_tokens":0,"output_tokens":1}}'
"#;

/// A server with one repository, whose agent is a shell.
pub struct ShellAgent {
    /// The server's home.
    pub home: TestHome,
    /// The ID of the repository.
    pub env: String,
    /// The upstream of the repository.
    pub upstream: Upstream,
}

/// The result of an attack.
pub struct Attacked {
    /// The task after its run.
    pub task: Value,
    /// The log, with the output of the script.
    pub log: String,
}

impl ShellAgent {
    /// Starts a server. `binary` is the test's `env!("CARGO_BIN_EXE_codex-orchestrator")`.
    pub async fn new(binary: &str) -> Self {
        Self::with(binary, &json!({})).await
    }

    /// Starts a server with container settings for the repository.
    pub async fn with(binary: &str, container: &Value) -> Self {
        let upstream = Upstream::new();
        upstream.commit("main", &[("src/a.txt", "one\n"), ("README.md", "hello\n")], "a start");
        Self::on(binary, upstream, container).await
    }

    /// Starts a server with an upstream that the test provides.
    pub async fn on(binary: &str, upstream: Upstream, container: &Value) -> Self {
        Self::in_home(TestHome::new(binary), upstream, container).await
    }

    /// Starts a server in a home that has no server yet.
    pub async fn in_home(mut home: TestHome, upstream: Upstream, container: &Value) -> Self {
        build_image();
        for (name, value) in
            [("ORCH_WORKER", "codex-docker"), ("ORCH_DRIVER", "exec"), ("IMAGE_NAME", IMAGE), ("CODEX_DOCKER_FREE_DISK", "100m")]
        {
            home.set(name, value);
        }
        home.start().await;
        let env = home.environment(&upstream.file_url()).await;
        if container != &json!({}) {
            let (status, answer) = home.patch(&format!("/api/v1/envs/{env}"), &json!({ "container": container })).await;
            assert_eq!(status, 200, "{answer}");
        }
        Self { home, env, upstream }
    }

    /// Returns the path of a file that a planted command would create on the host. Its folder does not exist in the container.
    pub fn canary(&self) -> PathBuf {
        self.home.scratch().join("canary")
    }

    /// Returns the path of the repository's mirror.
    pub fn mirror(&self) -> PathBuf {
        self.home.path().join("envs").join(&self.env).join("mirror")
    }

    /// Returns a task's folder.
    pub fn folder(&self, task: &Value) -> PathBuf {
        self.home.path().join("tasks").join(id_of(task))
    }

    /// Returns a task's worktree.
    pub fn worktree(&self, task: &Value) -> PathBuf {
        self.folder(task).join("worktree")
    }

    /// Runs a script as the agent of a new task.
    pub async fn attack(&self, script: &str) -> Attacked {
        let task = self.home.task(&self.env, script).await;
        let task = self.home.settled(&task).await;
        let log = self.home.text(&format!("/api/v1/tasks/{}/runs/1/log", id_of(&task))).await;
        Attacked { task, log }
    }

    /// Runs a script as the agent of a task's next run.
    pub async fn resumed(&self, task: &Value, script: &str) -> Value {
        let id = id_of(task);
        let (status, answer) = self.home.post(&format!("/api/v1/tasks/{id}/resume"), &json!({ "prompt": script })).await;
        assert_eq!(status, 201, "{answer}");
        self.home.settled(&id).await
    }

    /// Runs git in the mirror, as the owner of the host would.
    ///
    /// # Panics
    /// If git fails.
    #[track_caller]
    pub fn git(&self, arguments: &[&str]) -> String {
        let done = Command::new("git").arg("--git-dir").arg(self.mirror()).args(arguments).output().expect("git is installed");
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    /// Returns the paths of all files on a task's branch.
    pub fn committed(&self, task: &Value) -> Vec<String> {
        let branch = format!("codex/{}", id_of(task));
        self.git(&["ls-tree", "-r", "-z", "--name-only", &branch])
            .split('\0')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// Checks that nothing ran on the host, that the mirror is intact, and that the task still works: its diff, a follow-up, and
    /// its removal.
    pub async fn lives_on(&self, attacked: &Attacked) {
        let id = id_of(&attacked.task);
        assert!(!self.canary().exists(), "no planted command ran on the host: {}", attacked.log);
        let (status, diff) = self.home.get(&format!("/api/v1/tasks/{id}/diff")).await;
        assert_eq!(status, 200, "{diff}");
        let resumed = self.resumed(&attacked.task, "echo ordinary > ordinary; git status --short | head -3").await;
        assert_eq!(resumed["status"], "completed", "an ordinary follow-up works: {resumed}");
        assert!(
            self.committed(&resumed).iter().any(|path| path.rsplit('/').next() == Some("ordinary")),
            "the work of the follow-up is committed: {resumed}"
        );
        assert!(!self.canary().exists(), "no planted command ran on the host");
        self.git(&["fsck", "--strict", "--no-dangling"]);
        let (status, answer) = self.home.delete(&format!("/api/v1/tasks/{id}")).await;
        assert_eq!(status, 204, "{answer}");
        let folder = self.folder(&attacked.task);
        crate::until(std::time::Duration::from_mins(1), "the task is gone", || !folder.exists());
        let filter = format!("label=codex-docker.label.task={id}");
        assert_eq!(docker::docker(&["ps", "--all", "--quiet", "--filter", &filter]), "", "no container of the task is left");
        assert!(!self.canary().exists(), "no planted command ran on the host");
    }
}

/// Returns a task's ID.
pub fn id_of(task: &Value) -> String {
    task["task_id"].as_str().expect("an id").to_owned()
}

impl Attacked {
    /// Checks that the run completed, because an attack does not make it fail.
    #[track_caller]
    pub fn completed(&self) -> &Self {
        assert_eq!(self.task["status"], "completed", "{}\n{}", self.task, self.log);
        self
    }

    /// Returns the rest of the output line that starts with `mark`.
    #[track_caller]
    pub fn said(&self, mark: &str) -> &str {
        let found = self.log.lines().find_map(|line| line.strip_prefix(mark));
        found.unwrap_or_else(|| panic!("the output has no line that starts with `{mark}`: {}", self.log)).trim()
    }
}

/// Returns an image with the agent and `psql`.
///
/// # Panics
/// If the image cannot be built.
pub fn postgres_client_image() -> String {
    build_image();
    docker::debian_image_on(IMAGE, "codex-docker-test/psql:1", "postgresql-client", "")
}

/// Builds the image of the agent. The engine's cache makes this fast and safe to do in several tests at once.
pub(crate) fn build_image() {
    let dockerfile = format!("FROM {}\nRUN rm -f /usr/local/bin/codex\nCOPY codex /usr/local/bin/codex\n", docker::codex_image());
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder.path().join("Dockerfile"), &dockerfile);
    write(&folder.path().join("codex"), AGENT);
    let path = folder.path().to_str().expect("text");
    let built = Command::new("docker")
        .env("DOCKER_BUILDKIT", "0")
        .args(["build", "--quiet", "--tag", IMAGE, path])
        .stdin(Stdio::null())
        .output();
    let built = built.expect("docker is installed");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
}

fn write(path: &Path, content: &str) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::File::options().create_new(true).write(true).mode(0o755).open(path).expect("a new file");
    // Always use the same content, mode and time, so that the engine finds the image in its cache.
    file.write_all(content.as_bytes()).expect("written");
    file.set_modified(std::time::UNIX_EPOCH).expect("ours");
}
