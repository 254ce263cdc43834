//! The words of undo and of room: what was removed, deleting it for good, and what takes how much of the disk.
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

/// What was deleted for good, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct GarbageCollected {
    /// What it was.
    pub items: Vec<TrashItem>,
    /// What it took of the disk, in bytes.
    pub bytes: u64,
    /// What is free now where the home lies, in bytes.
    pub free: u64,
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
    /// All worktrees.
    pub worktrees: u64,
    /// All logs.
    pub logs: u64,
    /// What else tasks have: repositories and sessions of agents.
    pub other: u64,
    /// What was removed.
    pub trash: u64,
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
