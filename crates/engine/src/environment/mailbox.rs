//! Creating, editing and removing repositories.
//!
//! The record is written before any effect of it starts, so that the next server continues where this one stopped.

use std::collections::BTreeMap;
use std::sync::Arc;

use durable::blocking;
use durable::crash::{self, CrashPoint};
use git::{Mirror, VerifyBranchError, WorktreeError};
use jiff::Timestamp;
use model::ErrorCode;
use model::container::ContainerSettings;
use model::environment::{EnvironmentRecord, EnvironmentStatus};
use model::forge::ForgeSettings;
use model::ids::EnvironmentId;
use model::names::{BranchName, RepositoryUrl, Title};
use model::policy::RunPolicy;
use model::problem::Problem;
use model::sources::SourceSettings;
use model::task::TaskRequest;
use protocol::{CreateEnvironment, EditEnvironment, FeedEvent};
use store::StoreError;

use super::EnvironmentSlot;
use super::values::{change_forge, change_secrets, check_variables, parse_variables};
use crate::inner::Inner;

impl Inner {
    /// Records a repository and starts its clone.
    pub(crate) async fn create_environment(self: &Arc<Self>, new: CreateEnvironment) -> Result<Arc<EnvironmentSlot>, Problem> {
        let repo_url = RepositoryUrl::parse_new(&new.repo_url)?;
        let default_branch = new.default_branch.as_deref().map(BranchName::parse).transpose()?;
        let name = match new.name.as_deref() {
            Some(name) => Title::parse(name)?,
            None => Title::of_repository(&repo_url),
        };
        let now = Timestamp::now();
        let mut record = EnvironmentRecord {
            env_id: EnvironmentId::from_uuid(uuid::Uuid::now_v7()),
            name,
            repo_url,
            default_branch,
            status: EnvironmentStatus::Cloning,
            error: None,
            variables: parse_variables(new.variables)?,
            secrets: BTreeMap::new(),
            former_secrets: vec![],
            container: ContainerSettings::default().edited(&new.container.unwrap_or_default())?,
            runs: RunPolicy::default().edited(&new.runs.unwrap_or_default())?,
            forge: ForgeSettings::default(),
            sources: SourceSettings::default().edited(&new.sources.unwrap_or_default())?,
            forge_token: None,
            created_at: now,
            updated_at: now,
            extra: serde_json::Map::new(),
        };
        change_secrets(&mut record, new.secrets.into_iter().map(|(name, value)| (name, Some(value))).collect())?;
        check_variables(&record)?;
        change_forge(&mut record, new.forge.unwrap_or_default())?;
        if let Err(error) = self.write_environment(&record).await {
            self.discard_environment(record.env_id).await;
            return Err(error.into());
        }
        crash::point(CrashPoint::EnvironmentRecorded);
        let slot = EnvironmentSlot::new(record, &self.cancel);
        self.environments.insert(&slot);
        self.publish_environment(&slot);
        self.begin_clone(&slot);
        Ok(slot)
    }

    /// Changes the given settings, and keeps the others.
    pub(crate) async fn edit_environment(&self, slot: &EnvironmentSlot, edit: EditEnvironment) -> Result<(), Problem> {
        let _turn = slot.turn.lock().await;
        let mut record = EnvironmentRecord::clone(&slot.record());
        if let Some(name) = edit.name {
            record.name = Title::parse(&name)?;
        }
        if let Some(variables) = edit.variables {
            record.variables = parse_variables(variables)?;
        }
        change_secrets(&mut record, edit.secrets)?;
        check_variables(&record)?;
        if let Some(container) = edit.container {
            record.container = std::mem::take(&mut record.container).edited(&container)?;
        }
        if let Some(runs) = edit.runs {
            record.runs = std::mem::take(&mut record.runs).edited(&runs)?;
        }
        if let Some(forge) = edit.forge {
            change_forge(&mut record, forge)?;
        }
        if let Some(sources) = edit.sources {
            record.sources = std::mem::take(&mut record.sources).edited(&sources)?;
        }
        if let Some(branch) = edit.default_branch {
            let branch = BranchName::parse(&branch)?;
            // If the repository was never cloned, the next attempt reports a missing branch.
            if record.status != EnvironmentStatus::Failed {
                let mirror = slot.mirror().ok_or_else(|| not_ready(&record))?;
                mirror.verify_branch(branch.as_str()).await.map_err(branch_problem)?;
            }
            record.default_branch = Some(branch);
        }
        record.updated_at = Timestamp::now();
        if record.status != EnvironmentStatus::Failed {
            self.write_environment(&record).await?;
        }
        slot.replace(record);
        slot.follow_default_branch().await.map_err(Problem::internal)?;
        self.publish_environment(slot);
        self.queue.look();
        Ok(())
    }

