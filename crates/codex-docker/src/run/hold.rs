//! Supervises a run whose output goes to files: copies the output, handles signals, watches the disk, and waits for the end.
//!
//! Invariant: a stop works even if the engine does not respond or nobody reads the output.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use bollard::Docker;
use bollard::container::AttachContainerResults;
use bollard::query_parameters::KillContainerOptionsBuilder;
use futures_util::FutureExt as _;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::Begun;
use super::end::{StopReason, exit_code_of};
use super::output::Copying;
use super::watch::Watch;
use crate::connect::status_of;
use crate::disk;
use crate::failure::Failure;
use crate::settings::Settings;
use crate::spec::stop_signal;
use model::ErrorCode;

/// How long Codex may take to exit after SIGINT. It usually takes a tenth of a second.
const STOP_GRACE: Duration = Duration::from_secs(8);

/// How long a stop waits for an engine that does not respond.
const SILENCE_LIMIT: Duration = Duration::from_secs(10);

/// How long the engine can stay silent before a warning is printed.
const COMPLAINT: Duration = Duration::from_secs(5);

/// How often the free disk space is checked.
const DISK_LOOK: Duration = Duration::from_secs(1);

/// A time so long that it means never.
const NEVER: Duration = Duration::from_hours(24 * 365);

/// The signals that stop a run.
pub(crate) struct Stops {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Stops {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal and returns its number. Cancel-safe.
    pub(crate) async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => 2,
            _ = self.terminate.recv() => 15,
            _ = self.hang_up.recv() => 1,
        }
    }
}

/// Stops a container in stages: a signal after which Codex completes its session, then SIGKILL.
pub(super) struct Stopping<'a> {
    docker: &'a Docker,
    container: &'a str,
    signal: &'static str,
    pub(super) reason: Option<StopReason>,
    kill_at: Instant,
}

impl<'a> Stopping<'a> {
    pub(super) fn new(docker: &'a Docker, container: &'a str, signal: &'static str) -> Self {
        Self { docker, container, signal, reason: None, kill_at: Instant::now() + NEVER }
    }

    /// Starts to stop the container. A second call kills it immediately.
    pub(super) async fn end(&mut self, reason: StopReason) {
        if self.reason.is_none() {
            self.reason = Some(reason);
            self.kill_at = Instant::now() + STOP_GRACE;
            self.send(self.signal).await;
        } else {
            self.kill_at = Instant::now();
        }
    }

    /// Waits until the grace period is over, then kills the container. Cancel-safe: an interrupted kill is sent again.
    pub(super) async fn patience(&mut self) {
        sleep_until(self.kill_at).await;
        self.send("SIGKILL").await;
        self.kill_at = Instant::now() + Duration::from_secs(1);
    }

    async fn send(&self, signal: &str) {
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        let asked = tokio::time::timeout(SILENCE_LIMIT, self.docker.kill_container(self.container, Some(options))).await;
        match asked {
            Ok(Ok(())) => {}
            // The container has exited or is gone.
            Ok(Err(error)) if matches!(status_of(&error), Some(404 | 409)) => {}
            Ok(Err(error)) => crate::say(&format!("could not send {signal} to the container: {error}")),
            Err(_) => crate::say(&format!("the container engine did not respond to the request to send {signal}")),
        }
    }
}

/// Supervises the run until it ends and returns its exit code.
pub(super) async fn hold(
    docker: &Docker,
    settings: &Settings,
    begun: Begun,
    attached: Option<AttachContainerResults>,
) -> Result<u8, Failure> {
    let no_thread =
        |error: &dyn std::fmt::Display| Failure::new(ErrorCode::OutputFailed, format!("cannot follow the output: {error}"));
    let mut stops = Stops::listen().map_err(|error| no_thread(&error))?;
    let out = settings.state.join("out");
    let started = Copying::start(&out, begun.outputs.stdout, begun.offset, begun.outputs.stderr);
    let (copying, broken) = started.map_err(|error| no_thread(&error))?;
    let mut broken = broken.fuse();
    let pump = attached.map(|attached| tokio::spawn(pump(attached.input)));
    let mut watch = Watch::new(docker, &settings.name);
    let mut stopping = Stopping::new(docker, &settings.name, stop_signal(settings));
    let mut look = interval(DISK_LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut has_complained = false;
    let end = loop {
        tokio::select! {
            end = watch.step() => {
                if let Some(end) = end {
                    break end;
                }
                if !has_complained && watch.silence() > COMPLAINT {
                    crate::say("the container engine does not respond; waiting for it, because the container may still be running");
                    has_complained = true;
                }
                if stopping.reason.is_some() && watch.silence() > SILENCE_LIMIT {
                    crate::say("the container engine does not respond; `codex-docker reap` removes the container when the engine is back");
                    return Ok(exit_code_of(stopping.reason));
                }
            }
            number = stops.next() => stopping.end(StopReason::Asked(number)).await,
            () = stopping.patience(), if stopping.reason.is_some() => {}
            Ok(error) = &mut broken => {
                crate::say(&format!("stopping the run: nothing reads the output any more ({error})"));
                stopping.end(StopReason::NobodyReads).await;
            }
            _ = look.tick() => {
                copying.look_again();
                if stopping.reason.is_none() && let Some(free) = disk::free(&out).filter(|free| *free < settings.limits.free_disk) {
                    crate::say(&format!("stopping the run: {}", disk::below(&out, free, settings.limits.free_disk)));
                    stopping.end(StopReason::DiskFull).await;
                }
            }
        }
    };
    if let Some(pump) = pump {
        pump.abort();
    }
    // A stop must not wait forever for a reader that stalls. Output that was not read stays in the run's files until they are
    // removed.
    let handed_on = tokio::task::spawn_blocking(move || copying.finish());
    tokio::select! {
        copied = handed_on => {
            if let Ok(Err(error)) = copied && stopping.reason != Some(StopReason::NobodyReads) {
                crate::say(&format!("could not pass on all output: {error}"));
            }
        }
        _ = stops.next() => {}
    }
    Ok(super::end::exit_code(settings, &end, stopping.reason))
}

/// Copies stdin to the container until stdin ends.
async fn pump(mut input: Pin<Box<dyn AsyncWrite + Send>>) {
    let copied = async {
        tokio::io::copy(&mut tokio::io::stdin(), &mut input).await?;
        input.shutdown().await
    };
    // A program does not have to read its stdin to the end.
    if let Err(error) = copied.await {
        tracing::debug!(%error, "could not read all of stdin");
    }
}
