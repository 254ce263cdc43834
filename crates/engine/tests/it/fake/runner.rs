//! The runner that a server uses to reach the fake machine. Each request may fail in every way in which a connection can fail.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_stream::stream;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use model::ErrorCode;
use model::environment::EnvironmentRecord;
use model::ids::{EnvironmentId, TaskId};
use model::problem::Problem;
use model::run::RunError;
use model::setup::{ImageChoice, Snapshot, SnapshotKey};
use model::task::LayerGeneration;
use process::Redactor;
use protocol::WorkerStatus;
use runner::spec::{ContainerSandbox, RunKey, RunSpec, Sandbox};
use runner::{
    EnvironmentImages, ExportError, ExportFolder, ExportRequest, Exported, FoundImages, ImagesRequest, Integrity, JournalNews,
    NeededImage, Preparation, RunRemains, RunRequest, RunState, Runner, RunnerCapacity, SetupRequest, StartError, Supply,
    Unreachable, Upkeep, WorkLocation,
};

use super::agent;
use super::faults::Fault;
use super::host::{Accepted, Host, Stamp};

/// The maximum number of bytes that are delivered at once.
const PIECE: u32 = 300;

/// A connection of a server to the fake machine.
pub(crate) struct FakeRunner {
    host: Arc<Host>,
    connection: u64,
}

impl FakeRunner {
    pub(super) fn new(host: Arc<Host>, connection: u64) -> Self {
        Self { host, connection }
    }

