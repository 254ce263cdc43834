//! The setup of a repository as clients see it.

use git::Mirror;
use model::ErrorCode;
use model::environment::EnvironmentRecord;
use model::ids::ObjectId;
use model::run::RunError;
use model::setup::Snapshot;
use process::RunProgramError;
use protocol::{DescriptionOrigin, DescriptionView, ProposalView, SetupView, SnapshotView};

use crate::plan::{Effective, Origin, PlanError, effective};
use crate::proposal::proposal;

/// Returns the view of a repository's setup at a commit of its default branch, for a worker that applies descriptions.
pub async fn view(
    mirror: &Mirror,
    repository: &EnvironmentRecord,
    commit: &ObjectId,
    snapshots: &[Snapshot],
) -> Result<SetupView, RunProgramError> {
    let mut view = SetupView {
        description: None,
        error: None,
        proposal: None,
        applies: true,
        keeps_caches: false,
        runs_on_host: false,
        last: repository.setup_state.last.as_ref().map(Into::into),
        trusted: repository.setup.trusted.iter().cloned().collect(),
        accepted: repository.setup.accepted.keys().cloned().collect(),
        snapshots: snapshots.iter().map(SnapshotView::from).collect(),
    };
    match effective(mirror, repository, commit).await {
        Ok(Some(effective)) => view.description = Some(described(effective, repository)),
        Ok(None) => {
            view.proposal = proposal(mirror, commit).await?.map(|proposal| ProposalView {
                text: environment_file::format(&proposal.description),
                source: proposal.source,
                notes: proposal.notes,
            });
        }
        Err(PlanError::Refused { detail, .. }) => view.error = Some(RunError::new(ErrorCode::DescriptionRefused, detail)),
        Err(PlanError::Git(error)) => return Err(error),
    }
    Ok(view)
}

fn described(effective: Effective, repository: &EnvironmentRecord) -> DescriptionView {
    let Effective { description, origin } = effective;
    let hash = description.hash();
    DescriptionView {
        text: environment_file::format(&description),
        origin: match origin {
            Origin::Settings => DescriptionOrigin::Settings,
            Origin::Repository => DescriptionOrigin::Repository,
        },
        approved: repository.setup.approved.contains(&hash),
        hash,
        secrets: description.secrets().cloned().collect(),
    }
}
