//! The public `codex-docker` script as a worker, or a program with its interface: it creates the containers itself.
//!
//! Invariant: everything that cannot be mounted, exported or written is reported in a note of the run, or as the reason why the
//! run did not start.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use config::Config;
use durable::blocking;
use futures_util::future::BoxFuture;
use model::ErrorCode;
use model::codex::LineContent;
use model::environment::EnvironmentRecord;
use model::ids::{EnvironmentId, TaskId};
use model::names::VariableName;
use model::problem::Problem;
use model::run::RunError;
use printable::printable_line;
use process::Redactor;
use protocol::Finding;

use super::super::check::{check_for_harvest, problem};
use super::super::container::NetworkNeeds;
use super::super::findings::{called_script, harvest, isolation, script_login};
use super::super::request::{Cleanup, ContainerFolders, IMAGES_INSIDE, RunCall};
use super::super::script::{Script, cannot_mount, ignored_settings, open_network_only, passes_by_name};
use super::super::session::SessionFolder;
use super::super::variables::API_KEY;
use super::{Confidentiality, Draft, FoundWorker, PrepareRequest, Site, WorkerKind, program};
use crate::journal::Tail;
use crate::keeper::RunFiles;
use crate::seam::NeededImage;
use crate::spec::{ContainerSandbox, ImageRef, Sandbox};

/// Prefixes of the script's stderr lines about skipped mounts.
const LEFT_OUT: &[&str] = &["Warning: CODEX_MOUNT", "codex-docker: warning: `"];

/// The maximum number of warnings about skipped mounts in notes. There are that many mounts, but an agent can print more lines.
const MAX_LEFT_OUT: usize = 8;

/// The maximum length of a note about a skipped mount, in characters.
const NOTE_LENGTH: usize = 300;

/// The public script.
#[derive(Debug)]
pub(in super::super) struct PublicScript {
    /// Its details.
    pub(in super::super) script: Script,
}

impl WorkerKind for PublicScript {
    fn images(&self, _call: &RunCall<'_>) -> String {
        IMAGES_INSIDE.to_owned()
    }

    /// The script puts values on a command line, which every user of the machine can read. Secrets are passed by name instead.
    fn set_variable(&self, draft: &mut Draft, name: &VariableName, value: &str, confidentiality: Confidentiality) {
        if confidentiality == Confidentiality::Secret && passes_by_name(name.as_str()) {
            draft.set(name.to_string(), value);
            draft.passed.push(name.to_string());
        } else {
            draft.set_in_container(name, value);
        }
    }

    fn complete(&self, draft: &mut Draft, call: &RunCall<'_>) {
        let Some(container) = &call.container else { return };
        self.script.write(container, call, &mut draft.environment);
        if draft.environment.contains_key(OsStr::new(API_KEY)) && !draft.passed.iter().any(|name| name == API_KEY) {
            draft.passed.insert(0, API_KEY.to_owned());
        }
    }

    fn cleanup(&self, call: &RunCall<'_>, container_name: &str) -> Option<Cleanup> {
        call.container.as_ref()?;
        self.script.cleanup(call, container_name)
    }

    fn notes(&self, sandbox: &Sandbox) -> Vec<String> {
        sandbox.container().map(ignored_settings).unwrap_or_default()
    }

    /// Other programs may also use the script's own Codex home.
    fn sessions(&self, of_task: Option<&Path>) -> Option<SessionFolder> {
        let folder = of_task.filter(|_| self.script.home().mounted.is_none())?;
        Some(SessionFolder::OfTask(folder.to_owned()))
    }

    fn session_folder(&self, of_task: &Path) -> Option<PathBuf> {
        Some(self.script.home().mounted.map_or_else(|| of_task.to_owned(), |home| home.join("sessions")))
    }

    fn uses_agent_repository(&self) -> bool {
        true
    }

    /// The script cannot run an image that is built for the built-in worker.
    fn image(&self, site: Site<'_>, container: &ContainerSandbox, _repository: EnvironmentId) -> Option<String> {
        match &container.image {
            ImageRef::Named(name) => Some(name.clone()),
            ImageRef::Pinned | ImageRef::Built => site.config.image.clone(),
        }
    }

