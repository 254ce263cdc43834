//! What a storm has besides when its agent is the real Codex CLI in real containers: the model's script, and the engine's containers.
//!
//! Docker is asked through its own client, and only for containers with the label of the storm's home. The engine that is killed is
//! one of the storm's own. Whatever became of a storm,
//! none of them outlives it.

use std::process::Output;

use scripted_model::{Item, Script, ScriptedModel, Turn};

use super::world::name_of;
use crate::TestHome;
use crate::docker;
use crate::own_engine::{KilledEngine, OwnEngine};

/// The most prompts that a storm can have: the model's script is written before it begins.
const PROMPTS: u32 = 2_000;

/// Free disk that a run needs: an image and a worktree of a few files need little.
const FREE_DISK: &str = "100m";

/// The model that answers the containers' Codex, and where the containers are.
pub(super) struct Containers {
    _model: ScriptedModel,
    label: String,
    engine: Engine,
}

/// Where the containers are.
enum Engine {
    /// The machine's, which is never touched.
    OfTheMachine,
    Own(OwnEngine),
    /// The storm's own, and not there just now.
    Killed(KilledEngine),
}

impl Engine {
    /// One of the storm's own with the image. Whether it keeps its containers when it dies is drawn.
    fn own(home: &mut TestHome, random: &mut fastrand::Rng) -> Self {
        let flags: &[&str] = if random.bool() { &["--live-restore"] } else { &[] };
        let engine = OwnEngine::start(flags);
        engine.load(&docker::codex_image());
        home.set("DOCKER_HOST", engine.host());
        home.set("CODEX_DOCKER_NETWORK", "none");
        Self::Own(engine)
    }

    /// None while there is none.
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
    /// Writes the script and sets the home up, before its server starts.
    pub(super) fn begin(home: &mut TestHome, own_engine: bool, random: &mut fastrand::Rng) -> Self {
        let script = (1..=PROMPTS).fold(Script::new(), |script, number| script.turn(turn(&name_of(number), random)));
        let model = ScriptedModel::start(script).expect("a model that plays its script");
        home.set("ORCH_WORKER", "codex-docker");
        home.set("IMAGE_NAME", docker::codex_image());
        home.set("CODEX_API_KEY", "sk-storm-0123456789");
        home.set("CODEX_DOCKER_MODEL_URL", model.url());
        home.set("CODEX_DOCKER_FREE_DISK", FREE_DISK);
        let engine = if own_engine { Engine::own(home, random) } else { Engine::OfTheMachine };
        Self { _model: model, label: format!("label=codex-docker.label.home={}", home.path().display()), engine }
    }

    /// All containers of the home, whatever they do. None are known while there is no engine.
    pub(super) fn all(&self) -> Vec<String> {
        let found = self.engine.docker(&["ps", "--all", "--format", "{{.Names}}", "--filter", &self.label]);
        let Some(found) = found else { return vec![] };
        assert!(found.status.success(), "the engine does not list its containers: {found:?}");
        let mut names: Vec<_> = String::from_utf8_lossy(&found.stdout).lines().map(str::to_owned).collect();
        names.sort_unstable();
        names
    }

    /// Kills one of them. It may have ended before.
    pub(super) fn kill_one(&self, random: &mut fastrand::Rng) -> bool {
        let names = self.all();
        let killed = random.choice(&names).and_then(|name| self.engine.docker(&["kill", name]));
        killed.is_some_and(|killed| killed.status.success())
    }

    /// Kills the engine if it is the storm's own and there.
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

    /// Starts it again if it was killed.
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

/// Numbered lines from a command, a file that shows how often it ran, and the last words.
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
