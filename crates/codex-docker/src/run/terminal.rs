//! Supervises a run at a terminal: passes bytes both ways, follows the window's size, and restores the terminal afterwards.
//! The output is not written to files.

use std::io::{self, Write as _};
use std::os::fd::AsFd as _;

use bollard::Docker;
use bollard::container::AttachContainerResults;
use bollard::query_parameters::ResizeContainerTTYOptionsBuilder;
use futures_util::StreamExt as _;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::AsyncWriteExt as _;
use tokio::signal::unix::{SignalKind, signal};

use super::end::StopReason;
use super::hold::{Stopping, Stops};
use super::watch::Watch;
use crate::failure::Failure;
use crate::settings::Settings;
use crate::spec::stop_signal;
use model::ErrorCode;

/// The terminal in raw mode. The previous mode is restored when this is dropped.
struct Raw {
    before: Termios,
}

impl Raw {
    fn enter() -> io::Result<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(stdin.as_fd())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin.as_fd(), OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // This fails only if the terminal is gone.
        let _gone = tcsetattr(io::stdin().as_fd(), OptionalActions::Now, &self.before);
    }
}

/// Supervises the run until it ends and returns its exit code.
pub(super) async fn hold(docker: &Docker, settings: &Settings, attached: Option<AttachContainerResults>) -> Result<u8, Failure> {
    let failed = |error: io::Error| Failure::new(ErrorCode::Terminal, format!("cannot use the terminal: {error}"));
    let Some(mut attached) = attached else {
        return Err(Failure::new(ErrorCode::Terminal, "could not attach to the container's terminal"));
    };
    let mut resized = signal(SignalKind::window_change()).map_err(failed)?;
    let mut stops = Stops::listen().map_err(failed)?;
    let mut keys = keys();
    let mut watch = Watch::new(docker, &settings.name);
    let mut stopping = Stopping::new(docker, &settings.name, stop_signal(settings));
    let raw = Raw::enter().map_err(failed)?;
    resize(docker, &settings.name).await;
    let mut shows = true;
    let end = loop {
        tokio::select! {
            output = attached.output.next(), if shows => match output {
                Some(Ok(bytes)) => {
                    let mut stdout = io::stdout();
                    stdout.write_all(bytes.as_ref()).and_then(|()| stdout.flush()).map_err(failed)?;
                }
                Some(Err(_)) | None => shows = false,
            },
            typed = keys.recv() => match typed {
                Some(bytes) => if let Err(error) = attached.input.write_all(&bytes).await {
                    tracing::debug!(%error, "the container no longer accepts input");
                },
                None => stopping.end(StopReason::Asked(1)).await,
            },
            _ = resized.recv() => resize(docker, &settings.name).await,
            number = stops.next() => stopping.end(StopReason::Asked(number)).await,
            () = stopping.patience(), if stopping.reason.is_some() => {}
            end = watch.step() => if let Some(end) = end { break end },
        }
    };
    // The last output may still be in transit.
    while let (true, Some(Ok(bytes))) = (shows, attached.output.next().await) {
        io::stdout().write_all(bytes.as_ref()).map_err(failed)?;
    }
    drop(raw);
    Ok(super::end::exit_code(settings, &end, stopping.reason))
}

/// Reads keys in a thread, because a terminal cannot be read asynchronously. The thread ends with the process.
fn keys() -> tokio::sync::mpsc::Receiver<Vec<u8>> {
    let (typed, keys) = tokio::sync::mpsc::channel(16);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1024];
        while let Ok(count @ 1..) = io::Read::read(&mut io::stdin(), &mut buffer) {
            if typed.blocking_send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    keys
}

async fn resize(docker: &Docker, container: &str) {
    let Ok(size) = tcgetwinsize(io::stdout().as_fd()) else { return };
    let options = ResizeContainerTTYOptionsBuilder::new().h(size.ws_row.into()).w(size.ws_col.into()).build();
    // The container may have just exited.
    if let Err(error) = docker.resize_container_tty(container, options).await {
        tracing::debug!(%error, "could not resize the container's terminal");
    }
}
