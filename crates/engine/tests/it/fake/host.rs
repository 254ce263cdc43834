//! The fake machine: its storage, the order of the requests that it received, and a ledger of what really happened.
//!
//! Everything about a run is in files, so a restart of the machine loses nothing but connections.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use model::ids::TaskId;
use model::setup::{Snapshot, SnapshotKey};
use model::task::LayerGeneration;
use runner::keeper::ExitRecord;
use runner::spec::{RunKey, RunSpec};
use runner::{RunMemory, RunState, Runner, SetupSpec, Unreachable};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::runtime::{Handle, Runtime};
use tokio::time::Instant;

use super::agent;
use super::faults::{Fault, Faults};
use super::runner::FakeRunner;

/// How long a restart takes.
const RESTART: Duration = Duration::from_millis(30);

/// A machine that executes runs until it is dropped.
pub(crate) struct FakeHost {
    host: Arc<Host>,
    runtime: Option<Runtime>,
}

/// What the tests know about the runs, whatever the server thinks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    /// How often each attempt was started.
    pub(crate) starts: BTreeMap<RunKey, u32>,
    /// What the agent of each attempt wrote to its log.
    pub(crate) written: BTreeMap<RunKey, Vec<u8>>,
    /// The prompts and the secrets that each attempt got.
    pub(crate) given: BTreeMap<RunKey, Vec<String>>,
    /// The attempts whose agents were stopped.
    pub(crate) stopped: BTreeSet<RunKey>,
    /// The attempts that the server asked to forget.
    pub(crate) forgotten: BTreeSet<RunKey>,
    /// The number of agents at the same time, and its maximum.
    pub(crate) alive: usize,
    pub(crate) most_alive: usize,
    /// The number of requests that failed.
    pub(crate) faults: u32,
    /// The setups that ran, oldest first, with the secrets that each got.
    pub(crate) setups: Vec<(SetupSpec, Vec<String>)>,
    /// Images that the machine does not have.
    pub(crate) missing_images: BTreeSet<String>,
    /// Whether the machine does not have the image of the settings.
    pub(crate) lacks_settings_image: bool,
    /// How often images were created.
    pub(crate) image_rounds: usize,
    /// The requests to delete earlier layers, with the layers that stay.
    pub(crate) layers_discarded: Vec<(TaskId, LayerGeneration)>,
    /// The complete snapshots.
    pub(crate) snapshots: BTreeMap<SnapshotKey, Snapshot>,
}

/// The position of a request among all requests to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp {
    /// The connection.
    pub(super) connection: u64,
    number: u64,
}

#[derive(Debug, Default)]
struct State {
    connection: u64,
    number: u64,
    generation: u64,
    away_until: Option<Instant>,
    /// Earlier requests to start these attempts are rejected.
    fences: BTreeMap<RunKey, u64>,
    ledger: Ledger,
}

pub(super) struct Host {
    root: PathBuf,
    pub(super) handle: Handle,
    pub(super) faults: Faults,
    pub(super) capacity: Option<usize>,
    /// The memory of all runs, which is not limited if nobody sets it before a server asks.
    pub(super) memory: OnceLock<Option<RunMemory>>,
    state: Mutex<State>,
    /// Allows one request about runs at a time.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// The number of setups that may end. The others wait.
    pub(super) setups_released: tokio::sync::watch::Sender<usize>,
}

/// A run that the host accepted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Accepted {
    pub(super) spec: RunSpec,
    pub(super) prompt: String,
    pub(super) mirror: PathBuf,
    pub(super) started_at: Timestamp,
    /// The position of the request that started it.
    pub(super) number: u64,
}

impl FakeHost {
    /// Starts a machine with storage in `root`, which fails `percentage` of all requests.
    pub(crate) fn new(root: &Path, seed: u64, percentage: u32, capacity: Option<usize>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let host = Host {
            root: root.to_owned(),
            handle: runtime.handle().clone(),
            faults: Faults::new(seed, percentage),
            capacity,
            memory: OnceLock::new(),
            state: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            setups_released: tokio::sync::watch::Sender::new(0),
        };
        Self { host: Arc::new(host), runtime: Some(runtime) }
    }

