//! `env shell`: starts a shell in the environment of a repository. The server prepares it, and this process runs it, because it has the
//! terminal.

use std::path::Path;
use std::process::ExitCode;

use client::Client;
use model::ErrorCode;
use model::problem::Problem;
use protocol::OpenShell;
use store::take_shell;

use crate::args::ShellArguments;
use crate::{ids, printer};

pub(crate) async fn run(client: &Client, arguments: &ShellArguments) -> Result<ExitCode, Problem> {
    let id = ids::environment(client, &arguments.env.env).await?;
    printer::remark("Preparing the environment …");
    let shell = client.open_shell(id, &OpenShell { git_ref: arguments.git_ref.clone() }).await?;
    for note in &shell.notes {
        printer::remark(format!("note: {note}"));
    }
    printer::remark(format!("Starting a container at commit {}. Changes in it are not kept.", shell.commit.short()));
    let (order, lock) = take_shell(Path::new(&shell.folder)).map_err(|error| {
        Problem::new(ErrorCode::ShellNotFound, format!("could not read the shell in `{}`: {error}", shell.folder))
            .hint("run this command on the server's machine, as the user that runs the server")
    })?;
    let ended = codex_docker::shell(order.environment, order.folder, order.start, &arguments.command).await;
    drop(lock);
    if let Err(problem) = client.close_shell(id, shell.shell_id).await {
        tracing::debug!(%problem, "the server removes the shell later");
    }
    ended.map(ExitCode::from).map_err(|report| report.into_problem(ErrorCode::Internal.kind()))
}
