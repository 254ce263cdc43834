//! `password`: sets or removes the password for the pages. Sign-in links work with or without it.
//! The password is read from the terminal without echo, or from stdin.

use std::process::ExitCode;

use client::Client;
use model::ErrorCode;
use model::problem::Problem;
use model::secret::Secret;
use protocol::SetPassword;

use crate::args::PasswordCommand;
use crate::{hidden, printer};

/// The maximum number of bytes to read, which is more than any password has.
const LIMIT_BYTES: u64 = 64 * 1024;

pub(super) async fn run(client: &Client, command: &PasswordCommand) -> Result<ExitCode, Problem> {
    match command {
        PasswordCommand::Set => {
            let text = hidden::read("Type the new password and press Enter (it is not shown):", LIMIT_BYTES)
                .map_err(|error| Problem::new(ErrorCode::PasswordUnreadable, format!("could not read the password: {error}")))?;
            let password = Secret::new(text.trim_end_matches(['\r', '\n']));
            client.set_password(&SetPassword { password }).await?;
            printer::line("The password is set. Browsers that are signed in stay signed in.");
        }
        PasswordCommand::Remove => {
            client.remove_password().await?;
            printer::line("The password is removed. To sign in, use the link from `codex-orchestrator sign-in`.");
        }
    }
    Ok(ExitCode::SUCCESS)
}
