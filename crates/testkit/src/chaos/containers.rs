//! What a storm has besides when its agent is the real Codex CLI in real containers: the model's script, and the engine's containers.
//!
//! Docker is asked through its own client, and only for containers with the label of the storm's home. Whatever became of a storm,
//! none of them outlives it.

use scripted_model::{Item, Script, ScriptedModel, Turn};

use super::world::name_of;
use crate::TestHome;
use crate::docker;

/// The most prompts that a storm can have: the model's script is written before it begins.
const PROMPTS: u32 = 2_000;

/// Free disk that a run needs: an image and a worktree of a few files need little.
const FREE_DISK: &str = "100m";

/// The model that answers the containers' Codex, and where the containers are.
pub(super) struct Containers {
    _model: ScriptedModel,
    label: String,
}

impl Containers {
    /// Writes the script and sets the home up, before its server starts.
    pub(super) fn begin(home: &mut TestHome, random: &mut fastrand::Rng) -> Self {
        let script = (1..=PROMPTS).fold(Script::new(), |script, number| script.turn(turn(&name_of(number), random)));
        let model = ScriptedModel::start(script).expect("a model that plays its script");
        home.set("ORCH_WORKER", "codex-docker");
        home.set("IMAGE_NAME", docker::codex_image());
        home.set("CODEX_API_KEY", "sk-storm-0123456789");
        home.set("CODEX_DOCKER_MODEL_URL", model.url());
        home.set("CODEX_DOCKER_FREE_DISK", FREE_DISK);
        Self { _model: model, label: format!("label=codex-docker.label.home={}", home.path().display()) }
    }

    /// All containers of the home, whatever they do.
    pub(super) fn all(&self) -> Vec<String> {
        let found = docker::docker(&["ps", "--all", "--format", "{{.Names}}", "--filter", &self.label]);
        let mut names: Vec<_> = found.lines().map(str::to_owned).collect();
        names.sort_unstable();
        names
    }

    /// Kills one of them. It may have ended before.
    pub(super) fn kill_one(&self, random: &mut fastrand::Rng) -> bool {
        let names = self.all();
        random.choice(&names).is_some_and(|name| docker::try_docker(&["kill", name]).status.success())
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        let found = docker::try_docker(&["ps", "--all", "--quiet", "--filter", &self.label]);
        for id in String::from_utf8_lossy(&found.stdout).lines() {
            docker::try_docker(&["rm", "--force", id]);
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
