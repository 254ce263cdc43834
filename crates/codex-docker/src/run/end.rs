//! The end of a run: its exit code, and the cleanup.
//! A failed cleanup never fails the run. It is reported, and `reap` cleans up later.

use bollard::Docker;
use bollard::query_parameters::RemoveContainerOptionsBuilder;
use model::WORKER_CUT_OFF;

use super::prepare::PreparedRun;
use super::watch::End;
use crate::connect::status_of;
use crate::keep::{self, ChangeSearch, KeepError, KeepOrder};
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
    // A server ends only when it is asked to, so its own exit code tells how it ended.
    let is_end_of_server = settings.pipe.is_some() && reason == Some(StopReason::Asked(15));
    if reason.is_some() && !is_end_of_server {
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

/// Keeps what the run installed, removes the container, gives the files back to the caller, and removes the folder of the run. Failures are reported, and `reap`
/// tries again later.
pub(super) async fn tidy(docker: &Docker, settings: &Settings, machine: &Machine, prepared: PreparedRun, search: ChangeSearch) {
    if let Some(name) = &settings.keep_as
        && let Err(error) =
            keep::keep(docker, KeepOrder { folder: prepared.folder(), container: &settings.name, name, search }).await
    {
        if matches!(error, KeepError::Silent(_)) {
            return crate::say(&format!(
                "what the run installed is not kept yet: {error}; `codex-docker reap` keeps it and removes the container"
            ));
        }
        crate::say(&format!("warning: what the run installed could not be kept: {error}"));
    }
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    use super::*;
    use crate::failure::EXIT_FAILED;
    use crate::run::machine;
    use crate::settings::Caller;
    use crate::tests::{Answer, Asked, ScriptedEngine, about, container, done, found, missing, refusal};

    fn settings(root: &std::path::Path, pairs: &[(&str, &str)]) -> Settings {
        let state = root.display().to_string();
        let fixed = [("HOME", "/nowhere"), ("CONTAINER_NAME", "run"), ("CODEX_DOCKER_STATE", state.as_str())];
        let fixed = fixed.into_iter().chain([("CODEX_DOCKER_FREE_DISK", "1m")]);
        let environment = fixed.chain(pairs.iter().copied()).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Settings::read(&environment, Caller { folder: PathBuf::from("/app"), uid: 1000, gid: 100 }).expect("valid settings")
    }

    #[test]
    fn the_exit_code_tells_codexs_own_end_from_one_that_came_from_outside() {
        let settings = settings(std::path::Path::new("/state"), &[("CODEX_DOCKER_MEMORY", "512m")]);
        let exited = |code: i64, out_of_memory: bool, engine_was_away: bool| End::Exited {
            code,
            out_of_memory,
            engine_was_away,
            words: "words".to_owned(),
        };
        let asked = |signal: u8| Some(StopReason::Asked(signal));
        for (end, reason, expected) in [
            (exited(0, false, false), None, 0),
            (exited(1, false, false), None, 1),
            (exited(137, true, false), None, 137),
            (exited(-1, false, false), None, EXIT_FAILED),
            (exited(256, false, false), None, EXIT_FAILED),
            // The engine stopped the container when it restarted, unless Codex had succeeded by then.
            (exited(137, false, true), None, WORKER_CUT_OFF),
            (exited(0, false, true), None, 0),
            (End::Gone, None, WORKER_CUT_OFF),
            // A run that was stopped has the code of the stop, however the container ended.
            (exited(0, false, false), asked(2), 130),
            (exited(137, false, true), asked(15), 143),
            (End::Gone, asked(1), 129),
            (exited(137, true, false), Some(StopReason::DiskFull), 1),
            (End::Gone, Some(StopReason::NobodyReads), 1),
        ] {
            assert_eq!(exit_code(&settings, &end, reason), expected, "{end:?} {reason:?}");
        }
    }

    #[tokio::test]
    async fn after_a_run_its_container_and_its_files_are_gone_or_both_stay() {
        for (removed, is_gone) in [(done(), true), (missing(), true), (refusal(500, "busy"), false), (Answer::Silence, false)] {
            let story = format!("{removed:?}");
            let root = tempfile::tempdir().expect("a folder");
            let settings = settings(root.path(), &[("CODEX_DOCKER_GIT_DIR", "/t/agent.git")]);
            let prepared = PreparedRun::hold(&settings).expect("nobody else uses the folder");
            let path = prepared.path().to_owned();
            let own = container("1", &path, "exited");
            let engine = ScriptedEngine::start(move |asked| match asked.line.as_str() {
                "GET /containers/run/json" if is_gone => missing(),
                "GET /containers/run/json" => found(&own),
                "DELETE /containers/run?v=true&force=true" => removed.clone(),
                line => about(line).unwrap_or_else(missing),
            });
            let machine = machine(&engine.docker, &std::collections::BTreeMap::new()).await.expect("the engine answers");
            tidy(&engine.docker, &settings, &machine, prepared, ChangeSearch::Complete).await;
            assert_eq!(path.exists(), !is_gone, "{story}");
            assert_eq!(engine.changes().len(), 1, "an agent repository gives nothing back here: {story}");
        }
    }

    #[tokio::test]
    async fn the_caller_owns_the_files_before_the_folder_goes() {
        let root = tempfile::tempdir().expect("a folder");
        let settings = settings(root.path(), &[]);
        let prepared = PreparedRun::hold(&settings).expect("nobody else uses the folder");
        let engine = ScriptedEngine::start(|asked: &Asked| match asked.line.split('?').next().unwrap_or_default() {
            "POST /containers/create" => Answer::Said(201, json!({ "Id": "1", "Warnings": [] }).to_string()),
            "GET /containers/run/json" => missing(),
            line if line.starts_with("GET /containers/codex-give-back-") => {
                found(&json!({ "State": { "Status": "exited", "ExitCode": 1 } }))
            }
            line => about(line).unwrap_or_else(done),
        });
        let machine = machine(&engine.docker, &std::collections::BTreeMap::new()).await.expect("the engine answers");
        let path = prepared.path().to_owned();
        tidy(&engine.docker, &settings, &machine, prepared, ChangeSearch::Complete).await;
        let created = engine.asked("POST /containers/create?name=codex-give-back-");
        assert_eq!(created.len(), 1);
        assert_eq!(created[0].body["Entrypoint"][2], "1000:100");
        assert!(!path.exists(), "owners that could not be changed do not keep the folder");
    }
}
