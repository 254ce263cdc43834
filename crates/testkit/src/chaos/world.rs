//! The world of a chaos test: a home, two repositories, and a record of all acknowledged requests.
//!
//! A request without an answer is not acknowledged, although the server may have performed it. Invariant: every request that is
//! recorded as acknowledged was answered with success.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use reqwest::Method;
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use super::containers::Containers;
use super::remotes::Remotes;
use super::seen::Seen;
use super::shared::{ANSWER, codex_home, folders, name_of};
use super::{Account, Agent, Storm};
use crate::pictures;
use crate::power_disk::{FileSystem, PowerDisk};
use crate::small_disk::SmallDisk;
use crate::upstream::Upstream;
use crate::worker::scripted_worker;
use crate::{PREPARED_WORKTREES, TestHome};

/// The maximum number of active tasks, and the number of runs in parallel.
const AT_WORK: (usize, &str) = (8, "4");

/// The limits in a test with containers, which need more resources.
const CONTAINERS_AT_WORK: (usize, &str) = (5, "3");

/// The size of a small disk in MiB.
const DISK: u32 = 96;

/// The time limit until all tasks are inactive.
const CALM: Duration = Duration::from_mins(3);

/// Part of a prompt's script that writes a session file to the path that Codex would use.
const SESSION: &str = "mkdir -p $CODEX_HOME/sessions/2026/01/01; \
                       session=$CODEX_HOME/sessions/2026/01/01/rollout-2026-01-01T00-00-00-$thread_id.jsonl; \
                       echo '{}' >> $session; ";

/// The acknowledged requests for a task.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The names of prompts.
    pub(super) prompts: BTreeSet<String>,
    /// The runs whose stop was acknowledged.
    pub(super) stopped: BTreeSet<u64>,
    /// The names of prompts with an image. An image has the same name as its prompt.
    pub(super) images: BTreeSet<String>,
    /// Whether the task is archived. Unknown after a request that may have changed it.
    pub(super) archived: Option<bool>,
    /// Whether the removal of the task was requested, even if the request was not acknowledged.
    pub(super) removed: bool,
}

pub(super) struct World {
    /// The disk of a test with power cuts, or `None` during a cut. The first field, so that it is unmounted before the home is deleted.
    pub(super) power: Option<PowerDisk>,
    pub(super) home: TestHome,
    pub(super) random: fastrand::Rng,
    pub(super) account: Account,
    pub(super) told: BTreeMap<String, Told>,
    pub(super) envs: Vec<String>,
    /// The scripted model and the container engine of a test with containers.
    pub(super) containers: Option<Containers>,
    at_work: usize,
    pub(super) upstreams: Vec<Upstream>,
    pub(super) remotes: Remotes,
    pub(super) disk: Option<SmallDisk>,
    pub(super) ballast: Option<PathBuf>,
    pub(super) away: Option<usize>,
    pub(super) slow: Vec<reqwest::Response>,
    /// The runs and commits that were checked after an earlier power cut.
    pub(super) seen: Seen,
    prompts: u32,
    begun: Instant,
    /// The file system whose power is cut.
    pub(super) cut: Option<FileSystem>,
}

impl World {
    pub(super) async fn new(storm: &Storm) -> Self {
        let upstreams = vec![Upstream::new(), Upstream::new()];
        let mut home = TestHome::new(&storm.binary);
        home.set(PREPARED_WORKTREES, "2");
        let power = storm.power.map(|kind| PowerDisk::mount(kind, home.scratch(), &home.path()));
        let disk = (storm.with_disk && power.is_none()).then(|| SmallDisk::mount(&home.path(), DISK));
        for folder in ["counts", "ran"] {
            fs_err::create_dir(home.scratch().join(folder)).expect("the test's folder can be written");
        }
        let remotes = Remotes::begin(&home);
        let mut random = fastrand::Rng::with_seed(storm.seed);
        let (containers, (at_work, running)) = match storm.agent {
            Agent::Script => {
                home.set("ORCH_WORKER", scripted_worker(home.scratch()));
                (None, AT_WORK)
            }
            Agent::Codex => (Some(Containers::begin(&mut home, storm.own_engine, &mut random)), CONTAINERS_AT_WORK),
        };
        home.set("ORCH_MAX_PARALLEL_RUNS", running);
        fs_err::write(home.path().join("config.toml"), "stop_grace = \"300ms\"\nfetch_time_limit = \"2s\"\n").expect("written");
        if let Some(power) = &power {
            home.set("CODEX_HOME", codex_home(&home));
            // The settings must survive the first cut.
            power.sync();
        }
        home.start().await;
        let mut envs = vec![];
        for upstream in &upstreams {
            envs.push(home.environment(&upstream.url()).await);
        }
        Self {
            power,
            home,
            random,
            account: Account { seed: storm.seed, ..Account::default() },
            told: BTreeMap::new(),
            envs,
            containers,
            at_work,
            upstreams,
            remotes,
            disk,
            ballast: None,
            away: None,
            slow: vec![],
            seen: Seen::default(),
            prompts: 0,
            begun: Instant::now(),
            cut: storm.power,
        }
    }

