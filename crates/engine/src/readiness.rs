//! Whether a task that is created now would start: the worker that was found, and what its containers need.
//!
//! What is only shown is what was heard last, and never waits. Invariant: a task is refused while nothing could run it.

use std::sync::Arc;
use std::time::Duration;

use model::api::WorkerStatus;
use model::environment::EnvironmentRecord;
use model::problem::Problem;

use crate::engine::Inner;
use crate::worker::{Worker, WorkerKind, WorkerProblem, problem, told, unreachable_model};

/// How long a server that starts waits for a container engine that may be asleep or hang.
const START_PATIENCE: Duration = Duration::from_secs(3);

impl Inner {
    /// The image of an environment's runs: its own, or the server's. None is the pinned one.
    pub(crate) fn image_of<'a>(&'a self, environment: &'a EnvironmentRecord) -> Option<&'a str> {
        environment.container.image.as_deref().or(self.config.image.as_deref())
    }

    /// The worker, if it could run a task of the environment now.
    pub(crate) async fn able_worker(&self, environment: Option<&EnvironmentRecord>) -> Result<&Worker, Problem> {
        let worker = self.worker.as_ref().map_err(WorkerProblem::to_problem)?;
        match worker.kind() {
            WorkerKind::Host | WorkerKind::Custom => return Ok(worker),
            WorkerKind::Container => {}
        }
        let image = environment.map_or(self.config.image.as_deref(), |environment| self.image_of(environment));
        let check = self.checks.fresh(image).await;
        // An image that is built for the environment is made when it is needed.
        let builds = environment.is_some_and(|environment| environment.container.dockerfile.is_some());
        match problem(&check) {
            Some(problem) if !(builds && check.status.engine.is_some()) => return Err(problem),
            Some(_) | None => {}
        }
        // A login that cannot be read is the run's to tell.
        let login = self.login().await.ok().flatten();
        match environment.and_then(|environment| unreachable_model(environment, &self.config, login.as_ref())) {
            Some(problem) => Err(problem),
            None => Ok(worker),
        }
    }

    /// As the API says it: what was heard last. Asks anew in the background when that is long ago.
    pub(crate) fn worker_status(self: &Arc<Self>) -> WorkerStatus {
        let worker = match &self.worker {
            Ok(worker) => worker,
            Err(problem) => {
                let problem = problem.to_problem();
                let name = self.config.worker.clone().unwrap_or_else(|| "none".to_owned());
                return WorkerStatus {
                    name,
                    program: None,
                    problem: Some(problem.detail),
                    hints: problem.hints,
                    container: None,
                };
            }
        };
        match worker.kind() {
            WorkerKind::Host | WorkerKind::Custom => worker.status(),
            WorkerKind::Container => {
                let last = self.checks.last(self.config.image.as_deref());
                if !last.as_ref().is_some_and(|(_, fresh)| *fresh) {
                    let inner = Arc::clone(self);
                    self.tracker.spawn(async move { inner.hear().await });
                }
                told(worker.status(), last.map(|(check, _)| check))
            }
        }
    }

    /// Asks the engine that containers would be made with, unless that was just done.
    pub(crate) async fn hear(&self) {
        if self.worker.as_ref().is_ok_and(|worker| worker.kind() == WorkerKind::Container) {
            let asked = self.checks.fresh(self.config.image.as_deref());
            self.cancel.run_until_cancelled(asked).await;
        }
    }

    /// The same when a server starts, which waits for it no longer than a person would.
    pub(crate) async fn hear_of_the_engine(self: &Arc<Self>) {
        let inner = Arc::clone(self);
        let heard = self.tracker.spawn(async move { inner.hear().await });
        if tokio::time::timeout(START_PATIENCE, heard).await.is_err() {
            tracing::warn!("the container engine takes long to answer; the server does not wait for it");
        }
    }
}
