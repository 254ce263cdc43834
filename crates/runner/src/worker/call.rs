//! The command line and the environment of a run, following the worker contract.
//!
//! The prompt is not an argument: it is passed on stdin. `CODEX_PASSTHROUGH_ENV` is never empty, because the public helper
//! script interprets an empty value as "pass everything". `CODEX_WORKSPACE_DIR` is not set, because it would make that script
//! mount nothing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use config::Broker;
use model::image::ImageFile;

use super::find::Worker;
use super::kind::WorkerKind;
use super::request::{Cleanup, ContainerRun, IMAGES_INSIDE, RunCall, WorkerCall};
use super::script;
use super::session::SessionFolder;
use super::variables::{API_KEY, RUN_MARK, run_mark};

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
            cleanup: call.container.as_ref().and_then(|container| self.cleanup(container, call)),
            sessions: self.sessions(call.container.as_ref().map(|container| container.folders.sessions.as_path())),
            notes: match (&self.script, &call.container) {
                (Some(_), Some(container)) => script::notes(container.settings),
                (Some(_) | None, _) => vec![],
            },
        }
    }

    fn cleanup(&self, container: &ContainerRun<'_>, call: &RunCall<'_>) -> Option<Cleanup> {
        if let Some(script) = &self.script {
            return script.cleanup(call, &container_name(call));
        }
        let labels = container.labels(call).into_iter().flat_map(|label| ["--label".to_owned(), label]);
        let words = ["reap", "--if-reachable"].map(str::to_owned);
        let args = self.prefix.iter().cloned().chain(words).chain(labels).collect();
        Some(Cleanup { program: self.program.clone(), args })
    }

    /// Returns where Codex stores the sessions of a task: for containers, in `of_task`. Returns `None` for a custom worker.
    pub fn sessions(&self, of_task: Option<&Path>) -> Option<SessionFolder> {
        match self.kind {
            WorkerKind::Container => of_task.map(|folder| SessionFolder::OfTask(folder.to_owned())),
            WorkerKind::Host => self.codex_home.as_ref().map(|home| SessionFolder::Shared(home.join("sessions"))),
            // Other programs may also use the script's own Codex home.
            WorkerKind::Script => {
                let folder = of_task.filter(|_| self.script.as_ref().is_some_and(|script| script.home().mounted.is_none()))?;
                Some(SessionFolder::OfTask(folder.to_owned()))
            }
            WorkerKind::Custom => None,
        }
    }

    /// Returns the folder with the sessions of a task, even if other programs also use it. Use the folder only for reading.
    pub fn session_folder(&self, of_task: &Path) -> Option<PathBuf> {
        let shared = |home: PathBuf| home.join("sessions");
        match self.kind {
            WorkerKind::Container => Some(of_task.to_owned()),
            WorkerKind::Script => Some(self.script.as_ref()?.home().mounted.map_or_else(|| of_task.to_owned(), shared)),
            WorkerKind::Host | WorkerKind::Custom => self.codex_home.clone().map(shared),
        }
    }

    fn arguments(&self, call: &RunCall<'_>) -> Vec<String> {
        let mut args = self.prefix.clone();
        args.extend(["exec".to_owned(), "--json".to_owned()]);
        match self.kind {
            WorkerKind::Host => args.extend(["-s".to_owned(), "workspace-write".to_owned()]),
            // The container is the sandbox. Codex's own sandbox does not work inside it.
            WorkerKind::Container => args.push("--dangerously-bypass-approvals-and-sandbox".to_owned()),
            WorkerKind::Script | WorkerKind::Custom => {}
        }
        if let Some(model) = call.model {
            args.extend(["-m".to_owned(), model.to_string()]);
        }
        if let Some(effort) = call.effort {
            args.extend(["-c".to_owned(), format!("model_reasoning_effort={effort}")]);
        }
        // Images come before `resume`, where every version of Codex accepts them. Each path is in the same argument as its
        // flag, because Codex would interpret further arguments as images too.
        args.extend(call.images.iter().map(|image| format!("--image={}", self.image_path(call, image))));
        if let Some(thread) = call.resumes {
            args.extend(["resume".to_owned(), thread.to_string()]);
        }
        args.push("-".to_owned());
        args
    }

    /// Returns the path under which the worker finds an image. Codex interprets a comma as the end of a path, and the path of
    /// the home directory may contain one. Therefore, the path is relative to the worktree, where a worker on the host starts,
    /// or it is the path in a container.
    fn image_path(&self, call: &RunCall<'_>, image: &ImageFile) -> String {
        let folder = match (self.kind, &call.images_folder) {
            (WorkerKind::Container | WorkerKind::Script, _) => IMAGES_INSIDE.to_owned(),
            (WorkerKind::Custom, Some(folder)) => folder.to_string_lossy().into_owned(),
            (WorkerKind::Host, _) | (WorkerKind::Custom, None) => "../images".to_owned(),
        };
        format!("{folder}/{}", image.file)
    }

    fn environment(&self, call: &RunCall<'_>) -> Vec<(OsString, OsString)> {
        let mut environment: BTreeMap<OsString, OsString> = self.passed.iter().cloned().collect();
        let mut set = |name: String, value: OsString| environment.insert(name.into(), value);
        let mut passed = self.passed_names.clone();
        let plain = call.variables.iter().map(|(name, value)| (name, value.as_str(), false));
        for (name, value, is_secret) in plain.chain(call.secrets.iter().map(|(name, secret)| (name, secret.expose(), true))) {
            if is_secret && self.script.is_some() && script::passes_by_name(name.as_str()) {
                // The script puts other values on a command line, which every user of the machine can read.
                set(name.to_string(), value.into());
                passed.push(name.to_string());
                continue;
            }
            if !self.uses_containers() {
                set(name.to_string(), value.into());
            }
            set(format!("CODEX_CONTAINER_ENV_{name}"), value.into());
        }
        if let Some(home) = &self.codex_home {
            set("CODEX_HOME".to_owned(), home.into());
        }
        if let (WorkerKind::Custom, Some(folder)) = (self.kind, &call.images_folder) {
            // The public helper script mounts these paths under the same path.
            set("CODEX_MOUNT_PATHS_RO".to_owned(), folder.into());
        }
        set("CONTAINER_NAME".to_owned(), container_name(call).into());
        set(RUN_MARK.to_owned(), run_mark(call.task_id, call.run, call.attempt).into());
        if let (Some(script), Some(container)) = (&self.script, &call.container) {
            script.write(container, call, &mut environment);
            if environment.contains_key(&OsString::from(API_KEY)) && !passed.iter().any(|name| name == API_KEY) {
                passed.insert(0, API_KEY.to_owned());
            }
        } else if let Some(container) = &call.container {
            container.write(call, &mut environment);
            // With the broker, the key stays outside of the container.
            passed.retain(|name| name != API_KEY);
            if container.broker == Broker::Off && environment.contains_key(&OsString::from(API_KEY)) {
                passed.insert(0, API_KEY.to_owned());
            }
        }
        passed.push(RUN_MARK.to_owned());
        environment.insert("CODEX_PASSTHROUGH_ENV".into(), passed.join(",").into());
        environment.into_iter().collect()
    }
}

#[cfg(test)]
mod tests;
