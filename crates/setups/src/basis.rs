//! Chooses the branch whose description applies to a task: the default branch, unless the owner decided otherwise.

use std::collections::BTreeSet;

use environment_file::PATH;
use git::Mirror;
use model::environment::EnvironmentRecord;
use model::ids::ObjectId;
use model::names::BranchName;
use model::setup::{BranchTrust, Description, DescriptionHash, SetupBasis};
use process::RunProgramError;

use crate::plan::{PlanError, text_at};

/// Returns the newest commit of the default branch.
pub async fn default_commit(mirror: &Mirror, repository: &EnvironmentRecord) -> Result<Option<ObjectId>, RunProgramError> {
    let Some(branch) = &repository.default_branch else { return Ok(None) };
    mirror.resolve_branch(branch.as_str()).await
}

/// Returns what decides about the environment of a task that could take it from these branches, the first ones preferred. Branches that
/// the owner neither trusts nor accepts have no effect. Returns `None` if the repository has no default branch.
pub async fn basis(
    mirror: &Mirror,
    repository: &EnvironmentRecord,
    branches: impl IntoIterator<Item = BranchName>,
) -> Result<Option<SetupBasis>, RunProgramError> {
    for branch in branches {
        if repository.default_branch.as_ref() == Some(&branch) {
            break;
        }
        let Some(commit) = mirror.resolve_branch(branch.as_str()).await? else { continue };
        if let Some(found) = on_branch(mirror, repository, &branch, commit).await? {
            return Ok(Some(found));
        }
    }
    Ok(default_commit(mirror, repository).await?.map(|commit| SetupBasis::trusted(commit, None)))
}

/// Returns what decides about an earlier setup, or `None` if the owner has changed their mind about its branch.
pub async fn basis_of(
    mirror: &Mirror,
    repository: &EnvironmentRecord,
    commit: &ObjectId,
    branch: Option<&BranchName>,
) -> Result<Option<SetupBasis>, RunProgramError> {
    match branch {
        None => Ok(Some(SetupBasis::trusted(commit.clone(), None))),
        Some(branch) => on_branch(mirror, repository, branch, commit.clone()).await,
    }
}

async fn on_branch(
    mirror: &Mirror,
    repository: &EnvironmentRecord,
    branch: &BranchName,
    commit: ObjectId,
) -> Result<Option<SetupBasis>, RunProgramError> {
    if repository.setup.trusts(branch) {
        return Ok(Some(SetupBasis::trusted(commit, Some(branch.clone()))));
    }
    // The owner's description in the settings applies to all branches.
    if repository.setup.own.is_some() || !repository.setup.accepted.contains_key(branch) {
        return Ok(None);
    }
    let is_accepted = hash_at(mirror, &commit).await?.is_some_and(|hash| repository.setup.accepts(branch, &hash));
    Ok(is_accepted.then(|| SetupBasis { commit, branch: Some(branch.clone()), trust: BranchTrust::Accepted }))
}

/// Whether two commits contain the same description, including the Dockerfile that it names.
pub async fn is_described_alike(mirror: &Mirror, one: &ObjectId, other: &ObjectId) -> Result<bool, RunProgramError> {
    let paths = described_paths(mirror, [one, other]).await?;
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    Ok(mirror.objects_at(one, &paths).await? == mirror.objects_at(other, &paths).await?)
}

/// Returns the paths of the descriptions in these commits, and of the Dockerfiles that they name.
pub(crate) async fn described_paths(mirror: &Mirror, commits: [&ObjectId; 2]) -> Result<BTreeSet<String>, RunProgramError> {
    let mut paths = BTreeSet::from([PATH.to_owned()]);
    for commit in commits {
        let description = description_at(mirror, commit).await?;
        paths.extend(description.as_ref().and_then(Description::dockerfile).map(str::to_owned));
    }
    Ok(paths)
}

/// Returns the hash of the description in a commit, or `None` if it has none or it cannot be used. The hash includes the content of the
/// Dockerfile that the description names, because it is run like the rest of the description.
pub(crate) async fn hash_at(mirror: &Mirror, commit: &ObjectId) -> Result<Option<DescriptionHash>, RunProgramError> {
    let Some(description) = description_at(mirror, commit).await? else { return Ok(None) };
    let Some(dockerfile) = description.dockerfile() else { return Ok(Some(description.hash())) };
    let object = mirror.objects_at(commit, &[dockerfile]).await?.into_iter().flatten().next();
    Ok(object.map(|object| description.hash_with(&object)))
}

/// Returns the description in a commit, or `None` if it has none or it cannot be used.
async fn description_at(mirror: &Mirror, commit: &ObjectId) -> Result<Option<Description>, RunProgramError> {
    match text_at(mirror, commit).await {
        Ok(text) => Ok(text.and_then(|text| environment_file::parse(&text).ok())),
        Err(PlanError::Refused { .. }) => Ok(None),
        Err(PlanError::Git(error)) => Err(error),
    }
}
