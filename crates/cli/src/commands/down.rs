//! `down`: stops the server of the home directory and waits until it has exited. Runs continue.
//!
//! Invariant: only the process that holds the lock of the home directory gets a signal. If systemd started the server, systemd stops it.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use config::Config;
use model::ErrorCode;
use model::problem::Problem;
use process::ProcessIdentity;
use serde::Serialize;
use store::holder;

use super::service;
use crate::output::OutputFormat;
use crate::printer::plural;
use crate::{printer, server};

/// How long to wait for the number of running tasks. A server that does not answer in time is stopped anyway.
const STATUS_PATIENCE: Duration = Duration::from_secs(5);

/// The JSON output of `down`.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    stopped: bool,
    /// The process ID of the server.
    pid: Option<u32>,
    /// The command that starts the service again, if the server ran as a service.
    service: Option<String>,
    /// How many tasks keep running without the server. `None` if the server did not answer.
    running_tasks: Option<usize>,
    /// How many tasks wait until a server is running again.
    queued_tasks: Option<usize>,
}

pub(crate) async fn run(config: &Config, format: OutputFormat) -> Result<ExitCode, Problem> {
    let stopped = stop(config).await?;
    if format.is_json() {
        printer::json(&stopped)?;
    } else {
        words(&stopped).iter().for_each(printer::line);
    }
    Ok(ExitCode::SUCCESS)
}

async fn stop(config: &Config) -> Result<Outcome, Problem> {
    let client = server::client_of(&config.home).await?;
    let server = holder(&config.home).map_err(|error| unknown_holder(&error))?;
    let status = match &server {
        Some(_) => tokio::time::timeout(STATUS_PATIENCE, client.show_status()).await.ok(),
        None => None,
    };
    let status = status.and_then(Result::ok);
    let service = service::stop(config, server.as_ref()).await?;
    match &server {
        Some(server) => server::end(server).await.map_err(|error| not_stopped(server, &error))?,
        None if service.is_none() && client.answers().await => return Err(out_of_reach()),
        None => {}
    }
    Ok(Outcome {
        stopped: server.is_some() || service.is_some(),
        pid: server.map(|server| server.pid),
        service,
        running_tasks: status.as_ref().map(|status| status.active_runs.saturating_sub(status.queued_runs)),
        queued_tasks: status.as_ref().map(|status| status.queued_runs),
    })
}

fn words(stopped: &Outcome) -> Vec<String> {
    if !stopped.stopped {
        return vec!["No server is running.".to_owned()];
    }
    let pid = stopped.pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
    let mut words = vec![match &stopped.service {
        Some(_) => format!("Stopped the service{pid}."),
        None => format!("Stopped the server{pid}."),
    }];
    words.extend(match stopped.running_tasks {
        None => Some("Running tasks continue under their keepers.".to_owned()),
        Some(0) => None,
        Some(1) => Some("1 running task continues under its keeper.".to_owned()),
        Some(number) => Some(format!("{number} running tasks continue under their keepers.")),
    });
    words.extend(match stopped.queued_tasks {
        None | Some(0) => None,
        Some(1) => Some("1 queued task waits until the server starts again.".to_owned()),
        Some(number) => Some(format!("{} wait until the server starts again.", plural(number, "queued task"))),
    });
    words.push("The next command starts the server again in the background.".to_owned());
    words.extend(stopped.service.as_ref().map(|command| format!("To start the service again: {command}")));
    words
}

fn unknown_holder(error: &io::Error) -> Problem {
    Problem::new(ErrorCode::ServerUnknown, format!("could not find the process that serves this home directory: {error}"))
        .hint("run the command as the user who started the server")
}

fn out_of_reach() -> Problem {
    let detail = "a server answers for this home directory, but its process is not visible here";
    Problem::new(ErrorCode::ServerOutOfReach, detail)
        .hint("run the command where the server was started, e.g. in the same container")
}

fn not_stopped(server: &ProcessIdentity, error: &io::Error) -> Problem {
    let pid = server.pid;
    let (why, hint) = match error.kind() {
        io::ErrorKind::TimedOut => (
            format!("did not exit within {} s", server::HOLDER_PATIENCE.as_secs()),
            format!("kill it with `kill -9 {pid}`; running tasks continue under their keepers"),
        ),
        io::ErrorKind::PermissionDenied => {
            ("belongs to another user".to_owned(), "run the command as the user who started the server".to_owned())
        }
        _ => (format!("could not be stopped: {error}"), format!("stop it with `kill {pid}`")),
    };
    Problem::new(ErrorCode::ServerNotStopped, format!("the server (process {pid}) {why}")).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_what_was_stopped_and_what_continues() {
        let check = |stopped: Outcome, expect: &[&str]| assert_eq!(words(&stopped), expect);
        check(Outcome::default(), &["No server is running."]);
        let stopped = || Outcome { stopped: true, pid: Some(42), running_tasks: Some(0), queued_tasks: Some(0), service: None };
        let again = "The next command starts the server again in the background.";
        check(stopped(), &["Stopped the server (process 42).", again]);
        check(
            Outcome { running_tasks: Some(2), queued_tasks: Some(3), ..stopped() },
            &[
                "Stopped the server (process 42).",
                "2 running tasks continue under their keepers.",
                "3 queued tasks wait until the server starts again.",
                again,
            ],
        );
        let service = Some("systemctl start x".to_owned());
        check(
            Outcome { running_tasks: None, queued_tasks: None, service, ..stopped() },
            &[
                "Stopped the service (process 42).",
                "Running tasks continue under their keepers.",
                again,
                "To start the service again: systemctl start x",
            ],
        );
    }

    #[test]
    fn a_server_that_hangs_is_named_with_the_way_to_end_it() {
        let server = ProcessIdentity::current().expect("/proc can be read");
        let problem = not_stopped(&server, &io::ErrorKind::TimedOut.into());
        assert!(problem.report.message.contains("did not exit within 30 s"), "{problem}");
        assert!(problem.report.hints[0].contains(&format!("kill -9 {}", server.pid)), "{problem:?}");
    }

    #[test]
    fn one_task_is_not_several() {
        let one = Outcome { stopped: true, pid: None, service: None, running_tasks: Some(1), queued_tasks: Some(1) };
        assert_eq!(
            words(&one),
            [
                "Stopped the server.",
                "1 running task continues under its keeper.",
                "1 queued task waits until the server starts again.",
                "The next command starts the server again in the background.",
            ]
        );
    }

    #[test]
    fn each_reason_why_a_server_keeps_running_has_its_own_hint() {
        let server = ProcessIdentity::current().expect("/proc can be read");
        let hint = |kind: io::ErrorKind| {
            let problem = not_stopped(&server, &kind.into());
            assert_eq!(problem.report.code, ErrorCode::ServerNotStopped);
            problem.report.hints.join("\n")
        };
        assert!(hint(io::ErrorKind::PermissionDenied).contains("the user who started the server"));
        assert_eq!(hint(io::ErrorKind::NotFound), format!("stop it with `kill {}`", server.pid));
        assert!(
            unknown_holder(&io::ErrorKind::PermissionDenied.into()).report.hints[0].contains("the user who started the server")
        );
        assert_eq!(out_of_reach().report.code, ErrorCode::ServerOutOfReach);
    }
}
