//! The end of a run: its exit code, and the cleanup.
//! A failed cleanup never fails the run. It is reported, and `reap` cleans up later.

use bollard::Docker;
use bollard::query_parameters::RemoveContainerOptionsBuilder;
use model::WORKER_CUT_OFF;

use super::prepare::PreparedRun;
use super::watch::End;
use crate::connect::status_of;
use crate::settings::Settings;
use crate::spec::Machine;
use crate::{give_back, housekeeping};

/// Why a run is being stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopReason {
    /// This process received the signal with this number.
    Asked(u8),
    /// The disk is almost full.
    DiskFull,
    /// The reader of the run's output closed the pipe.
    NobodyReads,
}

/// Returns the exit code of a run. A run that was interrupted from outside has a special code, so that it does not look like a
/// failure of Codex.
pub(super) fn exit_code(settings: &Settings, end: &End, reason: Option<StopReason>) -> u8 {
    let End::Exited { code, out_of_memory, engine_was_away, words } = end else {
        if reason.is_some() {
            return exit_code_of(reason);
        }
        crate::say("the container was removed while Codex was running");
        return WORKER_CUT_OFF;
    };
    let code = u8::try_from(*code).unwrap_or(crate::failure::EXIT_FAILED);
    if !words.is_empty() {
        crate::say(&format!("the container engine reports: {words}"));
    }
    if reason.is_some() {
        return exit_code_of(reason);
    }
    if *out_of_memory && code == 137 {
        let limit = settings.limits.memory.map_or_else(String::new, |bytes| format!(" of {} MiB", bytes >> 20));
        crate::say(&format!("the container exceeded its memory limit{limit}; to raise the limit, set CODEX_DOCKER_MEMORY"));
    }
    if *engine_was_away && code != 0 {
        crate::say("the container engine was restarted and stopped the container; with live-restore, it would have kept running");
        return WORKER_CUT_OFF;
    }
    code
}

/// Removes the container, gives the files back to the caller, and removes the folder of the run. Failures are reported, and `reap`
/// tries again later.
pub(super) async fn tidy(docker: &Docker, settings: &Settings, machine: &Machine, prepared: PreparedRun) {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    match docker.remove_container(&settings.name, Some(options)).await {
        Ok(()) => {}
        Err(error) if matches!(status_of(&error), Some(404)) => {}
        Err(error) => {
            crate::say(&format!(
                "could not remove the container `{}`: {error}; to try again, run `codex-docker reap`",
                settings.name
            ));
        }
    }
    if settings.twin.is_none()
        && let Err(failure) = give_back::after_run(docker, settings, machine).await
    {
        crate::say(&format!("could not make you the owner of the files that Codex created as root: {failure}"));
    }
    housekeeping::clear(docker, machine, &prepared.into_folder()).await;
}

/// Returns the exit code of a run that was stopped.
pub(super) fn exit_code_of(reason: Option<StopReason>) -> u8 {
    match reason {
        Some(StopReason::Asked(signal)) => 128 + signal,
        Some(StopReason::DiskFull | StopReason::NobodyReads) | None => 1,
    }
}