    /// Records that submodules may be fetched from these URLs.
    pub(crate) async fn allow_sources(&self, slot: &EnvironmentSlot, urls: &[RepositoryUrl]) -> Result<(), Problem> {
        let _turn = slot.turn.lock().await;
        let mut record = EnvironmentRecord::clone(&slot.record());
        record.sources.allow(urls);
        record.updated_at = Timestamp::now();
        self.write_environment(&record).await?;
        slot.replace(record);
        self.publish_environment(slot);
        Ok(())
    }

    /// Retries a failed clone. Repeating the request is harmless.
    pub(crate) async fn retry_clone(self: &Arc<Self>, slot: &Arc<EnvironmentSlot>) -> Result<(), Problem> {
        {
            let _turn = slot.turn.lock().await;
            let mut record = EnvironmentRecord::clone(&slot.record());
            match record.status {
                EnvironmentStatus::Failed => {}
                EnvironmentStatus::Cloning | EnvironmentStatus::Ready => return Ok(()),
                EnvironmentStatus::Removing => return Err(not_ready(&record)),
            }
            record.status = EnvironmentStatus::Cloning;
            record.error = None;
            record.updated_at = Timestamp::now();
            if let Err(error) = self.write_environment(&record).await {
                self.discard_environment(record.env_id).await;
                return Err(error.into());
            }
            slot.replace(record);
            self.publish_environment(slot);
        }
        // The previous attempt releases the lock after it has reported its result.
        drop(slot.cloning.lock().await);
        self.begin_clone(slot);
        Ok(())
    }

    /// Removes a repository's tasks, then the repository. Returns when they are gone.
    pub(crate) async fn remove_environment(self: &Arc<Self>, slot: &Arc<EnvironmentSlot>) -> Result<(), Problem> {
        self.mark_removing(slot).await?;
        slot.cancel_clone.cancel();
        drop(slot.cloning.lock().await);
        let tasks = self.tasks.of_environment(slot.id);
        for task in &tasks {
            self.ask(task, TaskRequest::Remove).await?;
        }
        for task in &tasks {
            task.until_gone().await;
        }
        let (home, id) = (Arc::clone(&self.home), slot.id);
        let had_mirror = slot.mirror().is_some();
        blocking(move || if had_mirror { home.discard_environment(id) } else { Ok(()) }).await?;
        crash::point(CrashPoint::EnvironmentInTrash);
        if !had_mirror {
            // Without a mirror, the folder contains no work.
            self.discard_environment(id).await;
        }
        self.environments.remove(slot.id);
        self.feed.publish(FeedEvent::EnvironmentRemoved { env_id: slot.id });
        Ok(())
    }

    async fn mark_removing(&self, slot: &EnvironmentSlot) -> Result<(), Problem> {
        let _turn = slot.turn.lock().await;
        let mut record = EnvironmentRecord::clone(&slot.record());
        let on_disk = !matches!(record.status, EnvironmentStatus::Failed | EnvironmentStatus::Removing);
        record.status = EnvironmentStatus::Removing;
        record.updated_at = Timestamp::now();
        if on_disk {
            self.write_environment(&record).await?;
        }
        slot.replace(record);
        self.publish_environment(slot);
        Ok(())
    }

    /// Continues with a repository that was read from disk.
    pub(crate) async fn adopt_environment(self: &Arc<Self>, record: EnvironmentRecord) {
        let status = record.status;
        let slot = EnvironmentSlot::new(record, &self.cancel);
        self.environments.insert(&slot);
        match status {
            EnvironmentStatus::Cloning => self.begin_clone(&slot),
            EnvironmentStatus::Ready | EnvironmentStatus::Failed | EnvironmentStatus::Removing => {
                self.open_mirror(&slot).await;
            }
        }
    }

