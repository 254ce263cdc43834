//! `password`: a password for the pages, beside the links of `sign-in`. There is none until one is set.
//! It comes from the terminal, which does not show it, or from stdin.

use std::process::ExitCode;

use model::api::SetPassword;
use model::problem::{Problem, ProblemKind};
use model::secret::Secret;

use crate::args::PasswordCommand;
use crate::client::Client;
use crate::{hidden, printer};

/// More than any password has.
const LIMIT_BYTES: u64 = 64 * 1024;

pub(super) async fn run(client: &Client, command: &PasswordCommand) -> Result<ExitCode, Problem> {
    match command {
        PasswordCommand::Set => {
            let text = hidden::read("Type the new password and press Enter; it is not shown:", LIMIT_BYTES).map_err(|error| {
                Problem::new(ProblemKind::Unusable, "password_unreadable", format!("the password cannot be read: {error}"))
            })?;
            let password = Secret::new(text.trim_end_matches(['\r', '\n']));
            client.set_password(&SetPassword { password }).await?;
            printer::line("The pages take this password now. Browsers that are signed in stay so.");
        }
        PasswordCommand::Remove => {
            client.remove_password().await?;
            printer::line("No password signs in any more; `codex-orchestrator sign-in` does.");
        }
    }
    Ok(ExitCode::SUCCESS)
}
