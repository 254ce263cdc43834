//! The trash: an item is removed by renaming it into `trash/`, and can be restored until it is deleted.
//!
//! Invariant: only items in the trash are deleted, and a deletion can be repeated.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use durable::write_atomically;
use fs_err as fs;
use jiff::Timestamp;
use model::environment::EnvironmentRecord;
use model::ids::{EnvironmentId, TaskId};
use model::task::TaskRecord;
use remove_tree::remove_tree;

use super::environments::read_environment;
use super::tasks::read_task;
use super::{Home, StoreError};

/// A file that marks a task in the trash whose removal is complete: nothing else in the home refers to the task.
const FINISHED: &str = "removal-finished";

/// An item in the trash.
#[derive(Debug)]
pub struct Trashed {
    /// The folder of the item.
    pub path: PathBuf,
    /// The kind of item.
    pub what: TrashedThing,
    /// When the item was removed.
    pub removed_at: Timestamp,
}

impl Trashed {
    /// Returns its ID, or the name of its folder if it has none.
    pub fn id(&self) -> String {
        match &self.what {
            TrashedThing::Task(task, _) => task.task_id.to_string(),
            TrashedThing::Environment(environment) => environment.env_id.to_string(),
            TrashedThing::Other => self.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        }
    }
}

/// The kind of an item in the trash.
#[derive(Debug)]
pub enum TrashedThing {
    /// A task, and whether its removal is complete.
    Task(Box<TaskRecord>, bool),
    /// A repository.
    Environment(Box<EnvironmentRecord>),
    /// A folder without a readable record.
    Other,
}

impl Home {
    /// Returns the folder of a task in the trash.
    pub fn trashed_task(&self, id: TaskId) -> PathBuf {
        self.layout.trash().join(id.to_string())
    }

    fn trashed_environment(&self, id: EnvironmentId) -> PathBuf {
        self.layout.trash().join(format!("env-{id}"))
    }

    /// Moves a task's folder into the trash. Does nothing if the folder is already there or missing.
    pub fn discard_task(&self, id: TaskId) -> Result<(), StoreError> {
        move_away(&self.layout.task(id), &self.trashed_task(id))
    }

    /// Moves a repository's folder into the trash. Does nothing if the folder is already there or missing.
    pub fn discard_environment(&self, id: EnvironmentId) -> Result<(), StoreError> {
        move_away(&self.layout.environment(id), &self.trashed_environment(id))
    }

    /// Deletes a repository that never had a complete mirror and therefore contains no work.
    pub fn delete_discarded_environment(&self, id: EnvironmentId) -> Result<(), StoreError> {
        self.delete_trashed(&self.trashed_environment(id))
    }

    /// Records that the removal of a task is complete: nothing else in the home refers to it.
    pub fn mark_removed(&self, id: TaskId) -> Result<(), StoreError> {
        let path = self.trashed_task(id).join(FINISHED);
        write_atomically(&path, b"").map_err(|error| StoreError::new("write", &path, error))
    }

