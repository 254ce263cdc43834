//! `doctor`: checks this machine and suggests fixes. It does not need a server and never starts one.
//!
//! If a server is running, the server runs the checks with its own settings and environment, which its tasks use too. Otherwise this
//! command runs them with the environment of the shell. The finding `server` says which of the two did. Only failures change the exit code.

use std::process::ExitCode;

use config::Config;
use doctor::{Finding, Level, findings};
use model::ErrorCode;
use model::problem::Problem;
use owo_colors::OwoColorize as _;
use printable::printable;

use crate::output::{Output, OutputFormat};
use crate::{printer, server};

pub(crate) async fn run(config: &Config, format: OutputFormat) -> Result<ExitCode, Problem> {
    let findings = checked(config).await?;
    if format.is_json() {
        printer::json(&findings)?;
    } else {
        shown(&findings).print();
    }
    let failed = findings.iter().any(|finding| finding.level == Level::Failure);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn checked(config: &Config) -> Result<Vec<Finding>, Problem> {
    let client = server::client_of(&config.home).await?;
    let server = if client.answers().await {
        match client.run_doctor().await {
            Ok(page) => return Ok(page.items),
            Err(problem) if problem.report.code == ErrorCode::NoSuchRoute => older(),
            Err(problem) => return Err(problem),
        }
    } else {
        not_running(config)
    };
    let mut findings = findings(config).await;
    findings.push(server);
    Ok(findings)
}

fn shown(findings: &[Finding]) -> Output {
    let mut out = Output::default();
    for finding in findings {
        show(&mut out, finding);
    }
    out
}

fn show(out: &mut Output, finding: &Finding) {
    let level = match finding.level {
        Level::Ok => "ok     ".green().to_string(),
        Level::Warning => "warning".yellow().to_string(),
        Level::Failure => "failure".red().to_string(),
    };
    out.styled(format!("{level}  {:<7} {}", printable(&finding.check), printable(&finding.found)));
    for hint in &finding.hints {
        out.line(format!("                 → {hint}"));
    }
}

/// Returns the finding for a running server that is older than this program and cannot run the checks.
fn older() -> Finding {
    let found = "running an older version that cannot run the checks; checked with the environment of this shell instead";
    Finding::new("server", Level::Warning, found).hint("restart the server: codex-orchestrator down && codex-orchestrator up")
}

fn not_running(config: &Config) -> Finding {
    let checked_here = "not running; checked with the environment of this shell";
    let Some(address) = config.listen else {
        return Finding::new("server", Level::Ok, format!("{checked_here}; the next command starts it"));
    };
    match std::net::TcpListener::bind(address) {
        Ok(_) => Finding::new("server", Level::Ok, format!("{checked_here}; {address} is free, and the next command starts it")),
        Err(error) => Finding::new("server", Level::Failure, format!("{checked_here}; cannot listen on {address}: {error}"))
            .hint("set ORCH_LISTEN to another address or to `off`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_listed_with_what_to_do() {
        let mut config = Config::for_home(std::path::Path::new("/nowhere"));
        config.listen = None;
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let mut in_use = config.clone();
        in_use.listen = Some(taken.local_addr().expect("an address"));
        let port = in_use.listen.expect("set").port().to_string();
        let git = Finding::new("git", Level::Ok, "git 2.47.3");
        let text = shown(&[git, older(), not_running(&config), not_running(&in_use)]).plain();
        insta::assert_snapshot!("doctor", text.replace(&port, "PORT"));
    }

    #[test]
    fn only_failures_are_failures() {
        let finding = |level| Finding::new("git", level, "git 2.47.3").hint("update git");
        for (level, word) in [(Level::Ok, "ok     "), (Level::Warning, "warning"), (Level::Failure, "failure")] {
            let text = shown(&[finding(level)]).plain();
            assert_eq!(text, format!("{word}  git     git 2.47.3\n                 → update git"));
        }
        assert_eq!(shown(&[]).plain(), "");
    }
}
