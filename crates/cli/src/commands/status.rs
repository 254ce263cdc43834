//! `up` and `status`: where the server is, which worker it uses, and what to do next.
//! They show what the server says of itself. `up` fails when no task could start.

use std::process::ExitCode;

use engine::Config;
use model::api::{ServerStatus, WorkerStatus};
use model::problem::{Problem, ProblemKind};
use model::queue::Hold;

use super::image;
use crate::client::Client;
use crate::printer;
use crate::server::ensure;

pub(crate) async fn up(config: &Config, json: bool) -> Result<ExitCode, Problem> {
    image::ensure(config).await;
    let (client, started) = ensure(config).await?;
    let status = fresh(&client).await?;
    if json {
        printer::json(&status)?;
        return ready(&status).map(|()| ExitCode::SUCCESS);
    }
    printer::line(if started { "The server was started in the background." } else { "The server is running." });
    table(&status);
    ready(&status)?;
    printer::line("\nOpen the pages: codex-orchestrator sign-in");
    printer::line("Next: codex-orchestrator env add https://host/owner/repo.git");
    printer::line("then: codex-orchestrator task create --env NAME --follow \"What the agent should do\"");
    Ok(ExitCode::SUCCESS)
}

/// The server's status after it has looked whether a task could start.
async fn fresh(client: &Client) -> Result<ServerStatus, Problem> {
    match client.stream("/readyz").await {
        // The status that follows has the reasons, one by one.
        Ok(_) => {}
        Err(problem) if problem.code == "not_ready" => {}
        Err(problem) => return Err(problem),
    }
    client.get("/api/v1/status").await
}

/// Fails when no task could start, with everything that is missing and how to get it.
fn ready(status: &ServerStatus) -> Result<(), Problem> {
    // A record that cannot be read keeps no other task from starting.
    let holds: Vec<&Hold> = status.troubles.iter().filter(|trouble| trouble.code != "damaged").collect();
    let worker = status.worker.problem.iter().map(|reason| (reason, &status.worker.hints));
    let reasons: Vec<_> = worker.chain(holds.iter().map(|hold| (&hold.detail, &hold.hints))).collect();
    if reasons.is_empty() {
        return Ok(());
    }
    let words: Vec<_> = reasons.iter().map(|(reason, _)| reason.as_str()).collect();
    let problem = Problem::new(ProblemKind::Unavailable, "not_ready", format!("no task can start: {}", words.join("; ")));
    Err(reasons.iter().flat_map(|(_, hints)| hints.iter()).fold(problem, |problem, hint| problem.hint(hint.clone())))
}

pub(crate) async fn status(client: &Client, json: bool) -> Result<ExitCode, Problem> {
    let status: ServerStatus = client.get("/api/v1/status").await?;
    if json {
        printer::json(&status)?;
        return Ok(ExitCode::SUCCESS);
    }
    table(&status);
    for trouble in status.troubles.iter().chain(status.hold.iter().filter(|hold| !status.troubles.contains(hold))) {
        printer::line(format!("{:<8} {}", "trouble", trouble.detail));
        trouble.hints.iter().for_each(|hint| printer::hint(hint));
    }
    for hint in &status.worker.hints {
        printer::hint(hint);
    }
    Ok(ExitCode::SUCCESS)
}

fn table(status: &ServerStatus) {
    let worker = worker(&status.worker);
    let token = |address: &String| format!("http://{address} (token in {}/token)", status.home);
    let listen = status.listen.as_ref().map_or_else(|| "off".to_owned(), token);
    let pages = status.pages.clone().unwrap_or_else(|| "off".to_owned());
    for (name, value) in [
        ("server", format!("{} (process {})", status.version, status.pid)),
        ("home", status.home.clone()),
        ("api", listen),
        ("pages", pages),
        ("worker", worker),
        ("git", status.git.clone()),
        (
            "tasks",
            format!(
                "{} in {} environments, {} running, {} waiting",
                status.tasks, status.environments, status.active_runs, status.queued_runs
            ),
        ),
    ] {
        printer::line(format!("{name:<8} {value}"));
    }
}

fn worker(worker: &WorkerStatus) -> String {
    let container = worker.container.as_ref();
    let image = container.and_then(|container| container.image.as_ref());
    match (&worker.problem, &worker.program, image) {
        (Some(problem), _, _) => format!("none: {problem}"),
        (None, Some(program), _) => format!("{} ({program})", worker.name),
        (None, None, Some(image)) => {
            let codex = image.codex_version.as_ref().map_or_else(String::new, |version| format!(" with Codex {version}"));
            format!("{} ({}{codex})", worker.name, image.name)
        }
        (None, None, None) => worker.name.clone(),
    }
}