    /// Performs one random action.
    pub(super) async fn deed(&mut self) {
        if self.containers.is_some() {
            return self.deed_with_containers().await;
        }
        if self.cut.is_some() {
            return self.deed_with_power_cuts().await;
        }
        match self.random.u32(..100) {
            0..26 => self.create().await,
            26..36 => self.resume("resume").await,
            36..44 => self.resume("follow-ups").await,
            44..52 => self.stop().await,
            52..56 => self.remove().await,
            56..58 => self.restore().await,
            58..60 => self.archive().await,
            60..69 => self.kill_server().await,
            69..78 => self.kill_held("keeper"),
            78..87 => self.kill_held("worker"),
            87..89 => self.read_a_little().await,
            89..91 => self.read_slowly().await,
            91..93 => self.move_a_remote(),
            93..95 => self.trouble_the_remotes().await,
            95..96 => self.change_the_clock().await,
            96..98 => self.trouble_the_disk(false).await,
            _ => self.trouble_the_disk(true).await,
        }
    }

    /// Performs one action of a test with containers. A container takes a second to start, so fewer actions kill servers.
    async fn deed_with_containers(&mut self) {
        if self.away.is_some() && self.random.u32(..4) == 0 {
            return self.move_a_remote();
        }
        match self.random.u32(..100) {
            0..34 => self.create().await,
            34..46 => self.resume("resume").await,
            46..54 => self.resume("follow-ups").await,
            54..60 => self.stop().await,
            60..63 => self.remove().await,
            63..65 => self.restore().await,
            65..66 => self.archive().await,
            66..73 => self.kill_server().await,
            73..75 => self.kill_engine().await,
            75..81 => self.kill_held("keeper"),
            81..88 => self.kill_held("worker"),
            88..95 => self.kill_container(),
            95..96 => self.read_a_little().await,
            96..97 => self.read_slowly().await,
            97..98 => self.trouble_the_remotes().await,
            _ => self.move_a_remote(),
        }
    }

    fn kill_container(&mut self) {
        if let Some(containers) = &self.containers
            && containers.kill_one(&mut self.random)
        {
            self.account.did("kill a container");
        }
    }

    /// Kills the test's own container engine and restarts it after other actions. The engine of the machine is never killed.
    async fn kill_engine(&mut self) {
        if !self.containers.as_mut().is_some_and(Containers::kill_engine) {
            return;
        }
        self.account.did("kill the engine");
        for _ in 0..self.random.u32(..4) {
            match self.random.u32(..5) {
                0 => self.create().await,
                1 => self.stop().await,
                2 => self.kill_held("keeper"),
                3 => self.kill_held("worker"),
                _ => self.kill_server().await,
            }
        }
        let pause = self.random.u64(..3_000);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        self.containers.iter_mut().for_each(Containers::ease);
    }

    /// Sends a request. Returns `None` if there is no answer.
    pub(super) async fn ask(&mut self, method: Method, path: &str, body: &Value) -> Option<(u16, Value)> {
        let request = self.home.request(method.clone(), path).timeout(ANSWER);
        let request = if method == Method::GET { request } else { request.json(body) };
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        let text = answer.text().await.ok()?;
        Some((status, serde_json::from_str(&text).unwrap_or_default()))
    }

    /// Returns the name and text of a new prompt. Its script prints numbered lines, records their number outside of the home, and
    /// writes a file.
    fn prompt(&mut self) -> (String, String) {
        self.prompts += 1;
        let name = name_of(self.prompts);
        if self.containers.is_some() {
            // The script of the model contains the commands.
            return (name.clone(), format!("do it, end {name}."));
        }
        let scratch = self.home.scratch();
        let (count, ran) = (scratch.join("counts").join(&name), scratch.join("ran").join(&name));
        let manner = match self.random.u32(..10) {
            0 => "trap '' INT TERM",
            1 => "(setsid sh -c 'while :; do sleep 1; done' &)",
            2 => "head -c 300000 /dev/zero | tr '\\0' x; echo",
            _ => ":",
        };
        let (lines, pause) = (self.random.u32(1..40), self.random.u32(1..6));
        let (session, closing) = if self.cut.is_some() { (SESSION, "echo '{}' >> $session; ") } else { ("", "") };
        let prompt = format!(
            "begin; {session}echo x >> {ran}; {manner}; i=0; while [ $i -lt {lines} ]; do i=$((i+1)); say \"{name} $i\" || exit 1; \
             echo $i > {count}; sleep 0.0{pause}; done; echo {name} > {name}.txt || exit 1; {closing}end {name}",
            ran = ran.display(),
            count = count.display()
        );
        (name, prompt)
    }

