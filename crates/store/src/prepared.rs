//! The folders with the prepared worktrees of all repositories: `prepared/<env_id>`. `git` writes what is in them.
//!
//! Invariant: a folder here never contains anything that exists nowhere else.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use fs_err as fs;
use model::ids::EnvironmentId;
use remove_tree::remove_tree;

use super::{Home, StoreError};

/// The start of the names of folders that must not be used any more.
const DISCARDED: &str = "discarded";

impl Home {
    /// Takes the names of all prepared worktrees away, so that no task uses them.
    /// [`delete_prepared_except`](Self::delete_prepared_except) deletes their files.
    pub fn discard_prepared(&self) -> Result<(), StoreError> {
        for folder in self.prepared_folders()? {
            let free = durable::free_name(&self.layout.all_prepared().join(DISCARDED));
            free.and_then(|free| durable::rename(&folder, &free)).map_err(|error| StoreError::new("move", &folder, error))?;
        }
        Ok(())
    }

    /// Deletes the prepared worktrees of all repositories except these.
    pub fn delete_prepared_except(&self, known: &BTreeSet<EnvironmentId>) -> Result<(), StoreError> {
        let names: BTreeSet<_> = known.iter().map(ToString::to_string).collect();
        for folder in self.prepared_folders()? {
            let is_known = folder.file_name().is_some_and(|name| names.contains(name.to_string_lossy().as_ref()));
            if !is_known {
                remove_tree(&folder).map_err(|error| StoreError::new("delete", &folder, error.source))?;
            }
        }
        Ok(())
    }

    fn prepared_folders(&self) -> Result<Vec<PathBuf>, StoreError> {
        let folder = self.layout.all_prepared();
        let failed = |error| StoreError::new("read", &folder, error);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            entries => entries.map_err(failed)?,
        };
        entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> EnvironmentId {
        EnvironmentId::from_uuid(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn only_known_repositories_keep_prepared_worktrees_and_none_after_a_discard() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        home.delete_prepared_except(&BTreeSet::new()).expect("nothing to delete");
        let make = || {
            for number in [1, 2] {
                fs::create_dir_all(home.layout.prepared(id(number)).join("ready")).expect("made");
            }
        };
        let exists = |number| home.layout.prepared(id(number)).exists();
        make();
        let known = BTreeSet::from([id(2)]);
        home.delete_prepared_except(&known).expect("deleted");
        assert_eq!((exists(1), exists(2)), (false, true));
        make();
        home.discard_prepared().expect("discarded");
        assert_eq!((exists(1), exists(2)), (false, false));
        assert_eq!(fs::read_dir(home.layout.all_prepared()).expect("readable").count(), 2, "their files are still there");
        home.delete_prepared_except(&known).expect("deleted");
        assert_eq!(fs::read_dir(home.layout.all_prepared()).expect("readable").count(), 0);
    }
}
