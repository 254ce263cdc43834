//! `env`: environments, and the clone that is waited for with its progress.
//! It knows the API and the terminal, never the home.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use futures_util::StreamExt as _;
use model::ErrorCode;
use model::api::{CreateEnvironment, EditEnvironment, EnvironmentView, FeedQuery, RefKind, RefsQuery};
use model::codex::printable;
use model::environment::EnvironmentStatus;
use model::policy::EditRunPolicy;
use model::problem::Problem;

use super::{env_values, trash};
use crate::args::EnvCommand;
use crate::client::Client;
use crate::printer::{Cell, plural};
use crate::progress::Meter;
use crate::{ids, printer, sse};

pub(crate) async fn run(client: &Client, command: &EnvCommand, json: bool) -> Result<ExitCode, Problem> {
    match command {
        EnvCommand::Add { url, default_branch, name, variables, secrets, container, runs, forge, sources } => {
            let new = CreateEnvironment {
                repo_url: absolute(url),
                default_branch: default_branch.clone(),
                name: name.clone(),
                variables: env_values::variables(variables)?,
                secrets: env_values::secrets(secrets)?,
                container: env_values::container(container)?,
                runs: env_values::runs(runs)?,
                forge: env_values::forge(forge)?,
                sources: env_values::sources(sources),
            };
            let added = add(client, &new).await?;
            if json {
                printer::json(&added)?;
            } else {
                printer::line(format!("Added {} ({})", added.name, added.env_id));
            }
        }
        EnvCommand::List => list(client, json).await?,
        EnvCommand::Show { env } => {
            let id = ids::environment(client, env).await?;
            show(&client.show_environment(&id).await?, json)?;
        }
        EnvCommand::Edit { env, default_branch, name, variables, secrets, forgotten, container, runs, forge, sources } => {
            let id = ids::environment(client, env).await?;
            let mut changed: BTreeMap<_, _> = forgotten.iter().map(|name| (name.clone(), None)).collect();
            changed.extend(env_values::secrets(secrets)?.into_iter().map(|(name, value)| (name, Some(value))));
            let edit = EditEnvironment {
                name: name.clone(),
                default_branch: default_branch.clone(),
                variables: if variables.is_empty() { None } else { Some(env_values::variables(variables)?) },
                secrets: changed,
                container: env_values::container(container)?,
                runs: env_values::runs(runs)?,
                forge: env_values::forge(forge)?,
                sources: env_values::sources(sources),
            };
            show(&client.edit_environment(&id, &edit).await?, json)?;
        }
        EnvCommand::Fetch { env } => {
            let id = ids::environment(client, env).await?;
            let fetched = client.fetch_environment(&id).await?;
            if json {
                printer::json(&fetched)?;
            } else {
                printer::line(format!("{} is up to date", fetched.name));
            }
        }
        EnvCommand::Retry { env } => {
            let id = ids::environment(client, env).await?;
            show(&client.retry_environment(&id).await?, json)?;
        }
        EnvCommand::Refs { env, text } => refs(client, env, text.as_deref(), json).await?,
        EnvCommand::Restore { env } => trash::restore_environment(client, env, json).await?,
        EnvCommand::Pause { env } => pause(client, env, true, json).await?,
        EnvCommand::Unpause { env } => pause(client, env, false, json).await?,
        EnvCommand::Remove { env, yes } => remove(client, env, *yes).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn refs(client: &Client, env: &str, text: Option<&str>, json: bool) -> Result<(), Problem> {
    let id = ids::environment(client, env).await?;
    let found = client.list_refs(&id, &RefsQuery { q: text.map(str::to_owned), tasks: false }).await?;
    if json {
        return printer::json(&found);
    }
    let word = |kind| match kind {
        RefKind::Branch => "branch",
        RefKind::Tag => "tag",
    };
    let rows: Vec<_> =
        found.items.iter().map(|item| vec![Cell::plain(word(item.kind)), Cell::plain(printable(&item.name))]).collect();
    if rows.is_empty() {
        printer::remark("There is nothing of that name.");
    } else {
        printer::table(&["what", "name"], &rows);
    }
    if found.truncated {
        printer::remark(format!("There are more than these {}: name a part of what you look for.", found.items.len()));
    }
    Ok(())
}

async fn pause(client: &Client, env: &str, paused: bool, json: bool) -> Result<(), Problem> {
    let id = ids::environment(client, env).await?;
    let runs = EditRunPolicy { paused: Some(paused), ..EditRunPolicy::default() };
    let edit = EditEnvironment { runs: Some(runs), ..EditEnvironment::default() };
    show(&client.edit_environment(&id, &edit).await?, json)
}

/// A path is taken from where the person is, not from where the server is.
fn absolute(url: &str) -> String {
    let local = !url.contains(':') && !url.starts_with(['-', '/']);
    let path = local.then(|| std::fs::canonicalize(url).ok()).flatten();
    path.and_then(|path| path.to_str().map(str::to_owned)).unwrap_or_else(|| url.to_owned())
}

/// Adds an environment and waits for its clone.
pub(crate) async fn add(client: &Client, new: &CreateEnvironment) -> Result<EnvironmentView, Problem> {
    // Listened to before the clone begins, so that its end cannot be missed.
    let answer = client.follow_changes(&FeedQuery::default()).await?;
    let mut events = std::pin::pin!(sse::events(answer.bytes_stream()));
    let created = client.create_environment(new).await?;
    let meter = Meter::new();
    loop {
        let now = client.show_environment(created.env_id).await?;
        match now.status {
            EnvironmentStatus::Cloning => now.progress.iter().for_each(|progress| meter.show(progress)),
            EnvironmentStatus::Ready => return Ok(now),
            EnvironmentStatus::Failed | EnvironmentStatus::Removing => return Err(failed(&now)),
        }
        events.next().await.ok_or_else(|| crate::client::lost(&"it closed the stream of events"))??;
    }
}

fn failed(environment: &EnvironmentView) -> Problem {
    let Some(error) = environment.error.clone() else {
        return Problem::new(ErrorCode::Removed, "the environment was removed while it was being cloned");
    };
    let problem = Problem::new(ErrorCode::CloneFailed, error.message);
    error.hints.into_iter().fold(problem, Problem::hint)
}

async fn list(client: &Client, json: bool) -> Result<(), Problem> {
    let page = client.list_environments().await?;
    if json {
        return printer::json(&page);
    }
    if page.items.is_empty() {
        printer::remark("There are no environments yet. Next: codex-orchestrator env add https://host/owner/repo.git");
    }
    let all: Vec<_> = page.items.iter().map(|env| env.env_id.to_string()).collect();
    let length = ids::shown_length(&all);
    let rows = page.items.iter().map(|env| {
        let branch = env.default_branch.as_ref().map_or("-", |branch| branch.as_str());
        vec![
            Cell::plain(&env.env_id.to_string()[..length]),
            Cell::plain(env.name.as_str()),
            Cell::status(env.status.as_str()),
            Cell::plain(branch),
            Cell::plain(env.tasks.to_string()),
            Cell::plain(env.repo_url.to_string()),
        ]
    });
    if !page.items.is_empty() {
        printer::table(&["id", "name", "status", "branch", "tasks", "repository"], &rows.collect::<Vec<_>>());
    }
    for damaged in &page.damaged {
        printer::remark(format!("damaged: {}: {}", damaged.path, damaged.reason));
    }
    Ok(())
}

fn show(env: &EnvironmentView, json: bool) -> Result<(), Problem> {
    if json {
        return printer::json(env);
    }
    let branch = env.default_branch.as_ref().map_or("-", |branch| branch.as_str());
    for (name, value) in [
        ("id", env.env_id.to_string()),
        ("name", env.name.to_string()),
        ("status", printer::status(env.status.as_str())),
        ("repository", env.repo_url.to_string()),
        ("branch", branch.to_owned()),
        ("tasks", env.tasks.to_string()),
        ("created", env.created_at.to_string()),
    ] {
        printer::line(format!("{name:<11} {value}"));
    }
    for (name, value) in &env.variables {
        printer::line(format!("{:<11} {name}={value}", "variable"));
    }
    for name in &env.secrets {
        printer::line(format!("{:<11} {name} (secret)", "variable"));
    }
    let sources = env_values::shown_sources(&env.sources);
    let forge = env_values::shown_forge(&env.forge, env.has_forge_token);
    for (name, value) in
        env_values::shown_runs(&env.runs).into_iter().chain(env_values::shown(&env.container)).chain(forge).chain(sources)
    {
        printer::line(format!("{name:<11} {value}"));
    }
    if let Some(at) = env.fetch.ended_at {
        let how = env.fetch.error.as_ref().map_or_else(String::new, |error| format!(", in vain: {}", printable(&error.message)));
        printer::line(format!("{:<11} {at}{how}", "fetched"));
    }
    if let Some(error) = &env.error {
        printer::line(format!("{:<11} {}", "error", printable(&error.message)));
        for hint in &error.hints {
            printer::line(format!("{:<11} {hint}", "hint"));
        }
    }
    Ok(())
}

async fn remove(client: &Client, env: &str, yes: bool) -> Result<(), Problem> {
    let id = ids::environment(client, env).await?;
    let view = client.show_environment(&id).await?;
    if !yes && view.tasks > 0 && std::io::stdin().is_terminal() && !confirmed(&view)? {
        printer::remark("Nothing was removed.");
        return Ok(());
    }
    client.remove_environment(&id).await?;
    printer::line(format!("Removed {} and {}", view.name, plural(view.tasks, "task")));
    Ok(())
}

fn confirmed(view: &EnvironmentView) -> Result<bool, Problem> {
    printer::remark(format!("{} and {} will be removed. Type its name to go on:", view.name, plural(view.tasks, "task")));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(Problem::internal)?;
    Ok(answer.trim() == view.name.as_str())
}