    pub(super) async fn tasks(&mut self) -> Vec<Value> {
        let page = self.ask(Method::GET, "/api/v1/tasks?limit=200&archived=any", &Value::Null).await;
        page.and_then(|(_, page)| page["items"].as_array().cloned()).unwrap_or_default()
    }

    pub(super) async fn any(&mut self, wanted: impl Fn(&Value) -> bool) -> Option<String> {
        let found: Vec<_> = self.tasks().await.into_iter().filter(wanted).collect();
        let task = self.random.choice(&found)?;
        task["task_id"].as_str().map(str::to_owned)
    }

    pub(super) async fn create(&mut self) {
        if self.tasks().await.iter().filter(|task| task["active"] == true).count() >= self.at_work {
            return;
        }
        let (name, prompt) = self.prompt();
        let images = self.images(&name);
        let env = self.random.choice(&self.envs).cloned().unwrap_or_default();
        // Only tests with containers have the real Codex. Other workers have one driver.
        let drivers: &[&str] = if self.containers.is_some() { &["auto", "app-server", "exec"] } else { &["auto"] };
        let driver = self.random.choice(drivers);
        self.account.did("ask for a task");
        let answer = self
            .ask(Method::POST, "/api/v1/tasks", &json!({ "env_id": env, "prompt": prompt, "images": images, "driver": driver }))
            .await;
        if let Some((201, view)) = answer
            && let Some(id) = view["task_id"].as_str()
        {
            self.acknowledged(id, name, &images);
        }
    }

    /// Returns an image for some prompts, with a unique size.
    fn images(&mut self, name: &str) -> Vec<Value> {
        let has_one = self.random.u32(..4) == 0;
        let size = pictures::PNG.len() + self.prompts as usize;
        has_one.then(|| pictures::given(name, &pictures::png_of(size))).into_iter().collect()
    }

    fn acknowledged(&mut self, task: &str, prompt: String, images: &[Value]) {
        self.account.acknowledged += 1;
        let told = self.told.entry(task.to_owned()).or_default();
        if !images.is_empty() {
            told.images.insert(prompt.clone());
        }
        told.prompts.insert(prompt);
    }

    /// Archives or unarchives a task that has ended.
    pub(super) async fn archive(&mut self) {
        let Some(id) = self.any(|task| task["active"] == false).await else { return };
        let Some((200, view)) = self.ask(Method::GET, &format!("/api/v1/tasks/{id}"), &Value::Null).await else { return };
        let goes_in = view["archived_at"].is_null();
        self.account.did("ask to archive");
        let deed = if goes_in { "archive" } else { "unarchive" };
        let told = self.told.entry(id.clone()).or_default();
        told.archived = None;
        let answer = self.ask(Method::POST, &format!("/api/v1/tasks/{id}/{deed}"), &json!({})).await;
        if let Some((200, _)) = answer {
            self.account.acknowledged += 1;
            self.told.entry(id).or_default().archived = Some(goes_in);
        }
    }

    pub(super) async fn resume(&mut self, how: &str) {
        let wants_active = how == "follow-ups";
        let Some(id) = self.any(|task| task["active"] == wants_active && task["thread_id"].is_string()).await else { return };
        let (name, prompt) = self.prompt();
        let images = self.images(&name);
        self.told.entry(id.clone()).or_default().archived = None;
        self.account.did(if wants_active { "ask for a follow-up" } else { "ask to continue" });
        let answer =
            self.ask(Method::POST, &format!("/api/v1/tasks/{id}/{how}"), &json!({ "prompt": prompt, "images": images })).await;
        if let Some((201, _)) = answer {
            self.acknowledged(&id, name, &images);
        }
    }

    pub(super) async fn stop(&mut self) {
        let Some(id) = self.any(|task| task["active"] == true).await else { return };
        self.account.did("ask to stop");
        let answer = self.ask(Method::POST, &format!("/api/v1/tasks/{id}/stop"), &json!({})).await;
        if let Some((200, view)) = answer
            && view["status"] == "stopping"
            && let Some(run) = view["runs"].as_array().and_then(|runs| runs.last()?["number"].as_u64())
        {
            self.account.acknowledged += 1;
            self.told.entry(id).or_default().stopped.insert(run);
        }
    }