    /// Limits the memory of all runs. Call it before a server connects.
    pub(crate) fn limit_memory(&self, memory: RunMemory) {
        self.host.memory.set(Some(memory)).expect("no server has asked yet");
    }

    /// Connects a server. Requests of servers that connected before are rejected from now on.
    pub(crate) fn connect(&self) -> Arc<dyn Runner> {
        let mut state = self.host.locked();
        state.connection += 1;
        Arc::new(FakeRunner::new(Arc::clone(&self.host), state.connection))
    }

    /// Orders the failures of the next requests.
    pub(crate) fn order(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.host.faults.order(faults);
    }

    /// Makes the host unreachable until [`FakeHost::come_back`].
    pub(crate) fn go_away(&self) {
        self.host.go_away(Duration::from_hours(1));
    }

    /// Lets the next setup end.
    pub(crate) fn release_setup(&self) {
        self.host.setups_released.send_modify(|released| *released += 1);
    }

    /// Takes these images away, and brings all others back.
    pub(crate) fn lose_images(&self, names: BTreeSet<String>) {
        self.host.note(|ledger| ledger.missing_images = names);
    }

    /// Takes the image of the settings away.
    pub(crate) fn lose_settings_image(&self) {
        self.host.note(|ledger| ledger.lacks_settings_image = true);
    }

    /// Brings the image of the settings back.
    pub(crate) fn restore_settings_image(&self) {
        self.host.note(|ledger| ledger.lacks_settings_image = false);
    }

    /// Makes the host reachable again.
    pub(crate) fn come_back(&self) {
        self.host.locked().away_until = None;
    }

    /// Returns what really happened.
    pub(crate) fn ledger(&self) -> Ledger {
        self.host.ledger()
    }

    /// Returns the attempts that the host still has.
    pub(crate) fn runs(&self) -> BTreeSet<RunKey> {
        self.host.accepted().into_iter().map(|run| run.spec.key).collect()
    }

    /// Returns the description that the host stored.
    pub(crate) fn stored_spec(&self, key: RunKey) -> Option<RunSpec> {
        self.host.run(key).map(|run| run.spec)
    }
}

impl Drop for FakeHost {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(10));
        }
    }
}

impl Host {
    pub(super) fn ledger(&self) -> Ledger {
        self.locked().ledger.clone()
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, change: impl FnOnce(&mut Ledger)) {
        change(&mut self.locked().ledger);
    }

    pub(super) fn folder(&self, key: RunKey) -> PathBuf {
        self.root.join(format!("{}-{}-{}", key.task, key.run.0, key.attempt.0))
    }

    /// Numbers a request, and returns the current generation of the host.
    pub(super) fn receive(&self, connection: u64) -> Result<(Stamp, u64), Unreachable> {
        let mut state = self.locked();
        if state.away_until.is_some_and(|until| Instant::now() < until) {
            return Err(Unreachable::new("no route to the host"));
        }
        state.number += 1;
        Ok((Stamp { connection, number: state.number }, state.generation))
    }

    /// Rejects a request of an earlier server.
    pub(super) fn admit(&self, stamp: Stamp) -> Result<(), Unreachable> {
        if stamp.connection == self.locked().connection {
            return Ok(());
        }
        Err(Unreachable::new("another server is connected"))
    }

    pub(super) fn go_away(&self, duration: Duration) {
        let until = Instant::now() + duration;
        let mut state = self.locked();
        state.away_until = Some(state.away_until.map_or(until, |known| known.max(until)));
    }

    /// Drops all connections and answers.
    pub(super) fn restart(&self) {
        self.locked().generation += 1;
        self.go_away(RESTART);
    }

    pub(super) fn is_of_generation(&self, generation: u64) -> bool {
        self.locked().generation == generation
    }

