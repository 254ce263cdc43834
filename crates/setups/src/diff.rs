//! Shows how a branch changes the description of the environment.

use git::{DiffError, Mirror, Reading};
use model::diff::Diff;
use model::environment::EnvironmentRecord;
use model::ids::ObjectId;
use model::names::BranchName;
use protocol::SetupDiffView;

use crate::basis::{described_paths, hash_at};

/// Compares the description on a branch, and the Dockerfile that it names, with those of the default branch.
pub async fn diff(
    mirror: &Mirror,
    repository: &EnvironmentRecord,
    default: &ObjectId,
    branch: &BranchName,
    commit: &ObjectId,
) -> Result<SetupDiffView, DiffError> {
    let mut listing = mirror.changed_files(default, commit).await?;
    let paths = described_paths(mirror, [default, commit]).await?;
    listing.files.retain(|file| paths.iter().any(|path| file.path == path.as_bytes()));
    let diff = match listing.files.len() {
        0 => Diff::default(),
        files => mirror.compare((default, commit), &listing, 0..files, Reading::default()).await?,
    };
    let hash = hash_at(mirror, commit).await?;
    Ok(SetupDiffView {
        branch: branch.to_string(),
        commit: commit.clone(),
        trusted: repository.default_branch.as_ref() == Some(branch) || repository.setup.trusts(branch),
        accepted: hash.as_ref().is_some_and(|hash| repository.setup.accepts(branch, hash)),
        replaced: repository.setup.own.is_some(),
        hash,
        diff,
    })
}
