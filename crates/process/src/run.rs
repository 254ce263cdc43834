//! Runs a [`CommandSpec`]: starts it, exchanges input and output, and waits for its end.
//!
//! A child is always reaped, and waiting for a program that was asked to exit always has a time limit. Invariant: when a run is
//! cut short (deadline, cancelled, dropped), its whole process group is ended.

use std::io;
use std::path::Path;
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::{Either, select, try_join3};
use rustix::process::Signal;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::calls::{self, Call};
use super::capture::{self, Captured, Tail};
use super::command::{CommandSpec, Group, Stderr, Stdin, Stdout};
use super::finished::{Finished, RunProgramError};
use super::living::{self, ProcessIdentity};
use super::running::{GroupGuard, RunningProgram};

/// The time between SIGTERM and SIGKILL. Git needs a moment to remove its lock files.
const GRACE: Duration = Duration::from_secs(2);

/// How long a pipe may stay open after the program's end. A background process may keep it open forever.
const PIPE_GRACE: Duration = Duration::from_millis(500);

/// Why the exchange was cut short.
enum CutShort {
    TimedOut(Duration),
    Cancelled,
    TooMuch(usize),
    Io(io::Error),
}

/// What happens to a program when its handle is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnDrop {
    Kill,
    Detach,
}

impl CommandSpec<'_> {
    /// Runs the program to its end, whatever its exit status.
    pub async fn run(self) -> Result<Finished, RunProgramError> {
        let (program, verb) = self.counted_as();
        let ended = self.run_to_its_end().await;
        let outcome = match &ended {
            Ok(finished) if finished.status.success() => "ok",
            Ok(_) => "failed",
            Err(RunProgramError::TimedOut { .. }) => "timed_out",
            Err(RunProgramError::Cancelled { .. }) => "cancelled",
            Err(_) => "error",
        };
        calls::count(Call { program, verb, outcome });
        ended
    }

    async fn run_to_its_end(mut self) -> Result<Finished, RunProgramError> {
        let program = self.shown();
        let mut running = self.spawn(OnDrop::Kill)?;
        let (mut stdout, mut stderr) = (Vec::new(), Tail::default());
        let lost = |source| RunProgramError::Io { program: program.clone(), source };
        let group = running.target();
        let cut = {
            let talk = talk(&mut running, &mut self.stdin, &mut self.stdout, &mut self.stderr, &mut stdout, &mut stderr);
            let mut talk = pin!(talk);
            let cut = limited(talk.as_mut(), self.deadline, &self.cancel).await;
            if let Some(CutShort::TimedOut(_) | CutShort::Cancelled) = cut {
                group.signal(Signal::TERM).map_err(lost)?;
                // Keep reading: a program that cannot write its last output dies before it has cleaned up.
                if let Ok(Err(CutShort::Io(error))) = timeout(GRACE, talk).await {
                    tracing::debug!(%error, "could not read the rest of a program's output");
                }
            }
            cut
        };
        if cut.is_some() {
            group.end(GRACE).await;
        }
        let status = running.reap().await.map_err(lost)?;
        let stderr_tail = self.redactor.redact(&stderr.text()).into_owned();
        match cut {
            None => Ok(Finished { status, stdout, stderr_tail }),
            Some(CutShort::TimedOut(after)) => Err(RunProgramError::TimedOut { program, after, stderr_tail }),
            Some(CutShort::Cancelled) => Err(RunProgramError::Cancelled { program }),
            Some(CutShort::TooMuch(max)) => Err(RunProgramError::OutputTooLarge { program, max }),
            Some(CutShort::Io(source)) => Err(RunProgramError::Io { program, source }),
        }
    }

    /// Runs the program to its end. Any exit status except success is an error.
    pub async fn run_ok(self) -> Result<Finished, RunProgramError> {
        let program = self.shown();
        let finished = self.run().await?;
        if finished.status.success() {
            Ok(finished)
        } else {
            Err(RunProgramError::Failed { program, status: finished.status, stderr_tail: finished.stderr_tail })
        }
    }

    /// Starts the program without waiting. Its outputs must go to files or be discarded.
    pub fn start(mut self) -> Result<RunningProgram, RunProgramError> {
        self.spawn(OnDrop::Kill)
    }

    /// Starts a detached program, which outlives this process and is not waited for.
    pub fn start_detached(mut self) -> Result<ProcessIdentity, RunProgramError> {
        let mut running = self.spawn(OnDrop::Detach)?;
        running.group.leader = None;
        Ok(running.identity.clone())
    }

    /// Returns the program's name and its subcommand: the first word that is not an option.
    fn counted_as(&self) -> (String, String) {
        let name = Path::new(&self.program).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_verb = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') && !word.starts_with('-');
        let verb = self.arguments.iter().take(2).filter_map(|word| word.to_str()).find(is_verb).unwrap_or("none");
        (name, verb.to_owned())
    }

    fn shown(&self) -> String {
        self.program.display().to_string()
    }

    #[expect(clippy::disallowed_methods, reason = "only this module starts programs")]
    fn spawn(&mut self, on_drop: OnDrop) -> Result<RunningProgram, RunProgramError> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .current_dir(&self.directory)
            .env_clear()
            .envs(&self.environment)
            .kill_on_drop(on_drop == OnDrop::Kill);
        if self.group == Group::Own {
            command.process_group(0);
        }
        command.stdin(match std::mem::take(&mut self.stdin) {
            Stdin::Null => Stdio::null(),
            Stdin::File(file) => Stdio::from(file),
            Stdin::Bytes(bytes) => {
                self.stdin = Stdin::Bytes(bytes);
                Stdio::piped()
            }
        });
        command.stdout(match std::mem::take(&mut self.stdout) {
            Stdout::Null => Stdio::null(),
            Stdout::File(file) => Stdio::from(file),
            piped @ (Stdout::Capture { .. } | Stdout::Lines(_) | Stdout::Records(_)) => {
                self.stdout = piped;
                Stdio::piped()
            }
        });
        command.stderr(match std::mem::take(&mut self.stderr) {
            Stderr::File(file) => Stdio::from(file),
            piped @ (Stderr::Tail | Stderr::Progress(_)) => {
                self.stderr = piped;
                Stdio::piped()
            }
        });
        let child = command.spawn().map_err(|source| self.why_not_started(source))?;
        self.watched(child)
    }

    /// Returns the started child with a handle to watch it. A child that cannot be watched is ended.
    fn watched(&self, mut child: Child) -> Result<RunningProgram, RunProgramError> {
        let lost = |source| RunProgramError::Io { program: self.shown(), source };
        let pid = child.id().ok_or_else(|| lost(io::ErrorKind::NotFound.into()))?;
        let group = GroupGuard { leader: (self.group == Group::Own).then_some(pid) };
        let watch = || {
            if let Some(bytes) = self.memory {
                living::limit_memory(pid, bytes)?;
            }
            let identity = ProcessIdentity::of(pid)?.ok_or(io::ErrorKind::NotFound)?;
            // The child is reaped only when somebody waits for it, so its number cannot belong to a different process yet.
            let pidfd = living::open_pidfd(pid)?.ok_or(io::ErrorKind::NotFound)?;
            Ok((identity, living::watch_pidfd(pidfd)?))
        };
        match watch() {
            Ok((identity, pidfd)) => Ok(RunningProgram { group, child, identity, pidfd }),
            Err(source) => {
                drop(group);
                child.start_kill().map_err(lost)?;
                Err(lost(source))
            }
        }
    }

    fn why_not_started(&self, source: io::Error) -> RunProgramError {
        let program = self.shown();
        if source.kind() != io::ErrorKind::NotFound {
            return RunProgramError::Spawn { program, source };
        }
        if rustix::fs::stat(&self.directory).is_err() {
            return RunProgramError::DirectoryMissing { program, directory: self.directory.display().to_string() };
        }
        RunProgramError::NotFound { program }
    }
}