    /// Sends a request, which the host processes even if the server stops in the meantime.
    async fn call<T: Send + 'static>(
        &self,
        process: impl FnOnce(Arc<Host>, Stamp) -> BoxFuture<'static, Result<T, Unreachable>> + Send + 'static,
    ) -> Result<T, Unreachable> {
        let (stamp, generation) = self.host.receive(self.connection)?;
        let fault = self.host.faults.next();
        if fault.is_some() {
            self.host.note(|ledger| ledger.faults += 1);
        }
        let lost = |what: &str| Err(Unreachable::new(what));
        match fault {
            Some(Fault::LostRequest) => return lost("the request was lost"),
            Some(Fault::Away(duration)) => {
                self.host.go_away(duration);
                return lost("the host went away");
            }
            Some(Fault::LateRequest(_) | Fault::LostAnswer | Fault::LateAnswer(_) | Fault::Restart) | None => {}
        }
        let host = Arc::clone(&self.host);
        let processed = self.host.handle.spawn(async move {
            if let Some(Fault::LateRequest(duration)) = fault {
                tokio::time::sleep(duration).await;
            }
            let _turn = host.turn.lock().await;
            host.admit(stamp)?;
            process(Arc::clone(&host), stamp).await
        });
        if let Some(Fault::LateRequest(_)) = fault {
            return lost("the request is late");
        }
        let answer = processed.await.unwrap_or_else(|_| lost("the host failed"));
        match fault {
            Some(Fault::LostAnswer) => return lost("the answer was lost"),
            Some(Fault::LateAnswer(duration)) => tokio::time::sleep(duration).await,
            Some(Fault::Restart) => self.host.restart(),
            Some(Fault::LostRequest | Fault::LateRequest(_) | Fault::Away(_)) | None => {}
        }
        if self.host.is_of_generation(generation) { answer } else { lost("the host restarted") }
    }

    /// Uploads what a run needs, then starts it.
    async fn start(&self, spec: &RunSpec, supply: &dyn Supply) -> Result<Timestamp, StartError> {
        let turn = spec.driver.turn();
        let read = supply.file(spec.key, &turn.prompt).await.map_err(|error| Unreachable::new(error.to_string()))?;
        let prompt = String::from_utf8(read).expect("a prompt is text");
        let secrets = spec.secrets.values().filter_map(|reference| supply.secret(reference));
        let given = [prompt.clone()].into_iter().chain(secrets.map(|secret| secret.expose().to_owned())).collect();
        let mirror = supply.mirror(spec.source.repository).map_err(StartError::Failed)?.path().to_owned();
        let accepted = Accepted { spec: spec.clone(), prompt, mirror, started_at: Timestamp::now(), number: 0 };
        let start = move |host: Arc<Host>, stamp| -> BoxFuture<'static, _> {
            Box::pin(async move { host.start(accepted, given, stamp) })
        };
        Ok(self.call(start).await?)
    }

    async fn export(&self, request: ExportRequest<'_>) -> Result<Exported, ExportError> {
        let (key, mode, message) = (request.spec.key, request.mode, request.message);
        let export = move |host: Arc<Host>, stamp: Stamp| -> BoxFuture<'static, _> {
            Box::pin(async move {
                let folder = host.folder(key);
                let accepted = host.run(key).ok_or_else(|| Unreachable::new("the host does not have this run"))?;
                // Each answer has its own folder, like a download.
                let out = folder.join(format!("export-{stamp:?}"));
                agent::export(&folder, &accepted, mode, &message, &out).await;
                Ok(out)
            })
        };
        let path = self.call(export).await?;
        let large_files = path.join("lfs");
        Ok(Exported::Bundle(ExportFolder { path, large_files, aside: None, selection: model::commit::Selection::default() }))
    }

    /// Runs a setup: it waits until it is released, fails if its script says so, and otherwise results in a snapshot.
    async fn set_up(&self, request: SetupRequest<'_>, supply: &dyn Supply) -> Result<Snapshot, StartError> {
        let spec = request.spec.clone();
        if let Some(worktree) = request.worktree {
            assert!(worktree.path().join("README.md").exists(), "the setup runs in the repository");
        }
        let secrets: Vec<_> = spec.secrets.values().filter_map(|reference| supply.secret(reference)).collect();
        let secrets = secrets.iter().map(|secret| secret.expose().to_owned()).collect();
        self.host.note(|ledger| ledger.setups.push((spec.clone(), secrets)));
        let number = self.host.ledger().setups.len();
        let mut released = self.host.setups_released.subscribe();
        let ended = request.cancel.run_until_cancelled(released.wait_for(|released| *released >= number)).await;
        if !matches!(ended, Some(Ok(_))) {
            return Err(StartError::Failed(RunError::new(ErrorCode::Cancelled, "stopped")));
        }
        drop(ended);
        if spec.script.as_ref().is_some_and(|script| script.as_str() == "false") {
            return Err(StartError::Failed(RunError::new(ErrorCode::SetupFailed, "the setup script exited with code 1")));
        }
        let snapshot = Snapshot {
            key: spec.key,
            commit: spec.commit,
            image: None,
            base: spec.image,
            folders: vec![],
            family: Some(spec.family),
            updates: spec.update.as_ref().map_or(0, |update| update.updates),
            updated_from: spec.update.map(|update| update.from),
            created_at: Timestamp::now(),
            seconds: 1.0,
        };
        let made = snapshot.clone();
        self.host.note(|ledger| drop(ledger.snapshots.insert(made.key.clone(), made)));
        Ok(snapshot)
    }
}

