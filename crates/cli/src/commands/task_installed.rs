//! `task installed`: the commands with which the agents of a task installed things, and a description that contains them.
//!
//! Nothing is changed. With `--toml`, the output is exactly the proposed description, so that it can be saved and edited.

use std::borrow::Cow;
use std::process::ExitCode;

use client::Client;
use model::ErrorCode;
use model::problem::Problem;
use model::visible::Visible;
use printable::printable;
use protocol::{InstalledCommandView, InstalledQuery, InstalledView, TaskView};

use crate::args::InstalledArguments;
use crate::output::{Output, OutputFormat};
use crate::printer::Cell;
use crate::{ids, printer};

pub(super) async fn run(client: &Client, asked: &InstalledArguments, format: OutputFormat) -> Result<ExitCode, Problem> {
    let id = ids::task(client, &asked.task.task).await?;
    let query = InstalledQuery { run: asked.run.map(|run| run.to_string()) };
    let found = client.show_installed(id, &query).await?;
    if asked.toml {
        let text = found.proposal.ok_or_else(|| {
            let problem = Problem::new(ErrorCode::NoSetup, "there is nothing to add to the description");
            problem.hint(format!("list the commands: codex-orchestrator task installed {id}"))
        })?;
        printer::bytes(text.as_bytes());
    } else if format.is_json() {
        printer::json(&found)?;
    } else {
        shown(&client.show_task(id).await?, &found).print();
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(task: &TaskView, found: &InstalledView) -> Output {
    let mut output = Output::default();
    if found.commands.is_empty() {
        output.remark("no command of this task can be used in a setup");
    } else {
        let rows: Vec<_> = found.commands.iter().map(row).collect();
        output.table(&["RUN", "STATE", "COMMAND"], &rows);
    }
    for left in &found.left_out {
        output.remark(format!("not included: {} ({})", Visible::name(&left.command).plain(), left.reason.words()));
    }
    if found.more_left_out > 0 {
        output.remark(format!("not included: {} more", found.more_left_out));
    }
    if !found.complete {
        output.remark("the logs are too large to be searched completely, so commands may be missing");
    }
    if !found.applies {
        output.remark("descriptions have no effect here, because the worker does not run Codex in containers");
    }
    if let Some(error) = &found.error {
        output.remark(printable(&error.message));
    }
    match &found.proposal {
        Some(text) => {
            output.line("");
            output.line("Proposed description:");
            for line in text.lines() {
                output.line(format!("  {}", printable(line)).trim_end());
            }
            output.remark("folders of the repository, such as node_modules, are kept only if `[keep]` lists them");
            let env = task.env_name.as_ref().and_then(|name| shlex::try_quote(name.as_str()).ok());
            let env = env.map_or_else(|| task.env_id.to_string(), Cow::into_owned);
            output.hint(&format!(
                "review and save it: codex-orchestrator task installed {} --toml > environment.toml",
                task.task_id
            ));
            output.hint(&format!("then use it: codex-orchestrator env setup edit {env} --file environment.toml"));
        }
        None if found.error.is_none() && !found.commands.is_empty() => {
            output.remark("the setup already contains all of these commands");
        }
        None => {}
    }
    output
}

fn row(command: &InstalledCommandView) -> Vec<Cell> {
    let state = match (command.described, command.verified) {
        (true, _) => "in the setup",
        (false, true) => "new",
        (false, false) => "may have failed",
    };
    vec![Cell::plain(command.run.0.to_string()), Cell::plain(state), Cell::plain(Visible::name(&command.command).plain())]
}
