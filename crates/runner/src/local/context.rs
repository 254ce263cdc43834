//! The files of other repositories that the agent of a task can read, in a folder for each repository.
//!
//! The folders belong to the task, so that nothing else uses them. Invariant: a folder without a name in front of `files` and `commit` is
//! complete. No agent can write to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use durable::blocking;
use git::Mirror;
use model::ErrorCode;
use model::container::CONTEXT_INSIDE;
use model::ids::ObjectId;
use model::run::RunError;
use remove_tree::remove_tree;
use tokio_util::sync::CancellationToken;

use super::LocalRunner;
use crate::seam::{Preparation, Supply};
use crate::spec::{ContextSource, RunSpec};
use crate::worker::ToRead;

/// The folder in which the files of a repository are written.
const NEW: &str = ".new";

fn failed(error: &dyn std::fmt::Display) -> RunError {
    RunError::new(ErrorCode::WorktreeFailed, format!("could not write the files of another repository: {error}"))
        .hint("check that the home directory is writable and has free space, then create the task again")
}

impl LocalRunner {
    /// Writes the files of the other repositories, unless they are up to date, and removes those that the run does not read.
    pub(super) async fn prepare_context(&self, preparation: &Preparation<'_>, supply: &dyn Supply) -> Result<(), RunError> {
        let Preparation { spec, cancel, .. } = preparation;
        let folder = self.home.layout.context(spec.key.task);
        let wanted: Vec<_> = spec.context.iter().map(|source| source.folder.clone()).collect();
        let root = folder.clone();
        blocking(move || remove_others(&root, &wanted)).await.map_err(|error| failed(&error))?;
        for ContextSource { repository, folder: name, branch } in &spec.context {
            // A repository that is not ready, or that has no such branch, is missing. The run has a note.
            let Ok(mirror) = supply.mirror(*repository) else { continue };
            let Some(commit) = mirror.resolve_ref(branch).await.map_err(|error| failed(&error))? else { continue };
            write(&mirror, &commit, &folder, name, cancel).await?;
        }
        Ok(())
    }

    /// Returns the folders that the container of a run can read, and notes about those that are missing.
    pub(super) fn context_of(&self, spec: &RunSpec) -> (Vec<ToRead>, Vec<String>) {
        let folder = self.home.layout.context(spec.key.task);
        let (found, missing): (Vec<_>, Vec<_>) = spec
            .context
            .iter()
            .map(|source| ToRead {
                path: folder.join(&source.folder).join("files"),
                inside: format!("{CONTEXT_INSIDE}/{}", source.folder),
            })
            .partition(|to_read| to_read.path.is_dir());
        let note =
            |to_read: ToRead| format!("`{}` is missing, because the repository is not ready or has no commits", to_read.inside);
        (found, missing.into_iter().map(note).collect())
    }
}

async fn write(
    mirror: &Mirror,
    commit: &ObjectId,
    folder: &Path,
    name: &str,
    cancel: &CancellationToken,
) -> Result<(), RunError> {
    let (target, new) = (folder.join(name), Arc::new(folder.join(NEW)));
    if fs_err::read_to_string(target.join("commit")).is_ok_and(|text| text == commit.as_str()) {
        return Ok(());
    }
    let fresh: Arc<PathBuf> = Arc::clone(&new);
    let emptied = move || {
        remove_tree(&fresh).map_err(|error| error.source)?;
        durable::create_private_folder(&fresh.join("files"))
    };
    blocking(emptied).await.map_err(|error| failed(&error))?;
    let written = mirror.write_files(commit, &new.join("files"), &new.join("index"), cancel.clone()).await;
    written.map_err(|error| failed(&error))?;
    let commit = commit.to_string();
    let complete = move || {
        fs_err::remove_file(new.join("index"))?;
        fs_err::write(new.join("commit"), commit)?;
        durable::sync_file_system(&new)?;
        remove_tree(&target).map_err(|error| error.source)?;
        fs_err::rename(new.as_path(), target)
    };
    blocking(complete).await.map_err(|error| failed(&error))
}

/// Removes the folders of repositories that are not wanted any more.
fn remove_others(folder: &Path, wanted: &[String]) -> std::io::Result<()> {
    let entries = match fs_err::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if !wanted.iter().any(|name| entry.file_name() == name.as_str()) {
            remove_tree(&entry.path()).map_err(|error| error.source)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_interrupted_copy_left_and_what_nobody_wants_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let wanted = ["library".to_owned(), "tools".to_owned()];
        remove_others(&folder.path().join("missing"), &wanted).expect("there is nothing to remove");
        for name in [NEW, "library", "earlier"] {
            fs_err::create_dir_all(folder.path().join(name).join("files")).expect("writable");
        }
        remove_others(folder.path(), &wanted).expect("removed");
        let left: Vec<_> =
            fs_err::read_dir(folder.path()).expect("there").map(|entry| entry.expect("read").file_name()).collect();
        assert_eq!(left, ["library"]);
    }
}