    /// Removes the mark of a complete removal, because the task is about to be restored.
    pub fn unmark_removed(&self, id: TaskId) -> Result<(), StoreError> {
        let path = self.trashed_task(id).join(FINISHED);
        let removed = match fs::remove_file(&path) {
            Ok(()) => durable::sync_folder(&self.trashed_task(id)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        removed.map_err(|error| StoreError::new("remove", &path, error))
    }

    /// Creates a task with its folders, or restores it if it is in the trash: the final rename makes it visible.
    pub fn put_task(&self, task: &TaskRecord) -> Result<(), StoreError> {
        if self.trashed_task(task.task_id).is_dir() { self.bring_back_task(task) } else { self.create_task(task) }
    }

    fn bring_back_task(&self, task: &TaskRecord) -> Result<(), StoreError> {
        let folder = self.trashed_task(task.task_id);
        super::tasks::write_record(&folder.join("meta.json"), task)?;
        rename(&folder, &self.layout.task(task.task_id))
    }

    /// Creates a repository, or restores it if it is in the trash.
    pub fn put_environment(&self, environment: &EnvironmentRecord) -> Result<(), StoreError> {
        let trashed = self.trashed_environment(environment.env_id);
        if trashed.is_dir() {
            rename(&trashed, &self.layout.environment(environment.env_id))?;
        }
        self.write_environment(environment)
    }

    /// Returns everything in the trash. An item that is deleted in the meantime may be missing.
    pub fn trashed(&self) -> Result<Vec<Trashed>, StoreError> {
        children(&self.layout.trash())?.into_iter().filter_map(|path| trashed(path).transpose()).collect()
    }

    /// Returns a task in the trash.
    pub fn find_trashed_task(&self, id: TaskId) -> Result<Option<Trashed>, StoreError> {
        let path = self.trashed_task(id);
        if path.is_dir() { trashed(path) } else { Ok(None) }
    }

    /// Returns a repository in the trash.
    pub fn find_trashed_environment(&self, id: EnvironmentId) -> Result<Option<Trashed>, StoreError> {
        let path = self.trashed_environment(id);
        if path.is_dir() { trashed(path) } else { Ok(None) }
    }

    /// Returns the folders of all tasks, including removed ones, with the repository of each if the task's record is readable. A
    /// task that is removed or restored in the meantime is also listed, possibly twice.
    pub fn task_folders(&self) -> Result<Vec<(PathBuf, Option<EnvironmentId>)>, StoreError> {
        let (tasks, trash) = (self.layout.tasks(), self.layout.trash());
        let mut names = BTreeSet::new();
        // List the tasks again, so that a folder that moves in the meantime is not missing from both lists.
        for place in [&tasks, &trash, &tasks] {
            names.extend(children(place)?.iter().filter_map(|path| path.file_name().map(OsStr::to_owned)));
        }
        // Look in the first place again, because the folder can move between the first two looks.
        let places = |name| [tasks.join(name), trash.join(name), tasks.join(name)];
        let folders: BTreeSet<_> = names.iter().flat_map(places).filter(|folder| folder.is_dir()).collect();
        Ok(folders
            .into_iter()
            .map(|folder| (read_task(&folder).ok().flatten().map(|task| task.env_id), folder))
            .map(|(env, folder)| (folder, env))
            .collect())
    }

    /// Permanently deletes an item in the trash.
    pub fn delete_trashed(&self, path: &Path) -> Result<(), StoreError> {
        remove_tree(path).map_err(|error| StoreError::new("delete", path, error.source))
    }

    /// Returns the names of everything in the trash.
    pub fn names_in_trash(&self) -> Result<BTreeSet<OsString>, StoreError> {
        Ok(children(&self.layout.trash())?.iter().filter_map(|path| path.file_name().map(OsStr::to_owned)).collect())
    }

    /// Returns the item with this name in the trash.
    pub fn in_trash(&self, name: &OsStr) -> Result<Option<Trashed>, StoreError> {
        trashed(self.layout.trash().join(name))
    }

    /// Moves folders that never became a task or a repository into the trash. `is_known` tells which names need no check.
    pub fn discard_folders_without_record(&self, is_known: impl Fn(&OsStr) -> bool) -> Result<(), StoreError> {
        for (folder, record) in [(self.layout.tasks(), "meta.json"), (self.layout.environments(), "env.json")] {
            let unknown = children(&folder)?.into_iter().filter(|path| !path.file_name().is_some_and(&is_known));
            for path in unknown.filter(|path| !path.join(record).exists()) {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let free = durable::free_name(&self.layout.trash().join(format!("found-{name}")));
                move_away(&path, &free.map_err(|error| StoreError::new("remove", &path, error))?)?;
            }
        }
        Ok(())
    }
}

/// Returns the item at a path, or `None` if there is nothing.
fn trashed(path: PathBuf) -> Result<Option<Trashed>, StoreError> {
    if let Ok(Some(task)) = read_task(&path) {
        let removed_at = task.updated_at;
        let finished = path.join(FINISHED).exists();
        return Ok(Some(Trashed { path, what: TrashedThing::Task(Box::new(task), finished), removed_at }));
    }
    if let Ok(Some(environment)) = read_environment(&path) {
        let removed_at = environment.updated_at;
        return Ok(Some(Trashed { path, what: TrashedThing::Environment(Box::new(environment)), removed_at }));
    }
    let changed = match fs::symlink_metadata(&path).and_then(|found| found.modified()) {
        Ok(changed) => changed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::new("read", &path, error)),
    };
    let removed_at = Timestamp::try_from(changed).unwrap_or_default();
    Ok(Some(Trashed { path, what: TrashedThing::Other, removed_at }))
}

fn children(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let failed = |error| StoreError::new("read", folder, error);
    fs::read_dir(folder).map_err(failed)?.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect()
}

fn move_away(from: &Path, to: &Path) -> Result<(), StoreError> {
    match durable::rename(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::new("remove", from, error)),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    durable::rename(from, to).map_err(|error| StoreError::new("restore", to, error))
}
