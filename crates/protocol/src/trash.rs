//! Requests and responses of the HTTP API for the trash, garbage collection and disk usage.
//!
//! All sizes are in bytes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use model::ids::{EnvironmentId, TaskId};
use model::names::Title;
use model::setup::SnapshotKey;

/// Kind of an item in the trash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrashKind {
    /// A task.
    Task,
    /// A repository.
    Environment,
    /// A folder without a record that was found among the tasks or repositories.
    Other,
}

/// A removed item that can be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TrashItem {
    /// Kind of the item.
    pub kind: TrashKind,
    /// ID of the item, or the name of its folder.
    pub id: String,
    /// Title of the task or name of the repository.
    pub name: String,
    /// ID of the task's repository. Null for other items.
    pub env_id: Option<EnvironmentId>,
    /// Disk usage in bytes.
    #[serde(default)]
    pub bytes: u64,
    /// Time of removal.
    #[schema(value_type = String, format = DateTime)]
    pub removed_at: Timestamp,
    /// Time after which the item can be deleted permanently.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// Body of `POST /api/v1/gc`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CollectGarbage {
    /// Delete items that were removed at least this many days ago. 0 deletes everything. Default: the setting `trash_days`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older_than_days: Option<u32>,
    /// Delete only the item with this ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Delete nothing; only return what would be deleted.
    #[serde(default)]
    pub dry_run: bool,
}

/// An item in the trash that could not be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NotDeleted {
    /// ID of the item.
    pub id: String,
    /// Title of the task or name of the repository.
    pub name: String,
    /// Why the item could not be deleted.
    pub detail: String,
}

/// The result of a garbage collection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct GarbageCollected {
    /// Items that were deleted permanently.
    pub items: Vec<TrashItem>,
    /// Disk space that the deleted items used, in bytes.
    pub bytes: u64,
    /// Items that could not be deleted. They are still in the trash.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<NotDeleted>,
    /// Mirrors that were repacked to delete unreachable objects.
    #[serde(default)]
    pub mirrors: Vec<MirrorRepack>,
    /// Unused container images that this server had built and that were removed.
    #[serde(default)]
    pub images: Vec<BuiltImage>,
    /// Snapshots of environments that no task needed and that were deleted.
    #[serde(default)]
    pub snapshots: Vec<DeletedSnapshot>,
    /// Disk space of prepared worktrees that were deleted, in bytes.
    #[serde(default)]
    pub prepared: u64,
    /// Free disk space for the home directory, in bytes.
    pub free: u64,
}

/// A snapshot of a repository's environment that was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DeletedSnapshot {
    /// ID of the repository.
    pub env_id: EnvironmentId,
    /// Name of the repository.
    pub name: Title,
    /// Key of the snapshot.
    pub key: SnapshotKey,
    /// Size of its folders in bytes.
    pub bytes: u64,
    /// Time of its creation.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// State of the repack of a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RepackState {
    /// The mirror would be repacked.
    Planned,
    /// The repack continues in the background.
    Running,
    /// The repack is complete.
    Done,
    /// The repack failed. The server's log has the reason. No object was lost.
    Failed,
}

/// The repack of a mirror. A repack puts all objects into one pack, and deletes those that have been unreachable for `prune_days`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MirrorRepack {
    /// ID of the repository.
    pub env_id: EnvironmentId,
    /// Name of the repository.
    pub name: Title,
    /// State of the repack.
    pub state: RepackState,
    /// Size of the mirror's objects before the repack, in bytes.
    pub before: u64,
    /// Size of the mirror's objects after the repack, in bytes. Null until the repack is complete.
    pub after: Option<u64>,
    /// Size of unreachable objects that are kept until their grace period ends, in bytes. Null if they could not be counted in
    /// time.
    pub unreachable: Option<u64>,
}

/// What uses an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageUse {
    /// A repository, which can also be in the trash.
    Repository,
    /// A container.
    Container,
    /// Possibly another user or program: the image has a name that this server did not give it.
    OtherName,
    /// Nothing. Garbage collection removes the image.
    Nothing,
    /// Unknown, because the container engine does not respond.
    Unknown,
}

/// A container image that this server built for a repository with its own Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BuiltImage {
    /// ID of the image.
    pub image_id: String,
    /// Name of the image.
    pub name: String,
    /// ID of the repository that the image was built for.
    pub env_id: EnvironmentId,
    /// Size in bytes, including layers that it shares with other images. Null if the container engine does not respond.
    pub bytes: Option<u64>,
    /// Time at which the image was built.
    #[schema(value_type = String, format = DateTime)]
    pub built_at: Timestamp,
    /// What uses the image.
    pub used_by: ImageUse,
}

/// Disk usage in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Disk)]
pub struct DiskView {
    /// Free disk space for the home directory.
    pub free: u64,
    /// Minimum free disk space. No run starts while less is free.
    pub floor: u64,
    /// Size of all mirrors.
    pub mirrors: u64,
    /// Size of the unreachable objects in all mirrors. A repack deletes them after their grace period.
    #[serde(default)]
    pub unreachable: u64,
    /// Size of the snapshots of all environments. Their images are stored by the container engine.
    #[serde(default)]
    pub snapshots: u64,
    /// Size of all worktrees.
    pub worktrees: u64,
    /// Size of the worktrees that are prepared for later tasks.
    #[serde(default)]
    pub prepared: u64,
    /// Size of all logs.
    pub logs: u64,
    /// Size of the other files of tasks, e.g. agent repositories and Codex sessions.
    pub other: u64,
    /// Size of the trash.
    pub trash: u64,
    /// Container images that this server built. The container engine stores them outside the home directory.
    #[serde(default)]
    pub images: Vec<BuiltImage>,
    /// Disk usage by repository, largest first.
    pub environments: Vec<EnvironmentDisk>,
    /// Disk usage by task, largest first.
    pub tasks: Vec<TaskDisk>,
}

/// Disk usage of a repository in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EnvironmentDisk {
    /// ID of the repository.
    pub env_id: EnvironmentId,
    /// Name of the repository.
    pub name: Title,
    /// Size of the repository's mirror.
    pub mirror: u64,
    /// Size of the unreachable objects in the mirror. Null if they could not be counted in time.
    #[serde(default)]
    pub unreachable: Option<u64>,
    /// Size of the snapshots of the repository's environment.
    #[serde(default)]
    pub snapshots: u64,
    /// Size of the worktrees that are prepared for the repository's later tasks.
    #[serde(default)]
    pub prepared: u64,
    /// Size of the repository's tasks.
    pub tasks: u64,
}

/// Disk usage of a task in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TaskDisk {
    /// ID of the task.
    pub task_id: TaskId,
    /// ID of the repository.
    pub env_id: EnvironmentId,
    /// Title of the task.
    pub title: Title,
    /// Total size.
    pub bytes: u64,
    /// Size of the task's worktree.
    pub worktree: u64,
    /// Size of the task's logs.
    pub logs: u64,
}
