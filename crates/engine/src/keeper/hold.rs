//! The keeper's own process: start the worker, wait for its end or bring it about, leave nothing behind, write it down.
//!
//! It has its own session, so that no terminal and no server ends it, and it is the sub-reaper of whatever the worker starts,
//! so that nothing escapes it by forking away. It links to nothing of the server but the files.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use jiff::Timestamp;
use rustix::process::{Pid, WaitOptions, waitpid};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use super::files::RunFiles;
use super::record::{Ending, ExitRecord, KeeperRecord, Order, read, write};
use super::turn::TurnWatch;
use crate::exec::process::{ProcessIdentity, Signal, descendants_of, ended_children_of, kill_all};
use crate::exec::{BaseEnvironment, CommandSpec, RunningProgram, Stderr, Stdin, Stdout, Tool};

/// How long what a worker left behind may take after SIGTERM, and how long the kernel may take to end what was killed.
const LEFTOVER_GRACE: Duration = Duration::from_secs(2);
const KILL_PATIENCE: Duration = Duration::from_secs(30);

/// How long the exit record is tried to be written when the disk is full. The verdict can also be found without it.
const RECORD_PATIENCE: Duration = Duration::from_secs(120);

/// Far enough away to mean never.
const NEVER: Duration = Duration::from_secs(60 * 60 * 24 * 365);

/// The keeper's `main`: holds the run that the order describes, to its end.
pub fn main(order: &Path) -> ExitCode {
    match run(order) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(order = %order.display(), %error, "a keeper could not do its work");
            ExitCode::FAILURE
        }
    }
}

fn run(path: &Path) -> io::Result<()> {
    let missing = || io::Error::new(io::ErrorKind::InvalidInput, "that is no order of a run");
    let files = RunFiles::of_order(path).ok_or_else(missing)?;
    let order = read::<Order>(path)?.ok_or_else(missing)?;
    // Fails only for a process that leads a group already, and then the session is not needed.
    if let Err(error) = rustix::process::setsid() {
        tracing::debug!(%error, "no session of its own");
    }
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let Some(_lock) = take(&files)? else { return Ok(()) };
    if read::<ExitRecord>(&files.exit())?.is_some_and(|exit| exit.attempt == order.attempt) {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build()?;
    runtime.block_on(hold(&order, &files))
}

/// The run's lock, or none if another keeper has it. A keeper holds it exclusively; whoever only looks shares it for a moment.
fn take(files: &RunFiles) -> io::Result<Option<File>> {
    let lock = fs_err::File::options().create(true).write(true).truncate(false).open(files.lock())?;
    let lock = lock.into_parts().0;
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

async fn hold(order: &Order, files: &RunFiles) -> io::Result<()> {
    let started_at = Timestamp::now();
    let keeper = ProcessIdentity::current()?;
    let mut record = KeeperRecord { schema: model::SCHEMA, attempt: order.attempt, keeper, worker: None, started_at };
    // Asked for before the worker starts, so that a stop that comes early is not lost.
    let mut signals = Signals::listen()?;
    write(&files.keeper(), &record)?;
    let (ending, stop_requested, started_at) = match start(order, files) {
        Ok(worker) => {
            record.worker = Some(worker.identity().clone());
            write(&files.keeper(), &record)?;
            let (ending, asked) = Held::new(order, files, worker).to_the_end(&mut signals).await?;
            (ending, asked, Some(started_at))
        }
        Err(error) => (Ending::NeverStarted { reason: error.to_string() }, false, None),
    };
    let exit = ExitRecord {
        schema: model::SCHEMA,
        attempt: order.attempt,
        started_at,
        finished_at: Timestamp::now(),
        ending,
        stop_requested,
    };
    write_patiently(files, &exit).await
}

fn start(order: &Order, files: &RunFiles) -> Result<RunningProgram, Box<dyn std::error::Error>> {
    let append = |path| fs_err::File::options().create(true).append(true).open(path);
    let prompt = fs_err::File::open(files.prompt())?;
    let journal = append(files.journal())?;
    let stderr = append(files.stderr())?;
    let command = CommandSpec::new(&Tool::at(&order.program), &BaseEnvironment::default(), &order.directory)
        .args(&order.args)
        .envs(crate::config::process_environment())
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
                tracing::warn!(%error, "could not write the exit record; trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            result => return result,
        }
    }
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
    child: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            child: signal(SignalKind::child())?,
        })
    }
}

/// Why a worker is being ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Asked,
    TimeLimit,
    Grace,
}

/// How far the stop protocol has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Working,
    Interrupted,
    Terminated,
    Killed,
}

