//! The command line and the environment of a run, following the worker contract.
//!
//! The prompt is not an argument: it is passed on stdin. `CODEX_PASSTHROUGH_ENV` is never empty, because the public helper
//! script interprets an empty value as "pass everything". `CODEX_WORKSPACE_DIR` is not set, because it would make that script
//! mount nothing.

use std::ffi::OsString;

use super::container::{KEEP_AS, START_FOLDER};
use super::find::Worker;
use super::kind::{Confidentiality, Draft};
use super::request::{AppServerCall, Otherwise, RunCall, WorkerCall};
use super::variables::{RUN_MARK, run_mark};

const CONTAINER_NAME: &str = "CONTAINER_NAME";

/// How long Codex's app server may take to answer for the first time, without the services that become ready before it starts.
const ANSWER_LIMIT_SECONDS: u64 = 60;

/// The maximum size of the messages of Codex's app server: far more than people read.
const MESSAGES_LIMIT_BYTES: u64 = 1 << 30;

/// Returns the name of a run's container.
fn container_name(call: &RunCall<'_>) -> String {
    format!("codex-{}-run-{}", call.task_id, call.run)
}

impl Worker {
    /// Returns the command for a run.
    pub fn call(&self, call: &RunCall<'_>) -> WorkerCall {
        WorkerCall {
            program: self.program.clone(),
            args: self.arguments(call),
            environment: self.environment(call),
            cleanup: self.kind.cleanup(call, &container_name(call)),
            sessions: self.kind.sessions(call.container.as_ref().map(|container| container.folders.sessions.as_path())),
            app_server: self.app_server(call),
            notes: self.notes_on_driver(call),
        }
    }

    /// Returns the environment of `codex-docker` for a shell in the container of a run. What is installed there is not kept.
    pub(crate) fn shell(&self, call: &RunCall<'_>) -> Vec<(OsString, OsString)> {
        let mut environment = self.environment(call);
        // The command line names the folder in which the shell starts.
        environment.retain(|(name, _)| name != KEEP_AS && name != CONTAINER_NAME && name != START_FOLDER);
        environment.push((CONTAINER_NAME.into(), format!("codex-shell-{}", call.task_id).into()));
        environment
    }

    /// Returns the end of the prompt, which lists the attached files that are not images.
    pub(crate) fn attachments(&self, call: &RunCall<'_>) -> String {
        let folder = self.kind.images(call);
        let files = call.images.iter().filter(|image| !image.file.kind().is_image());
        let lines: Vec<_> = files.map(|file| format!("- {folder}/{} ({})\n", file.file, file.name)).collect();
        if lines.is_empty() { String::new() } else { format!("\n\nAttached files:\n{}", lines.concat()) }
    }

    fn arguments(&self, call: &RunCall<'_>) -> Vec<String> {
        let mut args = self.kind.prefix().to_vec();
        args.extend(["exec", "--json"].iter().chain(self.kind.flags()).map(|&word| word.to_owned()));
        if let Some(subdirectory) = call.subdirectory {
            args.extend(self.kind.start_folder(subdirectory));
            args.extend(self.kind.flags_below(call.worktree));
        }
        if let Some(model) = call.model {
            args.extend(["-m".to_owned(), model.to_string()]);
        }
        if let Some(effort) = call.effort {
            args.extend(["-c".to_owned(), format!("model_reasoning_effort={effort}")]);
        }
        // Images come before `resume`, where every version of Codex accepts them. Each path is in the same argument as its
        // flag, because Codex would interpret further arguments as images too.
        args.extend(self.images(call).map(|path| format!("--image={path}")));
        if let Some(thread) = call.resumes {
            args.extend(["resume".to_owned(), thread.to_string()]);
        }
        args.push("-".to_owned());
        args
    }

    /// Returns how to start Codex's app server, if the run uses it.
    fn app_server(&self, call: &RunCall<'_>) -> Option<AppServerCall> {
        let (otherwise, place) = (call.app_server?, self.kind.app_server(call)?);
        let services = call.container.iter().filter_map(|container| container.services.as_ref());
        let services = services
            .flat_map(|(services, _)| services.values())
            .map(|service| u64::from(service.ready_seconds.get()))
            .sum::<u64>();
        let mut args = self.kind.prefix().to_vec();
        args.push("app-server".to_owned());
        if call.subdirectory.is_some() {
            args.extend(self.kind.flags_below(call.worktree));
        }
        Some(AppServerCall {
            args,
            directory: place.directory,
            sandbox: place.sandbox,
            images: self.images(call).collect(),
            model: call.model.cloned(),
            effort: call.effort.cloned(),
            resumes: call.resumes,
            otherwise,
            answer_limit_ms: (ANSWER_LIMIT_SECONDS + services) * 1000,
            messages_limit_bytes: MESSAGES_LIMIT_BYTES,
        })
    }

    fn notes_on_driver(&self, call: &RunCall<'_>) -> Vec<String> {
        let mut notes = call.notes.clone();
        if call.app_server == Some(Otherwise::Fail) && self.kind.app_server(call).is_none() {
            notes.push("the worker can only run `codex exec`, so the setting `driver` has no effect".to_owned());
        }
        notes
    }

    /// Returns the paths of the prompt's images, as Codex sees them.
    fn images(&self, call: &RunCall<'_>) -> impl Iterator<Item = String> {
        let folder = self.kind.images(call);
        call.images.iter().filter(|image| image.file.kind().is_image()).map(move |image| format!("{folder}/{}", image.file))
    }

    fn environment(&self, call: &RunCall<'_>) -> Vec<(OsString, OsString)> {
        let mut draft = Draft { environment: self.passed.iter().cloned().collect(), passed: self.passed_names.clone() };
        for (name, value) in call.variables {
            self.kind.set_variable(&mut draft, name, value, Confidentiality::Plain);
        }
        for (name, secret) in call.secrets {
            self.kind.set_variable(&mut draft, name, secret.expose(), Confidentiality::Secret);
        }
        draft.set(CONTAINER_NAME, container_name(call));
        draft.set(RUN_MARK, run_mark(call.task_id, call.run, call.attempt));
        self.kind.complete(&mut draft, call);
        draft.passed.push(RUN_MARK.to_owned());
        let passed = draft.passed.join(",");
        draft.set("CODEX_PASSTHROUGH_ENV", passed);
        draft.environment.into_iter().collect()
    }
}

#[cfg(test)]
mod tests;
