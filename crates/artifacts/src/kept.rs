//! The artifacts of a run: keeps them after the run, and reads them.
//!
//! Keeping them may be interrupted at any point and repeated. Invariant: a list exists only if all files that it names are complete and
//! on the disk.

use std::io;
use std::path::{Path, PathBuf};

use durable::crash::{self, CrashPoint};
use fs_err::File;
use model::artifact::{Artifact, LeftOut};
use model::ids::Attempt;
use remove_tree::{open_folder, remove_tree};
use rustix::fs::CWD;
use serde::{Deserialize, Serialize};

use crate::copy::{Copied, Limits, path_of};

/// The name of the list in the folder of a run's artifacts.
const LIST: &str = "list.json";

/// The artifacts of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactList {
    /// The attempt that they are from.
    attempt: Option<Attempt>,
    /// The artifacts, in the order of their paths. The name of each file is its index.
    pub artifacts: Vec<Artifact>,
    /// The files that were not kept.
    pub left_out: Vec<LeftOut>,
    /// The number of further files that were not kept. It is a lower bound.
    #[serde(default)]
    pub more_left_out: u64,
}

impl ArtifactList {
    /// Reads the list in the folder of a run's artifacts. A run without artifacts has no folder.
    pub fn read(folder: &Path) -> io::Result<Self> {
        match fs_err::read(folder.join(LIST)) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Opens the artifact with this path, as the list spells it. Returns `None` if the list does not contain it.
    pub fn open(folder: &Path, path: &str) -> io::Result<Option<(Artifact, File)>> {
        let found = Self::read(folder)?.artifacts.into_iter().enumerate().find(|(_, artifact)| artifact.path.as_str() == path);
        let Some((index, artifact)) = found else { return Ok(None) };
        Ok(Some((artifact, File::open(path_of(folder, index))?)))
    }

    fn is_empty(&self) -> bool {
        self.artifacts.is_empty() && self.left_out.is_empty() && self.more_left_out == 0
    }
}

/// Copies the files that an attempt left in a folder into the folder of the run's artifacts, and deletes the first folder. If the attempt
/// left nothing, the artifacts of an earlier attempt stay.
pub fn keep(from: &Path, into: &Path, attempt: Attempt, limits: Limits) -> io::Result<ArtifactList> {
    let known = ArtifactList::read(into)?;
    if known.attempt == Some(attempt) || !from.exists() {
        removed(from)?;
        return Ok(known);
    }
    let unfinished = unfinished(into);
    removed(&unfinished)?;
    durable::create_private_folder(&unfinished)?;
    let name = std::ffi::CString::new(from.as_os_str().as_encoded_bytes())?;
    let copied = Copied::new(&open_folder(CWD, &name)?, &unfinished, limits)?;
    let Copied { artifacts, left_out, more_left_out, .. } = copied;
    let kept = ArtifactList { attempt: Some(attempt), artifacts, left_out, more_left_out };
    if kept.is_empty() {
        removed(&unfinished)?;
        removed(from)?;
        return Ok(known);
    }
    durable::write_atomically(&unfinished.join(LIST), &serde_json::to_vec(&kept)?)?;
    removed(into)?;
    durable::rename(&unfinished, into)?;
    crash::point(CrashPoint::ArtifactsKept);
    removed(from)?;
    Ok(kept)
}

/// Returns the folder in which the artifacts are until they are complete.
fn unfinished(into: &Path) -> PathBuf {
    into.with_added_extension("new")
}

fn removed(folder: &Path) -> io::Result<()> {
    remove_tree(folder).map_err(|error| io::Error::new(error.source.kind(), error.to_string()))
}

#[cfg(test)]
mod tests;