/// A worker that is held.
struct Held {
    worker: RunningProgram,
    turn: TurnWatch,
    stop_grace: Duration,
    turn_end_grace: Duration,
    /// When the run's time is over.
    limit: Instant,
    /// When a worker whose turn has ended must have ended too.
    lingering: Option<Instant>,
    stage: Stage,
    /// When the stop protocol goes one stage further.
    patience: Instant,
    reason: Option<Reason>,
    asked: bool,
}

impl Held {
    fn new(order: &Order, files: &RunFiles, worker: RunningProgram) -> Self {
        let now = Instant::now();
        Self {
            worker,
            turn: TurnWatch::new(files.journal(), files.folder()),
            stop_grace: Duration::from_millis(order.stop_grace_ms),
            turn_end_grace: Duration::from_millis(order.turn_end_grace_ms),
            limit: now + Duration::from_millis(order.time_limit_ms).min(NEVER),
            lingering: None,
            stage: Stage::Working,
            patience: now + NEVER,
            reason: None,
            asked: false,
        }
    }

    async fn to_the_end(mut self, signals: &mut Signals) -> io::Result<(Ending, bool)> {
        loop {
            let lingering = self.lingering.unwrap_or_else(|| Instant::now() + NEVER);
            let working = self.stage == Stage::Working;
            tokio::select! {
                ended = self.worker.ended() => {
                    ended?;
                    break;
                }
                _ = signals.terminate.recv() => self.asked_to_stop()?,
                _ = signals.interrupt.recv() => self.asked_to_stop()?,
                _ = signals.hang_up.recv() => {}
                _ = signals.child.recv() => self.bury_orphans()?,
                change = self.turn.change() => self.lingering = change?.then(|| Instant::now() + self.turn_end_grace),
                () = sleep_until(self.limit), if working => self.end(Reason::TimeLimit)?,
                () = sleep_until(lingering), if working => self.end(Reason::Grace)?,
                () = sleep_until(self.patience), if !working => self.go_on_ending().await?,
            }
        }
        let status = self.worker.reap().await?;
        leave_nothing().await?;
        Ok((self.ending(status), self.asked))
    }

    fn asked_to_stop(&mut self) -> io::Result<()> {
        self.asked = true;
        if self.stage == Stage::Working { self.end(Reason::Asked) } else { Ok(()) }
    }

    fn end(&mut self, reason: Reason) -> io::Result<()> {
        self.reason = Some(reason);
        self.stage = Stage::Interrupted;
        self.patience = Instant::now() + self.stop_grace;
        self.worker.signal_group(Signal::INT)
    }

    async fn go_on_ending(&mut self) -> io::Result<()> {
        self.patience = Instant::now() + self.stop_grace;
        match self.stage {
            Stage::Working | Stage::Interrupted => {
                self.stage = Stage::Terminated;
                self.worker.signal_group(Signal::TERM)
            }
            Stage::Terminated | Stage::Killed => {
                self.stage = Stage::Killed;
                self.worker.signal_group(Signal::KILL)?;
                kill_offspring().await
            }
        }
    }

    /// Takes the exit status of what was left to us by its parents, so that no zombies pile up. The worker's own is not taken.
    fn bury_orphans(&self) -> io::Result<()> {
        let worker = self.worker.identity().pid;
        for orphan in ended_children_of(std::process::id())? {
            let pid = i32::try_from(orphan).ok().filter(|_| orphan != worker).and_then(Pid::from_raw);
            if let Some(pid) = pid {
                match waitpid(Some(pid), WaitOptions::NOHANG) {
                    Ok(_) | Err(rustix::io::Errno::CHILD) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    fn ending(&self, status: ExitStatus) -> Ending {
        match self.reason {
            Some(Reason::TimeLimit) => Ending::TimeLimit,
            Some(Reason::Grace) => Ending::Grace,
            Some(Reason::Asked) | None => match (status.code(), status.signal()) {
                (Some(code), _) => Ending::Code { code },
                (None, signal) => Ending::Signal { signal: signal.unwrap_or_default() },
            },
        }
    }
}

/// Ends whatever the worker left behind: it may clean up, and is killed if it does not.
async fn leave_nothing() -> io::Result<()> {
    let left = descendants_of(std::process::id())?;
    for process in &left {
        process.signal(Signal::TERM)?;
    }
    let all_gone = async {
        for process in &left {
            process.wait_until_gone().await?;
        }
        io::Result::Ok(())
    };
    if let Ok(gone) = tokio::time::timeout(LEFTOVER_GRACE, all_gone).await {
        gone?;
    }
    kill_offspring().await
}

async fn kill_offspring() -> io::Result<()> {
    kill_all(|| descendants_of(std::process::id()), KILL_PATIENCE).await.map_err(io::Error::other)
}
