//! `task`: create, follow, continue, stop and inspect tasks.
//! These commands use only the API and the terminal, never files in the home directory.

use std::io::{IsTerminal as _, Read as _};
use std::process::ExitCode;

use engine::store::Layout;
use futures_util::StreamExt as _;
use model::ErrorCode;
use model::api::{Archived, CreateTask, DiffQuery, FeedQuery, LogQuery, ResumeTask, TaskQuery, TaskView, UpdateTask};
use model::codex::{CodexEvent, LineSplitter};
use model::problem::Problem;
use model::task::UpdateStrategy;

use super::{queue, task_answer, task_diff, task_home, task_publish, task_show, task_update, trash};
use crate::args::{PromptArguments, TaskArguments, TaskCommand};
use crate::client::{Client, lost};
use crate::follow::{self, Form};
use crate::{ids, images, printer, sse};

pub(crate) async fn run(client: &Client, command: &TaskCommand, json: bool) -> Result<ExitCode, Problem> {
    match command {
        TaskCommand::Create { env, git_ref, title, run } => {
            let new = CreateTask {
                env_id: ids::environment(client, env).await?,
                prompt: prompt(run)?,
                images: images::read(&run.images)?,
                git_ref: git_ref.clone(),
                title: title.clone(),
                model: run.model.clone(),
                effort: run.effort.clone(),
                priority: run.priority.clone(),
            };
            let created = client.create_task(&new).await?;
            begun(client, &created, run.follow, json).await
        }
        TaskCommand::Resume { task, run } => {
            let id = ids::task(client, &task.task).await?;
            let resumed = client.resume_task(&id, &asked(run)?).await?;
            begun(client, &resumed, run.follow, json).await
        }
        TaskCommand::Retry { task, follow } => {
            let id = ids::task(client, &task.task).await?;
            let retried = client.retry_task(&id).await?;
            begun(client, &retried, *follow, json).await
        }
        TaskCommand::List { env, status, group, archived, query, limit } => {
            let env = match env {
                Some(env) => Some(ids::environment(client, env).await?),
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
            task_show::list(client, &asked, json).await
        }
        TaskCommand::Show { task } => {
            let task = view(client, &ids::task(client, &task.task).await?).await?;
            let status = client.show_status().await?;
            task_show::show(&task, &Layout::new(status.home).mirror(task.meta.env_id), json)
        }
        TaskCommand::Logs { task, run, follow, raw } => logs(client, &task.task, *run, *follow, *raw || json).await,
        TaskCommand::FollowUp(command) => queue::follow_up(client, command, json).await,
        TaskCommand::Answer(asked) => task_answer::answer(client, asked, json).await,
        TaskCommand::Stop { task } => stop(client, &task.task, json).await,
        TaskCommand::Archive(TaskArguments { tasks }) => archive(client, tasks, "archive", json).await,
        TaskCommand::Unarchive(TaskArguments { tasks }) => archive(client, tasks, "unarchive", json).await,
        TaskCommand::Diff { task, run, since_viewed, stat } => {
            let form = match (json, stat) {
                (true, _) => task_diff::Form::Json,
                (false, true) => task_diff::Form::Stat,
                (false, false) => task_diff::Form::Patch,
            };
            let run = run.map(|run| run.to_string());
            let part = DiffQuery { since_viewed: run.is_none() && *since_viewed, run, ..DiffQuery::default() };
            task_diff::run(client, &task.task, part, form).await
        }
        TaskCommand::Push(asked) => task_publish::push(client, asked, json).await,
        TaskCommand::PullRequest { task } => task_publish::pull_request(client, &task.task, json).await,
        TaskCommand::Feedback { task } => task_publish::feedback(client, &task.task, json).await,
        TaskCommand::Update { task, rebase, merge, hand_over, onto_remote } => {
            let rebase = rebase.then_some(UpdateStrategy::Rebase);
            let strategy = if *merge { Some(UpdateStrategy::Merge) } else { rebase };
            let update = UpdateTask { strategy, hand_over: *hand_over, onto_remote: *onto_remote };
            task_update::update(client, &task.task, update, json).await
        }
        TaskCommand::Conflicts { task, fetch } => task_update::conflicts(client, &task.task, *fetch, json).await,
        TaskCommand::Bundle { task, output } => task_home::bundle(client, &task.task, output.output.as_deref()).await,
        TaskCommand::Patch { task, output } => task_home::patch(client, &task.task, output.output.as_deref()).await,
        TaskCommand::Restore { task } => trash::restore_task(client, &task.task, json).await,
        TaskCommand::Remove { task } => {
            let id = ids::task(client, &task.task).await?;
            client.remove_task(&id).await?;
            printer::line(format!("Removed {id}"));
            printer::remark(format!("restore it: codex-orchestrator task restore {id}"));
            Ok(ExitCode::SUCCESS)
        }
    }
}

pub(super) async fn view(client: &Client, id: &str) -> Result<TaskView, Problem> {
    client.show_task(id).await
}

fn last_run(task: &TaskView) -> u32 {
    task.meta.runs.last().map_or(1, |run| run.number.0)
}

/// Returns the request for another run of a task.
pub(super) fn asked(run: &PromptArguments) -> Result<ResumeTask, Problem> {
    Ok(ResumeTask {
        prompt: prompt(run)?,
        images: images::read(&run.images)?,
        model: run.model.clone(),
        effort: run.effort.clone(),
        priority: run.priority.clone(),
    })
}

pub(super) async fn begun(client: &Client, task: &TaskView, following: bool, json: bool) -> Result<ExitCode, Problem> {
    let id = task.meta.task_id.to_string();
    if json && !following {
        printer::json(task)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !following {
        printer::line(&id);
        if let Some(place) = &task.queue {
            printer::remark(format!("number {} in the queue, waiting for {}", place.position, queue::reason(place)));
        }
        printer::remark(format!("follow it: codex-orchestrator task logs --follow {id}"));
        return Ok(ExitCode::SUCCESS);
    }
    printer::remark(format!("task {id}, run {}", last_run(task)));
    follow::run(client, &id, last_run(task), if json { Form::Raw } else { Form::Transcript }).await
}

/// Reads the prompt from the command line, a file or stdin.
fn prompt(asked: &PromptArguments) -> Result<String, Problem> {
    let unreadable =
        |error: std::io::Error| Problem::new(ErrorCode::PromptUnreadable, format!("could not read the prompt: {error}"));
    let bytes = match (&asked.prompt, &asked.prompt_file) {
        (_, Some(file)) => std::fs::read(file).map_err(unreadable)?,
        (Some(text), None) if text != "-" => return Ok(text.clone()),
        (None, None) if std::io::stdin().is_terminal() => {
            return Err(Problem::new(ErrorCode::Usage, "no prompt given")
                .hint("pass it as the last argument in quotes, with --prompt-file FILE, or on stdin with `-`"));
        }
        (_, None) => {
            if std::io::stdin().is_terminal() {
                printer::remark("Type the prompt, then press Ctrl-D on an empty line:");
            }
            let mut bytes = vec![];
            // One byte over the limit, so that the server rejects a prompt that is too long.
            let limit = u64::try_from(model::names::PROMPT_LIMIT_BYTES).unwrap_or(u64::MAX) + 1;
            std::io::stdin().take(limit).read_to_end(&mut bytes).map_err(unreadable)?;
            bytes
        }
    };
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Problem::new(ErrorCode::PromptNotUtf8, format!("the prompt is not UTF-8: invalid byte at position {at}"))
            .hint("convert it to UTF-8 first, e.g. with iconv")
    })
}