    /// Rejects requests to start the attempt that were sent before this one.
    fn fence(&self, key: RunKey, stamp: Stamp) {
        let mut state = self.locked();
        let fence = state.fences.entry(key).or_default();
        *fence = stamp.number.max(*fence);
    }

    fn is_fenced(&self, key: RunKey, stamp: Stamp) -> bool {
        self.locked().fences.get(&key).is_some_and(|fence| stamp.number < *fence)
    }

    /// Returns all runs that the host has.
    fn accepted(&self) -> Vec<Accepted> {
        let entries = fs_err::read_dir(&self.root).expect("the storage exists");
        entries.filter_map(|entry| read(&entry.expect("readable").path().join("accepted.json"))).collect()
    }

    pub(super) fn run(&self, key: RunKey) -> Option<Accepted> {
        read(&self.folder(key).join("accepted.json"))
    }

    pub(super) fn exit(&self, key: RunKey) -> Option<ExitRecord> {
        read(&self.folder(key).join("exit.json"))
    }

    /// Starts an attempt, unless it was started before.
    pub(super) fn start(
        self: &Arc<Self>,
        accepted: Accepted,
        given: Vec<String>,
        stamp: Stamp,
    ) -> Result<Timestamp, Unreachable> {
        let key = accepted.spec.key;
        if let Some(run) = self.run(key) {
            return Ok(run.started_at);
        }
        if self.is_fenced(key, stamp) {
            return Err(Unreachable::new("the request is too old"));
        }
        let started_at = accepted.started_at;
        fs_err::create_dir_all(self.folder(key)).expect("a folder");
        write(&self.folder(key).join("accepted.json"), &Accepted { number: stamp.number, ..accepted.clone() });
        self.note(|ledger| {
            *ledger.starts.entry(key).or_default() += 1;
            ledger.given.insert(key, given);
            ledger.alive += 1;
            ledger.most_alive = ledger.most_alive.max(ledger.alive);
        });
        let host = Arc::clone(self);
        self.handle.spawn(async move { agent::work(&host, &accepted).await });
        Ok(started_at)
    }

    pub(super) fn state_of(&self, key: RunKey, stamp: Stamp) -> RunState {
        match (self.run(key), self.exit(key)) {
            (None, _) => {
                self.fence(key, stamp);
                RunState::Nobody
            }
            (Some(run), None) => RunState::Held { started_at: run.started_at },
            (Some(_), Some(exit)) => RunState::Ended { exit: Some(exit) },
        }
    }

    /// Asks an agent to stop.
    pub(super) fn stop(&self, key: RunKey) {
        let folder = self.folder(key);
        if folder.exists() {
            fs_err::write(folder.join("stop"), "").expect("written");
        }
    }

    /// Deletes everything of an attempt.
    pub(super) fn forget(&self, key: RunKey, stamp: Stamp) {
        self.fence(key, stamp);
        self.note(|ledger| {
            ledger.forgotten.insert(key);
        });
        if self.run(key).is_some() {
            fs_err::remove_dir_all(self.folder(key)).expect("deleted");
        }
    }

    /// Stops and deletes what is not active and was not started after this request.
    pub(super) async fn sweep(&self, active: &BTreeSet<RunKey>, stamp: Stamp) {
        for run in self.accepted().into_iter().filter(|run| run.number < stamp.number && !active.contains(&run.spec.key)) {
            self.until_ended(run.spec.key).await;
            self.forget(run.spec.key, stamp);
        }
    }

    /// Stops an agent and waits for its end.
    pub(super) async fn until_ended(&self, key: RunKey) {
        while self.run(key).is_some() && self.exit(key).is_none() {
            self.stop(key);
            tokio::time::sleep(agent::STEP).await;
        }
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let text = match fs_err::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        text => text.expect("readable"),
    };
    Some(serde_json::from_slice(&text).expect("a complete file"))
}

pub(super) fn write<T: Serialize>(path: &Path, value: &T) {
    durable::write_atomically(path, &serde_json::to_vec(value).expect("serializable")).expect("written");
}
