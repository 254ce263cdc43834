//! Supervises a worker: a single `select!` handles all events, and the worker is stopped in stages.
//!
//! Invariant: problems are logged and ignored, because the run would end if its keeper gave up. At the end, no process that the
//! worker started is left.

use std::fmt::Display;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use model::codex::app_server::ConversationState;
use process::RunningProgram;
use process::{Signal, descendants_of, ended_children_of, kill_all};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, waitpid};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use super::app_server::{AppServer, LogState, remove_files};
use super::files::RunFiles;
use super::on_disk::Syncing;
use super::record::{KeeperOrder, WorkerEnd};
use super::turn::TurnWatch;
use crate::worker::{AppServerCall, Otherwise};

/// How long leftover processes of the worker get after SIGTERM.
const LEFTOVER_GRACE: Duration = Duration::from_secs(2);

/// How long the kernel may take to end killed processes. A process in a hanging system call disappears when the call ends.
const KILL_PATIENCE: Duration = Duration::from_secs(30);

/// The time until an event that practically never happens.
const NEVER: Duration = Duration::from_hours(24 * 365);

/// The signals that a keeper handles.
pub(super) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
    child: tokio::signal::unix::Signal,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
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
enum EndReason {
    Asked,
    TimeLimit,
    Grace,
    /// The turn of an app server ended. The server itself would not exit.
    TurnEnded,
    /// The app server cannot be used.
    Unsupported,
}

/// The stage of the stop protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Working,
    Interrupted,
    Terminated,
    Killed,
}

/// How a worker ended.
pub(super) struct Supervised {
    pub(super) ending: WorkerEnd,
    pub(super) has_started: bool,
    pub(super) stop_requested: bool,
    /// Why the app server cannot be used, if `codex exec` should be started instead.
    pub(super) unsupported: Option<String>,
    pub(super) log: LogState,
}

impl Supervised {
    pub(super) fn of(ending: WorkerEnd) -> Self {
        Self { ending, has_started: false, stop_requested: false, unsupported: None, log: LogState::Complete }
    }
}

/// A supervised worker.
pub(super) struct SupervisedWorker {
    worker: RunningProgram,
    /// The conversation with Codex's app server, if the worker is one.
    talk: Option<AppServer>,
    otherwise: Otherwise,
    /// When the app server must have answered.
    answer_limit: Instant,
    unsupported: Option<String>,
    turn: TurnWatch,
    stop_grace: Duration,
    turn_end_grace: Duration,
    /// The time limit of the run.
    limit: Instant,
    /// When a worker must have exited after its turn ended.
    lingering: Option<Instant>,
    stage: Stage,
    /// When the next stage of the stop protocol starts.
    patience: Instant,
    reason: Option<EndReason>,
    asked: bool,
    syncing: Syncing,
}

impl SupervisedWorker {
    pub(super) fn new(
        order: &KeeperOrder,
        files: &RunFiles,
        worker: RunningProgram,
        talk: Option<(AppServer, &AppServerCall)>,
    ) -> Self {
        let now = Instant::now();
        let call = talk.as_ref().map(|(_, call)| *call);
        Self {
            worker,
            otherwise: call.map_or(Otherwise::Fail, |call| call.otherwise),
            answer_limit: now + call.map_or(NEVER, |call| Duration::from_millis(call.answer_limit_ms).min(NEVER)),
            unsupported: None,
            talk: talk.map(|(talk, _)| talk),
            turn: TurnWatch::new(files.journal(), files.folder()),
            stop_grace: Duration::from_millis(order.stop_grace_ms).min(NEVER),
            turn_end_grace: Duration::from_millis(order.turn_end_grace_ms).min(NEVER),
            limit: now + Duration::from_millis(order.time_limit_ms).min(NEVER),
            lingering: None,
            stage: Stage::Working,
            patience: now + NEVER,
            reason: None,
            asked: false,
            syncing: Syncing::new(order, files),
        }
    }

    /// Waits until the worker ends, or ends it.
    pub(super) async fn until_its_end(mut self, files: &RunFiles, signals: &mut Signals) -> io::Result<Supervised> {
        loop {
            let lingering = self.lingering.unwrap_or_else(|| Instant::now() + NEVER);
            let working = self.stage == Stage::Working;
            let is_silent = working && self.talk.as_ref().is_some_and(AppServer::is_silent);
            tokio::select! {
                ended = self.worker.ended() => {
                    pass_over("could not watch the worker", ended);
                    break;
                }
                _ = signals.terminate.recv() => self.asked_to_stop(),
                _ = signals.interrupt.recv() => self.asked_to_stop(),
                _ = signals.hang_up.recv() => {}
                _ = signals.child.recv() => pass_over("could not reap an orphaned process", self.bury_orphans()),
                ended = self.turn.change() => self.lingering = ended.then(|| Instant::now() + self.turn_end_grace),
                state = changed(&mut self.talk) => self.conversation_changed(state),
                () = sleep_until(self.answer_limit), if is_silent => self.conversation_changed(ConversationState::Unsupported(
                    "it did not answer in time".to_owned(),
                )),
                () = self.syncing.due() => self.syncing.start(self.turn.thread()),
                () = sleep_until(self.limit), if working => self.end(EndReason::TimeLimit),
                () = sleep_until(lingering), if working => self.end(EndReason::Grace),
                () = sleep_until(self.patience), if !working => self.go_on_ending().await,
            }
        }
        let status = self.worker.reap().await?;
        leave_nothing().await;
        if self.talk.as_ref().is_some_and(AppServer::is_silent) && self.reason.is_none() {
            self.not_supported(format!("it ended before it answered ({status})"));
        }
        let ending = self.ending(status);
        let unsupported = self.unsupported.filter(|_| !self.asked);
        let log = match (self.talk, &unsupported) {
            (Some(talk), None) => talk.finish(files).await,
            (Some(_), Some(_)) => {
                pass_over("could not remove the files of the app server", remove_files(files));
                LogState::Complete
            }
            (None, _) => LogState::Complete,
        };
        Ok(Supervised { ending, has_started: true, stop_requested: self.asked, unsupported, log })
    }

