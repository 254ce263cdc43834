//! Snapshots of a repository's environment on disk: `envs/<env_id>/snapshots/<key>`, with `snapshot.json` and the folders.
//!
//! Invariant: a folder with the name of a key is complete. It appears under this name in one step, after everything in it is on
//! disk, and never changes.

use std::io;
use std::path::{Path, PathBuf};

use durable::write_atomically;
use fs_err as fs;
use model::ids::EnvironmentId;
use model::setup::{Snapshot, SnapshotKey};
use serde::{Deserialize, Serialize};

use super::entries::entries;
use super::{Home, StoreError};

/// The name of the record of a snapshot.
const RECORD: &str = "snapshot.json";

/// The start of the names of folders with files of snapshots that no longer exist.
const DISCARDED: &str = "discarded-";

#[derive(Serialize, Deserialize)]
struct SnapshotFile {
    schema: u32,
    #[serde(flatten)]
    snapshot: Snapshot,
}

impl Home {
    /// Completes the snapshot in [`new_snapshot`](super::Layout::new_snapshot), whose folders are on disk. A complete snapshot with
    /// the same key stays, and the new one is left where it is.
    pub fn land_snapshot(&self, id: EnvironmentId, snapshot: &Snapshot) -> Result<(), StoreError> {
        let (new, path) = (self.layout.new_snapshot(id), self.layout.snapshot(id, &snapshot.key));
        if path.exists() {
            return Ok(());
        }
        let record = new.join(RECORD);
        let failed = |error| StoreError::new("write", &record, error);
        let file = SnapshotFile { schema: model::SCHEMA, snapshot: snapshot.clone() };
        let text = serde_json::to_vec_pretty(&file).map_err(|error| failed(error.into()))?;
        write_atomically(&record, &text).map_err(failed)?;
        durable::rename(&new, &path).map_err(|error| StoreError::new("move", &new, error))
    }

    /// Takes the name of a snapshot away, so that it no longer exists. Its files stay in one of the
    /// [`discarded_snapshots`](Self::discarded_snapshots).
    pub fn discard_snapshot(&self, id: EnvironmentId, key: &SnapshotKey) -> Result<(), StoreError> {
        let path = self.layout.snapshot(id, key);
        let aside = durable::free_name(&self.layout.snapshots(id).join(format!("{DISCARDED}{}", key.short())));
        let moved = aside.and_then(|aside| durable::rename(&path, &aside));
        moved.map_err(|error| StoreError::new("move", &path, error))
    }

    /// Returns the folders with files of snapshots that no longer exist.
    pub fn discarded_snapshots(&self, id: EnvironmentId) -> Result<Vec<PathBuf>, StoreError> {
        let folder = self.layout.snapshots(id);
        let failed = |error| StoreError::new("read", &folder, error);
        let paths = entries(&folder).map_err(failed)?;
        let is_discarded = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(DISCARDED));
        Ok(paths.into_iter().filter(is_discarded).collect())
    }

    /// Returns the disk usage of a repository's snapshots in bytes. Files in them may belong to the root of a container, and folders that
    /// this user cannot read count as their records say.
    pub fn snapshot_usage(&self, id: EnvironmentId) -> u64 {
        let recorded = self.read_snapshots(id).unwrap_or_default().iter().map(Snapshot::bytes).sum();
        super::disk_usage(&self.layout.snapshots(id)).max(recorded)
    }

    /// Reads a snapshot, or returns `None` if there is none with this key.
    pub fn read_snapshot(&self, id: EnvironmentId, key: &SnapshotKey) -> Result<Option<Snapshot>, StoreError> {
        read(&self.layout.snapshot(id, key).join(RECORD))
    }

    /// Reads all snapshots of a repository, newest first. Damaged ones are omitted.
    pub fn read_snapshots(&self, id: EnvironmentId) -> Result<Vec<Snapshot>, StoreError> {
        let folder = self.layout.snapshots(id);
        let failed = |error| StoreError::new("read", &folder, error);
        let mut found = vec![];
        for path in entries(&folder).map_err(failed)? {
            let Some(key) = path.file_name().and_then(|name| SnapshotKey::parse(name.to_str()?)) else { continue };
            match self.read_snapshot(id, &key) {
                Ok(snapshot) => found.extend(snapshot),
                Err(error) => tracing::warn!(%error, "could not read a snapshot"),
            }
        }
        found.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.created_at));
        Ok(found)
    }
}

