//! Launches a run: ensures that a keeper supervises it. An existing keeper is adopted. Launching never waits for the run itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use durable::crash::{self, CrashPoint};
use model::ErrorCode;
use model::ids::Attempt;
use model::run::RunError;
use model::task::TaskEvent;
use runner::keeper::{self, KeeperOrder, RunFiles};
use runner::worker::{ContainerFolders, ContainerRun, RunCall, WorkerKind};

use crate::inner::{Inner, TaskSlot};
use crate::spine::Mailbox as _;

impl Inner {
    pub(super) async fn launch(self: &Arc<Self>, slot: &Arc<TaskSlot>, attempt: Attempt) {
        let event = match self.launched(slot, attempt).await {
            Ok(started_at) => TaskEvent::Launched { attempt, started_at },
            Err(error) => TaskEvent::PreparationFailed { attempt, error },
        };
        self.post(slot, event).await;
    }

    async fn launched(&self, slot: &TaskSlot, attempt: Attempt) -> Result<jiff::Timestamp, RunError> {
        let task = slot.record();
        let run = task.last_run();
        let worker = self.worker.as_ref().map_err(|problem| RunError::from(problem.to_problem()))?;
        let worktree = self.home.layout.worktree(slot.id);
        let environment = self.environments.get(slot.env_id).map(|environment| environment.record());
        let environment = environment.as_deref();
        let (no_variables, no_secrets) = (BTreeMap::new(), BTreeMap::new());
        let settings = Self::container_settings(environment);
        let image = match worker.kind() {
            // A script cannot run an image that is built for the built-in worker.
            WorkerKind::Script => self.named_image(environment).map(str::to_owned),
            WorkerKind::Host | WorkerKind::Container | WorkerKind::Custom => self.container_image(environment),
        };
        let login = self.login().await?;
        let container = match worker.kind() {
            WorkerKind::Host | WorkerKind::Custom => None,
            WorkerKind::Container | WorkerKind::Script => {
                let mirror = self.mirror_of(task.env_id)?;
                let to_read = self.to_read(&mirror, &task).map_err(|error| {
                    RunError::new(
                        ErrorCode::WorktreeFailed,
                        format!("could not read the mirror's data about the worktree: {error}"),
                    )
                })?;
                Some(ContainerRun {
                    settings: &settings,
                    image: image.as_deref(),
                    login: login.as_ref(),
                    broker: self.config.broker,
                    model_url: self.config.model_url.as_deref(),
                    codex_config: self.config.codex_config.as_deref(),
                    home: self.home.layout.home(),
                    folders: ContainerFolders::new(&self.home.layout, slot.id, mirror.path()),
                    to_read,
                })
            }
        };
        let call = worker.call(&RunCall {
            task_id: slot.id,
            run: run.number,
            attempt,
            model: run.model.as_ref(),
            effort: run.effort.as_ref(),
            resumes: run.resumes,
            images: &run.images,
            images_folder: task.has_images().then(|| self.home.layout.images(slot.id)),
            variables: environment.map_or(&no_variables, |environment| &environment.variables),
            secrets: environment.map_or(&no_secrets, |environment| &environment.secrets),
            container,
        });
        self.lend_login(slot.id, &call).await?;
        let order = KeeperOrder::new(slot.id, run.number, attempt, &call, &worktree, &self.config);
        let files = RunFiles::new(&self.home.layout.logs(slot.id), run.number);
        let launched = keeper::launch(&self.config.keeper_program, &files, &order, &call.environment, &self.watch).await;
        crash::point(CrashPoint::KeeperStarted);
        launched.map_err(|error| {
            RunError::new(ErrorCode::KeeperFailed, format!("could not start the run's keeper: {error}"))
                .hint("retry the task, or create it again")
        })
    }

    /// Stops the current step of an attempt: its preparation, its keeper, or the commit of its work.
    pub(super) async fn stop_run(self: &Arc<Self>, slot: &Arc<TaskSlot>, attempt: Attempt) {
        slot.cancel_work(attempt);
        let number = slot.record().last_run().number;
        let files = RunFiles::new(&self.home.layout.logs(slot.id), number);
        if let Err(error) = keeper::request_stop(&files, attempt).await {
            tracing::error!(task = %slot.id, %error, "could not ask a keeper to stop; stopping again is safe");
        }
    }
}
