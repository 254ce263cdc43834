//! The runner of this machine, with the files that keepers leave behind. These tests start no worker.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::Config;
use fs_err as fs;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use git::Mirror;
use jiff::Timestamp;
use model::ErrorCode;
use model::ids::{Attempt, EnvironmentId, RunNumber, TaskId};
use model::run::RunError;
use model::secret::Secret;
use model::setup::Script;
use process::{BaseEnvironment, ProcessIdentity, Redactor};
use runner::journal::FolderWatch;
use runner::keeper::{ExitRecord, KeeperOrder, KeeperRecord, RunFiles, WorkerEnd};
use runner::spec::{ContainerSandbox, Driver, FileRef, ImageRef, Limits, SPEC_SCHEMA, Sandbox, SecretRef, Source, Turn};
use runner::worker::{Cleanup, SessionFolder};
use runner::{
    HostSetup, Integrity, JournalNews, LocalRunner, NeededImage, RunKey, RunRemains, RunRequest, RunSpec, RunState, Runner as _,
    RunnerCapacity, StartError, Supply, Upkeep as _, WorkLocation,
};
use store::{CodexHome, Home};
use tokio_util::sync::CancellationToken;

const ID: &str = "01a201f5-b7dd-79a1-8a6e-7e6639f5c650";

/// A home, and a runner that uses it.
struct Stage {
    folder: tempfile::TempDir,
    home: Arc<Home>,
    runner: LocalRunner,
}

impl Stage {
    /// Uses a program with this text as the worker, or the built-in one.
    fn new(worker: Option<&str>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config::for_home(&folder.path().join("home"));
        config.base_environment = BaseEnvironment::default().with("PATH", folder.path());
        config.container_program = vec![folder.path().join("missing").display().to_string()];
        config.worker = worker.map(|text| {
            let program = folder.path().join("worker");
            fs::write(&program, text).expect("written");
            fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("ours");
            program.display().to_string()
        });
        let home = Arc::new(Home::open(&config.home).expect("a home"));
        let codex_home = CodexHome::open(&home.layout).expect("a Codex home");
        let runner = LocalRunner::new(&config, Arc::clone(&home), codex_home, FolderWatch::new());
        let stage = Self { folder, home, runner };
        fs::create_dir_all(stage.logs()).expect("made");
        stage
    }

    /// Uses a program that follows the contract.
    fn custom() -> Self {
        Self::new(Some("#!/bin/sh\n"))
    }

    fn logs(&self) -> PathBuf {
        self.home.layout.logs(task())
    }

    fn files(&self) -> RunFiles {
        RunFiles::new(&self.logs(), RunNumber(1))
    }

    fn put_keeper(&self, keeper: ProcessIdentity) {
        let record = KeeperRecord {
            schema: 1,
            attempt: Attempt(2),
            keeper,
            worker: None,
            started_at: Timestamp::UNIX_EPOCH,
            translated_from: None,
        };
        write(&self.files().keeper(), &record);
    }

    fn put_exit(&self) -> ExitRecord {
        let exit = ExitRecord {
            schema: 1,
            attempt: Attempt(2),
            started_at: Some(Timestamp::UNIX_EPOCH),
            finished_at: Timestamp::UNIX_EPOCH,
            ending: WorkerEnd::Code { code: 3 },
            stop_requested: false,
            work_on_disk: false,
            unusable_app_server: None,
            log_is_incomplete: false,
        };
        write(&self.files().exit(), &exit);
        exit
    }

    fn put_order(&self, cleanup: Option<Cleanup>) {
        let order = KeeperOrder {
            schema: 1,
            task_id: task(),
            run: RunNumber(1),
            attempt: Attempt(2),
            program: "/bin/true".into(),
            args: vec![],
            directory: "/".into(),
            time_limit_ms: 1,
            turn_end_grace_ms: 1,
            stop_grace_ms: 1,
            sessions: None,
            app_server: None,
            cleanup,
            notes: vec!["a note of the order".to_owned()],
        };
        write(&self.files().order(), &order);
    }

    async fn remains(&self) -> RunRemains {
        self.runner.ensure_ended(&spec(), &NoSupply).await.expect("the files can be read")
    }
}

fn task() -> TaskId {
    ID.parse().expect("an ID")
}

fn key() -> RunKey {
    RunKey { task: task(), run: RunNumber(1), attempt: Attempt(2) }
}

