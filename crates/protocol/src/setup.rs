//! The setup of a repository's environment: what is described, what ran last, and which snapshots exist.

use jiff::Timestamp;
use model::ids::ObjectId;
use model::names::VariableName;
use model::run::RunError;
use model::setup::{DescriptionHash, DescriptionText, SetupAttempt, SetupPhase, Snapshot, SnapshotKey};
use serde::{Deserialize, Serialize};

/// Body of `PATCH /api/v1/envs/{env_id}/setup`. Omitted fields keep their values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditSetup {
    /// Description of the environment as TOML, which replaces the one in the repository. Null restores the repository's own.
    #[serde(default, deserialize_with = "model::settings::given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<DescriptionText>)]
    pub description: Option<Option<String>>,
    /// Hash of a description to approve. Its setup then gets the secrets that it names, and agents no longer get them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<DescriptionHash>)]
    pub approve: Option<String>,
}

/// Where a description comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DescriptionOrigin {
    /// The repository's settings on this server.
    Settings,
    /// The file `.codex-orchestrator/environment.toml` in the default branch.
    Repository,
}

/// The setup of a repository's environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Setup)]
pub struct SetupView {
    /// The description in effect.
    pub description: Option<DescriptionView>,
    /// Why the description cannot be used.
    pub error: Option<RunError>,
    /// A description that is derived from the repository's files. Null if the repository has a description.
    pub proposal: Option<ProposalView>,
    /// The last setup.
    pub last: Option<SetupAttemptView>,
    /// The snapshots, newest first.
    pub snapshots: Vec<SnapshotView>,
}

/// A description of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = EnvironmentDescription)]
pub struct DescriptionView {
    /// The description as TOML.
    pub text: String,
    /// Where it comes from.
    pub origin: DescriptionOrigin,
    /// Hash of the description.
    pub hash: DescriptionHash,
    /// Names of the secrets that it uses.
    #[schema(value_type = Vec<String>)]
    pub secrets: Vec<VariableName>,
    /// Whether the owner approved it, so that its setup gets these secrets.
    pub approved: bool,
    /// Parts that this version of the server does not apply, e.g. `services`.
    pub unused: Vec<String>,
}

/// A description that is derived from the repository's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = SetupProposal)]
pub struct ProposalView {
    /// The description as TOML.
    pub text: String,
    /// Path of the file that it is mainly based on.
    pub source: String,
    /// What was not taken over from the files.
    pub notes: Vec<String>,
}

/// A setup that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = SetupAttempt)]
pub struct SetupAttemptView {
    /// Number of the setup within the repository.
    pub number: u32,
    /// Key of its snapshot.
    pub key: SnapshotKey,
    /// Commit of the default branch that it ran in.
    pub commit: ObjectId,
    /// Phase of the setup.
    pub phase: SetupPhase,
    /// Time of its start.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// Time of its end.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// Why it failed.
    pub error: Option<RunError>,
}

impl From<&SetupAttempt> for SetupAttemptView {
    fn from(attempt: &SetupAttempt) -> Self {
        let SetupAttempt { number, key, commit, phase, started_at, ended_at, error } = attempt.clone();
        Self { number, key, commit, phase, started_at, ended_at, error }
    }
}

/// A snapshot of an environment, from which tasks start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Snapshot)]
pub struct SnapshotView {
    /// Key of the snapshot.
    pub key: SnapshotKey,
    /// Commit of the default branch that its setup ran in.
    pub commit: ObjectId,
    /// Time of its creation.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Duration of its setup in seconds.
    pub seconds: f64,
    /// Number of files in its folders.
    pub files: u64,
    /// Size of its folders in bytes.
    pub bytes: u64,
    /// ID of the image with the changes outside of the folders.
    pub image: Option<String>,
    /// Name of the image that its setup started from. Null if the settings of the repository decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
}

impl From<&Snapshot> for SnapshotView {
    fn from(snapshot: &Snapshot) -> Self {
        Self {
            key: snapshot.key.clone(),
            commit: snapshot.commit.clone(),
            created_at: snapshot.created_at,
            seconds: snapshot.seconds,
            files: snapshot.files(),
            bytes: snapshot.bytes(),
            image: snapshot.image.clone(),
            base: snapshot.base.clone(),
        }
    }
}