impl Runner for FakeRunner {
    /// The machine has every image except for those in its ledger. An image of a description has its own name and ID.
    fn images<'a>(
        &'a self,
        wanted: &'a EnvironmentImages,
        _supply: &'a dyn Supply,
    ) -> BoxFuture<'a, Result<Option<FoundImages>, StartError>> {
        let wanted = wanted.clone();
        let look = move |host: Arc<Host>, _| -> BoxFuture<'static, _> {
            Box::pin(async move {
                let described = match &wanted.choice {
                    Some(ImageChoice::Named(name)) => name.clone(),
                    Some(ImageChoice::Build { .. }) | None => "image".to_owned(),
                };
                let name = wanted.is_described().then_some(described);
                let missing = host.ledger().missing_images.clone();
                let missing: Vec<_> =
                    name.iter().chain(&wanted.services).filter(|name| missing.contains(*name)).cloned().collect();
                let id = format!("sha256:{}", name.as_deref().unwrap_or("1"));
                let is_missing = name.as_ref().is_some_and(|name| missing.contains(name));
                Ok(FoundImages { id: Some(id).filter(|_| !is_missing), name, missing })
            })
        };
        Box::pin(async move { Ok(Some(self.call(look).await?)) })
    }

    /// Creates all images that exist anywhere: those whose name does not start with `no-`.
    fn ensure_images<'a>(&'a self, request: ImagesRequest<'a>, _supply: &'a dyn Supply) -> BoxFuture<'a, Result<(), StartError>> {
        Box::pin(async move {
            let ImagesRequest { mut on_step, .. } = request;
            on_step("[1/2] FROM x");
            let create = |host: Arc<Host>, _| -> BoxFuture<'static, _> {
                Box::pin(async move {
                    host.note(|ledger| {
                        ledger.image_rounds += usize::from(!ledger.missing_images.is_empty());
                        ledger.missing_images.retain(|name| name.starts_with("no-"));
                    });
                    Ok(host.ledger().missing_images.iter().next().cloned())
                })
            };
            match self.call(create).await? {
                None => Ok(()),
                Some(name) => {
                    Err(StartError::Failed(RunError::new(ErrorCode::ImageFailed, format!("the image `{name}` does not exist"))))
                }
            }
        })
    }

    fn snapshot<'a>(
        &'a self,
        _repository: EnvironmentId,
        key: &'a SnapshotKey,
    ) -> BoxFuture<'a, Result<Option<Snapshot>, Unreachable>> {
        let key = key.clone();
        Box::pin(self.call(move |host, _| Box::pin(async move { Ok(host.ledger().snapshots.get(&key).cloned()) })))
    }

    fn newest_snapshot<'a>(
        &'a self,
        _repository: EnvironmentId,
        family: &'a SnapshotKey,
    ) -> BoxFuture<'a, Result<Option<Snapshot>, Unreachable>> {
        let family = family.clone();
        Box::pin(self.call(move |host, _| {
            Box::pin(async move {
                let found = host.ledger().snapshots.into_values().filter(|snapshot| snapshot.family.as_ref() == Some(&family));
                Ok(found.max_by_key(|snapshot| snapshot.created_at))
            })
        }))
    }

    fn ensure_set_up<'a>(
        &'a self,
        request: SetupRequest<'a>,
        supply: &'a dyn Supply,
    ) -> BoxFuture<'a, Result<Snapshot, StartError>> {
        Box::pin(self.set_up(request, supply))
    }

    fn capacity(&self) -> RunnerCapacity {
        RunnerCapacity { most: self.host.capacity, memory: *self.host.memory.get_or_init(|| None) }
    }

    fn sandbox(&self, container: ContainerSandbox) -> Sandbox {
        Sandbox::Container(container)
    }

    fn prepare<'a>(&'a self, _preparation: Preparation<'a>, _supply: &'a dyn Supply) -> BoxFuture<'a, Result<(), StartError>> {
        Box::pin(async { Ok(self.call(|_, _| Box::pin(async { Ok(()) })).await?) })
    }

    fn ensure_started<'a>(&'a self, spec: &'a RunSpec, supply: &'a dyn Supply) -> BoxFuture<'a, Result<Timestamp, StartError>> {
        Box::pin(self.start(spec, supply))
    }

    fn observe(&self, key: RunKey) -> BoxFuture<'_, RunState> {
        Box::pin(async move {
            let observed = self.call(move |host, stamp| Box::pin(async move { Ok(host.state_of(key, stamp)) })).await;
            observed.unwrap_or_else(RunState::Unreachable)
        })
    }

    fn journal(&self, key: RunKey, from: u64) -> BoxStream<'_, Result<JournalNews, Unreachable>> {
        Box::pin(stream! {
            let mut offset = usize::try_from(from).expect("a short log");
            loop {
                if let Err(unreachable) = self.host.receive(self.connection).and_then(|(stamp, _)| self.host.admit(stamp)) {
                    yield Err(unreachable);
                    return;
                }
                // Look for the end first, because nothing is written after it.
                let is_over = self.host.exit(key).is_some() || self.host.run(key).is_none();
                let log = fs_err::read(self.host.folder(key).join("log")).unwrap_or_default();
                let rest = log.get(offset..).unwrap_or_default();
                if rest.is_empty() {
                    if is_over {
                        yield Ok(JournalNews::Ended);
                        return;
                    }
                    tokio::time::sleep(agent::STEP).await;
                    continue;
                }
                if self.host.faults.breaks() {
                    yield Err(Unreachable::new("the connection broke"));
                    return;
                }
                let length = rest.len().min(1 + self.host.faults.below(PIECE) as usize);
                offset += length;
                yield Ok(JournalNews::Bytes(rest[..length].to_owned()));
            }
        })
    }

    fn request(&self, key: RunKey, request: RunRequest) -> BoxFuture<'_, Result<(), Unreachable>> {
        Box::pin(self.call(move |host, _| {
            Box::pin(async move {
                match request {
                    RunRequest::Stop => host.stop(key),
                }
                Ok(())
            })
        }))
    }

    fn ensure_ended<'a>(&'a self, spec: &'a RunSpec, _supply: &'a dyn Supply) -> BoxFuture<'a, Result<RunRemains, Unreachable>> {
        let key = spec.key;
        Box::pin(self.call(move |host, _| {
            Box::pin(async move {
                host.until_ended(key).await;
                Ok(RunRemains {
                    exit: host.exit(key),
                    stderr: String::new(),
                    notes: vec!["ran elsewhere".to_owned()],
                    artifacts: 0,
                    work: WorkLocation::Elsewhere,
                    integrity: Integrity::Intact,
                })
            })
        }))
    }

    fn ensure_exported<'a>(
        &'a self,
        request: ExportRequest<'a>,
        _supply: &'a dyn Supply,
    ) -> BoxFuture<'a, Result<Exported, ExportError>> {
        Box::pin(self.export(request))
    }

    fn forget(&self, key: RunKey) -> BoxFuture<'_, Result<(), Unreachable>> {
        Box::pin(self.call(move |host, stamp| {
            Box::pin(async move {
                host.forget(key, stamp);
                Ok(())
            })
        }))
    }
}