fn alive() -> ProcessIdentity {
    ProcessIdentity::current().expect("/proc can be read")
}

fn gone() -> ProcessIdentity {
    ProcessIdentity { start_time: alive().start_time + 1, ..alive() }
}

fn write(path: &Path, record: &impl serde::Serialize) {
    fs::write(path, serde_json::to_vec(record).expect("JSON")).expect("written");
}

fn spec() -> RunSpec {
    RunSpec {
        schema: SPEC_SCHEMA,
        key: key(),
        driver: Driver::Exec(Turn {
            prompt: FileRef::prompt(),
            images: vec![],
            earlier_images: vec![],
            model: None,
            effort: None,
            resumes: None,
        }),
        sandbox: Sandbox::Host,
        source: Source {
            repository: ID.parse().expect("an ID"),
            name: "example".to_owned(),
            origin: "https://example.org/a.git".to_owned(),
            base: "1".repeat(40).parse().expect("an ID"),
            start: "1".repeat(40).parse().expect("an ID"),
            branch: format!("codex/{ID}"),
            subdirectory: None,
            previous: None,
        },
        limits: Limits { run_ms: 1000, turn_end_grace_ms: 1000, stop_grace_ms: 1000 },
        variables: BTreeMap::new(),
        secrets: BTreeMap::new(),
        account: None,
        snapshot: None,
        layers: model::task::LayerGeneration::default(),
        caches: std::collections::BTreeSet::new(),
        services: BTreeMap::new(),
        context: vec![],
        files: BTreeMap::new(),
    }
}

/// A server that has nothing but a value to mask.
struct NoSupply;

impl Supply for NoSupply {
    fn secret(&self, _reference: &SecretRef) -> Option<Secret> {
        None
    }

    fn file<'a>(&'a self, _key: RunKey, _reference: &'a FileRef) -> BoxFuture<'a, io::Result<Vec<u8>>> {
        Box::pin(async { Err(io::ErrorKind::NotFound.into()) })
    }

    fn mirror(&self, _repository: EnvironmentId) -> Result<Mirror, RunError> {
        Err(RunError::new(ErrorCode::MirrorMissing, "no mirror"))
    }

    fn dockerfile(&self, _repository: EnvironmentId) -> Option<PathBuf> {
        None
    }

    fn redactor(&self, _repository: EnvironmentId) -> Redactor {
        Redactor::new(["hunter2".to_owned()])
    }

