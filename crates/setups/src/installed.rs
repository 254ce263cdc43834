//! Proposes a description with the commands with which agents installed things.
//!
//! The proposal extends the description that is in effect for the default branch. It is only a text that the owner may save.

use environment_file::{format, with_commands};
use git::Mirror;
use model::ErrorCode;
use model::codex::{Installs, missing_installs};
use model::environment::EnvironmentRecord;
use model::ids::ObjectId;
use model::run::RunError;
use model::setup::Description;
use process::RunProgramError;
use protocol::{InstalledCommandView, InstalledView};

use crate::plan::{PlanError, effective};
use crate::proposal::proposal;

/// Returns the commands of agents, and the description at a commit of the default branch with those that it does not contain.
pub async fn installed(
    mirror: &Mirror,
    repository: &EnvironmentRecord,
    commit: &ObjectId,
    installs: Installs,
) -> Result<InstalledView, RunProgramError> {
    let base = match effective(mirror, repository, commit).await {
        Ok(Some(effective)) => Ok(Some(effective.description)),
        Ok(None) => Ok(proposal(mirror, commit).await?.map(|proposal| proposal.description)),
        Err(PlanError::Refused { detail, .. }) => Err(RunError::new(ErrorCode::DescriptionRefused, detail)),
        Err(PlanError::Git(error)) => return Err(error),
    };
    Ok(match base {
        Ok(base) => extended(base.as_ref(), installs),
        Err(error) => InstalledView { error: Some(error), ..listed(installs, "") },
    })
}

fn extended(base: Option<&Description>, installs: Installs) -> InstalledView {
    let empty = Description::default();
    let before = base.unwrap_or(&empty);
    let script = before.setup.as_ref().map(|setup| setup.run.as_str()).unwrap_or_default();
    let extended = with_commands(before, &missing_installs(script, &installs.commands));
    let proposal = extended.as_ref().map(format);
    InstalledView { proposal, base: base.map(format), ..listed(installs, script) }
}

/// Returns the commands without a proposal.
fn listed(installs: Installs, script: &str) -> InstalledView {
    let Installs { commands, left_out, more_left_out } = installs;
    let missing = missing_installs(script, &commands);
    let is_described: Vec<_> = commands.iter().map(|found| !missing.contains(&found.command.as_str())).collect();
    let commands = commands.into_iter().zip(is_described);
    let commands = commands.map(|(found, described)| InstalledCommandView {
        run: found.run,
        command: found.command,
        verified: found.verified,
        described,
    });
    InstalledView {
        commands: commands.collect(),
        left_out,
        more_left_out,
        complete: true,
        applies: true,
        base: None,
        proposal: None,
        error: None,
    }
}
