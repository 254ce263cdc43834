//! Files with secrets that a container sees, but that are not in the worktree itself: the container mounts them.
//!
//! Invariant: the secrets are not written to the worktree. A file of the worktree only gets an empty mount point.

use std::collections::BTreeMap;
use std::path::Path;

use model::setup::FilePath;

use super::mount_points::{WORKTREE_INSIDE, file_mount_point};
use crate::seam::Supply;
use crate::spec::SecretRef;
use crate::worker::PlacedFile;

/// The files for a container, and notes about those that are missing.
#[derive(Default)]
pub(super) struct PlacedFiles {
    pub(super) files: Vec<PlacedFile>,
    pub(super) notes: Vec<String>,
}

impl PlacedFiles {
    /// Resolves the secrets, and creates the mount points in the worktree.
    pub(super) fn new(worktree: &Path, wanted: &BTreeMap<FilePath, SecretRef>, supply: &dyn Supply) -> Self {
        let mut placed = Self::default();
        for (path, reference) in wanted {
            let Some(content) = supply.secret(reference) else {
                placed.notes.push(format!("`{path}` is missing: the repository has no secret `{}`", reference.name));
                continue;
            };
            let target = match path.in_worktree() {
                None => path.to_string(),
                Some(below) => {
                    if let Err(error) = file_mount_point(worktree, Path::new(below)) {
                        placed.notes.push(format!("`{path}` is missing: {error}"));
                        continue;
                    }
                    format!("{WORKTREE_INSIDE}/{below}")
                }
            };
            placed.files.push(PlacedFile { target, content });
        }
        placed
    }
}