    fn image_built<'a>(&'a self, _repository: EnvironmentId, _name: &'a str, _id: String) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}

#[tokio::test]
async fn the_state_of_an_attempt_is_that_of_its_keeper() {
    let stage = Stage::custom();
    assert_eq!(stage.runner.observe(key()).await, RunState::Nobody);
    stage.put_keeper(alive());
    assert_eq!(stage.runner.observe(key()).await, RunState::Held { started_at: Timestamp::UNIX_EPOCH });
    stage.put_keeper(gone());
    assert_eq!(stage.runner.observe(key()).await, RunState::Ended { exit: None });
    let exit = stage.put_exit();
    assert_eq!(stage.runner.observe(key()).await, RunState::Ended { exit: Some(exit) });
    let other = RunKey { attempt: Attempt(3), ..key() };
    assert_eq!(stage.runner.observe(other).await, RunState::Nobody, "another attempt has its own state");
}

#[tokio::test]
async fn a_keeper_that_is_just_starting_is_not_an_answer() {
    let stage = Stage::custom();
    let lock = fs::File::create(stage.files().lock()).expect("made").into_parts().0;
    lock.lock().expect("free");
    assert!(matches!(stage.runner.observe(key()).await, RunState::Unreachable(_)));
    drop(lock);
    assert_eq!(stage.runner.observe(key()).await, RunState::Nobody);
}

#[tokio::test]
async fn a_log_is_written_in_place_and_followed_to_the_end_of_the_keeper() {
    let stage = Stage::custom();
    fs::write(stage.files().journal(), "one\n").expect("written");
    stage.put_keeper(gone());
    let news: Vec<_> = stage.runner.journal(key(), 0).collect().await;
    assert_eq!(news.first(), Some(&Ok(JournalNews::InPlace { length: 4 })));
    assert_eq!(news.last(), Some(&Ok(JournalNews::Ended)));
    stage.put_keeper(alive());
    let mut news = stage.runner.journal(key(), 4);
    assert_eq!(news.next().await, Some(Ok(JournalNews::InPlace { length: 4 })));
    fs::write(stage.files().journal(), "one\ntwo\n").expect("written");
    let grown = async { while news.next().await != Some(Ok(JournalNews::InPlace { length: 8 })) {} };
    tokio::time::timeout(std::time::Duration::from_secs(20), grown).await.expect("growth is noticed");
}

#[tokio::test]
async fn a_stop_of_a_run_that_never_started_is_harmless() {
    let stage = Stage::custom();
    stage.runner.request(key(), RunRequest::Stop).await.expect("accepted");
    stage.put_keeper(gone());
    stage.runner.request(key(), RunRequest::Stop).await.expect("accepted");
    stage.runner.forget(key()).await.expect("accepted");
    assert!(stage.files().keeper().exists(), "the files of a run belong to its task");
}

#[tokio::test]
async fn a_run_whose_keeper_left_a_damaged_record_is_over() {
    let stage = Stage::custom();
    fs::write(stage.files().keeper(), "{\"schema\":1,").expect("written");
    assert_eq!(stage.runner.observe(key()).await, RunState::Ended { exit: None });
    stage.runner.request(key(), RunRequest::Stop).await.expect("there is nobody to stop");
    let news: Vec<_> = stage.runner.journal(key(), 0).collect().await;
    assert!(matches!(news.last(), Some(Err(_))), "nobody can wait for an unknown keeper: {news:?}");
}

#[tokio::test]
async fn what_remains_of_a_run_without_a_container_is_in_place() {
    let stage = Stage::custom();
    stage.put_order(None);
    stage.put_keeper(gone());
    let exit = stage.put_exit();
    fs::write(stage.files().stderr(), format!("{}\nlast words\n", "x".repeat(20_000))).expect("written");
    let remains = stage.remains().await;
    assert_eq!((remains.exit, remains.work, remains.integrity), (Some(exit), WorkLocation::InPlace, Integrity::Intact));
    assert_eq!(remains.notes, ["a note of the order"]);
    assert!(remains.stderr.ends_with("last words\n") && remains.stderr.len() == 16 * 1024, "{}", remains.stderr.len());
}

#[tokio::test]
async fn what_codex_docker_refused_is_noted_if_the_run_was_in_a_container() {
    let stage = Stage::custom();
    stage.put_keeper(gone());
    stage.put_exit();
    fs::write(stage.files().stderr(), "codex-docker: refused hunter2.example:443\n").expect("written");
    let cleanup = Cleanup { program: "/bin/true".into(), args: vec![] };
    for (cleanup, work, refused) in [
        (None, WorkLocation::InPlace, vec![]),
        (Some(cleanup), WorkLocation::AgentRepository, vec!["the network refused ***.example:443".to_owned()]),
    ] {
        stage.put_order(cleanup);
        let remains = stage.remains().await;
        assert_eq!((remains.work, remains.notes[1..].to_vec()), (work, refused));
    }
}

#[tokio::test]
async fn a_run_of_another_boot_is_torn_unless_its_work_was_saved() {
    let stage = Stage::custom();
    stage.put_order(None);
    stage.put_keeper(ProcessIdentity { boot_id: "another".to_owned(), ..gone() });
    assert_eq!(stage.remains().await.integrity, Integrity::Torn);
    let exit = stage.put_exit();
    assert_eq!(stage.remains().await.integrity, Integrity::Torn);
    write(&stage.files().exit(), &ExitRecord { work_on_disk: true, ..exit });
    assert_eq!(stage.remains().await.integrity, Integrity::Intact);
}

#[test]
fn each_kind_of_worker_has_its_own_sandbox() {
    let container = ContainerSandbox { image: ImageRef::Named("mine:1".to_owned()), ..ContainerSandbox::default() };
    let sandbox = |stage: &Stage| stage.runner.sandbox(container.clone());
    assert_eq!(sandbox(&Stage::new(None)), Sandbox::Container(container.clone()));
    assert_eq!(sandbox(&Stage::custom()), Sandbox::Program(container.clone()));
    assert_eq!(sandbox(&Stage::new(Some("#!/bin/sh\n: $CODEX_MOUNT_MAPS\n"))), Sandbox::Program(container.clone()));
    assert_eq!(Stage::custom().runner.capacity(), RunnerCapacity { most: None, memory: None });
}

#[tokio::test]
async fn without_a_worker_no_run_can_start_and_the_status_says_why() {
    let stage = Stage::custom();
    let mut config = Config::for_home(&stage.folder.path().join("home"));
    config.worker = Some("/no/such/worker".to_owned());
    let codex_home = CodexHome::open(&stage.home.layout).expect("a Codex home");
    let runner = LocalRunner::new(&config, Arc::clone(&stage.home), codex_home, FolderWatch::new());
    let status = runner.status();
    assert_eq!((status.name.as_str(), status.hints.len()), ("/no/such/worker", 1));
    assert!(status.problem.is_some() && !runner.is_stale());
    assert_eq!(runner.ready(None, NeededImage::Other).await.expect_err("no worker").report.code, ErrorCode::NoWorker);
    assert_eq!(runner.sandbox(ContainerSandbox::default()), Sandbox::Host);
    let failed = runner.ensure_started(&spec(), &NoSupply).await.expect_err("no worker");
    let StartError::Failed(error) = failed else { panic!("{failed}") };
    assert_eq!(error.code, ErrorCode::NoWorker);
}

#[tokio::test]
async fn a_setup_on_this_machine_is_ended_at_its_time_limit_or_on_request() {
    let stage = Stage::custom();
    std::os::unix::fs::symlink("/bin/sh", stage.folder.path().join("sh")).expect("linked");
    fs::create_dir_all(stage.home.layout.worktree(task())).expect("made");
    let setup = |script: &str, seconds| HostSetup {
        key: key(),
        repository: EnvironmentId::from_uuid(task().uuid()),
        script: Script::new(script).expect("a script"),
        variables: BTreeMap::new(),
        secrets: BTreeMap::new(),
        seconds,
    };
    let run = async |setup: HostSetup, cancel: CancellationToken| {
        let ran = stage.runner.set_up_on_host(&setup, &NoSupply, &cancel).await;
        ran.map_err(|failed| match failed {
            StartError::Failed(error) => (error.code, error.message),
            StartError::Unreachable(unreachable) => panic!("{unreachable}"),
        })
    };
    let slow = "echo started; /bin/sleep 600 & /bin/sleep 600";
    let (code, message) = run(setup(slow, 1), CancellationToken::new()).await.expect_err("it takes too long");
    assert_eq!((code, message.as_str()), (ErrorCode::SetupFailed.into(), "the setup script took more than 1 seconds"));
    assert_eq!(fs::read_to_string(stage.files().setup_log()).expect("its output"), "started\n");
    let cancel = CancellationToken::new();
    cancel.cancel();
    let (code, _) = run(setup(slow, 600), cancel).await.expect_err("it is canceled");
    assert_eq!(code, ErrorCode::Cancelled);
    assert_eq!(run(setup("pwd; echo wrong >&2", 600), CancellationToken::new()).await, Ok(()));
    let worktree = fs::canonicalize(stage.home.layout.worktree(task())).expect("it exists");
    assert_eq!(fs::read_to_string(stage.files().setup_log()).expect("its output"), format!("{}\nwrong\n", worktree.display()));
    let left = process::processes_with_environment("ORCH_SETUP", ID).expect("they can be listed");
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn only_a_worker_with_containers_has_leftovers_of_containers() {
    // The container program is missing, so every call of it fails.
    let active = std::collections::BTreeSet::new();
    let custom = Stage::custom();
    custom.runner.sweep(&active).await.expect("no container program is called");
    custom.runner.clear_task(task(), Redactor::default()).await.expect("no container program is called");
    custom.runner.reclaim(custom.folder.path()).await.expect("no container program is called");
    let built_in = Stage::new(None);
    built_in.runner.sweep(&active).await.expect_err("the container program is called");
    built_in.runner.clear_task(task(), Redactor::default()).await.expect_err("the container program is called");
    built_in.runner.reclaim(custom.folder.path()).await.expect_err("the container program is called");
    // The task had a container before the worker was changed.
    fs::create_dir_all(custom.home.layout.twin(task())).expect("made");
    custom.runner.clear_task(task(), Redactor::default()).await.expect_err("the container program is called");
}

#[test]
fn sessions_are_where_the_worker_keeps_them() {
    let built_in = Stage::new(None);
    let expected = SessionFolder::OfTask(built_in.home.layout.sessions(task()));
    assert_eq!(built_in.runner.sessions(task()), Some(expected));
    assert_eq!(Stage::custom().runner.sessions(task()), None);
}