    pub(super) async fn remove(&mut self) {
        let Some(id) = self.any(|_| true).await else { return };
        self.account.did("ask to remove");
        // From now on the task may be gone, even if the request gets no answer.
        self.told.entry(id.clone()).or_default().removed = true;
        self.ask(Method::DELETE, &format!("/api/v1/tasks/{id}"), &json!({})).await;
    }

    pub(super) async fn restore(&mut self) {
        let Some((_, page)) = self.ask(Method::GET, "/api/v1/trash", &Value::Null).await else { return };
        let items = page["items"].as_array().cloned().unwrap_or_default();
        let Some(id) = self.random.choice(&items).and_then(|item| item["id"].as_str().map(str::to_owned)) else { return };
        self.account.did("ask to restore");
        self.ask(Method::POST, &format!("/api/v1/tasks/{id}/restore"), &json!({})).await;
    }

    pub(super) async fn kill_server(&mut self) {
        if self.home.has_ended() {
            self.account.violations.push(format!("the server exited on its own: {}", self.home.log()));
            return;
        }
        self.account.did("kill a server");
        self.home.kill().await;
        // Some runs end or are killed while no server runs.
        for _ in 0..self.random.u32(..4) {
            let who = if self.random.bool() { "keeper" } else { "worker" };
            self.kill_held(who);
            let pause = self.random.u64(..50);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        self.start().await;
    }

    async fn start(&mut self) {
        if self.home.try_start().await {
            return;
        }
        // A server may refuse to start on a full or read-only disk.
        self.account.did("a server refused a troubled disk");
        self.ease_the_disk();
        let begun = Instant::now();
        while !self.home.try_start().await {
            // A child that the killed server was just starting holds the home's lock until it runs its own program.
            let locked = self.home.log().trim_end().lines().rev().take(2).any(|line| line.contains("already uses"));
            assert!(locked && begun.elapsed() < ANSWER, "no server starts: {}", self.home.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Kills a keeper or its worker.
    pub(super) fn kill_held(&mut self, who: &'static str) {
        let mut held = vec![];
        for task in folders(&self.home.path().join("tasks")) {
            for file in folders(&task.join("logs")) {
                let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let ended = file.with_file_name(name.replace(".keeper.json", ".exit.json")).exists();
                if name.ends_with(".keeper.json") && !ended {
                    held.push(file);
                }
            }
        }
        let pid = self.random.choice(&held).and_then(|file| {
            let record: Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
            let pid = i32::try_from(record[who]["pid"].as_i64()?).ok()?;
            // A different process may have this PID by now.
            let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
            let ours = environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(b"ORCH_RUN="));
            Pid::from_raw(pid).filter(|_| ours)
        });
        if let Some(pid) = pid
            && rustix::process::kill_process(pid, Signal::KILL).is_ok()
        {
            self.account.did(if who == "keeper" { "kill a keeper" } else { "kill a worker" });
        }
    }

    /// Ends all faults and waits until no task is active.
    pub(super) async fn calm(&mut self) {
        self.ease_the_disk();
        self.ease_the_remotes();
        if self.away.is_some() {
            self.move_a_remote();
        }
        if self.home.has_ended() {
            self.account.violations.push(format!("the server exited on its own: {}", self.home.log()));
            self.home.start().await;
        }
        let begun = Instant::now();
        loop {
            let active: Vec<_> = self.tasks().await.into_iter().filter(|task| task["active"] == true).collect();
            if active.is_empty() {
                break;
            }
            if begun.elapsed() > CALM {
                let named: Vec<_> = active.iter().map(|task| format!("{} {}", task["task_id"], task["status"])).collect();
                self.account.violations.push(format!("still active after {} s: {}", CALM.as_secs(), named.join(", ")));
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // The server's next check ends what a killed keeper has left behind.
        while !self.left().is_empty() && begun.elapsed() < CALM {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Copies the home so that a violation can be examined.
    pub(super) fn keep(&mut self) {
        let kind = self.cut.map(|kind| format!("{kind}-")).unwrap_or_default();
        let name = format!("codex-orchestrator-storm-{kind}{}", self.account.seed);
        let kept = std::env::temp_dir().join(name);
        let copied = std::process::Command::new("cp")
            .args(["--archive", "--no-target-directory"])
            .arg(self.home.path())
            .arg(&kept)
            .status();
        self.account.kept = copied.is_ok_and(|status| status.success()).then_some(kept);
    }

    pub(super) async fn end(mut self) -> Account {
        self.account.seconds = self.begun.elapsed().as_secs_f64();
        if !self.account.violations.is_empty() && self.account.kept.is_none() {
            self.keep();
        }
        if !self.home.has_ended() {
            self.home.stop().await;
        }
        self.account
    }
}
