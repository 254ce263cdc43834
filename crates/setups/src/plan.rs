//! Reads the description that is in effect, and derives the key of the snapshot.

use std::collections::{BTreeMap, BTreeSet};

use environment_file::{LIMIT_BYTES, PATH};
use git::Mirror;
use model::ErrorCode;
use model::container::ContainerNetwork;
use model::environment::EnvironmentRecord;
use model::ids::ObjectId;
use model::names::VariableName;
use model::problem::Problem;
use model::setup::{
    BranchTrust, Description, DescriptionHash, FilePhase, KeepPath, KeyFile, KeyInputs, LayerTarget, Setup, SetupAttempt,
    SetupBasis, SetupGoal, Snapshot, SnapshotKey,
};
use process::RunProgramError;
use runner::spec::{ContainerSandbox, RunKey, SecretRef};
use runner::{EnvironmentImages, FoundImages, HostSetup, SetupSpec, SnapshotUpdate};

/// Files on which a setup depends if its description names none.
const DEFAULT_KEYS: &[&str] = &[
    ".node-version",
    ".nvmrc",
    ".python-version",
    ".tool-versions",
    "Cargo.lock",
    "Cargo.toml",
    "Gemfile.lock",
    "Pipfile.lock",
    "build.gradle",
    "build.gradle.kts",
    "bun.lock",
    "composer.lock",
    "go.mod",
    "go.sum",
    "mix.lock",
    "package-lock.json",
    "package.json",
    "pnpm-lock.yaml",
    "poetry.lock",
    "pom.xml",
    "pyproject.toml",
    "requirements.txt",
    "rust-toolchain.toml",
    "setup.cfg",
    "setup.py",
    "uv.lock",
    "yarn.lock",
];

/// Where a description comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The owner's settings of the repository.
    Settings,
    /// The file in the default branch.
    Repository,
}

/// The description that is in effect for a repository.
#[derive(Debug, Clone, PartialEq)]
pub struct Effective {
    /// The description.
    pub description: Description,
    /// Where it comes from.
    pub origin: Origin,
}

/// A setup that new tasks of a repository need.
#[derive(Debug, Clone, PartialEq)]
pub struct SetupPlan {
    /// The description.
    pub description: Description,
    /// The images of the environment.
    pub images: EnvironmentImages,
    /// Which of the images exist.
    pub found: FoundImages,
    /// The key of the snapshot. It changes when a missing image is created.
    pub key: SnapshotKey,
    /// The key of the snapshot's family. A snapshot of the same family can be updated.
    pub family: SnapshotKey,
    /// What decides about it.
    pub basis: SetupBasis,
}

impl SetupPlan {
    /// Returns what the setup is for.
    pub fn goal(&self) -> SetupGoal {
        self.basis.goal(self.key.clone())
    }
}

/// Why a setup could not be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The description cannot be used.
    #[error("{detail}")]
    Refused {
        /// Identifies the description, so that an answer to the error is valid until the description changes.
        key: SnapshotKey,
        /// What is wrong.
        detail: String,
    },
    /// The mirror could not be read.
    #[error("could not read the mirror: {0}")]
    Git(#[from] RunProgramError),
}

pub(crate) fn refused(text: &str, detail: String) -> PlanError {
    PlanError::Refused { key: SnapshotKey::of_text(text), detail }
}

/// Returns the description that is in effect at a commit of the default branch: the owner's, or else that of the repository.
pub async fn effective(
    mirror: &Mirror,
    repository: &EnvironmentRecord,
    commit: &ObjectId,
) -> Result<Option<Effective>, PlanError> {
    let (text, origin, name) = if let Some(text) = &repository.setup.own {
        (text.clone(), Origin::Settings, "the repository's settings")
    } else {
        let Some(text) = text_at(mirror, commit).await? else { return Ok(None) };
        (text, Origin::Repository, PATH)
    };
    match environment_file::parse(&text) {
        Ok(description) => Ok(Some(Effective { description, origin })),
        Err(error) => Err(refused(&text, format!("invalid environment description in `{name}`: {error}"))),
    }
}

