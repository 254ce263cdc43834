//! Measures what a task costs in published projects: the time to passing tests, compared with a clone by hand, and the space of a task.
//!
//! `cargo bench -p codex-orchestrator --profile dist --bench projects` prints two tables. It uses the real container engine and the real
//! Codex CLI with a scripted model, and downloads the projects and their dependencies. `ROUNDS` changes the number of measurements.
//! `LANGUAGES`, such as `Go,Rust`, chooses the projects.
#![expect(clippy::print_stdout, reason = "the tables are the result")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use scripted_model::{Item, Script, ScriptedModel, Turn};
use serde_json::{Value, json};
use testkit::TestHome;
use testkit::docker::codex_image;
use testkit::projects::{ALL, Project};
use testkit::upstream::Upstream;

const BINARY: &str = env!("CARGO_BIN_EXE_codex-orchestrator");

const PROMPT: &str = "run the tests";

/// The number of files in the folder of the second table.
const MANY: usize = 200_000;

fn main() {
    let rounds = std::env::var("ROUNDS").map_or(5, |text| text.parse().expect("a number"));
    let languages = std::env::var("LANGUAGES").ok();
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(async {
        println!("| project | setup | second task | by hand, warm | ratio | by hand, cold | ratio | space of an idle task |");
        println!("|---|---|---|---|---|---|---|---|");
        for project in ALL.iter().filter(|project| languages.as_ref().is_none_or(|all| all.contains(project.language))) {
            measure(project, rounds).await;
        }
        println!("\n| measurement with {MANY} files in a kept folder | result |\n|---|---|");
        many_files(rounds).await;
    });
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// A server with one repository, whose agent runs one command.
struct Served {
    home: TestHome,
    env: String,
    _model: ScriptedModel,
}

impl Served {
    async fn new(upstream: &Upstream, command: &str) -> Self {
        let command = Item::shell_within(command, Duration::from_mins(5));
        let script = Script::new().turn(Turn::containing(PROMPT).step([command]).says("done"));
        let model = ScriptedModel::start(script).expect("the scripted model starts");
        let mut home = TestHome::new(BINARY);
        for (name, value) in [
            ("ORCH_WORKER", "codex-docker".to_owned()),
            ("IMAGE_NAME", codex_image()),
            ("CODEX_API_KEY", "sk-none".to_owned()),
            ("CODEX_DOCKER_MODEL_URL", model.url()),
            (testkit::PREPARED_WORKTREES, "2".to_owned()),
        ] {
            home.set(name, value);
        }
        home.start().await;
        let env = home.environment(&upstream.url()).await;
        // Only setups have a network.
        let closed = json!({ "container": { "network": "none" } });
        let (status, answer) = home.patch(&format!("/api/v1/envs/{env}"), &closed).await;
        assert_eq!(status, 200, "{answer}");
        Self { home, env, _model: model }
    }

    /// Runs the setup, and returns its duration. The duration is 0 if there is none.
    async fn set_up(&self) -> Duration {
        let (status, _) = self.home.post(&format!("/api/v1/envs/{}/setup/run", self.env), &json!({})).await;
        if status != 200 {
            return Duration::ZERO;
        }
        let path = format!("/api/v1/envs/{}/setup", self.env);
        let view = self.home.wait_for(&path, |view| view["last"]["phase"] != "running").await;
        assert_eq!(view["last"]["phase"], "ready", "{view}");
        Duration::from_secs_f64(view["snapshots"][0]["seconds"].as_f64().unwrap_or_default())
    }

    /// Runs a task, and returns it with its duration: from the request to the recorded end.
    async fn task(&self) -> (Value, Duration) {
        let started = Instant::now();
        let id = self.home.task(&self.env, PROMPT).await;
        let task = self.home.settled(&id).await;
        (task, started.elapsed())
    }

    async fn log(&self, task: &Value) -> String {
        self.home.text(&format!("/api/v1/tasks/{}/runs/1/log", id_of(task))).await
    }

    /// Returns the disk space of a task in bytes.
    async fn space(&self, task: &Value) -> u64 {
        let (_, disk) = self.home.get("/api/v1/disk").await;
        let tasks = disk["tasks"].as_array().expect("a list");
        let found = tasks.iter().find(|found| found["task_id"] == task["task_id"]).expect("the task is listed");
        found["bytes"].as_u64().expect("a number")
    }
}

fn id_of(task: &Value) -> &str {
    task["task_id"].as_str().expect("an ID")
}

async fn measure(project: &Project, rounds: usize) {
    let upstream = project.upstream();
    let served = Served::new(&upstream, project.tests).await;
    let setup = served.set_up().await;
    let mut times = vec![];
    let mut space = 0;
    for _ in 0..=rounds {
        let (task, took) = served.task().await;
        let log = served.log(&task).await;
        assert!(task["status"] == "completed" && log.contains(project.passed), "{}: {task} {log}", project.name);
        times.push(took);
        space = served.space(&task).await;
    }
    // The first task.
    times.remove(0);
    let ours = median(&mut times);
    let caches = tempfile::tempdir().expect("a folder");
    by_hand(project, &upstream, caches.path());
    let mut warm: Vec<_> = (0..rounds).map(|_| by_hand(project, &upstream, caches.path())).collect();
    // Once, because most of it is the download.
    let cold = by_hand(project, &upstream, tempfile::tempdir().expect("a folder").path());
    let warm = median(&mut warm);
    let ratio = |other: Duration| ours.as_secs_f64() / other.as_secs_f64();
    println!(
        "| {} ({}) | {:.1} s | {:.1} s | {:.1} s | {:.2} | {:.1} s | {:.2} | {:.1} MB |",
        project.name,
        project.language,
        setup.as_secs_f64(),
        ours.as_secs_f64(),
        warm.as_secs_f64(),
        ratio(warm),
        cold.as_secs_f64(),
        ratio(cold),
        f64::from(u32::try_from(space >> 10).expect("less than 4 TB")) / 1024.0,
    );
}

/// Clones a project, and installs, builds and tests it in a container whose home directory is `caches`. Returns the duration.
fn by_hand(project: &Project, upstream: &Upstream, caches: &Path) -> Duration {
    let folder = tempfile::tempdir().expect("a folder");
    let (worktree, image) = (folder.path().join("worktree"), project.image());
    let started = Instant::now();
    upstream.git_in(folder.path(), &["clone", "--quiet", &upstream.url(), "worktree"]);
    let script = format!("set -e\n{}\n{}", project.setup, project.tests);
    let mount = |from: &Path, to: &str| format!("{}:{to}", from.display());
    let ended = Command::new("docker")
        .args(["run", "--rm", "--init", "--entrypoint", "bash", "-w", "/workspace/worktree"])
        .args(["-v", &mount(&worktree, "/workspace/worktree"), "-v", &mount(caches, "/root"), &image, "-c", &script])
        .stdin(Stdio::null())
        .output()
        .expect("docker is installed");
    let took = started.elapsed();
    let said = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(ended.status.success() && said.contains(project.passed), "{}: {said}", project.name);
    took
}

/// Measures tasks of a repository whose setup creates many files in a kept folder, and the removal of one of them.
async fn many_files(rounds: usize) {
    let upstream = Upstream::new();
    let folders = MANY / 500;
    let create = format!(
        "mkdir node_modules; cd node_modules; for d in $(seq {folders}); do mkdir $d; (cd $d; seq 500 | xargs touch); done"
    );
    let description =
        format!("[setup]\nrun = \"\"\"{create}\"\"\"\nkeys = [\"README.md\"]\n[keep]\npaths = [\"node_modules\"]\n");
    let files = [(".codex-orchestrator/environment.toml", description.as_str()), (".gitignore", "node_modules\n")];
    upstream.commit("main", &files, "many files");
    let served = Served::new(&upstream, "ls node_modules | wc -l").await;
    let setup = served.set_up().await;
    println!("| setup, which creates the files | {:.1} s |", setup.as_secs_f64());
    let mut times = vec![];
    for _ in 0..=rounds {
        times.push(served.task().await.1);
    }
    times.remove(0);
    println!(
        "| a task that lists the folder, from the request to its recorded end | {:.2} s |",
        median(&mut times).as_secs_f64()
    );
    let plain = Upstream::new();
    let without = Served::new(&plain, "true").await;
    let mut times = vec![];
    for _ in 0..=rounds {
        times.push(without.task().await.1);
    }
    times.remove(0);
    println!("| the same in a repository without a setup | {:.2} s |", median(&mut times).as_secs_f64());
    let snapshots = served.home.path().join("envs").join(&served.env).join("snapshots");
    let snapshot = entries(&snapshots).into_iter().find(|path| path.join("keep").is_dir()).expect("the setup has a snapshot");
    let copies = tempfile::tempdir_in(served.home.path()).expect("a folder");
    let started = Instant::now();
    let done = Command::new("cp").arg("-a").arg(snapshot.join("keep")).arg(copies.path().join("copy")).status();
    assert!(done.expect("cp is installed").success());
    println!("| a copy of the folder with `cp -a` | {:.1} s |", started.elapsed().as_secs_f64());
    let own =
        Served::new(&plain, &format!("mkdir many && cd many && seq {MANY} | xargs -n 1000 touch; echo '*' > .gitignore")).await;
    let (task, _) = own.task().await;
    let (created, started) =
        (entries(&own.home.path().join("tasks").join(id_of(&task)).join("worktree/many")).len(), Instant::now());
    assert!(created > MANY, "{created}");
    let (status, answer) = own.home.delete(&format!("/api/v1/tasks/{}", id_of(&task))).await;
    assert_eq!(status, 204, "{answer}");
    println!(
        "| removing a task whose agent created as many files, until the answer | {:.2} s |",
        started.elapsed().as_secs_f64()
    );
    let started = Instant::now();
    let (status, answer) = own.home.post("/api/v1/gc", &json!({ "older_than_days": 0 })).await;
    assert_eq!(status, 200, "{answer}");
    println!("| `gc --all` afterwards | {:.1} s |", started.elapsed().as_secs_f64());
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs_err::read_dir(folder).expect("readable").map(|entry| entry.expect("readable").path()).collect()
}
