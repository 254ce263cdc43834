//! Removal: a rename into `trash/` is the moment from which a thing is gone; its files go after that, at leisure.
//!
//! Invariant: what lies in `trash/` is nobody's any more, and emptying it can be repeated.

use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;
use model::ids::{EnvironmentId, TaskId};
use model::task::TaskRecord;

use super::tasks::read_task;
use super::{Home, StoreError};
use crate::git::remove_tree;

impl Home {
    /// Moves a task's folder into the trash. One that is there already, or nowhere, is fine.
    pub fn discard_task(&self, id: TaskId) -> Result<(), StoreError> {
        move_away(&self.layout.task(id), &self.layout.trash().join(id.to_string()))
    }

    /// Moves an environment's folder into the trash. One that is there already, or nowhere, is fine.
    pub fn discard_environment(&self, id: EnvironmentId) -> Result<(), StoreError> {
        move_away(&self.layout.environment(id), &self.layout.trash().join(format!("env-{id}")))
    }

    /// The tasks in the trash whose removal is still to be finished.
    pub fn discarded_tasks(&self) -> Result<Vec<TaskRecord>, StoreError> {
        let trash = self.layout.trash();
        let failed = |error| StoreError::new("read", &trash, error);
        let mut tasks = vec![];
        for entry in fs::read_dir(&trash).map_err(failed)? {
            if let Ok(Some(task)) = read_task(&entry.map_err(failed)?.path()) {
                tasks.push(task);
            }
        }
        Ok(tasks)
    }

    /// Deletes one discarded task's files.
    pub fn delete_discarded_task(&self, id: TaskId) -> Result<(), StoreError> {
        let path = self.layout.trash().join(id.to_string());
        remove_tree(&path).map_err(|error| StoreError::new("delete", &path, error.source))
    }

    /// Deletes one discarded environment's files.
    pub fn delete_discarded_environment(&self, id: EnvironmentId) -> Result<(), StoreError> {
        let path = self.layout.trash().join(format!("env-{id}"));
        remove_tree(&path).map_err(|error| StoreError::new("delete", &path, error.source))
    }

    /// Deletes everything in the trash, and folders that never became a task or an environment.
    pub fn empty_trash(&self) -> Result<(), StoreError> {
        let mut leftovers = children(&self.layout.trash())?;
        leftovers.extend(children(&self.layout.tasks())?.into_iter().filter(|path| !path.join("meta.json").exists()));
        leftovers.extend(children(&self.layout.environments())?.into_iter().filter(|path| !path.join("env.json").exists()));
        for path in leftovers {
            remove_tree(&path).map_err(|error| StoreError::new("delete", &path, error.source))?;
        }
        Ok(())
    }
}

fn children(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let failed = |error| StoreError::new("read", folder, error);
    fs::read_dir(folder).map_err(failed)?.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect()
}

fn move_away(from: &Path, to: &Path) -> Result<(), StoreError> {
    match std::fs::rename(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::new("remove", from, error)),
    }
}
