//! `env`: manages repositories. `env add` waits for the clone and shows its progress.
//! These commands use only the API and the terminal, never the files of the server.

use std::io::{BufRead, IsTerminal as _};
use std::process::ExitCode;

use client::Client;
use model::ErrorCode;
use model::environment::EnvironmentStatus;
use model::policy::EditRunPolicy;
use model::problem::Problem;
use printable::printable;
use protocol::settings::{self, Setting};
use protocol::{CreateEnvironment, EditEnvironment, EnvironmentView, FeedQuery, RefKind, RefsQuery};

use super::{env_config, env_setup, env_shell, env_values, trash};
use crate::args::EnvCommand;
use crate::output::OutputFormat;
use crate::printer::{Cell, plural};
use crate::progress::Meter;
use crate::{ids, printer};

pub(crate) async fn run(client: &Client, command: &EnvCommand, format: OutputFormat) -> Result<ExitCode, Problem> {
    match command {
        EnvCommand::Add { url, settings, secrets, token } => {
            let mut edit = env_values::settings(settings)?;
            env_values::set_secrets(&mut edit, secrets)?;
            env_values::set_token(&mut edit, token)?;
            let added = add(client, &settings::create(absolute(url), edit)).await?;
            if format.is_json() {
                printer::json(&added)?;
            } else {
                printer::line(format!("Added {} ({})", added.name, added.env_id));
            }
        }
        EnvCommand::List => list(client, format).await?,
        EnvCommand::Show { env } => {
            let id = ids::environment(client, &env.env).await?;
            show(&client.show_environment(id).await?, format)?;
        }
        EnvCommand::Config(arguments) => env_config::run(client, arguments, format).await?,
        EnvCommand::Edit { env, settings, secrets, forgotten, token } => {
            let id = ids::environment(client, &env.env).await?;
            let mut edit = env_values::settings(settings)?;
            edit.secrets.extend(forgotten.iter().map(|name| (name.clone(), None)));
            env_values::set_secrets(&mut edit, secrets)?;
            env_values::set_token(&mut edit, token)?;
            let mut edited = client.edit_environment(id, &edit).await?;
            if edit.container.is_some_and(|container| container.dockerfile.is_some()) {
                edited = built(client, edited).await?;
            }
            show(&edited, format)?;
        }
        EnvCommand::Setup(command) => return env_setup::run(client, command, format).await,
        EnvCommand::Shell(arguments) => return env_shell::run(client, arguments).await,
        EnvCommand::Fetch { env } => {
            let id = ids::environment(client, &env.env).await?;
            let fetched = client.fetch_environment(id).await?;
            if format.is_json() {
                printer::json(&fetched)?;
            } else {
                printer::line(format!("{} is up to date", fetched.name));
            }
        }
        EnvCommand::Retry { env } => {
            let id = ids::environment(client, &env.env).await?;
            show(&client.retry_environment(id).await?, format)?;
        }
        EnvCommand::Refs { env, text } => refs(client, &env.env, text.as_deref(), format).await?,
        EnvCommand::Restore { env } => trash::restore_environment(client, &env.env, format).await?,
        EnvCommand::Pause { env } => {
            edit_runs(client, &env.env, EditRunPolicy { paused: Some(Some(true)), ..EditRunPolicy::default() }, format).await?;
        }
        EnvCommand::Unpause { env } => {
            edit_runs(client, &env.env, EditRunPolicy { paused: Some(Some(false)), ..EditRunPolicy::default() }, format).await?;
        }
        EnvCommand::Remove { env, yes } => {
            remove(client, &env.env, if *yes { Confirmation::Given } else { Confirmation::Required }).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn refs(client: &Client, env: &str, text: Option<&str>, format: OutputFormat) -> Result<(), Problem> {
    let id = ids::environment(client, env).await?;
    let found = client.list_refs(id, &RefsQuery { q: text.map(str::to_owned), tasks: false }).await?;
    if format.is_json() {
        return printer::json(&found);
    }
    let word = |kind| match kind {
        RefKind::Branch => "branch",
        RefKind::Tag => "tag",
    };
    let rows: Vec<_> =
        found.items.iter().map(|item| vec![Cell::plain(word(item.kind)), Cell::plain(printable(&item.name))]).collect();
    if rows.is_empty() {
        printer::remark("No branches or tags found.");
    } else {
        printer::table(&["what", "name"], &rows);
    }
    if found.truncated {
        printer::remark(format!("Only the newest {} are shown. Add part of a name to see others.", found.items.len()));
    }
    Ok(())
}

async fn edit_runs(client: &Client, env: &str, runs: EditRunPolicy, format: OutputFormat) -> Result<(), Problem> {
    let id = ids::environment(client, env).await?;
    let edit = EditEnvironment { runs: Some(runs), ..EditEnvironment::default() };
    show(&client.edit_environment(id, &edit).await?, format)
}

/// Resolves a relative path against the current directory of this command, not of the server.
fn absolute(url: &str) -> String {
    let local = !url.contains(':') && !url.starts_with(['-', '/']);
    let path = local.then(|| std::fs::canonicalize(url).ok()).flatten();
    path.and_then(|path| path.to_str().map(str::to_owned)).unwrap_or_else(|| url.to_owned())
}

/// Adds a repository and waits until it is cloned.
pub(crate) async fn add(client: &Client, new: &CreateEnvironment) -> Result<EnvironmentView, Problem> {
    // Subscribe before the clone starts, so that no event is missed.
    let mut feed = client.follow_changes(&FeedQuery::default()).await?;
    let created = client.create_environment(new).await?;
    let meter = Meter::new();
    loop {
        let now = client.show_environment(created.env_id).await?;
        match now.status {
            EnvironmentStatus::Cloning => now.progress.iter().for_each(|progress| meter.show(progress)),
            EnvironmentStatus::Ready => return Ok(now),
            EnvironmentStatus::Failed | EnvironmentStatus::Removing => return Err(failed(&now)),
        }
        feed.next().await?;
    }
}

/// Waits until the repository's own image is built, if that has started, and shows the steps. Ctrl-C stops waiting; the build continues.
async fn built(client: &Client, edited: EnvironmentView) -> Result<EnvironmentView, Problem> {
    let mut now = edited;
    if now.progress.is_some() {
        let mut feed = client.follow_changes(&FeedQuery::default()).await?;
        let meter = Meter::new();
        loop {
            now = client.show_environment(now.env_id).await?;
            let Some(progress) = &now.progress else { break };
            meter.show(progress);
            feed.next().await?;
        }
    }
    let Some(error) = now.image_error else { return Ok(now) };
    let problem = Problem::new(ErrorCode::ImageFailed, format!("the settings were changed, but {}", error.message));
    Err(error.hints.into_iter().fold(problem, Problem::hint))
}

fn failed(environment: &EnvironmentView) -> Problem {
    let Some(error) = environment.error.clone() else {
        return Problem::new(ErrorCode::Removed, "the repository was removed during the clone");
    };
    let problem = Problem::new(ErrorCode::CloneFailed, error.message);
    error.hints.into_iter().fold(problem, Problem::hint)
}

const LIST_HEADING: [&str; 6] = ["id", "name", "status", "branch", "tasks", "repository"];

fn rows(environments: &[EnvironmentView], id_length: usize) -> Vec<Vec<Cell>> {
    let row = |env: &EnvironmentView| {
        let branch = env.default_branch.as_ref().map_or("-", |branch| branch.as_str());
        vec![
            Cell::plain(&env.env_id.to_string()[..id_length]),
            Cell::plain(env.name.as_str()),
            Cell::status(env.status.as_str()),
            Cell::plain(branch),
            Cell::plain(env.tasks.to_string()),
            Cell::plain(env.repo_url.to_string()),
        ]
    };
    environments.iter().map(row).collect()
}

async fn list(client: &Client, format: OutputFormat) -> Result<(), Problem> {
    let page = client.list_environments().await?;
    if format.is_json() {
        return printer::json(&page);
    }
    if page.items.is_empty() {
        printer::remark("No repositories yet. Add one: codex-orchestrator env add https://host/owner/repo.git");
    }
    let all: Vec<_> = page.items.iter().map(|env| env.env_id.to_string()).collect();
    let length = ids::shown_length(&all);
    if !page.items.is_empty() {
        printer::table(&LIST_HEADING, &rows(&page.items, length));
    }
    for damaged in &page.damaged {
        printer::remark(format!("damaged: {}: {}", damaged.path, damaged.reason));
    }
    Ok(())
}

fn show(env: &EnvironmentView, format: OutputFormat) -> Result<(), Problem> {
    if format.is_json() {
        return printer::json(env);
    }
    lines(env).iter().for_each(printer::styled);
    Ok(())
}

fn lines(env: &EnvironmentView) -> Vec<String> {
    let branch = env.default_branch.as_ref().map_or("-", |branch| branch.as_str());
    let mut rows = vec![
        ("id", env.env_id.to_string()),
        ("name", env.name.to_string()),
        ("status", env.status.as_str().to_owned()),
        ("repository", env.repo_url.to_string()),
        ("branch", branch.to_owned()),
        ("tasks", env.tasks.to_string()),
        ("created", env.created_at.to_string()),
    ];
    let shown_above = |setting: &Setting| ["name", "default_branch"].contains(&setting.key);
    for setting in settings::all().filter(|setting| !shown_above(setting)) {
        rows.extend(setting.current(env).iter().map(|value| (setting.key, env_config::visible(value))));
    }
    if let Some(at) = env.fetch.ended_at {
        let how = env.fetch.error.as_ref().map_or_else(String::new, |error| format!(" failed: {}", printable(&error.message)));
        rows.push(("last fetch", format!("{at}{how}")));
    }
    if let Some(error) = &env.error {
        rows.push(("error", printable(&error.message).into_owned()));
        rows.extend(error.hints.iter().map(|hint| ("hint", hint.clone())));
    }
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let styled = |name: &str, value: &str| if name == "status" { printer::status(value) } else { printable(value).into_owned() };
    rows.into_iter().map(|(name, value)| format!("{name:<width$}  {}", styled(name, &value))).collect()
}

/// Whether the user has already confirmed a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Confirmation {
    Given,
    Required,
}

async fn remove(client: &Client, env: &str, confirmation: Confirmation) -> Result<(), Problem> {
    let id = ids::environment(client, env).await?;
    let view = client.show_environment(id).await?;
    if confirmation == Confirmation::Required
        && view.tasks > 0
        && std::io::stdin().is_terminal()
        && !confirmed(&view, std::io::stdin().lock())?
    {
        printer::remark("Nothing was removed.");
        return Ok(());
    }
    client.remove_environment(id).await?;
    printer::line(format!("Removed {} and {}", view.name, plural(view.tasks, "task")));
    Ok(())
}

/// Asks for the repository's name and reads the answer. An empty answer is not a confirmation.
fn confirmed(view: &EnvironmentView, mut answers: impl BufRead) -> Result<bool, Problem> {
    printer::remark(format!(
        "This moves {} and {} to the trash. Enter the repository's name to confirm:",
        view.name,
        plural(view.tasks, "task")
    ));
    let mut answer = String::new();
    answers.read_line(&mut answer).map_err(Problem::internal)?;
    Ok(answer.trim() == view.name.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Returns a repository that has a value for every setting.
    fn sample() -> Value {
        json!({
            "env_id": "0199a0f0-0000-7000-8000-000000000001", "name": "app", "repo_url": "https://github.com/me/app.git",
            "default_branch": "main", "status": "ready", "error": null, "progress": null,
            "variables": { "CI": "1" }, "secrets": ["TOKEN"], "tasks": 2,
            "container": { "image": "mine:1", "dockerfile": null, "user": "caller", "network": "allow",
                           "allow_hosts": ["example.com", "*.example.org"], "hosted_tools": "deny",
                           "memory": "4g", "cpus": 1.5, "pids": 256, "token_budget": 5000 },
            "runs": { "paused": true, "max_parallel_runs": 3, "retries": 2, "resume_interrupted": true,
                      "model": "gpt-5.5", "effort": "high" },
            "forge": { "kind": "forgejo", "project": "me/app", "api_url": "https://git.example/api/v1" },
            "sources": { "trusted_branches": ["release/*"], "allowed_urls": ["https://github.com/me/library.git"] },
            "has_forge_token": true, "fetch": { "running": false, "ended_at": "2026-01-02T03:04:05Z", "error": null },
            "created_at": "2026-01-02T03:04:05Z", "updated_at": "2026-01-02T03:04:05Z",
        })
    }

    fn view(value: Value) -> EnvironmentView {
        serde_json::from_value(value).expect("a view")
    }

    fn plain(lines: &[String]) -> String {
        lines.iter().map(|line| printable(line).into_owned()).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn show_prints_every_setting() {
        insta::assert_snapshot!(plain(&lines(&view(sample()))));
    }

    #[test]
    fn show_prints_only_the_settings_that_differ_from_the_default() {
        let mut value = sample();
        for field in ["container", "runs", "forge", "sources", "fetch", "has_forge_token", "secrets"] {
            value.as_object_mut().expect("an object").remove(field);
        }
        value["variables"] = json!({});
        insta::assert_snapshot!(plain(&lines(&view(value))));
    }

    #[test]
    fn show_prints_why_a_clone_failed() {
        let mut value = sample();
        value["status"] = json!("failed");
        value["error"] = json!({ "code": "clone_failed", "message": "repository not found", "hints": ["check the URL"] });
        value["fetch"]["error"] = json!({ "code": "fetch_failed", "message": "repository not found", "hints": [] });
        insta::assert_snapshot!(plain(&lines(&view(value))));
    }

    #[test]
    fn list_prints_one_line_per_repository() {
        let mut second = sample();
        second["name"] = json!("library");
        second["status"] = json!("cloning");
        second["default_branch"] = Value::Null;
        insta::assert_snapshot!(plain(&printer::aligned(&LIST_HEADING, &rows(&[view(sample()), view(second)], 13))));
    }

    #[test]
    fn only_the_exact_name_confirms_a_removal() {
        let app = view(sample());
        for (answer, expect) in
            [("app\n", true), ("  app \r\n", true), ("app", true), ("APP\n", false), ("\n", false), ("", false), ("y\n", false)]
        {
            assert_eq!(confirmed(&app, answer.as_bytes()).expect("the answer can be read"), expect, "{answer:?}");
        }
        confirmed(&app, &b"\xff\n"[..]).expect_err("the answer is not text");
    }

    #[test]
    fn only_a_folder_that_exists_becomes_absolute() {
        let here = std::env::current_dir().expect("a folder").canonicalize().expect("it exists");
        assert_eq!(absolute("."), here.to_str().expect("text"));
        assert_eq!(absolute("src/commands"), here.join("src/commands").to_str().expect("text"));
        for url in ["https://example.com/a.git", "git@example.com:me/app", "file:///srv/a", "/srv/a", "-x", "no/such/folder"] {
            assert_eq!(absolute(url), url);
        }
    }

    #[test]
    fn a_clone_that_failed_keeps_the_hints_of_its_error() {
        let mut value = sample();
        value["error"] =
            json!({ "code": "clone_failed", "message": "could not resolve host", "hints": ["check the URL", "retry"] });
        let problem = failed(&view(value));
        assert_eq!((problem.report.code.known(), problem.report.hints.len()), (Some(ErrorCode::CloneFailed), 2));
        assert_eq!(failed(&view(sample())).report.code, ErrorCode::Removed, "without an error, the repository was removed");
    }
}
