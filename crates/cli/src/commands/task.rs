//! `task`: create, follow, continue, stop and inspect tasks.
//! These commands use only the API and the terminal, never files in the home directory.

use std::process::ExitCode;

use client::Client;
use model::codex::{CodexEvent, LineSplitter};
use model::ids::{RunNumber, TaskId};
use model::problem::Problem;
use model::task::UpdateStrategy;
use protocol::{
    Archived, ConflictsQuery, CreateTask, DiffQuery, FeedQuery, LogQuery, ResumeTask, TaskQuery, TaskView, UpdateTask,
};
use store::Layout;

use super::task_prompt::{asked, begun, last_run};
use super::{
    queue, task_answer, task_artifacts, task_diff, task_home, task_installed, task_publish, task_show, task_update, trash,
};
use crate::args::{AfterStart, PromptArguments, TaskArguments, TaskCommand};
use crate::follow::{self, RunFormat};
use crate::output::OutputFormat;
use crate::{ids, printer};

pub(crate) async fn run(client: &Client, command: &TaskCommand, format: OutputFormat) -> Result<ExitCode, Problem> {
    match command {
        TaskCommand::Create { env, git_ref, title, driver, run } => {
            let env_id = ids::environment(client, env).await?.to_string();
            let new =
                CreateTask { git_ref: git_ref.clone(), title: title.clone(), driver: driver.clone(), ..new_task(env_id, run)? };
            let created = client.create_task(&new).await?;
            begun(client, &created, run.after_start(), format).await
        }
        TaskCommand::Resume { task, run } => {
            let id = ids::task(client, &task.task).await?;
            let resumed = client.resume_task(id, &asked(run)?).await?;
            begun(client, &resumed, run.after_start(), format).await
        }
        TaskCommand::Retry { task, follow } => {
            let id = ids::task(client, &task.task).await?;
            let retried = client.retry_task(id).await?;
            let next = if *follow { AfterStart::Follow } else { AfterStart::Return };
            begun(client, &retried, next, format).await
        }
        TaskCommand::List { env, status, group, archived, query, limit } => {
            let env = match env {
                Some(env) => Some(ids::environment(client, env).await?.to_string()),
                None => None,
            };
            let statuses = status.join(",");
            let asked = TaskQuery {
                env,
                status: (!statuses.is_empty()).then_some(statuses),
                group: group.clone(),
                archived: archived.then(|| Archived::Only.as_str().to_owned()),
                q: query.clone(),
                limit: Some(*limit),
                cursor: None,
            };
            task_show::list(client, &asked, format).await
        }
        TaskCommand::Show { task } => show(client, &task.task, format).await,
        TaskCommand::Logs { task, run, follow, raw, service, setup } => {
            let form = if *raw || format.is_json() { RunFormat::Raw } else { RunFormat::Transcript };
            let id = ids::task(client, &task.task).await?;
            let task = client.show_task(id).await?;
            let number = run.map_or_else(|| last_run(&task), RunNumber);
            if let Some(name) = service {
                printer::bytes(client.show_service_log(id, number, name.clone()).await?.as_bytes());
                return Ok(ExitCode::SUCCESS);
            }
            if *setup {
                printer::bytes(client.show_host_setup_log(id, number).await?.as_bytes());
                return Ok(ExitCode::SUCCESS);
            }
            if *follow { follow::run(client, id, number, form).await } else { logs(client, &task, number, form).await }
        }
        TaskCommand::FollowUp(command) => queue::follow_up(client, command, format).await,
        TaskCommand::Answer(asked) => task_answer::answer(client, asked, format).await,
        TaskCommand::Commit(asked) => task_answer::commit(client, asked, format).await,
        TaskCommand::Stop { task } => stop(client, &task.task, format).await,
        TaskCommand::Archive(TaskArguments { tasks }) => archive(client, tasks, "archive", format).await,
        TaskCommand::Unarchive(TaskArguments { tasks }) => archive(client, tasks, "unarchive", format).await,
        TaskCommand::RefreshEnvironment { task } => refresh_environment(client, &task.task, format).await,
        TaskCommand::Diff { task, run, since_viewed, stat } => {
            let form = match (format, stat) {
                (OutputFormat::Json, _) => task_diff::DiffOutput::Json,
                (OutputFormat::Text, true) => task_diff::DiffOutput::Stat,
                (OutputFormat::Text, false) => task_diff::DiffOutput::Patch,
            };
            let run = run.map(|run| run.to_string());
            let part = DiffQuery { since_viewed: run.is_none() && *since_viewed, run, ..DiffQuery::default() };
            task_diff::run(client, &task.task, &part, form).await
        }
        TaskCommand::Artifacts(asked) => task_artifacts::run(client, asked, format).await,
        TaskCommand::Installed(asked) => task_installed::run(client, asked, format).await,
        TaskCommand::Push(asked) => task_publish::push(client, asked, format).await,
        TaskCommand::PullRequest { task } => task_publish::pull_request(client, &task.task, format).await,
        TaskCommand::Feedback { task } => task_publish::feedback(client, &task.task, format).await,
        TaskCommand::Update { task, rebase, merge, hand_over, onto_remote } => {
            let rebase = rebase.then_some(UpdateStrategy::Rebase);
            let strategy = if *merge { Some(UpdateStrategy::Merge) } else { rebase };
            let update = UpdateTask { strategy, hand_over: *hand_over, onto_remote: *onto_remote };
            task_update::update(client, &task.task, update, format).await
        }
        TaskCommand::Conflicts { task, fetch } => {
            task_update::conflicts(client, &task.task, &ConflictsQuery { fetch: *fetch }, format).await
        }
        TaskCommand::Bundle { task, output } => task_home::bundle(client, &task.task, output.output.as_deref()).await,
        TaskCommand::Patch { task, output } => task_home::patch(client, &task.task, output.output.as_deref()).await,
        TaskCommand::Restore { task } => trash::restore_task(client, &task.task, format).await,
        TaskCommand::Remove { task } => {
            let id = ids::task(client, &task.task).await?;
            client.remove_task(id).await?;
            printer::line(format!("Removed {id}"));
            printer::remark(format!("restore it: codex-orchestrator task restore {id}"));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Returns the request for a task with its first run.
fn new_task(env_id: String, run: &PromptArguments) -> Result<CreateTask, Problem> {
    let ResumeTask { prompt, images, attachments, model, effort, priority } = asked(run)?;
    Ok(CreateTask { env_id, prompt, images, attachments, model, effort, priority, ..CreateTask::default() })
}

/// Prints what a run has logged so far.
async fn logs(client: &Client, task: &TaskView, number: RunNumber, form: RunFormat) -> Result<ExitCode, Problem> {
    let query = LogQuery { masked: form != RunFormat::Raw };
    let mut log = client.read_log(task.task_id, number, &query).await?;
    let mut lines = LineSplitter::new();
    while let Some(chunk) = log.chunk().await? {
        match form {
            RunFormat::Raw => printer::bytes(&chunk),
            RunFormat::Transcript => lines.feed(&chunk, |line| follow::show(&line.event())),
        }
    }
    let may_grow = task.active && number == last_run(task);
    if !may_grow && !lines.tail().is_empty() {
        // The worker was killed while it wrote a line.
        follow::show(&CodexEvent::parse(lines.tail()));
    }
    Ok(ExitCode::SUCCESS)
}

async fn stop(client: &Client, task: &str, format: OutputFormat) -> Result<ExitCode, Problem> {
    let id = ids::task(client, task).await?;
    let before = client.show_task(id).await?;
    let now = stopped(client, id).await?;
    if format.is_json() {
        printer::json(&now)?;
    } else if before.active {
        printer::line(format!("Run {} of {id}: {}", last_run(&now).0, now.status.as_str()));
    } else {
        printer::line(format!("Nothing to stop. Run {} of {id} has already ended: {}", last_run(&now).0, now.status.as_str()));
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(client: &Client, task: &str, format: OutputFormat) -> Result<ExitCode, Problem> {
    let task = client.show_task(ids::task(client, task).await?).await?;
    let status = client.show_status().await?;
    task_show::show(&task, &Layout::new(status.home).mirror(task.env_id), format)
}

async fn refresh_environment(client: &Client, task: &str, format: OutputFormat) -> Result<ExitCode, Problem> {
    let view = client.refresh_environment(ids::task(client, task).await?).await?;
    if format.is_json() {
        printer::json(&view)?;
    } else {
        printer::line(format!("The next run of {} starts from the newest environment", view.task_id));
    }
    Ok(ExitCode::SUCCESS)
}

/// Archives or unarchives tasks in order. Stops at the first error, which names the task.
async fn archive(client: &Client, tasks: &[String], action: &'static str, format: OutputFormat) -> Result<ExitCode, Problem> {
    let mut now = vec![];
    for task in tasks {
        let id = ids::task(client, task).await?;
        let answer = if action == "archive" { client.archive_task(id).await } else { client.unarchive_task(id).await };
        let view = answer.map_err(|problem| {
            let message = format!("{id}: {}", problem.report.message);
            problem.with_message(message)
        })?;
        if !format.is_json() {
            printer::line(format!("{} {id}", if action == "archive" { "Archived" } else { "Unarchived" }));
        }
        now.push(view);
    }
    if format.is_json() {
        printer::json(&now)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Stops a task's run and waits until it has ended.
pub(super) async fn stopped(client: &Client, id: TaskId) -> Result<TaskView, Problem> {
    // Subscribe before sending the request, so that the end of the run is not missed.
    let mut feed = client.follow_changes(&FeedQuery::default()).await?;
    let mut now = client.stop_task(id).await?;
    while now.active {
        feed.next().await?;
        now = client.show_task(id).await?;
    }
    Ok(now)
}