    async fn open_mirror(&self, slot: &EnvironmentSlot) {
        match Mirror::open(&self.git, &self.home.layout.mirror(slot.id)) {
            Ok(mirror) => {
                match mirror.recover().await {
                    Ok(recovered) if recovered.removed.is_empty() => {}
                    Ok(recovered) => {
                        tracing::info!(environment = %slot.id, removed = ?recovered.removed, "removed stale Git locks");
                    }
                    Err(error) => tracing::warn!(environment = %slot.id, %error, "could not remove stale Git locks"),
                }
                if self.boot.is_first_start
                    && let Err(error) = self.clear_after_reboot(&mirror).await
                {
                    tracing::error!(environment = %slot.id, %error, "could not clean up a mirror after a reboot");
                }
                slot.set_mirror(mirror);
                if let Err(error) = slot.follow_default_branch().await {
                    tracing::error!(environment = %slot.id, %error, "could not set a mirror's default branch");
                }
            }
            Err(error) => tracing::error!(environment = %slot.id, %error, "repository has no usable mirror"),
        }
    }

    /// Removes the locks of processes from before the last boot, and files that a power cut has emptied.
    async fn clear_after_reboot(&self, mirror: &Mirror) -> Result<(), WorktreeError> {
        let locks = mirror.remove_all_locks().await?;
        let is_unclean = self.boot.unclean_stop.as_ref().is_some_and(|stop| stop.boot_id == self.boot.boot_id);
        if is_unclean {
            let removed = mirror.remove_blank_files().await?;
            let discarded = mirror.discard_torn_administrations().await?;
            let broken = mirror.delete_broken_refs().await?;
            if !removed.is_empty() || discarded > 0 || !broken.is_empty() {
                let path = mirror.path().display();
                tracing::warn!(mirror = %path, ?removed, discarded, ?broken, "removed empty files that a power cut left");
            }
        }
        if !locks.is_empty() {
            tracing::info!(mirror = %mirror.path().display(), ?locks, "removed Git locks from before the last boot");
        }
        Ok(())
    }

    /// Finishes removals that an earlier server started.
    pub(crate) fn finish_environment_removals(self: &Arc<Self>) {
        for slot in self.environments.all() {
            if slot.record().status == EnvironmentStatus::Removing {
                let inner = Arc::clone(self);
                self.tracker.spawn(async move {
                    if let Err(problem) = inner.remove_environment(&slot).await {
                        tracing::error!(environment = %slot.id, %problem, "could not finish removing a repository");
                    }
                });
            }
        }
    }

    pub(super) async fn write_environment(&self, record: &EnvironmentRecord) -> Result<(), StoreError> {
        let (home, record) = (Arc::clone(&self.home), record.clone());
        blocking(move || home.write_environment(&record)).await
    }

    pub(super) async fn discard_environment(&self, id: EnvironmentId) {
        let home = Arc::clone(&self.home);
        let discarded = blocking(move || {
            home.discard_environment(id)?;
            home.delete_discarded_environment(id)
        });
        if let Err(error) = discarded.await {
            tracing::error!(environment = %id, %error, "could not delete a repository's files; retrying at the next start");
        }
    }

    pub(super) fn publish_environment(&self, slot: &EnvironmentSlot) {
        self.feed.publish(FeedEvent::Environment { env_id: slot.id, status: slot.record().status, progress: slot.progress() });
    }
}

/// Returns the error for a repository without a usable mirror.
pub(crate) fn not_ready(record: &EnvironmentRecord) -> Problem {
    let detail = format!("the repository `{}` is {}", record.name, record.status.as_str());
    let problem = Problem::new(ErrorCode::EnvironmentNotReady, detail);
    match record.status {
        EnvironmentStatus::Cloning => {
            problem.hint("wait until the clone is complete; `codex-orchestrator env list` shows its progress")
        }
        EnvironmentStatus::Failed => problem.hint(
            "fix the problem, then run `codex-orchestrator env retry`, or remove the repository and add it with a different URL",
        ),
        EnvironmentStatus::Removing => problem.hint("wait until the removal is complete, then add the repository again"),
        EnvironmentStatus::Ready => problem.hint("its mirror is missing or damaged: remove the repository and add it again"),
    }
}

fn branch_problem(error: VerifyBranchError) -> Problem {
    match error {
        VerifyBranchError::Missing(missing) => {
            Problem::new(ErrorCode::BranchNotFound, missing.to_string()).hint("choose an existing branch")
        }
        VerifyBranchError::Program(error) => Problem::internal(error),
    }
}