impl Upkeep for FakeRunner {
    fn ready<'a>(&'a self, _repository: Option<&'a EnvironmentRecord>, image: NeededImage) -> BoxFuture<'a, Result<(), Problem>> {
        let is_missing = image == NeededImage::OfSettings && self.host.ledger().lacks_settings_image;
        let missing = is_missing.then(|| Problem::new(ErrorCode::NoWorker, "the image of the settings is missing"));
        Box::pin(async { missing.map_or(Ok(()), Err) })
    }

    fn status(&self) -> WorkerStatus {
        WorkerStatus { name: "fake".to_owned(), program: None, problem: None, hints: vec![], container: None }
    }

    fn sweep<'a>(&'a self, active: &'a BTreeSet<RunKey>) -> BoxFuture<'a, Result<(), Unreachable>> {
        let active = active.clone();
        Box::pin(self.call(move |host, stamp| {
            Box::pin(async move {
                host.sweep(&active, stamp).await;
                Ok(())
            })
        }))
    }

    fn discard_layers(&self, task: TaskId, current: LayerGeneration) -> BoxFuture<'_, Result<(), Unreachable>> {
        Box::pin(self.call(move |host, _| {
            Box::pin(async move {
                host.note(|ledger| ledger.layers_discarded.push((task, current)));
                Ok(())
            })
        }))
    }

    fn clear_task(&self, _task: TaskId, _redactor: Redactor) -> BoxFuture<'_, Result<(), Unreachable>> {
        Box::pin(async { Ok(()) })
    }
}
