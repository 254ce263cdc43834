//! The words of the trash and of disk usage: removed things, deleting them permanently, repacked mirrors, built images, and what
//! takes how much of the disk.
//! Sizes are in bytes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{EnvironmentId, TaskId};
use crate::names::Title;

/// What something in the trash was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrashKind {
    /// A task.
    Task,
    /// An environment.
    Environment,
    /// A folder that was found where tasks or environments are, without a record.
    Other,
}

/// Something that was removed and can come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TrashItem {
    /// What it was.
    pub kind: TrashKind,
    /// Its id, or the name of its folder.
    pub id: String,
    /// Its title or name.
    pub name: String,
    /// A task's environment.
    pub env_id: Option<EnvironmentId>,
    /// What it takes of the disk, in bytes.
    #[serde(default)]
    pub bytes: u64,
    /// When it was removed.
    #[schema(value_type = String, format = DateTime)]
    pub removed_at: Timestamp,
    /// When it is deleted for good.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// `POST /api/v1/gc`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CollectGarbage {
    /// Delete what was removed so many days ago or earlier: 0 is everything. As long as things are kept where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older_than_days: Option<u32>,
    /// Only the thing with this id, as the list of the trash has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Only say what would be deleted.
    #[serde(default)]
    pub dry_run: bool,
}

/// Something in the trash that could not be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NotDeleted {
    /// Its ID, as in the trash.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Why it could not be deleted.
    pub detail: String,
}

/// What was deleted permanently, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct GarbageCollected {
    /// What it was.
    pub items: Vec<TrashItem>,
    /// What it took of the disk, in bytes.
    pub bytes: u64,
    /// What could not be deleted. It is still in the trash.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<NotDeleted>,
    /// The mirrors that are repacked to free objects that nothing refers to.
    #[serde(default)]
    pub mirrors: Vec<MirrorRepack>,
    /// The container images that were removed: this server built them, and no repository and no container uses them.
    #[serde(default)]
    pub images: Vec<BuiltImage>,
    /// What is free now where the home lies, in bytes.
    pub free: u64,
}

/// How far the repack of a mirror is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RepackState {
    /// It would be repacked.
    Planned,
    /// It is still being repacked, in the background.
    Running,
    /// It was repacked.
    Done,
    /// It could not be repacked; the server's log says why. No object was lost.
    Failed,
}

/// A mirror that is repacked: its objects become one pack, and those that nothing has referred to for `prune_days` are deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MirrorRepack {
    /// Its environment.
    pub env_id: EnvironmentId,
    /// The environment's name.
    pub name: Title,
    /// How far it is.
    pub state: RepackState,
    /// The bytes of its objects before.
    pub before: u64,
    /// The bytes of its objects after. None until it is done.
    pub after: Option<u64>,
    /// The bytes of objects that nothing refers to and that are kept until their grace period is over. None if they could not be
    /// counted in time.
    pub unreachable: Option<u64>,
}

/// What uses an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageUse {
    /// A repository's runs start from it. A repository in the trash counts too.
    Repository,
    /// A container was made from it.
    Container,
    /// It has a name that this server did not give it, so somebody else may use it.
    OtherName,
    /// Nothing. `gc` removes it.
    Nothing,
    /// The container engine does not answer.
    Unknown,
}

/// A container image that this server built for a repository with its own Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BuiltImage {
    /// The container engine's ID of it.
    pub image_id: String,
    /// The name that it was given.
    pub name: String,
    /// The environment that it was built for.
    pub env_id: EnvironmentId,
    /// Its size in bytes, with layers that it shares with other images. None while the container engine does not answer.
    pub bytes: Option<u64>,
    /// When it was built.
    #[schema(value_type = String, format = DateTime)]
    pub built_at: Timestamp,
    /// What uses it.
    pub used_by: ImageUse,
}

/// `GET /api/v1/disk`: what takes how much of the disk, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Disk)]
pub struct DiskView {
    /// What is free where the home lies.
    pub free: u64,
    /// No run begins while less is free.
    pub floor: u64,
    /// All mirrors.
    pub mirrors: u64,
    /// The part of the mirrors that nothing refers to: a repack frees it, now or when its grace period is over.
    #[serde(default)]
    pub unreachable: u64,
    /// All worktrees.
    pub worktrees: u64,
    /// All logs.
    pub logs: u64,
    /// What else tasks have: repositories and sessions of agents.
    pub other: u64,
    /// What was removed.
    pub trash: u64,
    /// The container images that this server built. They are stored by the container engine, outside the home.
    #[serde(default)]
    pub images: Vec<BuiltImage>,
    /// By environment, the largest first.
    pub environments: Vec<EnvironmentDisk>,
    /// By task, the largest first.
    pub tasks: Vec<TaskDisk>,
}

/// What an environment takes of the disk, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EnvironmentDisk {
    /// The environment.
    pub env_id: EnvironmentId,
    /// Its name.
    pub name: Title,
    /// Its mirror.
    pub mirror: u64,
    /// The part of its mirror that nothing refers to. None if it could not be counted in time.
    #[serde(default)]
    pub unreachable: Option<u64>,
    /// All of its tasks.
    pub tasks: u64,
}

/// What a task takes of the disk, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TaskDisk {
    /// The task.
    pub task_id: TaskId,
    /// Its environment.
    pub env_id: EnvironmentId,
    /// Its title.
    pub title: Title,
    /// All of it.
    pub bytes: u64,
    /// Its worktree.
    pub worktree: u64,
    /// Its logs.
    pub logs: u64,
}
