//! `doctor`: what is needed on this machine, what is missing, and what to do about it. Needs no server, and starts none.
//! Each finding is one line with its remedy; only a failure changes the exit code.

use std::process::ExitCode;

use engine::Config;
use engine::doctor::{Finding, Level, findings, running};
use model::api::ServerStatus;
use model::problem::Problem;
use owo_colors::OwoColorize as _;

use crate::client::Client;
use crate::printer;

pub(crate) async fn run(config: &Config, json: bool) -> Result<ExitCode, Problem> {
    let mut findings = findings(config).await;
    findings.push(server(config).await?);
    if json {
        printer::json(&findings)?;
    } else {
        findings.iter().for_each(print);
    }
    let failed = findings.iter().any(|finding| finding.level == Level::Failure);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(finding: &Finding) {
    let level = match finding.level {
        Level::Ok => "ok     ".green().to_string(),
        Level::Warning => "warning".yellow().to_string(),
        Level::Failure => "failure".red().to_string(),
    };
    printer::line(format!("{level}  {:<7} {}", finding.check, finding.found));
    for hint in &finding.hints {
        printer::line(format!("                 → {hint}"));
    }
}

async fn server(config: &Config) -> Result<Finding, Problem> {
    let client = Client::of(&config.home).await?;
    if client.answers().await {
        let status: ServerStatus = client.get("/api/v1/status").await?;
        return Ok(running(&status));
    }
    let Some(address) = config.listen else {
        return Ok(Finding::new("server", Level::Ok, "it is not running; any command starts it"));
    };
    Ok(match std::net::TcpListener::bind(address) {
        Ok(_) => Finding::new("server", Level::Ok, format!("it is not running; {address} is free, and any command starts it")),
        Err(error) => Finding::new("server", Level::Failure, format!("it is not running, and {address} cannot be used: {error}"))
            .hint("set ORCH_LISTEN to another address, or to `off`"),
    })
}
