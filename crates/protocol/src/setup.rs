//! The setup of a repository's environment: what is described, what ran last, and which snapshots exist.

use jiff::Timestamp;
use model::diff::Diff;
use model::ids::{ObjectId, ShellId};
use model::names::{BranchName, RefName, VariableName};
use model::run::RunError;
use model::setup::{
    DescriptionHash, DescriptionText, SetupAttempt, SetupPhase, SetupScript, Snapshot, SnapshotKey, TrustedPattern,
};
use model::sources::BranchPattern;
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
    /// Branches or patterns such as `release/*` whose descriptions apply to the tasks that start from them. Replaces the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<TrustedPattern>>)]
    pub trust: Option<Vec<String>>,
}

/// Body of `POST /api/v1/envs/{env_id}/shells`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenShell {
    /// Branch, tag or commit to start from. Defaults to the default branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<RefName>)]
    pub git_ref: Option<String>,
}

/// A shell that is ready to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Shell)]
pub struct ShellView {
    /// ID of the shell.
    pub shell_id: ShellId,
    /// Commit that it starts from.
    pub commit: ObjectId,
    /// Folder of the shell on the server's machine. It contains the order that starts the shell.
    pub folder: String,
    /// What is missing in the environment.
    pub notes: Vec<String>,
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
    /// Whether the worker applies descriptions. Only the built-in worker `codex-docker` does.
    #[serde(default = "yes")]
    pub applies: bool,
    /// Whether the worker keeps the folders in `[cache]` for each task, although it does not apply the rest of a description.
    #[serde(default)]
    pub keeps_caches: bool,
    /// Whether the script runs on the server's machine, without isolation, once for each new task. The rest of the description has no effect.
    #[serde(default)]
    pub runs_on_host: bool,
    /// The last setup.
    pub last: Option<SetupAttemptView>,
    /// Branches and patterns that the owner trusts.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub trusted: Vec<BranchPattern>,
    /// Other branches whose descriptions the owner accepted for their tasks.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub accepted: Vec<BranchName>,
    /// The snapshots, newest first.
    pub snapshots: Vec<SnapshotView>,
}

/// Servers that do not say whether the worker applies descriptions are older.
fn yes() -> bool {
    true
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

/// How a branch changes the description of the environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = SetupDiff)]
pub struct SetupDiffView {
    /// Name of the branch.
    pub branch: String,
    /// Newest commit of the branch.
    pub commit: ObjectId,
    /// Hash of the branch's description. Null if there is none or it is not valid.
    pub hash: Option<DescriptionHash>,
    /// Whether it is the default branch, or the owner trusts the branch.
    pub trusted: bool,
    /// Whether the owner accepted this description for the tasks of this branch.
    pub accepted: bool,
    /// Whether a description in the settings of this server applies instead.
    pub replaced: bool,
    /// Changes of the description since the default branch.
    pub diff: Diff,
}

/// Body of `POST /api/v1/envs/{env_id}/setup/accept`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptDescription {
    /// Branch, or ID of a task for the task's own branch.
    #[schema(value_type = BranchName)]
    pub branch: String,
    /// Hash of the branch's description. It applies to the tasks of this branch until it changes. Null to take this back.
    #[serde(default)]
    #[schema(value_type = Option<DescriptionHash>)]
    pub hash: Option<String>,
}

/// The branch whose description is compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SetupDiffQuery {
    /// Branch, or ID of a task for the task's own branch.
    #[param(value_type = BranchName, inline)]
    pub branch: String,
}

/// A setup that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = SetupAttempt)]
pub struct SetupAttemptView {
    /// Number of the setup within the repository.
    pub number: u32,
    /// Key of its snapshot.
    pub key: SnapshotKey,
    /// Commit that it ran in.
    pub commit: ObjectId,
    /// Branch of the commit. Null for the default branch.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub branch: Option<BranchName>,
    /// Phase of the setup.
    pub phase: SetupPhase,
    /// Time of its start.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// Time of its end.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// Script that created the snapshot: `setup`, or `maintain` if it updated an older one. Null until the snapshot is complete.
    #[serde(default)]
    pub script: Option<SetupScript>,
    /// Why it failed.
    pub error: Option<RunError>,
}

impl From<&SetupAttempt> for SetupAttemptView {
    fn from(attempt: &SetupAttempt) -> Self {
        let SetupAttempt { number, key, commit, branch, phase, started_at, ended_at, script, error, is_notice_due: _ } =
            attempt.clone();
        Self { number, key, commit, branch, phase, started_at, ended_at, script, error }
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
    /// Key of the older snapshot that was updated to this one. Null if the setup script created it.
    #[serde(default)]
    pub updated_from: Option<SnapshotKey>,
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
            updated_from: snapshot.updated_from.clone(),
            created_at: snapshot.created_at,
            seconds: snapshot.seconds,
            files: snapshot.files(),
            bytes: snapshot.bytes(),
            image: snapshot.image.clone(),
            base: snapshot.base.clone(),
        }
    }
}