    fn ready<'a>(
        &'a self,
        _site: Site<'a>,
        repository: Option<&'a EnvironmentRecord>,
        _image: NeededImage,
    ) -> BoxFuture<'a, Result<(), Problem>> {
        let refused = repository.and_then(|repository| open_network_only(&NetworkNeeds::of_repository(repository)));
        Box::pin(async { refused.map_or(Ok(()), Err) })
    }

    fn prepare<'a>(&'a self, site: Site<'a>, request: PrepareRequest<'a>) -> BoxFuture<'a, Result<(), RunError>> {
        let refused = open_network_only(&NetworkNeeds::of_run(request.spec));
        let refused = refused.or_else(|| cannot_mount(site.home.layout.home()));
        Box::pin(async { refused.map_or(Ok(()), |problem| Err(problem.into())) })
    }

    fn write_overlays<'a>(&'a self, site: Site<'a>, task: TaskId) -> BoxFuture<'a, Result<(), RunError>> {
        let folders = ContainerFolders::new(&site.home.layout, task, Path::new(""));
        let (script, base) = (self.script.clone(), site.config.codex_config.clone());
        Box::pin(async move {
            blocking(move || script.prepare(&folders, base.as_deref())).await.map_err(|error| {
                RunError::new(ErrorCode::CodexConfig, format!("could not write Codex's settings for the container: {error}"))
                    .hint("check the `config.toml` in the Codex home that the worker mounts")
            })
        })
    }

    fn export_image<'a>(
        &'a self,
        site: Site<'a>,
        container: &'a ContainerSandbox,
        repository: EnvironmentId,
    ) -> BoxFuture<'a, Result<Option<String>, Problem>> {
        let used = self.image(site, container, repository).or_else(|| self.script.default_image().map(str::to_owned));
        Box::pin(async move {
            let Some(missing) = problem(&site.checks.fresh(used.as_deref()).await) else { return Ok(used) };
            // Any image that contains git can export the work.
            match problem(&site.checks.fresh(None).await) {
                None => Ok(None),
                Some(_) => Err(missing),
            }
        })
    }

    fn remarks<'a>(&'a self, files: &'a RunFiles, redactor: &'a Redactor) -> BoxFuture<'a, io::Result<Vec<String>>> {
        Box::pin(left_out(files, redactor))
    }

    fn login_obstacle(&self, _config: &Config) -> Option<Problem> {
        Some(program::own_login())
    }

    fn findings<'a>(&'a self, worker: FoundWorker<'a>, config: &'a Config) -> BoxFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            let check = check_for_harvest(config, &self.script).await;
            let home = self.script.home().mounted;
            vec![
                called_script(worker.name, worker.program),
                harvest(&check),
                isolation(home.as_deref()),
                script_login(config, home.as_deref()),
            ]
        })
    }
}

/// Returns the script's warnings about skipped mounts.
async fn left_out(files: &RunFiles, redactor: &Redactor) -> io::Result<Vec<String>> {
    let mut notes = Vec::new();
    let mut tail = Tail::from(files.stderr(), 0);
    while tail
        .read(|line| {
            let LineContent::Whole(line) = line.content else { return };
            let line = String::from_utf8_lossy(line);
            if notes.len() < MAX_LEFT_OUT && LEFT_OUT.iter().any(|begins| line.starts_with(begins)) {
                notes.push(format!("the worker reports: {}", printable_line(&redactor.mask(&line), NOTE_LENGTH)));
            }
        })
        .await?
    {}
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use model::ids::RunNumber;

    use super::*;

    #[tokio::test]
    async fn what_the_script_did_not_mount_is_noted_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = RunFiles::new(folder.path(), RunNumber::FIRST);
        let missing = "Warning: CODEX_MOUNT_MAPS_RO host path '/x' not found; skipping mount.";
        let redactor = Redactor::new(["hunter2".to_owned()]);
        let stderr = format!("{missing}\nWarning: Codex home '/codex' not found; running without host Codex config.\nother\n");
        fs_err::write(files.stderr(), stderr).expect("written");
        assert_eq!(left_out(&files, &redactor).await.expect("readable"), [format!("the worker reports: {missing}")]);
        fs_err::write(files.stderr(), format!("{missing}\n").repeat(1000)).expect("written");
        assert_eq!(left_out(&files, &redactor).await.expect("readable").len(), MAX_LEFT_OUT);
        fs_err::write(files.stderr(), "Warning: CODEX_MOUNT hunter2\n").expect("written");
        assert_eq!(left_out(&files, &redactor).await.expect("readable"), ["the worker reports: Warning: CODEX_MOUNT ***"]);
    }
}
