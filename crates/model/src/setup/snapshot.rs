//! A snapshot: the result of a setup, from which tasks start.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::key::SnapshotKey;
use super::paths::{CachePath, KeepPath};
use crate::ids::ObjectId;

/// A complete snapshot. It never changes, and nothing that an agent wrote is in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The key.
    pub key: SnapshotKey,
    /// The commit of the default branch that the setup ran in.
    pub commit: ObjectId,
    /// The ID of the image with everything that the setup changed outside of the folders, or `None` if it changed nothing.
    #[serde(default)]
    pub image: Option<String>,
    /// The name of the image that the setup started from, or `None` for that of the repository's settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// The folders.
    #[serde(default)]
    pub folders: Vec<SnapshotFolder>,
    /// The key without the key files and the commit. Only a snapshot of the same family can be updated to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<SnapshotKey>,
    /// The snapshot that was updated to this one, or `None` if the setup script created it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_from: Option<SnapshotKey>,
    /// The number of updates since the setup script ran.
    #[serde(default)]
    pub updates: u32,
    /// When the setup ended.
    pub created_at: Timestamp,
    /// The duration of the setup in seconds.
    pub seconds: f64,
}

/// A script that creates a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SetupScript {
    /// The script that installs everything.
    Setup,
    /// The script that updates an older snapshot.
    Maintain,
}

impl SetupScript {
    /// Returns the word for the script, as in the description.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Maintain => "maintain",
        }
    }
}

/// A folder of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotFolder {
    /// Where a container sees the folder.
    pub target: LayerTarget,
    /// The name of the folder below `keep/` or `cache/` of the snapshot, or `None` if the setup did not create it.
    pub content: Option<FolderContent>,
}

/// The content of a folder of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderContent {
    /// The position among the folders of its kind, which is also its name.
    pub number: usize,
    /// The number of files.
    pub files: u64,
    /// The size of the files in bytes.
    pub bytes: u64,
}

/// Where a container sees a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", content = "path", rename_all = "snake_case")]
pub enum LayerTarget {
    /// In the worktree.
    Keep(KeepPath),
    /// Outside of the worktree.
    Cache(CachePath),
}

impl LayerTarget {
    /// Returns the name of the folder of all targets of this kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Keep(_) => "keep",
            Self::Cache(_) => "cache",
        }
    }

    /// Returns the path, as the description contains it.
    pub fn path(&self) -> &str {
        match self {
            Self::Keep(path) => path.as_str(),
            Self::Cache(path) => path.as_str(),
        }
    }
}

/// The number of updates after which the setup script runs again, so that remains of old versions do not add up.
const MOST_UPDATES: u32 = 20;

impl Snapshot {
    /// Whether the snapshot can be updated to a new one of this family.
    pub fn can_become(&self, family: &SnapshotKey) -> bool {
        self.family.as_ref() == Some(family) && self.updates < MOST_UPDATES
    }

    /// Returns the script that created the snapshot.
    pub fn script(&self) -> SetupScript {
        if self.updated_from.is_some() { SetupScript::Maintain } else { SetupScript::Setup }
    }

    /// Returns the total size of the folders in bytes. The image is not included.
    pub fn bytes(&self) -> u64 {
        self.folders.iter().filter_map(|folder| folder.content).map(|content| content.bytes).sum()
    }

    /// Returns the total number of files in the folders.
    pub fn files(&self) -> u64 {
        self.folders.iter().filter_map(|folder| folder.content).map(|content| content.files).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_read_as_it_was_written() {
        let content = |number| Some(FolderContent { number, files: 2, bytes: 10 });
        let keep = LayerTarget::Keep(KeepPath::parse("node_modules").expect("a path"));
        let cache = LayerTarget::Cache(CachePath::parse("~/.npm").expect("a path"));
        let snapshot = Snapshot {
            key: SnapshotKey::parse(&"a".repeat(64)).expect("a key"),
            commit: "b".repeat(40).parse().expect("an ID"),
            image: None,
            base: Some("codex-docker:1".to_owned()),
            folders: vec![
                SnapshotFolder { target: keep, content: content(0) },
                SnapshotFolder { target: cache.clone(), content: content(0) },
                SnapshotFolder { target: cache, content: None },
            ],
            family: None,
            updated_from: None,
            updates: 0,
            created_at: Timestamp::UNIX_EPOCH,
            seconds: 1.5,
        };
        let text = serde_json::to_string(&snapshot).expect("it can be serialized");
        assert_eq!(serde_json::from_str::<Snapshot>(&text).expect("it can be parsed"), snapshot);
        assert_eq!((snapshot.bytes(), snapshot.files()), (20, 4));
        let old: serde_json::Value = serde_json::from_str(&text.replace("\"updates\":0,", "")).expect("JSON");
        assert_eq!(serde_json::from_value::<Snapshot>(old).expect("an older version wrote it"), snapshot);
    }

    #[test]
    fn only_snapshots_of_the_same_family_are_updated_and_not_forever() {
        let key = |digit: char| SnapshotKey::parse(&digit.to_string().repeat(64)).expect("a key");
        let snapshot = |family: Option<SnapshotKey>, updates: u32| Snapshot {
            key: key('a'),
            commit: "b".repeat(40).parse().expect("an ID"),
            image: None,
            base: None,
            folders: vec![],
            family,
            updated_from: None,
            updates,
            created_at: Timestamp::UNIX_EPOCH,
            seconds: 1.0,
        };
        let updated = |family, updates| snapshot(family, updates).can_become(&key('f'));
        assert!(updated(Some(key('f')), 0) && updated(Some(key('f')), MOST_UPDATES - 1));
        assert!(!updated(Some(key('f')), MOST_UPDATES) && !updated(Some(key('e')), 0) && !updated(None, 0));
        let update = Snapshot { updated_from: Some(key('c')), ..snapshot(None, 1) };
        assert_eq!((snapshot(None, 0).script(), update.script()), (SetupScript::Setup, SetupScript::Maintain));
    }
}