/// Returns the text of the description in a commit.
pub(crate) async fn text_at(mirror: &Mirror, commit: &ObjectId) -> Result<Option<String>, PlanError> {
    let Some(object) = mirror.objects_at(commit, &[PATH]).await?.into_iter().flatten().next() else { return Ok(None) };
    mirror
        .text_of(commit, PATH, LIMIT_BYTES)
        .await
        .map(Some)
        .ok_or_else(|| refused(object.as_str(), format!("`{PATH}` is not a text file of at most {} KiB", LIMIT_BYTES / 1024)))
}

/// Returns the setup that new tasks need. `found` are the images that exist.
pub async fn plan(
    mirror: &Mirror,
    repository: &EnvironmentRecord,
    basis: &SetupBasis,
    description: Description,
    images: EnvironmentImages,
    found: FoundImages,
) -> Result<SetupPlan, PlanError> {
    let commit = &basis.commit;
    let keeps: Vec<_> = description.keep.paths.iter().map(KeepPath::as_str).collect();
    let tracked = mirror.objects_at(commit, &keeps).await?;
    if let Some((path, _)) = keeps.iter().zip(&tracked).find(|(_, object)| object.is_some()) {
        let detail = format!("the folder `{path}` in `keep` contains files of the repository, which a snapshot would hide");
        return Err(refused(&environment_file::format(&description), detail));
    }
    let paths: Vec<_> = match &description.setup {
        // Images depend on no other files.
        None => vec![],
        Some(setup) if setup.keys.is_empty() => DEFAULT_KEYS.iter().filter_map(|path| KeepPath::parse(path).ok()).collect(),
        Some(setup) => setup.keys.iter().cloned().collect(),
    };
    let names: Vec<_> = paths.iter().map(KeepPath::as_str).collect();
    let objects = mirror.objects_at(commit, &names).await?;
    let files: Vec<_> = paths.into_iter().zip(objects).map(|(path, object)| KeyFile { path, object }).collect();
    // Without any file to depend on, the result may depend on the whole commit.
    let has_no_keys = description.setup.as_ref().is_some_and(|setup| setup.keys.is_empty());
    let depends_on_all = has_no_keys && files.iter().all(|file| file.object.is_none());
    let whole = Some(commit).filter(|_| depends_on_all || basis.trust == BranchTrust::Accepted);
    let user = repository.container.user.as_str();
    let missing = format!("missing: {}", found.missing.join(" "));
    let image = found.id.as_deref().unwrap_or(&missing);
    let folders: Vec<_> = repository.cone().folders().cloned().collect();
    let edition = repository.setup_state.edition;
    let inputs = KeyInputs { description: &description, image, user, files: &files, commit: whole, folders: &folders, edition };
    let key = inputs.key();
    let family = match basis.trust {
        BranchTrust::Trusted => inputs.family(),
        // It updates no other snapshot, and no other snapshot is updated from it.
        BranchTrust::Accepted => key.clone(),
    };
    Ok(SetupPlan { description, images, found, key, family, basis: basis.clone() })
}

/// Describes a planned setup to a runner. It gets the secrets that it names if the owner approved its description and trusts its
/// branch.
pub fn spec(plan: &SetupPlan, attempt: &SetupAttempt, repository: &EnvironmentRecord, container: ContainerSandbox) -> SetupSpec {
    let SetupPlan { description, found, key, family, basis: SetupBasis { commit, trust, .. }, .. } = plan;
    let setup = description.setup.as_ref();
    let files = description.files_of(FilePhase::Setup).filter(|_| gets_secrets(description, *trust, repository));
    let reference = |name: &VariableName| SecretRef { repository: repository.env_id, name: name.clone() };
    let files = files.map(|(path, secret)| (path.clone(), reference(secret))).collect();
    let keeps = description.keep.paths.iter().cloned().map(LayerTarget::Keep);
    let caches = description.cache.paths.iter().cloned().map(LayerTarget::Cache);
    let network = setup.map(|setup| setup.network).unwrap_or_default();
    let allowed = setup.filter(|_| network == ContainerNetwork::Allow).map(|setup| setup.allow_hosts.clone());
    let minutes = setup.map_or(Setup::DEFAULT_MINUTES, |setup| setup.minutes);
    SetupSpec {
        repository: repository.env_id,
        number: attempt.number,
        key: key.clone(),
        family: family.clone(),
        update: None,
        replaces: None,
        commit: commit.clone(),
        origin: repository.repo_url.to_string(),
        script: setup.map(|setup| setup.run.clone()),
        folders: keeps.chain(caches).collect(),
        container,
        image: found.name.clone(),
        network,
        allow_hosts: allowed.unwrap_or_default(),
        variables: repository.variables.clone(),
        secrets: secrets(description, *trust, repository),
        files,
        services: description.services.clone(),
        seconds: u64::from(minutes.get()) * 60,
    }
}