fn read(path: &Path) -> Result<Option<Snapshot>, StoreError> {
    match fs::read(path) {
        Ok(text) => {
            let file: SnapshotFile =
                serde_json::from_slice(&text).map_err(|error| StoreError::new("read", path, error.into()))?;
            if file.schema > model::SCHEMA {
                let error =
                    io::Error::new(io::ErrorKind::InvalidData, format!("schema {} is newer than {}", file.schema, model::SCHEMA));
                return Err(StoreError::new("read", path, error));
            }
            Ok(Some(file.snapshot))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::new("read", path, error)),
    }
}

#[cfg(test)]
mod tests {
    use model::setup::{FolderContent, KeepPath, LayerTarget, SnapshotFolder};

    use super::*;

    fn id() -> EnvironmentId {
        EnvironmentId::from_uuid(uuid::Uuid::from_u128(1))
    }

    fn snapshot(digit: char, second: i64) -> Snapshot {
        let target = LayerTarget::Keep(KeepPath::parse("node_modules").expect("a path"));
        Snapshot {
            key: SnapshotKey::parse(&digit.to_string().repeat(64)).expect("a key"),
            commit: "c".repeat(40).parse().expect("an ID"),
            image: Some("sha256:1".to_owned()),
            base: None,
            folders: vec![SnapshotFolder { target, content: Some(FolderContent { number: 0, files: 1, bytes: 2 }) }],
            family: None,
            updated_from: None,
            updates: 0,
            created_at: jiff::Timestamp::from_second(second).expect("a time"),
            seconds: 1.0,
        }
    }

    fn land(home: &Home, snapshot: &Snapshot) {
        fs::create_dir_all(home.layout.new_snapshot(id()).join("keep/0")).expect("made");
        home.land_snapshot(id(), snapshot).expect("it lands");
    }

    #[test]
    fn a_snapshot_appears_whole_and_stays_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        assert_eq!(home.read_snapshots(id()).expect("read"), []);
        let (old, new) = (snapshot('a', 1), snapshot('b', 2));
        land(&home, &old);
        assert!(home.layout.snapshot(id(), &old.key).join("keep/0").is_dir());
        assert!(!home.layout.new_snapshot(id()).exists());
        land(&home, &new);
        assert_eq!(home.read_snapshots(id()).expect("read"), [new, old.clone()]);
        land(&home, &Snapshot { seconds: 9.0, ..old.clone() });
        assert_eq!(home.read_snapshot(id(), &old.key).expect("read"), Some(old));
    }

    #[test]
    fn the_disk_usage_counts_what_cannot_be_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        assert_eq!(home.snapshot_usage(id()), 0);
        let mut large = snapshot('a', 1);
        large.folders[0].content = Some(FolderContent { number: 0, files: 1, bytes: 5_000_000 });
        land(&home, &large);
        assert_eq!(home.snapshot_usage(id()), 5_000_000, "the record says so");
        fs::write(home.layout.snapshot(id(), &large.key).join("keep/0/file"), vec![1; 6_000_000]).expect("written");
        assert!(home.snapshot_usage(id()) >= 6_000_000);
    }

    #[test]
    fn a_discarded_snapshot_does_not_exist_and_its_files_are_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        let (old, new) = (snapshot('a', 1), snapshot('b', 2));
        land(&home, &old);
        land(&home, &new);
        assert_eq!(home.discarded_snapshots(id()).expect("read"), Vec::<PathBuf>::new());
        home.discard_snapshot(id(), &old.key).expect("discarded");
        assert_eq!(home.read_snapshots(id()).expect("read"), [new]);
        let found = home.discarded_snapshots(id()).expect("read");
        assert!(found.len() == 1 && found[0].join("keep/0").is_dir(), "{found:?}");
        land(&home, &old);
        home.discard_snapshot(id(), &old.key).expect("discarded again");
        assert_eq!(home.discarded_snapshots(id()).expect("read").len(), 2);
    }

    #[test]
    fn an_unfinished_or_damaged_snapshot_does_not_exist() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        let snapshot = snapshot('a', 1);
        fs::create_dir_all(home.layout.new_snapshot(id()).join("keep/0")).expect("made");
        assert_eq!(home.read_snapshots(id()).expect("read"), []);
        home.land_snapshot(id(), &snapshot).expect("it lands");
        for text in ["{", r#"{"schema": 999999}"#] {
            fs::write(home.layout.snapshot(id(), &snapshot.key).join(RECORD), text).expect("written");
            assert!(home.read_snapshot(id(), &snapshot.key).is_err(), "{text}");
            assert_eq!(home.read_snapshots(id()).expect("read"), []);
        }
    }
}
