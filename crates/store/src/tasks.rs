//! Tasks on disk: `meta.json`, which is written before any effect of it starts.
//!
//! Invariant: a malformed `meta.json` is never overwritten.

use std::io;
use std::path::Path;

use durable::crash::{self, CrashPoint};
use durable::write_atomically;
use fs_err as fs;
use model::damaged::Damaged;
use model::ids::TaskId;
use model::task::TaskRecord;

use super::home::private_folder;
use super::task_file::TaskFile;
use super::{Home, Records, StoreError, damaged};

impl Home {
    /// Creates a new task's folders and its record. Its images may be there already.
    pub(super) fn create_task(&self, task: &TaskRecord) -> Result<(), StoreError> {
        let logs = self.layout.logs(task.task_id);
        durable::create_folder(&logs).map_err(|error| StoreError::new("make", &logs, error))?;
        crash::point(CrashPoint::TaskFolderMade);
        self.write_task(task)
    }

    /// Deletes the folder of a task that was not acknowledged.
    pub fn delete_incomplete_task(&self, id: TaskId) -> Result<(), StoreError> {
        let folder = self.layout.task(id);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::new("remove", &folder, error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Creates the folders that a task's containers need in addition to its worktree.
    pub fn make_container_folders(&self, id: TaskId) -> Result<(), StoreError> {
        for folder in [self.layout.sessions(id), self.layout.containers()] {
            private_folder(&folder).map_err(|error| StoreError::new("make", &folder, error))?;
        }
        Ok(())
    }

    /// Writes a task's record. After a crash, either the old record or the new one is on disk.
    pub fn write_task(&self, task: &TaskRecord) -> Result<(), StoreError> {
        write_record(&self.layout.meta(task.task_id), task)
    }

    /// Reads all tasks.
    pub fn read_tasks(&self) -> Result<Records<TaskRecord>, StoreError> {
        let folder = self.layout.tasks();
        let failed = |error| StoreError::new("read", &folder, error);
        let mut found = Records { records: vec![], damaged: vec![] };
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            match read_task(&path) {
                Ok(Some(task)) => found.records.push(task),
                Ok(None) => {}
                Err(damaged) => found.damaged.push(damaged),
            }
        }
        Ok(found)
    }
}

/// Writes a record at any path, including one in the trash.
pub(super) fn write_record(path: &Path, task: &TaskRecord) -> Result<(), StoreError> {
    let text = serde_json::to_vec_pretty(&TaskFile::from(task));
    let mut text = text.map_err(|error| StoreError::new("write", path, error.into()))?;
    text.push(b'\n');
    write_atomically(path, &text).map_err(|error| StoreError::new("write", path, error))
}

/// Reads the record in a task's folder. A folder without a record was never acknowledged, so it is not a task.
pub(super) fn read_task(folder: &Path) -> Result<Option<TaskRecord>, Damaged> {
    let path = folder.join("meta.json");
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(damaged(folder, &path, error)),
    };
    let newer = schema_of(&text).filter(|schema| *schema > u64::from(model::SCHEMA));
    if let Some(schema) = newer {
        let reason = format!("a newer version wrote it (schema {schema}; this version supports {})", model::SCHEMA);
        return Err(damaged(folder, &path, reason));
    }
    let file: TaskFile = serde_json::from_slice(&text).map_err(|error| damaged(folder, &path, error))?;
    let task = TaskRecord::try_from(file).map_err(|error| damaged(folder, &path, error))?;
    let named = folder.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<TaskId>().ok());
    if named != Some(task.task_id) {
        return Err(damaged(folder, &path, format!("it belongs to another task, {}", task.task_id)));
    }
    Ok(Some(task))
}

/// Returns the schema version of a file, even if its other content is unknown.
pub(super) fn schema_of(text: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Schema {
        schema: u64,
    }
    serde_json::from_slice::<Schema>(text).ok().map(|found| found.schema)
}

#[cfg(test)]
mod tests {
    use model::names::{Prompt, RefName, RepositoryUrl, Title};
    use model::task::{NewRun, NewTask};

