//! `up` and `status`: where the server is, which worker it uses, and what to do next.
//! It shows what the server says of itself, and judges nothing.

use std::process::ExitCode;

use engine::Config;
use model::api::{ServerStatus, WorkerStatus};
use model::problem::Problem;

use super::image;
use crate::client::Client;
use crate::printer;
use crate::server::ensure;

pub(crate) async fn up(config: &Config, json: bool) -> Result<ExitCode, Problem> {
    image::ensure(config).await;
    let (client, started) = ensure(config).await?;
    if json {
        return status(&client, true).await;
    }
    printer::line(if started { "The server was started in the background." } else { "The server is running." });
    status(&client, false).await?;
    printer::line("\nPages: codex-orchestrator sign-in");
    printer::line("Next: codex-orchestrator env add https://host/owner/repo.git");
    printer::line("then: codex-orchestrator task create --env NAME --follow \"What the agent should do\"");
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn status(client: &Client, json: bool) -> Result<ExitCode, Problem> {
    let status: ServerStatus = client.get("/api/v1/status").await?;
    if json {
        printer::json(&status)?;
        return Ok(ExitCode::SUCCESS);
    }
    let worker = worker(&status.worker);
    let listen =
        status.listen.map_or_else(|| "off".to_owned(), |address| format!("http://{address} (token in {}/token)", status.home));
    for (name, value) in [
        ("server", format!("{} (process {})", status.version, status.pid)),
        ("home", status.home),
        ("api", listen),
        ("worker", worker),
        ("git", status.git),
        (
            "tasks",
            format!(
                "{} in {} environments, {} active, {} in the queue",
                status.tasks, status.environments, status.active_runs, status.queued_runs
            ),
        ),
    ] {
        printer::line(format!("{name:<8} {value}"));
    }
    for trouble in status.troubles.iter().chain(status.hold.iter().filter(|hold| !status.troubles.contains(hold))) {
        printer::line(format!("{:<8} {}", "trouble", trouble.detail));
        trouble.hints.iter().for_each(|hint| printer::hint(hint));
    }
    for hint in status.worker.hints {
        printer::hint(&hint);
    }
    Ok(ExitCode::SUCCESS)
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
