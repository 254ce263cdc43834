//! Folders of a task's containers whose content lives as long as the task: those of its snapshot, with the task's own changes.
//!
//! Invariant: no path of the host is reached through a link that an agent left in the worktree.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use durable::blocking;
use git::Mirror;
use model::ErrorCode;
use model::ids::TaskId;
use model::run::RunError;
use model::setup::{CachePath, FolderContent, LayerTarget, Snapshot, SnapshotFolder};
use model::task::LayerGeneration;
use process::Redactor;

use super::LocalRunner;
use super::mount_points::{WORKTREE_INSIDE, mount_point};
use super::set_up::LandError;
use crate::seam::{Unreachable, Upkeep as _};
use crate::spec::{ContainerSandbox, ImageRef, RunSpec};
use crate::worker::{Layer, task_labels};

/// The layers of a run, and notes about those that are missing.
#[derive(Default)]
pub(super) struct Layers {
    pub(super) layers: Vec<Layer>,
    pub(super) notes: Vec<String>,
}

impl LocalRunner {
    /// Deletes the layers of a task, except for those of this generation, and the images with what was installed on top of them.
    pub(super) async fn discard_earlier_layers(&self, task: TaskId, current: LayerGeneration) -> Result<(), LandError> {
        let home = Arc::clone(&self.home);
        for folder in blocking(move || home.earlier_layers(task, current)).await? {
            self.reclaim(&folder).await?;
            blocking(move || remove_tree::remove_tree(&folder).map_err(|error| error.source)).await?;
        }
        if self.runs_setups() {
            let labels = task_labels(self.home.layout.home(), task);
            let image = task_image(task, current);
            self.housekeeping(Redactor::default()).remove_kept(&labels, Some(&image)).await.map_err(Unreachable::from)?;
        }
        Ok(())
    }

    /// Returns the snapshot that a run starts from.
    pub(super) fn snapshot_of(&self, spec: &RunSpec) -> Result<Option<Snapshot>, RunError> {
        let Some(key) = &spec.snapshot else { return Ok(None) };
        let missing = |detail: String| RunError::new(ErrorCode::SnapshotMissing, detail);
        match self.home.read_snapshot(spec.source.repository, key) {
            Ok(Some(snapshot)) => Ok(Some(snapshot)),
            Ok(None) => Err(missing(format!("the snapshot {} of the task's environment is missing", key.short()))),
            Err(error) => Err(missing(error.to_string())),
        }
    }

    /// Returns the container of a run. The image of its snapshot is used instead of that of the settings.
    pub(super) fn container_from(&self, container: &ContainerSandbox, spec: &RunSpec) -> Result<ContainerSandbox, RunError> {
        let base = self.snapshot_of(spec)?.and_then(|snapshot| snapshot.base);
        let image = base.map_or_else(|| container.image.clone(), ImageRef::Named);
        Ok(ContainerSandbox { image, settings: container.settings.clone() })
    }

    /// Returns the folders that the task of a run keeps without a snapshot, and creates them. Only its own runs write to them.
    pub(super) fn caches(&self, spec: &RunSpec) -> Result<Vec<(PathBuf, CachePath)>, RunError> {
        let upper = self.home.layout.upper(spec.key.task, spec.layers);
        let caches = spec.caches.iter().map(|path| {
            let own = upper.join(name_of(&LayerTarget::Cache(path.clone())));
            durable::create_private_folder(&own).map(|()| (own, path.clone()))
        });
        caches.collect::<std::io::Result<_>>().map_err(|error| not_created(&error))
    }

    /// Returns the layers of a run, and creates their folders.
    pub(super) async fn layers(&self, spec: &RunSpec, snapshot: &Snapshot, mirror: &Mirror) -> Result<Layers, RunError> {
        let keeps = snapshot.folders.iter().filter_map(|folder| match &folder.target {
            LayerTarget::Keep(path) => Some(path.as_str()),
            LayerTarget::Cache(_) => None,
        });
        let keeps: Vec<_> = keeps.collect();
        let tracked = mirror.objects_at(&spec.source.start, &keeps).await.map_err(|error| not_created(&error))?;
        let tracked: Vec<_> = keeps.iter().zip(tracked).filter_map(|(path, object)| object.map(|_| *path)).collect();
        let upper = self.home.layout.upper(spec.key.task, spec.layers);
        let mut layers = Layers::default();
        for SnapshotFolder { target, content } in &snapshot.folders {
            if tracked.contains(&target.path()) {
                layers.notes.push(format!(
                    "`{}` is not taken from the snapshot, because this branch contains files in it",
                    target.path()
                ));
                continue;
            }
            let inside = match target {
                LayerTarget::Keep(_) if content.is_none() => continue,
                LayerTarget::Keep(path) => {
                    let worktree = self.worktree_path(spec.key.task);
                    if let Err(error) = mount_point(&worktree, Path::new(path.as_str())) {
                        layers.notes.push(format!("`{path}` is not taken from the snapshot: {error}"));
                        continue;
                    }
                    format!("{WORKTREE_INSIDE}/{path}")
                }
                LayerTarget::Cache(path) => path.to_string(),
            };
            let own = upper.join(name_of(target));
            durable::create_private_folder(&own).map_err(|error| not_created(&error))?;
            let lower = content.map(|FolderContent { number, .. }| {
                self.home.layout.snapshot(spec.source.repository, &snapshot.key).join(target.kind()).join(number.to_string())
            });
            layers.layers.push(Layer { target: inside, lower, upper: own });
        }
        Ok(layers)
    }
}

fn not_created(error: &dyn std::fmt::Display) -> RunError {
    RunError::new(ErrorCode::WorktreeFailed, format!("could not create the folders of the task's environment: {error}"))
}

/// Returns the name of the image with what the runs of a task installed.
pub(super) fn task_image(task: TaskId, layers: LayerGeneration) -> String {
    layers.name(&format!("codex-orchestrator-task:{task}"))
}

/// Returns the name of a task's own folder for a target. Different targets have different names.
fn name_of(target: &LayerTarget) -> String {
    let path = target.path().bytes().fold(String::new(), |name, byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => name + char::from(byte).encode_utf8(&mut [0; 4]),
        other => name + &format!("%{other:02x}"),
    });
    format!("{}-{path}", target.kind())
}

#[cfg(test)]
mod tests {
    use model::setup::KeepPath;

    use super::*;

    #[test]
    fn different_folders_have_different_names() {
        let keep = |path| name_of(&LayerTarget::Keep(KeepPath::parse(path).expect("a path")));
        let cache = |path| name_of(&LayerTarget::Cache(CachePath::parse(path).expect("a path")));
        assert_eq!(
            [keep("web/node_modules"), keep(".venv"), cache("~/.npm")],
            ["keep-web%2fnode_modules", "keep-.venv", "cache-%7e%2f.npm"]
        );
        assert_ne!(keep("a%2fb"), keep("a/b"));
    }
}
