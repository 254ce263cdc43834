//! The keeper's own process: it takes over the run, starts the worker, and records how the worker ended.
//!
//! It has its own session, so that it outlives terminals and the server. It is the subreaper of all processes that the worker
//! starts, so that none of them escapes by forking. Files are its only link to the server. Invariant: one attempt of a run
//! starts its worker at most once, whatever happens to its keepers. Only if the worker is an app server that cannot run the turn, `codex
//! exec` follows.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use config::process_environment;
use durable::crash::{self, CrashPoint};
use fs_err::os::unix::fs::OpenOptionsExt as _;
use jiff::Timestamp;
use process::{BaseEnvironment, CommandSpec, RunningProgram, Stderr, Stdin, Stdout, Tool};
use process::{ProcessIdentity, pretend_boot};
use tokio::time::Instant;

use super::app_server::{AppServer, Ends, LogState};
use super::cleanup::clean_up;
use super::files::RunFiles;
use super::held::{Signals, Supervised, SupervisedWorker};
use super::on_disk::sync_all;
use super::record::{ExitRecord, KeeperOrder, KeeperRecord, WorkerEnd, read, write};
use crate::worker::AppServerCall;

/// How long the keeper tries to write the exit record if the disk is full. The outcome can also be determined without it.
const RECORD_PATIENCE: Duration = Duration::from_mins(2);

/// The time between two attempts to write the exit record.
const RECORD_AGAIN: Duration = Duration::from_secs(1);

/// The keeper's `main` function: supervises the run that the order describes, until it ends.
pub fn main(order: &Path) -> ExitCode {
    match run(order) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(order = %order.display(), %error, "keeper failed");
            ExitCode::FAILURE
        }
    }
}

