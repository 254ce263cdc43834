//! Runs a setup script on this machine, in the worktree of a task. The owner of the server allowed this: the script can do whatever the
//! server's user can do.
//!
//! Invariant: when this ends, nothing that the script started runs any more.

use std::time::Duration;

use durable::blocking;
use model::ErrorCode;
use model::run::RunError;
use process::{CommandSpec, RunProgramError, Stderr, Stdout, Tool};
use tokio_util::sync::CancellationToken;

use super::LocalRunner;
use crate::seam::Supply;
use crate::setup::HostSetup;
use crate::worker::SETUP_MARK;

/// How long the processes of a script may take to die.
const KILL_LIMIT: Duration = Duration::from_secs(10);

impl LocalRunner {
    pub(super) async fn ran_on_host(
        &self,
        setup: &HostSetup,
        supply: &dyn Supply,
        cancel: &CancellationToken,
    ) -> Result<(), RunError> {
        let mark = setup.key.task.to_string();
        // A server that was killed may have left its script.
        end_processes(&mark).await?;
        let ran = self.run_on_host(setup, &mark, supply, cancel).await;
        end_processes(&mark).await?;
        ran
    }

    async fn run_on_host(
        &self,
        setup: &HostSetup,
        mark: &str,
        supply: &dyn Supply,
        cancel: &CancellationToken,
    ) -> Result<(), RunError> {
        let files = self.files(setup.key);
        let (path, text, log) = (files.setup_script(), setup.script.clone(), files.setup_log());
        let script = path.clone();
        let opened = blocking(move || {
            durable::create_private_folder(path.parent().unwrap_or(&path))?;
            fs_err::write(&path, text.as_str())?;
            let log = fs_err::File::create(log)?.into_file();
            Ok::<_, std::io::Error>((log.try_clone()?, log))
        });
        let (stdout, stderr) = opened
            .await
            .map_err(|error| RunError::new(ErrorCode::HomeNotWritable, format!("could not write the setup script: {error}")))?;
        let base = &self.config.base_environment;
        // As in a container.
        let shell = Tool::find("bash", base).or_else(|_| Tool::find("sh", base)).map_err(|error| failed(&error))?;
        let secrets = setup.secrets.iter().filter_map(|(name, reference)| Some((name, supply.secret(reference)?)));
        let secrets: Vec<_> = secrets.collect();
        let command = CommandSpec::new(&shell, base, self.worktree_path(setup.key.task))
            .arg(script)
            .envs(setup.variables.iter().map(|(name, value)| (name.as_str(), value)))
            .envs(secrets.iter().map(|(name, secret)| (name.as_str(), secret.expose())))
            .env(SETUP_MARK, mark)
            .stdout(Stdout::File(stdout))
            .stderr(Stderr::File(stderr))
            .deadline(Duration::from_secs(setup.seconds))
            .cancel(cancel.clone());
        match command.run_ok().await {
            Ok(_) => Ok(()),
            Err(RunProgramError::Failed { status, .. }) if status.code().is_some() => {
                let code = status.code().unwrap_or_default();
                Err(failed(&format_args!("the setup script exited with code {code}")))
            }
            Err(RunProgramError::TimedOut { .. }) => {
                Err(failed(&format_args!("the setup script took more than {} seconds", setup.seconds)))
            }
            Err(RunProgramError::Cancelled { .. }) => Err(RunError::new(ErrorCode::Cancelled, "stopped before the setup ended")),
            Err(error) => Err(failed(&error)),
        }
    }
}

async fn end_processes(mark: &str) -> Result<(), RunError> {
    let ended = process::kill_all(|| process::processes_with_environment(SETUP_MARK, mark), KILL_LIMIT).await;
    ended.map_err(|error| failed(&format_args!("could not end the processes of the setup script: {error}")))
}

fn failed(error: &dyn std::fmt::Display) -> RunError {
    RunError::new(ErrorCode::SetupFailed, error.to_string()).hint("read its output: codex-orchestrator task logs TASK --setup")
}
