//! Requests to add, edit and remove repositories. Everything is checked before anything is recorded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use durable::blocking;
use jiff::Timestamp;
use model::ErrorCode;
use model::commit::CommitSettings;
use model::container::ContainerSettings;
use model::environment::{
    EnvironmentEvent, EnvironmentRecord, EnvironmentRequest, EnvironmentStatus, change_forge, change_secrets, check_variables,
    parse_variables,
};
use model::forge::ForgeSettings;
use model::ids::EnvironmentId;
use model::names::{BranchName, RepositoryUrl, Title};
use model::policy::RunPolicy;
use model::problem::Problem;
use model::sources::SourceSettings;
use protocol::{CreateEnvironment, EditEnvironment};
use spine::Mailbox as _;

use crate::environments::{EnvironmentSlot, Environments, delete_files};
use crate::failures::{branch_problem, not_ready};

/// How long to wait for the removal of a repository without tasks: longer than it takes to stop a run.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(90);

/// How much longer to wait for each task.
const PATIENCE_PER_TASK: u32 = 2;

impl Environments {
    /// Records a repository and starts its clone.
    pub async fn add(self: &Arc<Self>, new: CreateEnvironment) -> Result<Arc<EnvironmentSlot>, Problem> {
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
            commits: CommitSettings::default().edited(&new.commits.unwrap_or_default())?,
            sources: SourceSettings::default().edited(&new.sources.unwrap_or_default())?,
            setup: model::setup::SetupSettings::default(),
            setup_state: model::setup::SetupState::default(),
            forge_token: None,
            created_at: now,
            updated_at: now,
            extra: serde_json::Map::new(),
        };
        change_secrets(&mut record, new.secrets.into_iter().map(|(name, value)| (name, Some(value))).collect())?;
        check_variables(&record)?;
        change_forge(&mut record, new.forge.unwrap_or_default())?;
        let id = record.env_id;
        // Folders without a record are not leftovers while a repository is being created.
        let _creating = self.creating.read().await;
        let created = self.create(EnvironmentEvent::Created(Box::new(record))).await;
        if created.is_err() {
            // The repository was not acknowledged.
            self.delete_files_of(id).await;
        }
        created
    }

    /// Restores a repository from the trash.
    pub async fn restore(self: &Arc<Self>, record: Box<EnvironmentRecord>) -> Result<(), Problem> {
        let slot = self.create(EnvironmentEvent::Restored(record)).await?;
        self.open_mirror(&slot).await;
        Ok(())
    }

    /// Changes the given settings, and keeps the others.
    pub async fn edit(self: &Arc<Self>, slot: &Arc<EnvironmentSlot>, edit: EditEnvironment) -> Result<(), Problem> {
        let branch = edit.default_branch.as_deref().map(BranchName::parse).transpose()?;
        // If the repository was never cloned, the next attempt reports a missing branch.
        if let Some(branch) = branch.as_ref().filter(|_| slot.record().status != EnvironmentStatus::Failed) {
            let mirror = slot.mirror().ok_or_else(|| not_ready(&slot.record()))?;
            mirror.verify_branch(branch.as_str()).await.map_err(branch_problem)?;
        }
        let asked = |record: &EnvironmentRecord| Ok(EnvironmentRequest::Edit(Box::new(edited(record, edit, branch)?)));
        self.ask_with(slot, asked).await.map(drop)
    }

    /// Records that submodules may be fetched from these URLs.
    pub async fn allow_sources(self: &Arc<Self>, slot: &Arc<EnvironmentSlot>, urls: &[RepositoryUrl]) -> Result<(), Problem> {
        self.ask(slot, EnvironmentRequest::AllowSources(urls.to_vec())).await.map(drop)
    }

    /// Retries a failed clone. Repeating the request is harmless.
    pub async fn retry_clone(self: &Arc<Self>, slot: &Arc<EnvironmentSlot>) -> Result<(), Problem> {
        let asked = self.ask(slot, EnvironmentRequest::Retry).await;
        if asked.is_err() && slot.record().status == EnvironmentStatus::Failed {
            self.delete_files_of(slot.id).await;
        }
        asked.map(drop)
    }

    /// Removes a repository's tasks, then the repository. Returns when they are gone. `tasks` is the number of its tasks.
    pub async fn remove(self: &Arc<Self>, slot: &Arc<EnvironmentSlot>, tasks: usize) -> Result<(), Problem> {
        self.ask(slot, EnvironmentRequest::Remove).await?;
        let more = Duration::from_secs(PATIENCE_PER_TASK.into()) * u32::try_from(tasks).unwrap_or(u32::MAX);
        tokio::time::timeout(REMOVAL_PATIENCE.saturating_add(more), slot.until_gone()).await.map_err(|_| {
            Problem::new(ErrorCode::RemovalUnfinished, format!("the repository {} is still being removed", slot.id))
                .hint("the removal continues automatically; see the server's log for what blocks it")
        })
    }

    /// Ends everything that uses a repository that is being removed.
    pub(crate) async fn vacate(self: &Arc<Self>, slot: &Arc<EnvironmentSlot>) {
        slot.cancel_work.cancel();
        drop(slot.cloning.lock().await);
        drop(slot.setting_up.lock().await);
        if let Some(tenants) = self.tenants()
            && let Err(problem) = tenants.remove_all(slot.id).await
        {
            tracing::error!(environment = %slot.id, %problem, "could not remove a repository's tasks; recovery retries");
            return;
        }
        self.post(slot, EnvironmentEvent::Vacated).await;
    }

    async fn delete_files_of(&self, id: EnvironmentId) {
        let home = Arc::clone(&self.home);
        if let Err(error) = blocking(move || delete_files(&home, id)).await {
            tracing::error!(environment = %id, %error, "could not delete a repository's files; recovery moves them to the trash");
        }
    }
}

/// Returns the record with the given settings changed.
fn edited(record: &EnvironmentRecord, edit: EditEnvironment, branch: Option<BranchName>) -> Result<EnvironmentRecord, Problem> {
    let mut record = record.clone();
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
    if let Some(commits) = edit.commits {
        record.commits = std::mem::take(&mut record.commits).edited(&commits)?;
    }
    if let Some(sources) = edit.sources {
        record.sources = std::mem::take(&mut record.sources).edited(&sources)?;
    }
    record.default_branch = branch.or(record.default_branch);
    Ok(record)
}
