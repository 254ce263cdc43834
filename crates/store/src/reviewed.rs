//! `reviewed.json`: the commit up to which somebody reviewed a task's changes. It is stored next to the task's record and moves
//! with it. Only a page uses it, so a malformed file counts as missing.

use std::io;

use durable::write_atomically;
use fs_err as fs;
use model::ids::{ObjectId, TaskId};
use serde::{Deserialize, Serialize};

use super::{Home, StoreError};

#[derive(Serialize, Deserialize)]
struct ReviewedFile {
    schema: u32,
    commit: ObjectId,
}

impl Home {
    /// Reads the commit up to which a task's changes were reviewed.
    pub fn read_reviewed(&self, id: TaskId) -> Result<Option<ObjectId>, StoreError> {
        let path = self.layout.reviewed(id);
        match fs::read(&path) {
            Ok(text) => match serde_json::from_slice::<ReviewedFile>(&text) {
                Ok(file) => Ok(Some(file.commit)),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "could not read the review state; all changes count as new");
                    Ok(None)
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::new("read", &path, error)),
        }
    }

    /// Writes the commit up to which a task's changes were reviewed.
    pub fn write_reviewed(&self, id: TaskId, commit: &ObjectId) -> Result<(), StoreError> {
        let path = self.layout.reviewed(id);
        let file = ReviewedFile { schema: model::SCHEMA, commit: commit.clone() };
        let text = serde_json::to_vec(&file).map_err(|error| StoreError::new("write", &path, error.into()))?;
        write_atomically(&path, &text).map_err(|error| StoreError::new("write", &path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again_and_damage_counts_as_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        let id = TaskId::from_uuid(uuid::Uuid::from_u128(1));
        let commit: ObjectId = "a".repeat(40).parse().expect("an id");
        assert!(home.write_reviewed(id, &commit).is_err(), "no folder is created for a missing task");
        fs::create_dir_all(home.layout.task(id)).expect("made");
        assert_eq!(home.read_reviewed(id).expect("read"), None);
        home.write_reviewed(id, &commit).expect("written");
        assert_eq!(home.read_reviewed(id).expect("read"), Some(commit));
        fs::write(home.layout.reviewed(id), "{\"schema\": 1, \"commit\": \"--upload-pack\"}").expect("written");
        assert_eq!(home.read_reviewed(id).expect("read"), None);
    }
}
