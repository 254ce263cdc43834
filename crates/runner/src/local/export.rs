//! Exports the work of a run from its agent repository into a folder, with a container that has no network and no secret.
//!
//! A run without an agent repository works in the task's worktree, so its work needs no export.

use std::path::{Path, PathBuf};

use durable::blocking;
use durable::crash::{self, CrashPoint};
use git::{Decision, DecisionError, Makers, TwinError, Worktree};
use model::ErrorCode;
use model::commit::Selection;
use model::problem::Problem;
use model::run::RunError;
use process::Redactor;
use tokio_util::sync::CancellationToken;

use super::LocalRunner;
use crate::keeper::{self, RunFiles};
use crate::seam::{ExportError, ExportFolder, ExportMode, ExportRequest, Exported, WorkLocation};
use crate::spec::{ContainerSandbox, RunSpec};
use crate::worker::{ContainerFolders, Harvest, HarvestError, HarvestMode, Omission, emptied, image_of, task_labels};

/// Why a run's work could not be exported. It is still where the agent left it.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotExported {
    #[error("could not export the changes from the agent repository: {0}")]
    Harvest(#[from] HarvestError),
    #[error("could not decide which files to commit: {0}")]
    Omission(#[from] DecisionError),
    #[error(transparent)]
    AgentRepository(#[from] TwinError),
    #[error(transparent)]
    Files(#[from] std::io::Error),
}

impl NotExported {
    fn into_error(self) -> ExportError {
        let error = RunError::new(ErrorCode::CommitFailed, self.to_string());
        match self {
            Self::Harvest(HarvestError::Unusable(_)) => ExportError::Unusable(error.message),
            Self::Harvest(HarvestError::TooMuch(_)) => ExportError::Failed(
                error.hint("ask the agent to delete these files or add them to `.gitignore`; the next run then commits the rest"),
            ),
            Self::Omission(DecisionError::TooMany(_)) => {
                ExportError::Failed(error.hint("ask the agent to delete these files or add them to `.gitignore`"))
            }
            Self::Harvest(HarvestError::Program(_)) => {
                ExportError::Failed(error.hint("run `codex-orchestrator doctor` to check that containers can run"))
            }
            Self::Harvest(HarvestError::Undecided) | Self::Omission(_) | Self::AgentRepository(_) | Self::Files(_) => {
                ExportError::Failed(error)
            }
        }
    }
}

/// A call of the container program that exports work.
pub(super) struct BringOut<'a> {
    pub(super) spec: &'a RunSpec,
    pub(super) container: &'a ContainerSandbox,
    pub(super) worktree: &'a Worktree,
    pub(super) mode: HarvestMode,
    pub(super) message: &'a str,
    /// The author and the committer of the commit.
    pub(super) makers: &'a Makers,
    /// What decides which files the commit omits, if there will be a commit.
    pub(super) decision: Option<Decision<'a>>,
    pub(super) redactor: &'a Redactor,
    pub(super) cancel: &'a CancellationToken,
}

impl LocalRunner {
    pub(super) async fn exported(&self, request: &ExportRequest<'_>, redactor: &Redactor) -> Result<Exported, ExportError> {
        let failed =
            |error: &dyn std::fmt::Display| ExportError::Failed(RunError::new(ErrorCode::CommitFailed, error.to_string()));
        let files = self.files(request.spec.key);
        if work_location(&files).await.map_err(|error| failed(&error))? == WorkLocation::InPlace {
            return Ok(Exported::InPlace { reason: None });
        }
        if let Err(problem) = self.export_image(request.spec, &request.container).await {
            let reason =
                format!("{}; set IMAGE_NAME to an image that the worker and this server can use", problem.report.message);
            return Ok(Exported::InPlace { reason: Some(reason) });
        }
        let twin = self.home.layout.twin(request.spec.key.task);
        let (mode, decision, aside) = match request.mode {
            ExportMode::Commits => (HarvestMode::Work, files.omitted(), None),
            ExportMode::Files => {
                let aside = request.worktree.put_twin_aside(&twin).await.map_err(|error| failed(&error))?;
                (HarvestMode::Content, files.omitted_from_files(), aside)
            }
        };
        let call = BringOut {
            spec: request.spec,
            container: &request.container,
            worktree: request.worktree,
            mode,
            message: &request.message,
            makers: request.makers,
            decision: Some(Decision { file: Some(&decision), choices: request.choices, secrets: request.secrets }),
            redactor,
            cancel: &request.cancel,
        };
        let (path, selection) = self.bring_out(&call).await.map_err(NotExported::into_error)?;
        crash::point(CrashPoint::Harvested);
        Ok(Exported::Bundle(ExportFolder { path, large_files: twin.join("lfs/objects"), aside, selection }))
    }

    pub(super) async fn export_image(&self, spec: &RunSpec, container: &ContainerSandbox) -> Result<Option<String>, Problem> {
        // Without its snapshot, the work can still be exported with the image of the settings.
        let own = self.container_from(container, spec).unwrap_or_else(|_| container.clone());
        match &self.worker {
            Ok(worker) => worker.export_image(self.site(), &own, spec.source.repository).await,
            Err(_) => Ok(image_of(&own, spec.source.repository)),
        }
    }

    /// Exports the work, and decides which files the commit omits once the container has listed them. Returns the folder with the
    /// export, and the decision.
    pub(super) async fn bring_out(&self, call: &BringOut<'_>) -> Result<(PathBuf, Selection), NotExported> {
        let Some(decision) = &call.decision else {
            return Ok((self.bring_out_patiently(call, Omission::Nothing).await?, Selection::default()));
        };
        let stored = decision.stored()?;
        let selection = match stored {
            Some(stored) => stored,
            None => match self.bring_out_patiently(call, Omission::Open(decision)).await {
                Err(NotExported::Harvest(HarvestError::Undecided)) => {
                    let (file, choices) = (decision.file.map(Path::to_owned), decision.choices.clone());
                    let (secrets, worktree) = (decision.secrets.cloned(), self.worktree_path(call.spec.key.task));
                    let out = self.home.layout.harvest(call.spec.key.task);
                    let made = move || {
                        let decision = Decision { file: file.as_deref(), choices: &choices, secrets: secrets.as_ref() };
                        std::io::Result::Ok(decision.make_for_export(&out, &worktree))
                    };
                    blocking(made).await??
                }
                done => return Ok((done?, Selection::default())),
            },
        };
        crash::point(CrashPoint::OmissionDecided);
        let (list, paths) = (self.files(call.spec.key).leave_out(), selection.as_list());
        let written = list.clone();
        blocking(move || durable::write_atomically(&written, &paths)).await?;
        Ok((self.bring_out_patiently(call, Omission::Listed(&list)).await?, selection))
    }

    /// Calls the container program, and calls it again if it was killed. Returns the folder with the export.
    async fn bring_out_patiently(&self, call: &BringOut<'_>, omission: Omission<'_>) -> Result<PathBuf, NotExported> {
        match self.bring_out_once(call, omission).await {
            Err(NotExported::Harvest(error)) if error.was_killed() => {
                tracing::warn!(task = %call.spec.key.task, %error, "an export was killed; retrying");
                self.bring_out_once(call, omission).await
            }
            done => done,
        }
    }

    async fn bring_out_once(&self, call: &BringOut<'_>, omission: Omission<'_>) -> Result<PathBuf, NotExported> {
        let BringOut { spec, container, worktree, mode, message, makers, redactor, cancel, .. } = call;
        // The agent repository is missing if it was put aside and creating a new one was interrupted.
        self.ensure_agent_repository(spec, worktree).await?;
        let task = spec.key.task;
        let (message_file, text) = (self.files(spec.key).message(), (*message).to_owned());
        let (written, out) = (message_file.clone(), self.home.layout.harvest(task));
        // The notes about what was moved aside stay until the container exports the work.
        let is_listed = matches!(omission, Omission::Listed(_)) && out.is_dir();
        let out = blocking(move || {
            durable::write_atomically(&written, text.as_bytes())?;
            if is_listed { Ok(out) } else { emptied(out) }
        })
        .await?;
        // Without another usable image, the export uses the pinned one.
        let image = self.export_image(spec, container).await.unwrap_or_default();
        let harvest = Harvest {
            mode: *mode,
            folders: &ContainerFolders::new(&self.home.layout, task, worktree.mirror().path()),
            worktree: &self.worktree_path(task),
            out: &out,
            branch: &spec.source.branch,
            since: &spec.source.start,
            replaced: worktree.replaced_by_signing().await.map_err(std::io::Error::other)?,
            message: &message_file,
            image: image.as_deref(),
            submodules: worktree.submodules()?,
            cone: worktree.cone(),
            labels: task_labels(self.home.layout.home(), task).to_vec(),
            makers,
            omission,
        };
        self.housekeeping((*redactor).clone()).harvest(&harvest, (*cancel).clone()).await?;
        Ok(out)
    }
}

/// Returns where the work of a run is, according to its last order.
pub(super) async fn work_location(files: &RunFiles) -> std::io::Result<WorkLocation> {
    let files = files.clone();
    let was_contained = blocking(move || keeper::was_contained(&files)).await?;
    Ok(if was_contained { WorkLocation::AgentRepository } else { WorkLocation::InPlace })
}