    use super::*;
    use crate::TrashedThing;

    fn home() -> (tempfile::TempDir, Home) {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        (folder, home)
    }

    fn task(n: u128) -> TaskRecord {
        let new = NewTask {
            env_id: model::ids::EnvironmentId::from_uuid(uuid::Uuid::from_u128(7)),
            repo_url: RepositoryUrl::parse("/srv/repo").expect("a URL"),
            git_ref: RefName::parse("main").expect("a ref"),
            title: Title::parse("t").expect("a title"),
            driver: None,
            run: NewRun {
                prompt: Prompt::parse("Do it").expect("a prompt"),
                images: vec![],
                model: None,
                effort: None,
                priority: model::queue::Priority::Normal,
                idempotency_key: None,
            },
            idempotency_key: None,
        };
        TaskRecord::new(TaskId::from_uuid(uuid::Uuid::from_u128(n)), new, jiff::Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn what_was_written_is_read_again() {
        let (_folder, home) = home();
        home.put_task(&task(1)).expect("written");
        let found = home.read_tasks().expect("read");
        assert_eq!((found.records, found.damaged), (vec![task(1)], vec![]));
    }

    #[test]
    fn one_damaged_record_hides_no_other_and_is_left_as_it_is() {
        let (_folder, home) = home();
        for n in 1..=4 {
            home.put_task(&task(n)).expect("written");
        }
        let meta = |n: u128| home.layout.meta(task(n).task_id);
        let newer = fs::read_to_string(meta(2)).expect("read").replace("\"schema\": 1", "\"schema\": 2, \"what\": []");
        fs::write(meta(1), "{\"schema\": 1, ").expect("written");
        fs::write(meta(2), &newer).expect("written");
        fs::copy(meta(4), meta(3)).expect("copied");
        let found = home.read_tasks().expect("read");
        assert_eq!(found.records, vec![task(4)]);
        let mut reasons: Vec<_> = found.damaged.iter().map(|damaged| damaged.reason.as_str()).collect();
        reasons.sort_unstable();
        assert!(reasons[1].contains("newer version") && reasons[2].contains("belongs to another task"), "{reasons:?}");
        assert_eq!(fs::read_to_string(meta(2)).expect("read"), newer);
    }

    #[test]
    fn a_folder_without_a_record_is_no_task_and_is_put_into_the_trash() {
        let (_folder, home) = home();
        home.put_task(&task(1)).expect("written");
        let half = home.layout.logs(task(2).task_id);
        fs::create_dir_all(&half).expect("made");
        assert!(home.read_tasks().expect("read").damaged.is_empty());
        home.discard_folders_without_record(|_| false).expect("tidied");
        assert!(!half.exists() && home.layout.meta(task(1).task_id).exists());
        let trashed = home.trashed().expect("read");
        assert!(matches!(&trashed[..], [found] if found.path.join("logs").is_dir()), "the logs are kept: {trashed:?}");
    }

    #[test]
    fn a_removed_task_lies_in_the_trash_until_it_is_deleted() {
        let (_folder, home) = home();
        home.put_task(&task(1)).expect("written");
        home.discard_task(task(1).task_id).expect("moved");
        home.discard_task(task(1).task_id).expect("moving it twice is harmless");
        assert!(home.read_tasks().expect("read").records.is_empty());
        let found = home.find_trashed_task(task(1).task_id).expect("read").expect("it exists");
        assert!(matches!(&found.what, TrashedThing::Task(found, false) if **found == task(1)), "{found:?}");
        home.mark_removed(task(1).task_id).expect("marked");
        assert!(matches!(home.trashed().expect("read")[0].what, TrashedThing::Task(_, true)));
        home.put_task(&task(1)).expect("moved");
        assert_eq!(home.read_tasks().expect("read").records, vec![task(1)]);
        home.discard_task(task(1).task_id).expect("moved");
        home.delete_trashed(&found.path).expect("deleted");
        home.delete_trashed(&found.path).expect("deleting it twice is harmless");
        assert!(home.trashed().expect("read").is_empty());
    }
}