fn run(path: &Path) -> io::Result<()> {
    let missing = || io::Error::new(io::ErrorKind::InvalidInput, "not the path of a run order");
    let files = RunFiles::of_order(path).ok_or_else(missing)?;
    // This only fails for the leader of a process group, and then no new session is needed.
    if let Err(error) = rustix::process::setsid() {
        tracing::debug!(%error, "could not start a new session");
    }
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let Some(_lock) = take(&files)? else {
        tracing::info!("another keeper already supervises this run");
        return Ok(());
    };
    let variables = process_environment();
    let variable =
        |name: &str| variables.iter().find(|(known, _)| known == name).and_then(|(_, value)| value.to_str().map(str::to_owned));
    crash::arm(variable);
    pretend_boot(variable);
    let order = read::<KeeperOrder>(path)?.ok_or_else(missing)?;
    if has_begun(&files, &order)? {
        tracing::info!("another keeper already supervised this attempt");
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build()?;
    runtime.block_on(hold(&order, &files))
}

/// Takes the run's lock. Returns `None` if another keeper has it. A keeper holds it exclusively; observers share it for a
/// moment.
fn take(files: &RunFiles) -> io::Result<Option<File>> {
    let mut options = fs_err::File::options();
    let lock = options.create(true).write(true).truncate(false).mode(0o600).open(files.lock())?.into_parts().0;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(Some(lock)),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        match lock.try_lock_shared() {
            // Only an observer held the lock. Try again.
            Ok(()) => lock.unlock()?,
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Whether a keeper has supervised this attempt before, until its end or until it was killed.
fn has_begun(files: &RunFiles, order: &KeeperOrder) -> io::Result<bool> {
    let ended = read::<ExitRecord>(&files.exit())?.is_some_and(|exit| exit.attempt == order.attempt);
    let begun = read::<KeeperRecord>(&files.keeper())?.is_some_and(|record| record.attempt == order.attempt);
    Ok(ended || begun)
}

async fn hold(order: &KeeperOrder, files: &RunFiles) -> io::Result<()> {
    let started_at = Timestamp::now();
    let keeper = ProcessIdentity::current()?;
    let mut record =
        KeeperRecord { schema: model::SCHEMA, attempt: order.attempt, keeper, worker: None, started_at, translated_from: None };
    // Listen for signals before anybody can know the keeper's process number, so that an early stop is not lost.
    let mut signals = Signals::listen()?;
    write(&files.keeper(), &record)?;
    crash::point(CrashPoint::KeeperRecorded);
    let mut unusable_app_server = None;
    let mut app_server = order.app_server.as_ref();
    let supervised = loop {
        let supervised = supervise(order, files, app_server, &mut record, &mut signals).await?;
        crash::point(CrashPoint::WorkerEnded);
        if let Some(cleanup) = &order.cleanup {
            clean_up(cleanup, process_environment()).await;
        }
        let Some(reason) = supervised.unsupported else { break supervised };
        unusable_app_server = Some(reason);
        app_server = None;
    };
    let work_on_disk = sync_all(files).await;
    let exit = ExitRecord {
        schema: model::SCHEMA,
        attempt: order.attempt,
        started_at: supervised.has_started.then_some(started_at),
        finished_at: Timestamp::now(),
        ending: supervised.ending,
        stop_requested: supervised.stop_requested,
        work_on_disk,
        unusable_app_server,
        log_is_incomplete: supervised.log == LogState::Incomplete,
    };
    write_patiently(files, &exit).await
}

/// Starts the worker, and waits until it ends.
async fn supervise(
    order: &KeeperOrder,
    files: &RunFiles,
    app_server: Option<&AppServerCall>,
    record: &mut KeeperRecord,
    signals: &mut Signals,
) -> io::Result<Supervised> {
    let started = match app_server {
        Some(call) => start_app_server(order, call, files).map(|(worker, talk)| (worker, Some((talk, call)))),
        None => start(order, files).map(|worker| (worker, None)),
    };
    let (worker, talk) = match started {
        Ok(started) => started,
        Err(error) => return Ok(Supervised::of(WorkerEnd::NeverStarted { reason: error.to_string() })),
    };
    crash::point(CrashPoint::WorkerStarted);
    record.worker = Some(worker.identity().clone());
    record.translated_from = talk.as_ref().map(|((_, length), _)| *length);
    let talk = talk.map(|((talk, _), call)| (talk, call));
    let held = SupervisedWorker::new(order, files, worker, talk);
    match write(&files.keeper(), record) {
        Ok(()) => held.until_its_end(files, signals).await,
        // A worker that nobody could find again must not run.
        Err(error) => Ok(Supervised { has_started: true, ..Supervised::of(held.given_up(&error).await?) }),
    }
}

fn start(order: &KeeperOrder, files: &RunFiles) -> Result<RunningProgram, Box<dyn std::error::Error>> {
    let prompt = fs_err::File::open(files.prompt())?;
    let journal = append(&files.journal())?;
    Ok(command(order, files, &order.args, &order.directory)?
        .stdin(Stdin::File(prompt.into()))
        .stdout(Stdout::File(journal))
        .start()?)
}

/// Starts Codex's app server. Also returns the length of the log before it started.
fn start_app_server(
    order: &KeeperOrder,
    call: &AppServerCall,
    files: &RunFiles,
) -> Result<(RunningProgram, (AppServer, u64)), Box<dyn std::error::Error>> {
    let length = append(&files.journal())?.metadata()?.len();
    let (talk, Ends { stdin, stdout }) = AppServer::start(call, files)?;
    let worker =
        command(order, files, &call.args, &call.directory)?.stdin(Stdin::File(stdin)).stdout(Stdout::File(stdout)).start()?;
    Ok((worker, (talk, length)))
}

fn command<'a>(order: &KeeperOrder, files: &RunFiles, args: &[String], directory: &Path) -> io::Result<CommandSpec<'a>> {
    Ok(CommandSpec::new(&Tool::at(&order.program), &BaseEnvironment::default(), directory)
        // The default of LANG is for programs whose output we parse. The worker gets its configured value.
        .env_remove("LANG")
        .args(args)
        .envs(process_environment())
        .stderr(Stderr::File(append(&files.stderr())?)))
}

fn append(path: &Path) -> io::Result<File> {
    Ok(fs_err::File::options().create(true).append(true).mode(0o600).open(path)?.into_parts().0)
}

/// Writes the exit record. Retries if the disk is full, because space may become free.
async fn write_patiently(files: &RunFiles, exit: &ExitRecord) -> io::Result<()> {
    let give_up = Instant::now() + RECORD_PATIENCE;
    loop {
        match write(&files.exit(), exit) {
            Err(error) if Instant::now() < give_up => {
                tracing::warn!(%error, "could not write the exit record; retrying");
                tokio::time::sleep(RECORD_AGAIN).await;
            }
            result => return result,
        }
    }
}