    /// Ends a worker immediately if it cannot be recorded.
    pub(super) async fn given_up(mut self, error: &io::Error) -> io::Result<WorkerEnd> {
        pass_over("could not end the worker", self.worker.signal_group(Signal::KILL));
        kill_offspring().await;
        self.worker.reap().await?;
        Ok(WorkerEnd::NeverStarted {
            reason: format!("the keeper stopped it immediately, because the worker's record could not be written: {error}"),
        })
    }

    fn asked_to_stop(&mut self) {
        self.asked = true;
        if self.stage == Stage::Working {
            self.end(EndReason::Asked);
        }
    }

    fn end(&mut self, reason: EndReason) {
        self.reason = Some(reason);
        match &self.talk {
            // The turn's end is in the log before the server ends.
            Some(talk) if talk.interrupt() => {}
            // SIGINT would end the server, but not its commands.
            Some(_) => return self.terminate(),
            None => pass_over("could not interrupt the worker", self.worker.signal_group(Signal::INT)),
        }
        self.stage = Stage::Interrupted;
        self.patience = Instant::now() + self.stop_grace;
    }

    fn terminate(&mut self) {
        self.stage = Stage::Terminated;
        self.patience = Instant::now() + self.stop_grace;
        pass_over("could not terminate the worker", self.worker.signal_group(Signal::TERM));
    }

    fn conversation_changed(&mut self, state: ConversationState) {
        match state {
            ConversationState::Initializing | ConversationState::Opening | ConversationState::Working => {}
            ConversationState::Unsupported(reason) => {
                self.not_supported(reason);
                self.end_of_conversation(EndReason::Unsupported);
            }
            ConversationState::Ended => self.end_of_conversation(EndReason::TurnEnded),
        }
    }

    /// Ends the app server, which would otherwise wait for the next turn.
    fn end_of_conversation(&mut self, reason: EndReason) {
        self.reason.get_or_insert(reason);
        if matches!(self.stage, Stage::Working | Stage::Interrupted) {
            self.terminate();
        }
    }

    fn not_supported(&mut self, reason: String) {
        match (self.otherwise, &self.talk) {
            (Otherwise::Exec, _) => self.unsupported = Some(reason),
            (Otherwise::Fail, Some(talk)) => talk.fail(format!("Codex's app server cannot be used: {reason}")),
            (Otherwise::Fail, None) => {}
        }
    }

    async fn go_on_ending(&mut self) {
        match self.stage {
            Stage::Working | Stage::Interrupted => self.terminate(),
            Stage::Terminated | Stage::Killed => {
                self.stage = Stage::Killed;
                pass_over("could not kill the worker", self.worker.signal_group(Signal::KILL));
                kill_offspring().await;
                self.patience = Instant::now() + self.stop_grace;
            }
        }
    }

    /// Reaps orphaned processes, so that no zombies accumulate. The worker itself is not reaped here.
    fn bury_orphans(&self) -> io::Result<()> {
        let worker = self.worker.identity().pid;
        for orphan in ended_children_of(std::process::id())? {
            let pid = i32::try_from(orphan).ok().filter(|_| orphan != worker).and_then(Pid::from_raw);
            if let Some(pid) = pid {
                match waitpid(Some(pid), WaitOptions::NOHANG) {
                    Ok(_) | Err(Errno::CHILD) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    fn ending(&self, status: ExitStatus) -> WorkerEnd {
        match self.reason {
            Some(EndReason::TimeLimit) => WorkerEnd::TimeLimit,
            Some(EndReason::Grace) => WorkerEnd::Grace,
            Some(EndReason::TurnEnded) if status.code().is_none() => WorkerEnd::Grace,
            Some(EndReason::Asked | EndReason::TurnEnded | EndReason::Unsupported) | None => {
                match (status.code(), status.signal()) {
                    (Some(code), _) => WorkerEnd::Code { code },
                    (None, signal) => WorkerEnd::Signal { signal: signal.unwrap_or_default() },
                }
            }
        }
    }
}

/// Waits until the state of a conversation changes.
async fn changed(talk: &mut Option<AppServer>) -> ConversationState {
    match talk {
        Some(talk) => talk.changed().await,
        None => std::future::pending().await,
    }
}

/// Ends all processes that the worker left behind: first with SIGTERM, then with SIGKILL.
async fn leave_nothing() {
    let left = descendants_of(std::process::id()).unwrap_or_else(|error| {
        tracing::warn!(%error, "could not list the worker's remaining processes");
        vec![]
    });
    for process in &left {
        pass_over("could not terminate a process that the worker left behind", process.signal(Signal::TERM));
    }
    let all_gone = async {
        for process in &left {
            process.wait_until_gone().await?;
        }
        io::Result::Ok(())
    };
    if let Ok(gone) = tokio::time::timeout(LEFTOVER_GRACE, all_gone).await {
        pass_over("could not wait for the worker's remaining processes", gone);
    }
    kill_offspring().await;
}

async fn kill_offspring() {
    let killed = kill_all(|| descendants_of(std::process::id()), KILL_PATIENCE).await;
    pass_over("could not kill all of the worker's processes", killed);
}

/// Reports a problem and continues.
fn pass_over<T, E: Display>(what: &str, result: Result<T, E>) {
    if let Err(error) = result {
        tracing::warn!(%error, "{what}");
    }
}
