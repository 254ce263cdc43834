//! A chaos test with the real Codex CLI also needs a scripted model and real containers.
//!
//! The test calls Docker's own client and only touches containers with the label of its home. It only kills its own container
//! engine, which never outlives the test.

use std::process::Output;

use scripted_model::{Item, Script, ScriptedModel, Turn};

use super::shared::name_of;
use crate::TestHome;
use crate::docker;
use crate::own_engine::{KilledEngine, OwnEngine};

/// The maximum number of prompts. The script of the model is written before the test starts.
const PROMPTS: u32 = 2_000;

/// The free disk space that a run requires. It is small because the worktrees have only a few files.
const FREE_DISK: &str = "100m";

/// The model for Codex in the containers, and the container engine.
pub(super) struct Containers {
    _model: ScriptedModel,
    label: String,
    engine: Engine,
}

/// The container engine that the test uses.
enum Engine {
    /// The machine's engine, which is never killed.
    OfTheMachine,
    Own(OwnEngine),
    /// The test's own engine, which is currently killed.
    Killed(KilledEngine),
}

impl Engine {
    /// Starts a container engine for this test and loads the image. Its containers survive its end or not, at random.
    fn own(home: &mut TestHome, random: &mut fastrand::Rng) -> Self {
        let flags: &[&str] = if random.bool() { &["--live-restore"] } else { &[] };
        let engine = OwnEngine::start(flags);
        engine.load(&docker::codex_image());
        home.set("DOCKER_HOST", engine.host());
        home.set("CODEX_DOCKER_NETWORK", "none");
        Self::Own(engine)
    }

    /// Runs a Docker command. Returns `None` while the engine is killed.
    fn docker(&self, arguments: &[&str]) -> Option<Output> {
        let host = match self {
            Self::OfTheMachine => vec![],
            Self::Own(engine) => vec!["--host".to_owned(), engine.host()],
            Self::Killed(_) => return None,
        };
        let arguments: Vec<_> = host.iter().map(String::as_str).chain(arguments.iter().copied()).collect();
        Some(docker::try_docker(&arguments))
    }
}

impl Containers {
    /// Starts the model and prepares the home before its server starts.
    pub(super) fn begin(home: &mut TestHome, own_engine: bool, random: &mut fastrand::Rng) -> Self {
        let script = (1..=PROMPTS).fold(Script::new(), |script, number| script.turn(turn(&name_of(number), random)));
        let model = ScriptedModel::start(script).expect("the scripted model starts");
        home.set("ORCH_WORKER", "codex-docker");
        home.set("IMAGE_NAME", docker::codex_image());
        home.set("CODEX_API_KEY", "sk-storm-0123456789");
        home.set("CODEX_DOCKER_MODEL_URL", model.url());
        home.set("CODEX_DOCKER_FREE_DISK", FREE_DISK);
        let engine = if own_engine { Engine::own(home, random) } else { Engine::OfTheMachine };
        Self { _model: model, label: format!("label=codex-docker.label.home={}", home.path().display()), engine }
    }

    /// Returns all containers of the home in any state, or none while the engine is killed.
    pub(super) fn all(&self) -> Vec<String> {
        let found = self.engine.docker(&["ps", "--all", "--format", "{{.Names}}", "--filter", &self.label]);
        let Some(found) = found else { return vec![] };
        assert!(found.status.success(), "the engine lists its containers: {found:?}");
        let mut names: Vec<_> = String::from_utf8_lossy(&found.stdout).lines().map(str::to_owned).collect();
        names.sort_unstable();
        names
    }

    /// Kills a random container. Returns `false` if no container was running.
    pub(super) fn kill_one(&self, random: &mut fastrand::Rng) -> bool {
        let names = self.all();
        let killed = random.choice(&names).and_then(|name| self.engine.docker(&["kill", name]));
        killed.is_some_and(|killed| killed.status.success())
    }

    /// Kills the engine if it is the test's own and runs.
    pub(super) fn kill_engine(&mut self) -> bool {
        match std::mem::replace(&mut self.engine, Engine::OfTheMachine) {
            Engine::Own(engine) => {
                self.engine = Engine::Killed(engine.killed());
                true
            }
            other => {
                self.engine = other;
                false
            }
        }
    }

    /// Starts the engine again if it was killed.
    pub(super) fn ease(&mut self) {
        self.engine = match std::mem::replace(&mut self.engine, Engine::OfTheMachine) {
            Engine::Killed(engine) => Engine::Own(engine.started_again()),
            other => other,
        };
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        let Some(found) = self.engine.docker(&["ps", "--all", "--quiet", "--filter", &self.label]) else { return };
        for id in String::from_utf8_lossy(&found.stdout).lines() {
            self.engine.docker(&["rm", "--force", id]);
        }
    }
}

/// Returns a turn whose command prints numbered lines and appends a line to a file, which shows how often the command ran.
fn turn(name: &str, random: &mut fastrand::Rng) -> Turn {
    let manner = match random.u32(..10) {
        0 => "trap '' INT TERM",
        1 => "(setsid sh -c 'while :; do sleep 1; done' >/dev/null 2>&1 &)",
        2 => "head -c 300000 /dev/zero | tr '\\0' x; echo",
        _ => ":",
    };
    let (lines, pause) = (random.u32(1..30), random.u32(1..6));
    let command = format!(
        "{manner}; i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo \"{name} $i\"; sleep 0.0{pause}; done; echo {name} >> {name}.txt"
    );
    Turn::containing(format!("end {name}.")).step([Item::shell(command)]).says(format!("end {name}"))
}