/// Whether a setup gets secrets: the rest of a branch whose description was only accepted could print them.
fn gets_secrets(description: &Description, trust: BranchTrust, repository: &EnvironmentRecord) -> bool {
    trust == BranchTrust::Trusted && repository.setup.approved.contains(&description.hash())
}

/// Returns the secrets that a setup gets as variables.
fn secrets(description: &Description, trust: BranchTrust, repository: &EnvironmentRecord) -> BTreeMap<VariableName, SecretRef> {
    let names =
        description.setup.iter().flat_map(|setup| &setup.secrets).filter(|_| gets_secrets(description, trust, repository));
    let names: BTreeSet<&VariableName> = names.collect();
    let existing = repository.secrets.keys().filter(|name| names.contains(name));
    existing.map(|name| (name.clone(), SecretRef { repository: repository.env_id, name: name.clone() })).collect()
}

/// Describes a setup that runs on the machine of the server for a run, if the description has a script. Of the description, only the
/// script, its secrets and its time limit have an effect.
pub fn host_setup(
    description: &Description,
    trust: BranchTrust,
    repository: &EnvironmentRecord,
    key: RunKey,
) -> Option<HostSetup> {
    let setup = description.setup.as_ref()?;
    Some(HostSetup {
        key,
        repository: repository.env_id,
        script: setup.run.clone(),
        variables: repository.variables.clone(),
        secrets: secrets(description, trust, repository),
        seconds: u64::from(setup.minutes.get()) * 60,
    })
}

/// Describes an update of an earlier snapshot instead of a setup, if the plan has a script for that and the snapshot is suitable.
pub fn update(plan: &SetupPlan, spec: &SetupSpec, earlier: Option<&Snapshot>) -> Option<SetupSpec> {
    let maintain = plan.description.maintain.as_ref()?;
    let earlier = earlier.filter(|earlier| earlier.key != plan.key && earlier.can_become(&plan.family))?;
    let minutes = maintain.minutes.or(plan.description.setup.as_ref().map(|setup| setup.minutes))?;
    let seconds = u64::from(minutes.get()) * 60;
    let update = SnapshotUpdate { from: earlier.key.clone(), updates: earlier.updates + 1 };
    Some(SetupSpec { script: Some(maintain.run.clone()), seconds, update: Some(update), ..spec.clone() })
}

/// Checks the text of a description.
pub fn check(text: &str) -> Result<(), Problem> {
    environment_file::parse(text)
        .map(drop)
        .map_err(|error| Problem::new(ErrorCode::DescriptionRefused, format!("invalid environment description: {error}")))
}

/// Returns the description that is in effect at one of these commits, if it has this hash.
pub async fn approvable(
    mirror: &Mirror,
    repository: &EnvironmentRecord,
    commits: &[ObjectId],
    hash: &str,
) -> Result<Description, Problem> {
    if DescriptionHash::parse(hash).is_none() {
        return Err(Problem::new(ErrorCode::DescriptionRefused, "invalid hash of a description")
            .hint("use the hash of the description in effect, which has 64 hexadecimal digits"));
    }
    for commit in commits {
        match effective(mirror, repository, commit).await {
            Ok(Some(found)) if found.description.hash().as_str() == hash => return Ok(found.description),
            // Another branch may have it.
            Ok(_) | Err(PlanError::Refused { .. }) => {}
            Err(error) => return Err(Problem::new(ErrorCode::MirrorUnreadable, error.to_string())),
        }
    }
    Err(Problem::new(ErrorCode::DescriptionChanged, "this description is not the one in effect")
        .hint("read it again, and approve its new hash"))
}