/// Runs the exchange up to its end, the deadline, or a cancellation, and returns why it was cut short.
async fn limited(
    talk: impl Future<Output = Result<(), CutShort>>,
    deadline: Option<Duration>,
    cancel: &CancellationToken,
) -> Option<CutShort> {
    let limited = async {
        match deadline {
            Some(after) => timeout(after, talk).await.unwrap_or(Err(CutShort::TimedOut(after))),
            None => talk.await,
        }
    };
    cancel.run_until_cancelled(limited).await.unwrap_or(Err(CutShort::Cancelled)).err()
}

/// Writes to and reads from a child until it has ended and its pipes are closed.
async fn talk(
    running: &mut RunningProgram,
    stdin: &mut Stdin,
    stdout: &mut Stdout<'_>,
    stderr: &mut Stderr<'_>,
    captured: &mut Vec<u8>,
    tail: &mut Tail,
) -> Result<(), CutShort> {
    let pipes = (running.child.stdin.take(), running.child.stdout.take(), running.child.stderr.take());
    let feeding = async {
        match (pipes.0, stdin) {
            (Some(pipe), Stdin::Bytes(bytes)) => feed(pipe, bytes).await,
            _ => Ok(()),
        }
    };
    let reading = async {
        match (pipes.1, stdout) {
            (Some(pipe), Stdout::Capture { max }) => match capture::capture(pipe, captured, *max).await.map_err(CutShort::Io)? {
                Captured::Complete => Ok(()),
                Captured::TooLarge => Err(CutShort::TooMuch(*max)),
            },
            (Some(pipe), Stdout::Lines(on_line)) => capture::pieces(pipe, b'\n', on_line).await.map_err(CutShort::Io),
            (Some(pipe), Stdout::Records(on_record)) => capture::pieces(pipe, 0, on_record).await.map_err(CutShort::Io),
            _ => Ok(()),
        }
    };
    let noting = async {
        match (pipes.2, stderr) {
            (Some(pipe), Stderr::Progress(on_piece)) => capture::tail(pipe, tail, Some(on_piece)).await.map_err(CutShort::Io),
            (Some(pipe), _) => capture::tail(pipe, tail, None).await.map_err(CutShort::Io),
            (None, _) => Ok(()),
        }
    };
    let talking = pin!(try_join3(feeding, reading, noting));
    let ending = pin!(running.ended());
    match select(talking, ending).await {
        Either::Left((talked, ending)) => {
            talked?;
            ending.await.map_err(CutShort::Io)
        }
        Either::Right((ended, talking)) => {
            ended.map_err(CutShort::Io)?;
            // A background process keeps the pipe open. Its output is ignored.
            timeout(PIPE_GRACE, talking).await.map_or(Ok(()), |talked| talked.map(drop))
        }
    }
}

/// Writes all bytes to stdin and closes it. The program need not read all of them.
async fn feed(mut pipe: ChildStdin, bytes: &[u8]) -> Result<(), CutShort> {
    match pipe.write_all(bytes).await {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CutShort::Io(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
