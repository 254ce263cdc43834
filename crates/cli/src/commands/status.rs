//! `up` and `status`: show the server, its worker and the next steps.
//! `up` fails if no task can start.

use std::path::Path;
use std::process::ExitCode;

use client::Client;
use config::Config;
use model::ErrorCode;
use model::problem::Problem;
use model::queue::Blocker;
use protocol::{ServerStatus, WorkerStatus};

use super::image;
use crate::output::{Output, OutputFormat};
use crate::printer;
use crate::server::ensure;

/// Starts the server. `ca_file` has the certificates for an image that must be built.
pub(crate) async fn up(config: &Config, ca_file: Option<&Path>, format: OutputFormat) -> Result<ExitCode, Problem> {
    image::ensure(config, ca_file).await;
    let (client, started) = ensure(config).await?;
    let status = fresh(&client).await?;
    if format.is_json() {
        printer::json(&status)?;
        return ready(&status).map(|()| ExitCode::SUCCESS);
    }
    printer::line(if started { "Started the server in the background." } else { "The server is already running." });
    table(&status).print();
    ready(&status)?;
    next_steps().print();
    Ok(ExitCode::SUCCESS)
}

fn next_steps() -> Output {
    let mut out = Output::default();
    out.line("\nNext steps:");
    out.line("  codex-orchestrator sign-in                                    (open the pages in a browser)");
    out.line("  codex-orchestrator env add https://host/owner/repo.git        (add a repository)");
    out.line("  codex-orchestrator task create --env NAME --follow \"PROMPT\"   (start a task)");
    out
}

/// Returns the server's status after it has checked whether a task can start.
async fn fresh(client: &Client) -> Result<ServerStatus, Problem> {
    match client.readyz().await {
        // The status contains the reasons why no task can start.
        Ok(_) => {}
        Err(problem) if problem.report.code == ErrorCode::NotReady => {}
        Err(problem) => return Err(problem),
    }
    client.show_status().await
}

/// Returns an error with all reasons and hints if no task can start.
fn ready(status: &ServerStatus) -> Result<(), Problem> {
    // A damaged record does not prevent other tasks from starting.
    let holds: Vec<&Blocker> = status.troubles.iter().filter(|trouble| trouble.code != ErrorCode::Damaged).collect();
    let worker = status.worker.problem.iter().map(|reason| (reason, &status.worker.hints));
    let reasons: Vec<_> = worker.chain(holds.iter().map(|hold| (&hold.detail, &hold.hints))).collect();
    if reasons.is_empty() {
        return Ok(());
    }
    let words: Vec<_> = reasons.iter().map(|(reason, _)| reason.as_str()).collect();
    let problem = Problem::new(ErrorCode::NotReady, format!("no task can start: {}", words.join("; ")));
    Err(reasons.iter().flat_map(|(_, hints)| hints.iter()).fold(problem, |problem, hint| problem.hint(hint.clone())))
}

pub(crate) async fn status(client: &Client, format: OutputFormat) -> Result<ExitCode, Problem> {
    let status = client.show_status().await?;
    if format.is_json() {
        printer::json(&status)?;
        return Ok(ExitCode::SUCCESS);
    }
    shown(&status).print();
    Ok(ExitCode::SUCCESS)
}

fn shown(status: &ServerStatus) -> Output {
    let mut out = table(status);
    for trouble in status.troubles.iter().chain(status.hold.iter().filter(|hold| !status.troubles.contains(hold))) {
        out.line(format!("{:<8} {}", "problem", trouble.detail));
        trouble.hints.iter().for_each(|hint| out.hint(hint));
    }
    for hint in &status.worker.hints {
        out.hint(hint);
    }
    out
}

