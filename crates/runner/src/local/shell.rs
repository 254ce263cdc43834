//! A shell that a person opens in the environment of a repository. It has the files of a task, in the folder of the shell.
//!
//! This process does not start the shell. It only prepares it, so that a program with a terminal can start it.

use model::ids::{EnvironmentId, ShellId, TaskId};
use model::run::RunError;
use process::Redactor;
use store::ShellOrder;

use super::LocalRunner;
use crate::seam::{Preparation, Supply, Unreachable, Upkeep as _};

impl LocalRunner {
    /// Prepares a shell. Returns how to start it, and notes about what is missing.
    pub(super) async fn opened_shell(
        &self,
        preparation: &Preparation<'_>,
        supply: &dyn Supply,
    ) -> Result<(ShellOrder, Vec<String>), RunError> {
        let spec = preparation.spec;
        let shells = self.of_shells(spec.source.repository);
        shells.prepared(preparation, supply).await?;
        let (environment, notes) = shells.called(spec, supply, |worker, run| (worker.shell(run), run.notes.clone())).await?;
        shells.lend_login(spec.key.task, &environment).await?;
        let text =
            |(name, value): (std::ffi::OsString, std::ffi::OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        let order = ShellOrder {
            folder: shells.worktree_path(spec.key.task),
            // `codex-docker` ignores variables that are not UTF-8.
            environment: environment.into_iter().filter_map(text).collect(),
            start: spec.source.subdirectory.as_ref().map(ToString::to_string),
        };
        Ok((order, notes))
    }

    pub(super) async fn closed_shell(&self, repository: EnvironmentId, shell: ShellId) -> Result<(), Unreachable> {
        let (shells, id) = (self.of_shells(repository), TaskId::from_uuid(shell.uuid()));
        shells.clear_task(id, Redactor::default()).await?;
        shells.reclaim(&shells.home.layout.task(id)).await
    }
}
