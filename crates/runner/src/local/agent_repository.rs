//! The agent repository of a task, in which the agent of a container works instead of the mirror.
//!
//! The host never runs git in a folder that a container wrote to. Invariant: if any step fails, the work stays where the agent left
//! it.

use std::path::Path;
use std::sync::Arc;

use durable::blocking;
use git::{Makers, Signature, TwinError, TwinSpec, Worktree};
use model::ErrorCode;
use model::run::RunError;
use process::Redactor;

use super::LocalRunner;
use super::export::{BringOut, work_location};
use crate::seam::{Preparation, WorkLocation};
use crate::spec::{BranchChange, RunKey, RunSpec};
use crate::worker::HarvestMode;

/// The path of the mirror's objects in a container.
pub(super) const OBJECTS_INSIDE: &str = "/git/objects";

impl LocalRunner {
    /// Creates the agent repository and the folders of the task's containers.
    pub(super) async fn prepare_agent_repository(
        &self,
        preparation: &Preparation<'_>,
        redactor: &Redactor,
    ) -> Result<(), RunError> {
        let Preparation { spec, worktree, cancel } = preparation;
        let failed = |error: &dyn std::fmt::Display| {
            RunError::new(ErrorCode::WorktreeFailed, format!("could not create the agent repository: {error}"))
                .hint("check that the home directory is writable and has free space, then create the task again")
        };
        let task = spec.key.task;
        let twin = self.home.layout.twin(task);
        if spec.source.previous.is_some_and(|previous| previous.since == BranchChange::Rewritten) {
            // The agent repository has the old commits of the branch, and the new commits are not based on them.
            let aside = worktree.put_twin_aside(&twin).await.map_err(|error| failed(&error))?;
            tracing::info!(%task, ?aside, "created a new agent repository, because the branch was rebased");
        }
        let is_new = !twin.is_dir();
        self.renew_agent_repository(spec, worktree).await.map_err(|error| failed(&error))?;
        let home = Arc::clone(&self.home);
        blocking(move || home.make_container_folders(task)).await.map_err(|error| failed(&error))?;
        let is_replaced = worktree.replaced_by_signing().await.map_err(|error| failed(&error))?.is_some();
        if !is_new && (is_replaced || self.is_behind(spec).await.map_err(|error| failed(&error))?) {
            // Otherwise the agent would see the changes in between as uncommitted.
            let container = &spec.sandbox.container().cloned().unwrap_or_default();
            let request = BringOut {
                spec,
                container,
                worktree,
                mode: HarvestMode::Sync,
                message: "",
                makers: &Makers::default(),
                decision: None,
                redactor,
                cancel,
            };
            if let Err(error) = self.bring_out(&request).await {
                tracing::warn!(%task, %error, "could not update the agent's branch to the task's branch");
            }
        }
        Ok(())
    }

    pub(super) async fn ensure_agent_repository(&self, spec: &RunSpec, worktree: &Worktree) -> Result<(), TwinError> {
        let (path, name, author) = (self.home.layout.twin(spec.key.task), spec.key.task.to_string(), Signature::default());
        worktree.ensure_twin(twin_spec(spec, &path, &name, &author)).await
    }

    /// Makes sure that the agent repository contains only objects and refs of earlier runs. If it cannot be cleaned up, it is
    /// put aside and replaced by a new one.
    async fn renew_agent_repository(&self, spec: &RunSpec, worktree: &Worktree) -> Result<(), TwinError> {
        let task = spec.key.task;
        let (path, name, author) = (self.home.layout.twin(task), task.to_string(), Signature::default());
        let twin = twin_spec(spec, &path, &name, &author);
        let Err(error) = worktree.renew_twin(twin).await else { return Ok(()) };
        if !path.is_dir() {
            return Err(error);
        }
        let aside = worktree.put_twin_aside(&path).await?;
        tracing::warn!(%task, %error, ?aside, "created a new agent repository, because the old one could not be reset");
        worktree.ensure_twin(twin).await
    }

    /// Whether the branch changed without the agent repository: it was updated to its base, or the previous run was not in a
    /// container.
    async fn is_behind(&self, spec: &RunSpec) -> std::io::Result<bool> {
        let Some(previous) = spec.source.previous else { return Ok(false) };
        if previous.since != BranchChange::Unchanged {
            return Ok(true);
        }
        let files = self.files(RunKey { run: previous.run, ..spec.key });
        Ok(work_location(&files).await? == WorkLocation::InPlace)
    }
}

fn twin_spec<'a>(spec: &'a RunSpec, path: &'a Path, name: &'a str, author: &'a Signature) -> TwinSpec<'a> {
    TwinSpec { path, keep_base_as: name, objects_inside: OBJECTS_INSIDE, origin_url: &spec.source.origin, author }
}
