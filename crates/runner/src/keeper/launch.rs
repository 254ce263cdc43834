//! Starts a keeper, and waits until it supervises the run.
//!
//! Launching a run twice is harmless: an attempt that has started is adopted, and a second keeper finds the lock held and
//! exits.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use durable::crash::{self, CrashPoint};
use fs_err::os::unix::fs::OpenOptionsExt as _;
use jiff::Timestamp;
use model::ids::Attempt;
use process::pretended_boot;
use process::{BaseEnvironment, CommandSpec, RunProgramError, Stderr, Tool};

use super::files::RunFiles;
use super::observe::{KeeperState, end_leftovers, observe};
use super::record::{KeeperOrder, KeeperRecord, read, write};
use crate::journal::FolderWatch;

/// How often the files are checked even without file events, because releasing a lock causes no event.
const LOOK_ANYWAY: Duration = Duration::from_secs(1);

/// Why a run could not be passed to a keeper.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// Files could not be written or read.
    #[error("could not write the files of the run: {0}")]
    Files(#[from] io::Error),
    /// The keeper's program could not be started.
    #[error(transparent)]
    Program(#[from] RunProgramError),
    /// The keeper exited before it supervised the run.
    #[error("the keeper exited immediately; see `{complaints}`")]
    EndedAtOnce {
        /// The keeper's messages.
        complaints: String,
    },
}

/// Ensures that a keeper supervises the run, and returns when the worker started.
pub async fn launch(
    program: &Path,
    files: &RunFiles,
    order: &KeeperOrder,
    environment: &[(OsString, OsString)],
    watch: &Arc<FolderWatch>,
) -> Result<Timestamp, LaunchError> {
    let mut changes = watch.watch(files.folder());
    if let Some(started_at) = begun(files, order.attempt)? {
        return Ok(started_at);
    }
    end_older_tries(files, order.attempt, environment).await?;
    write(&files.order(), order)?;
    crash::point(CrashPoint::OrderWritten);
    let complaints = fs_err::File::options().create(true).append(true).mode(0o600).open(files.complaints())?;
    let keeper = CommandSpec::new(&Tool::at(program), &BaseEnvironment::default(), files.folder())
        // The keeper gets exactly the worker's environment, because it passes its own environment on.
        .env_remove("LANG")
        .arg("keeper")
        .arg(files.order())
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .envs(pretended_boot())
        .stderr(Stderr::File(complaints.into()))
        .in_inherited_group()
        .start_detached()?;
    loop {
        let alive = keeper.is_alive()?;
        if let Some(started_at) = begun(files, order.attempt)? {
            return Ok(started_at);
        }
        if !alive && is_free(files, order.attempt)? {
            return Err(LaunchError::EndedAtOnce { complaints: files.complaints().display().to_string() });
        }
        tokio::select! {
            () = changes.changed() => {}
            ended = keeper.wait_until_gone(), if alive => ended?,
            () = tokio::time::sleep(LOOK_ANYWAY) => {}
        }
    }
}

/// Returns when the worker of this attempt started, or `None` if it has not started.
fn begun(files: &RunFiles, attempt: Attempt) -> io::Result<Option<Timestamp>> {
    match observe(files, attempt) {
        Ok(KeeperState::Alive(record)) => Ok(record.worker.is_some().then_some(record.started_at)),
        Ok(KeeperState::Gone { record, exit }) => {
            let started_at = exit.and_then(|exit| exit.started_at).or(record.map(|record| record.started_at));
            Ok(Some(started_at.unwrap_or_else(Timestamp::now)))
        }
        Ok(KeeperState::NeverStarted) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether no keeper has this attempt or is about to take it.
fn is_free(files: &RunFiles, attempt: Attempt) -> io::Result<bool> {
    match observe(files, attempt) {
        Ok(KeeperState::NeverStarted) => Ok(true),
        Ok(KeeperState::Alive(_) | KeeperState::Gone { .. }) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Ends a keeper of an earlier attempt that started after the attempt was given up, and every process that the keeper started.
async fn end_older_tries(files: &RunFiles, attempt: Attempt, environment: &[(OsString, OsString)]) -> io::Result<()> {
    match read::<KeeperRecord>(&files.keeper())? {
        Some(record) if record.attempt != attempt => end_leftovers(files, record.attempt, environment).await,
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use model::ids::RunNumber;
    use process::ProcessIdentity;

    use super::super::record::{ExitRecord, WorkerEnd};
    use super::*;

    /// Far longer than any step of these tests takes.
    const LIMIT: Duration = Duration::from_secs(20);

    const MARK: &str = "01a201f5-b7dd-79a1-8a6e-7e6639f5c650";

    /// A folder for a run, and a program in place of the keeper that writes the given files.
    struct Bench {
        folder: tempfile::TempDir,
        files: RunFiles,
        order: KeeperOrder,
    }

    impl Bench {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let files = RunFiles::new(folder.path(), RunNumber::FIRST);
            let order = KeeperOrder {
                schema: model::SCHEMA,
                task_id: MARK.parse().expect("an id"),
                run: RunNumber::FIRST,
                attempt: Attempt(2),
                program: "/bin/true".into(),
                args: vec![],
                directory: "/".into(),
                time_limit_ms: 1,
                turn_end_grace_ms: 1,
                stop_grace_ms: 1,
                cleanup: None,
                sessions: None,
                app_server: None,
                notes: vec![],
            };
            Self { folder, files, order }
        }

        fn keeper(&self, script: &str) -> PathBuf {
            let path = self.folder.path().join("keeper");
            fs_err::write(&path, format!("#!/bin/sh\necho started >> started\n{script}\n")).expect("written");
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("ours");
            path
        }

        async fn launch(&self, keeper: &Path) -> Result<Timestamp, LaunchError> {
            let environment = [("PATH".into(), "/usr/bin:/bin".into()), ("SECRET".into(), "s3cret".into())];
            let watch = FolderWatch::new();
            let launched = launch(keeper, &self.files, &self.order, &environment, &watch);
            tokio::time::timeout(LIMIT, launched).await.expect("it answers")
        }

        fn was_started(&self) -> bool {
            self.folder.path().join("started").exists()
        }
    }

    /// Returns the record of a live keeper (this process) before its worker has started.
    fn starting(attempt: Attempt) -> KeeperRecord {
        let keeper = ProcessIdentity::current().expect("we live");
        let started_at = "2026-01-02T03:04:05Z".parse().expect("a time");
        KeeperRecord { schema: 1, attempt, worker: None, keeper, started_at, translated_from: None }
    }

    /// Returns the record of a live keeper after its worker has started.
    fn holding(attempt: Attempt) -> KeeperRecord {
        let starting = starting(attempt);
        KeeperRecord { worker: Some(starting.keeper.clone()), ..starting }
    }

    #[tokio::test]
    async fn a_run_is_launched_once_its_worker_is_written_down() {
        let bench = Bench::new();
        for (name, record) in [("early", starting(Attempt(2))), ("late", holding(Attempt(2)))] {
            write(&bench.folder.path().join(name), &record).expect("written");
        }
        // The keeper's record is written twice, by renames as a keeper does: before the worker starts, and with it.
        let script = "env > environment; echo \"$@\" > arguments
            mv early run-001.keeper.json; until [ -e go ] || [ ! -e keeper ]; do sleep 0.02; done; mv late run-001.keeper.json";
        let keeper = bench.keeper(script);
        let go = async {
            while bench.folder.path().join("early").exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            fs_err::write(bench.folder.path().join("go"), "").expect("written");
        };
        let launched = async {
            let started_at = bench.launch(&keeper).await;
            assert!(!bench.folder.path().join("late").exists(), "the launch waited for the worker");
            started_at
        };
        let (started_at, ()) = tokio::join!(launched, go);
        assert_eq!(started_at.expect("the keeper supervises the run").to_string(), "2026-01-02T03:04:05Z");
        let read = |name: &str| fs_err::read_to_string(bench.folder.path().join(name)).expect("there");
        assert_eq!(read("arguments"), format!("keeper {}\n", bench.files.order().display()));
        let environment = read("environment");
        assert!(environment.contains("SECRET=s3cret") && !environment.contains("LANG="), "{environment}");
        assert!(!read("run-001.order.json").contains("s3cret"), "the environment never reaches the disk");
    }

    #[tokio::test]
    async fn a_try_that_has_begun_is_adopted_and_no_keeper_is_started() {
        let held = Bench::new();
        write(&held.files.keeper(), &holding(Attempt(2))).expect("written");
        held.launch(&held.keeper("")).await.expect("this process supervises the run");
        let ended = Bench::new();
        let finished_at = Timestamp::UNIX_EPOCH;
        let (attempt, ending) = (Attempt(2), WorkerEnd::Code { code: 0 });
        let exit = ExitRecord {
            schema: 1,
            attempt,
            started_at: None,
            finished_at,
            ending,
            stop_requested: false,
            work_on_disk: false,
            unusable_app_server: None,
            log_is_incomplete: false,
        };
        write(&ended.files.exit(), &exit).expect("written");
        ended.launch(&ended.keeper("")).await.expect("the attempt has already ended");
        assert!(!held.was_started() && !ended.was_started());
    }

    #[tokio::test]
    async fn a_keeper_that_ends_at_once_says_where_it_said_why() {
        let bench = Bench::new();
        let error = bench.launch(&bench.keeper("echo no room >&2; exit 1")).await.expect_err("no keeper supervises the run");
        let LaunchError::EndedAtOnce { complaints } = &error else { panic!("{error}") };
        assert_eq!(fs_err::read_to_string(complaints).expect("there"), "no room\n");
        let missing = bench.launch(Path::new("/no/such/keeper")).await.expect_err("the program is missing");
        assert!(matches!(missing, LaunchError::Program(_)), "{missing}");
    }

    #[tokio::test]
    async fn a_lock_that_becomes_free_without_a_word_is_noticed() {
        let bench = Bench::new();
        fs_err::write(bench.files.lock(), "").expect("written");
        // Open the lock for reading only, so that closing it sends no event.
        let lock = fs_err::File::open(bench.files.lock()).expect("there").into_parts().0;
        lock.lock().expect("free");
        let keeper = bench.keeper("exit 0");
        let release = async {
            while !bench.was_started() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // Long enough for the program to exit and its events to be processed.
            tokio::time::sleep(Duration::from_millis(300)).await;
            drop(lock);
        };
        let (launched, ()) = tokio::join!(bench.launch(&keeper), release);
        assert!(matches!(launched, Err(LaunchError::EndedAtOnce { .. })), "{launched:?}");
    }

    #[tokio::test]
    async fn what_is_left_of_an_earlier_try_is_ended_first() {
        let bench = Bench::new();
        let older = CommandSpec::new(&Tool::at("/bin/sleep"), &BaseEnvironment::default(), "/")
            .arg("60")
            .env(crate::worker::RUN_MARK, crate::worker::run_mark(bench.order.task_id, bench.order.run, Attempt(1)))
            .start()
            .expect("it starts");
        let record = KeeperRecord { keeper: older.identity().clone(), ..starting(Attempt(1)) };
        write(&bench.files.keeper(), &record).expect("written");
        write(&bench.files.order(), &KeeperOrder { attempt: Attempt(1), ..bench.order.clone() }).expect("written");
        let launched = bench.launch(&bench.keeper("")).await;
        assert!(matches!(launched, Err(LaunchError::EndedAtOnce { .. })), "the new keeper did nothing");
        assert!(!older.identity().is_alive().expect("/proc can be read"));
        assert!(bench.was_started());
    }
}
