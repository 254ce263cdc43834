//! Creates tasks. Everything is checked before anything is created, and the task is acknowledged once it is on disk. Invariant:
//! repeating a request with the same key does not create a second task.

use std::sync::Arc;

use durable::blocking;
use environments::not_ready;
use jiff::Timestamp;
use model::ErrorCode;
use model::environment::EnvironmentStatus;
use model::ids::{EnvironmentId, TaskId};
use model::image::{self, Image};
use model::names::{Prompt, RefName, Setting, Title};
use model::policy;
use model::problem::{Problem, ProblemKind};
use model::queue::Priority;
use model::task::{NewRun, NewTask, TaskEvent, TaskRecord};
use protocol::CreateTask;
use spine::Mailbox as _;

use super::ready::ImageSource;
use super::tasks::{TaskSlot, Tasks};

impl Tasks {
    /// Records a task and starts its first run, or finds the task that the same key created before.
    pub(crate) async fn create_task(
        self: &Arc<Self>,
        asked: CreateTask,
        key: Option<String>,
    ) -> Result<(Arc<TaskSlot>, bool), Problem> {
        let (mut new, images) = self.parse(asked)?;
        // Take the ticket before anything is written, so that simultaneous requests share a fetch.
        let ticket = self.environments.mirror_of(new.env_id).ok().map(|mirror| mirror.fetch_ticket());
        new.idempotency_key.clone_from(&key);
        let waiting = match &key {
            Some(_) => Some(self.keys.lock().await),
            None => None,
        };
        if let Some(slot) = key.as_deref().and_then(|key| self.table.by_key(key)) {
            return same_request(&slot.record(), &new).map(|()| (slot, false));
        }
        let environment = self.environments.get(new.env_id).map(|environment| environment.record());
        let image = ImageSource::new_task(&new.git_ref);
        self.ready_to_run(environment.as_deref(), &image).await?;
        let slot = self.record(new, images).await?;
        drop(waiting);
        if let Some(ticket) = ticket {
            slot.asked_at(ticket);
        }
        Ok((slot, true))
    }

    fn parse(&self, asked: CreateTask) -> Result<(NewTask, Vec<Image>), Problem> {
        let env_id: EnvironmentId = asked.env_id.parse().map_err(|error: model::ids::IdError| {
            Problem::new(ErrorCode::MalformedId, error.to_string()).with_kind(ProblemKind::Unusable)
        })?;
        let prompt = Prompt::parse(&asked.prompt)?;
        let title = match asked.title.as_deref() {
            Some(title) => Title::parse(title)?,
            None => Title::of_prompt(&prompt),
        };
        let model = asked.model.as_deref().map(Setting::parse).transpose()?;
        let effort = asked.effort.as_deref().map(Setting::parse).transpose()?;
        let priority = asked.priority.as_deref().map(Priority::parse).transpose()?.unwrap_or_default();
        let driver = asked.driver.as_deref().map(policy::driver_of).transpose()?;
        let git_ref = asked.git_ref.as_deref().map(RefName::parse).transpose()?;
        let images = image::parse_all(asked.images, asked.attachments)?;
        let environment = self.environments.get(env_id).ok_or_else(|| Problem::no_environment(env_id))?.record();
        let default = environment.default_branch.clone().map(RefName::from);
        let git_ref = git_ref.or(default).filter(|_| environment.status == EnvironmentStatus::Ready);
        let new = NewTask {
            env_id,
            repo_url: environment.repo_url.clone(),
            git_ref: git_ref.ok_or_else(|| not_ready(&environment))?,
            title,
            driver,
            run: NewRun { prompt, images: image::files(&images), model, effort, priority, idempotency_key: None },
            idempotency_key: None,
        };
        Ok((new, images))
    }

    async fn record(self: &Arc<Self>, new: NewTask, images: Vec<Image>) -> Result<Arc<TaskSlot>, Problem> {
        let environment = self.environments.get(new.env_id).ok_or_else(|| Problem::no_environment(new.env_id))?;
        // A removal lists the tasks after it has taken this lock, so it cannot miss one that is being created.
        let _turn = environment.hold().await;
        let settings = environment.record();
        if settings.status != EnvironmentStatus::Ready {
            return Err(not_ready(&settings));
        }
        let new = NewTask { run: new.run.or(settings.runs.model.as_ref(), settings.runs.effort.as_ref()), ..new };
        let id = TaskId::from_uuid(uuid::Uuid::now_v7());
        let task = TaskRecord::new(id, new, Timestamp::now());
        // Folders without a record are not leftovers while a task is being created.
        let _creating = self.creating.read().await;
        let created = self.create_with_images(task, images).await;
        if created.is_err() {
            // The task was not acknowledged, and the caller still has everything that is in the incomplete folder.
            let home = Arc::clone(&self.home);
            if let Err(error) = blocking(move || home.delete_incomplete_task(id)).await {
                tracing::warn!(task = %id, %error, "could not remove an incomplete task; recovery moves it to the trash");
            }
        }
        created
    }

    async fn create_with_images(self: &Arc<Self>, task: TaskRecord, images: Vec<Image>) -> Result<Arc<TaskSlot>, Problem> {
        let (home, id) = (Arc::clone(&self.home), task.task_id);
        blocking(move || home.write_images(id, &images)).await?;
        self.create(TaskEvent::Created(Box::new(task))).await
    }
}

/// Checks that a repeated key comes with the same request. An omitted value matches any recorded value, because the first request
/// may have used a default of the repository.
fn same_request(task: &TaskRecord, asked: &NewTask) -> Result<(), Problem> {
    let first = &task.runs[0];
    let same = task.env_id == asked.env_id
        && task.title == asked.title
        && first.prompt == asked.run.prompt
        && first.images == asked.run.images
        && task.driver == asked.driver
        && (asked.run.model.is_none() || first.model == asked.run.model)
        && (asked.run.effort.is_none() || first.effort == asked.run.effort);
    if same {
        return Ok(());
    }
    let detail = format!("this idempotency key was used for a different request, which created task {}", task.task_id);
    Err(Problem::new(ErrorCode::IdempotencyKeyReused, detail).hint("use a new key for a new request"))
}
