//! The layers of tasks on disk: `tasks/<task_id>/upper`, or `upper-<generation>` after the environment was refreshed.
//!
//! Nothing in these folders is read here, because agents wrote them.

use std::path::PathBuf;

use model::ids::TaskId;
use model::task::LayerGeneration;

use super::entries::entries;
use super::layout::UPPER;
use super::{Home, StoreError};

impl Home {
    /// Returns the folders with the layers of a task, except for those of this generation.
    pub fn earlier_layers(&self, id: TaskId, current: LayerGeneration) -> Result<Vec<PathBuf>, StoreError> {
        let folder = self.layout.task(id);
        let failed = |error| StoreError::new("read", &folder, error);
        let paths = entries(&folder).map_err(failed)?;
        let used = self.layout.upper(id, current);
        let is_earlier = |path: &PathBuf| {
            let rest = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(UPPER));
            *path != used && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        Ok(paths.into_iter().filter(is_earlier).collect())
    }
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;

    #[test]
    fn layers_of_other_generations_are_found_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        let id = TaskId::from_uuid(uuid::Uuid::from_u128(1));
        let earlier = |current| {
            let mut found = home.earlier_layers(id, LayerGeneration(current)).expect("readable");
            found.sort();
            found.iter().map(|path| path.file_name().expect("a name").to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(earlier(1), Vec::<String>::new(), "the task has no folder");
        for name in ["upper", "upper-1", "upper-2", "worktree", "uppermost", "logs"] {
            fs::create_dir_all(home.layout.task(id).join(name)).expect("made");
        }
        assert_eq!(earlier(2), ["upper", "upper-1"]);
        assert_eq!(earlier(0), ["upper-1", "upper-2"]);
    }
}