async fn logs(client: &Client, task: &str, run: Option<u32>, following: bool, raw: bool) -> Result<ExitCode, Problem> {
    let id = ids::task(client, task).await?;
    let task = view(client, &id).await?;
    let number = run.unwrap_or_else(|| last_run(&task));
    if following {
        return follow::run(client, &id, number, if raw { Form::Raw } else { Form::Transcript }).await;
    }
    let answer = client.read_log(&id, number, &LogQuery { masked: !raw }).await?;
    let mut body = answer.bytes_stream();
    let mut lines = LineSplitter::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| lost(&error))?;
        if raw {
            printer::bytes(&chunk);
        } else {
            lines.feed(&chunk, |line| follow::show(&line.event()));
        }
    }
    let may_grow = task.active && number == last_run(&task);
    if !may_grow && !lines.tail().is_empty() {
        // The worker was killed while it wrote a line.
        follow::show(&CodexEvent::parse(lines.tail()));
    }
    Ok(ExitCode::SUCCESS)
}

async fn stop(client: &Client, task: &str, json: bool) -> Result<ExitCode, Problem> {
    let id = ids::task(client, task).await?;
    let before = view(client, &id).await?;
    let now = stopped(client, &id).await?;
    if json {
        printer::json(&now)?;
    } else if before.active {
        printer::line(format!("Run {} of {id}: {}", last_run(&now), now.meta.status.as_str()));
    } else {
        printer::line(format!("Nothing to stop. Run {} of {id} has already ended: {}", last_run(&now), now.meta.status.as_str()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Archives or unarchives tasks in order. Stops at the first error, which names the task.
async fn archive(client: &Client, tasks: &[String], action: &'static str, json: bool) -> Result<ExitCode, Problem> {
    let mut now = vec![];
    for task in tasks {
        let id = ids::task(client, task).await?;
        let answer = if action == "archive" { client.archive_task(&id).await } else { client.unarchive_task(&id).await };
        let view = answer.map_err(|problem| {
            let message = format!("{id}: {}", problem.report.message);
            problem.with_message(message)
        })?;
        if !json {
            printer::line(format!("{} {id}", if action == "archive" { "Archived" } else { "Unarchived" }));
        }
        now.push(view);
    }
    if json {
        printer::json(&now)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Stops a task's run and waits until it has ended.
pub(super) async fn stopped(client: &Client, id: &str) -> Result<TaskView, Problem> {
    // Subscribe before sending the request, so that the end of the run is not missed.
    let answer = client.follow_changes(&FeedQuery::default()).await?;
    let mut events = std::pin::pin!(sse::events(answer.bytes_stream()));
    let mut now = client.stop_task(id).await?;
    while now.active {
        events.next().await.ok_or_else(|| lost(&"it closed the event stream"))??;
        now = view(client, id).await?;
    }
    Ok(now)
}
