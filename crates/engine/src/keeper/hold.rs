//! The keeper's own process: take the run, start its worker, and write down how it ended.
//!
//! It has its own session, so that no terminal and no server ends it, and it is the sub-reaper of whatever the worker starts,
//! so that nothing escapes it by forking away. It links to nothing of the server but the files.
//! Invariant: one try of a run starts its worker at most once, whatever becomes of its keepers.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use fs_err::os::unix::fs::OpenOptionsExt as _;
use jiff::Timestamp;
use tokio::time::Instant;

use super::cleanup::clean_up;
use super::files::RunFiles;
use super::held::{Held, Signals};
use super::on_disk::sync_all;
use super::record::{Ending, ExitRecord, KeeperRecord, Order, read, write};
use crate::config::process_environment;
use crate::crash::{self, CrashPoint};
use crate::exec::process::{ProcessIdentity, pretend_boot};
use crate::exec::{BaseEnvironment, CommandSpec, RunningProgram, Stderr, Stdin, Stdout, Tool};

/// How long the exit record is tried to be written when the disk is full. The verdict can also be found without it.
const RECORD_PATIENCE: Duration = Duration::from_mins(2);

/// How soon it is tried again.
const RECORD_AGAIN: Duration = Duration::from_secs(1);

/// The keeper's `main`: holds the run that the order describes, to its end.
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
    let missing = || io::Error::new(io::ErrorKind::InvalidInput, "that is no order of a run");
    let files = RunFiles::of_order(path).ok_or_else(missing)?;
    // Fails only for a process that leads a group already, and then the session is not needed.
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
    let order = read::<Order>(path)?.ok_or_else(missing)?;
    if has_begun(&files, &order)? {
        tracing::info!("another keeper already supervised this attempt");
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build()?;
    runtime.block_on(hold(&order, &files))
}

/// The run's lock, or none if another keeper has it. A keeper holds it exclusively; whoever only looks shares it for a moment.
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
            // Somebody was only looking: it is our turn again.
            Ok(()) => lock.unlock()?,
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Whether a keeper held this try before: to its end, or until it was killed.
fn has_begun(files: &RunFiles, order: &Order) -> io::Result<bool> {
    let ended = read::<ExitRecord>(&files.exit())?.is_some_and(|exit| exit.attempt == order.attempt);
    let begun = read::<KeeperRecord>(&files.keeper())?.is_some_and(|record| record.attempt == order.attempt);
    Ok(ended || begun)
}

async fn hold(order: &Order, files: &RunFiles) -> io::Result<()> {
    let started_at = Timestamp::now();
    let keeper = ProcessIdentity::current()?;
    let mut record = KeeperRecord { schema: model::SCHEMA, attempt: order.attempt, keeper, worker: None, started_at };
    // Listening before anybody can know whom to stop, so that a stop that comes early is not lost.
    let mut signals = Signals::listen()?;
    write(&files.keeper(), &record)?;
    crash::point(CrashPoint::KeeperRecorded);
    let (ending, stop_requested, started_at) = match start(order, files) {
        Ok(worker) => {
            crash::point(CrashPoint::WorkerStarted);
            record.worker = Some(worker.identity().clone());
            let held = Held::new(order, files, worker);
            let (ending, asked) = match write(&files.keeper(), &record) {
                Ok(()) => held.until_its_end(&mut signals).await?,
                // What nobody can find again must not run.
                Err(error) => (held.given_up(&error).await?, false),
            };
            (ending, asked, Some(started_at))
        }
        Err(error) => (Ending::NeverStarted { reason: error.to_string() }, false, None),
    };
    crash::point(CrashPoint::WorkerEnded);
    if let Some(cleanup) = &order.cleanup {
        clean_up(cleanup, process_environment()).await;
    }
    let work_on_disk = sync_all(files).await;
    let exit = ExitRecord {
        schema: model::SCHEMA,
        attempt: order.attempt,
        started_at,
        finished_at: Timestamp::now(),
        ending,
        stop_requested,
        work_on_disk,
    };
    write_patiently(files, &exit).await
}

fn start(order: &Order, files: &RunFiles) -> Result<RunningProgram, Box<dyn std::error::Error>> {
    let append = |path| fs_err::File::options().create(true).append(true).mode(0o600).open(path);
    let prompt = fs_err::File::open(files.prompt())?;
    let journal = append(files.journal())?;
    let stderr = append(files.stderr())?;
    let command = CommandSpec::new(&Tool::at(&order.program), &BaseEnvironment::default(), &order.directory)
        // Its own default for LANG is for programs whose words we read; the worker gets what was listed for it.
        .env_remove("LANG")
        .args(&order.args)
        .envs(process_environment())
        .stdin(Stdin::File(prompt.into()))
        .stdout(Stdout::File(journal.into()))
        .stderr(Stderr::File(stderr.into()));
    Ok(command.start()?)
}

/// A full disk need not cost the record of an end: space may come back.
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