fn table(status: &ServerStatus) -> Output {
    let mut out = Output::default();
    let worker = worker(&status.worker);
    let token = |address: &String| format!("http://{address} (token in {}/token)", status.home);
    let listen = status.listen.as_ref().map_or_else(|| "off".to_owned(), token);
    let pages = status.pages.clone().unwrap_or_else(|| "off".to_owned());
    let repositories =
        if status.environments == 1 { "1 repository".to_owned() } else { format!("{} repositories", status.environments) };
    for (name, value) in [
        ("server", format!("{} (process {})", status.version, status.pid)),
        ("home", status.home.clone()),
        ("api", listen),
        ("pages", pages),
        ("worker", worker),
        ("git", status.git.clone()),
        ("tasks", format!("{} in {}, {} running, {} queued", status.tasks, repositories, status.active_runs, status.queued_runs)),
    ] {
        out.line(format!("{name:<8} {value}"));
    }
    out
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::tests::samples;

    fn status(worker: &Value, more: &Value) -> ServerStatus {
        let mut status = json!({
            "version": "0.1.0", "pid": 42, "home": "/home/me/.codex-orchestrator", "worker": worker, "git": "git 2.47.3",
            "started_at": "2026-03-01T12:00:00Z", "listen": "127.0.0.1:8080", "pages": "http://codex-5ec2e7.localhost:8080",
            "environments": 2, "tasks": 14, "active_runs": 1, "queued_runs": 3,
        });
        status.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        samples::from(status)
    }

    #[test]
    fn the_status_names_the_server_its_worker_and_its_tasks() {
        let image = json!({ "name": "codex-docker:0.170.0", "codex_version": "0.170.0" });
        let worker = json!({
            "name": "codex-docker", "program": null, "problem": null, "hints": [],
            "container": { "engine": { "version": "27.0" }, "image": image },
        });
        insta::assert_snapshot!("status", shown(&status(&worker, &Value::Null)).plain());
        insta::assert_snapshot!("up-next-steps", next_steps().plain());
    }

    #[test]
    fn a_server_that_can_start_no_task_says_why() {
        let hold = json!({ "code": "disk_low", "detail": "less than 1.0 GiB is free", "hints": ["free some space"] });
        let worker = json!({ "name": "host", "program": null, "problem": "`codex` is not on PATH", "hints": ["install it"] });
        let status = status(&worker, &json!({ "hold": hold, "troubles": [hold], "listen": null, "pages": null }));
        let problem = ready(&status).expect_err("no task can start");
        let text =
            format!("{}\n\nerror: {}\n{}", shown(&status).plain(), problem.report.message, problem.report.hints.join("\n"));
        insta::assert_snapshot!("status-not-ready", text);
    }

    #[test]
    fn the_worker_is_described_by_what_is_known() {
        let container = |image: &Value| json!({ "engine": { "version": "27.0" }, "image": image });
        for (fields, expect) in [
            (json!({ "problem": "no engine", "program": "/usr/bin/codex" }), "none: no engine"),
            (json!({ "program": "/usr/bin/codex" }), "host (/usr/bin/codex)"),
            (
                json!({ "container": container(&json!({ "name": "mine:1", "codex_version": "0.170.0" })) }),
                "host (mine:1 with Codex 0.170.0)",
            ),
            (json!({ "container": container(&json!({ "name": "mine:1" })) }), "host (mine:1)"),
            (json!({ "container": container(&Value::Null) }), "host"),
            (json!({}), "host"),
        ] {
            let mut view = json!({ "name": "host", "program": null, "problem": null, "hints": [] });
            view.as_object_mut().expect("an object").extend(fields.as_object().cloned().unwrap_or_default());
            assert_eq!(worker(&samples::from(view)), expect, "{fields}");
        }
    }

    #[test]
    fn a_server_without_tcp_has_neither_an_address_nor_pages() {
        let worker = json!({ "name": "host", "program": "/x", "problem": null, "hints": [] });
        let off = status(&worker, &json!({ "listen": null, "pages": null, "environments": 1, "tasks": 1 }));
        let text = shown(&off).plain();
        for line in ["api      off", "pages    off", "tasks    1 in 1 repository, 1 running, 3 queued"] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        assert_eq!(ready(&off), Ok(()));
    }

    #[test]
    fn every_reason_is_part_of_one_error() {
        let trouble =
            |code: &str| json!({ "code": code, "detail": format!("detail of {code}"), "hints": [format!("fix {code}")] });
        let worker = json!({ "name": "host", "program": null, "problem": "no codex", "hints": ["install it"] });
        let all = json!({ "troubles": [trouble("disk_low"), trouble("damaged"), trouble("not_ready")] });
        let problem = ready(&status(&worker, &all)).expect_err("no task can start");
        assert_eq!(problem.report.message, "no task can start: no codex; detail of disk_low; detail of not_ready");
        assert_eq!(problem.report.hints, ["install it", "fix disk_low", "fix not_ready"]);
        let text = shown(&status(&worker, &all)).plain();
        assert!(
            text.contains("problem  detail of damaged\nstderr| hint:  fix damaged"),
            "damaged records are still shown: {text}"
        );
    }

    #[test]
    fn a_hold_that_is_also_a_trouble_is_shown_once() {
        let hold = json!({ "code": "disk_low", "detail": "less than 1.0 GiB is free", "hints": [] });
        let worker = json!({ "name": "host", "program": "/x", "problem": null, "hints": [] });
        let count = |more: &Value| shown(&status(&worker, more)).plain().matches("less than 1.0 GiB").count();
        assert_eq!(count(&json!({ "hold": hold, "troubles": [hold] })), 1);
        assert_eq!(count(&json!({ "hold": hold })), 1);
    }
}
