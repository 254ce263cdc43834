//! The artifacts of runs, as users read them.
//!
//! Files are found by the list of a run's artifacts, never by a path on the disk. Invariant: only downloads have the exact bytes. Texts
//! that are displayed have their secrets masked.

use std::io::Read as _;
use std::path::PathBuf;

use artifacts::ArtifactList;
use durable::blocking;
use model::ErrorCode;
use model::artifact::Artifact;
use model::ids::RunNumber;
use model::problem::Problem;
use protocol::ArtifactsView;
use runner::Supply as _;
use runner::keeper::RunFiles;

use super::User;
use crate::task::existing_run;

/// An artifact whose file is open.
pub struct ArtifactFile {
    /// The artifact.
    pub artifact: Artifact,
    /// The file.
    pub file: tokio::fs::File,
}

/// The start of an artifact as text.
pub struct ArtifactText {
    /// The artifact.
    pub artifact: Artifact,
    /// The text, with secrets masked. Bytes that are not UTF-8 are replaced.
    pub text: String,
    /// The number of bytes that were read. The file may have more.
    pub bytes: u64,
}

impl User {
    /// Lists the artifacts of a run.
    pub async fn artifacts(&self, id: &str, run: RunNumber) -> Result<ArtifactsView, Problem> {
        let folder = self.artifacts_folder(id, run)?;
        let kept = blocking(move || ArtifactList::read(&folder)).await.map_err(|error| unreadable(&error))?;
        Ok(ArtifactsView { artifacts: kept.artifacts, left_out: kept.left_out, more_left_out: kept.more_left_out })
    }

    /// Opens an artifact of a run, by its path in the list.
    pub async fn artifact(&self, id: &str, run: RunNumber, path: &str) -> Result<ArtifactFile, Problem> {
        let (artifact, file) = self.open_artifact(id, run, path).await?;
        Ok(ArtifactFile { artifact, file: tokio::fs::File::from_std(file.into_parts().0) })
    }

    /// Reads the start of an artifact as text.
    pub async fn artifact_text(&self, id: &str, run: RunNumber, path: &str, limit: u64) -> Result<ArtifactText, Problem> {
        let repository = self.task_slot(id)?.env_id;
        let (artifact, file) = self.open_artifact(id, run, path).await?;
        let read = move || {
            let mut start = vec![];
            file.take(limit).read_to_end(&mut start)?;
            std::io::Result::Ok(start)
        };
        let start = blocking(read).await.map_err(|error| unreadable(&error))?;
        let text = self.server.tasks.redactor(repository).redact(&String::from_utf8_lossy(&start)).into_owned();
        Ok(ArtifactText { artifact, text, bytes: start.len() as u64 })
    }

    async fn open_artifact(&self, id: &str, run: RunNumber, path: &str) -> Result<(Artifact, fs_err::File), Problem> {
        let (folder, wanted) = (self.artifacts_folder(id, run)?, path.to_owned());
        let found = blocking(move || ArtifactList::open(&folder, &wanted)).await.map_err(|error| unreadable(&error))?;
        found.ok_or_else(|| {
            let shown = printable::printable_line(path, 100);
            Problem::new(ErrorCode::ArtifactNotFound, format!("run {} has no artifact `{shown}`", run.0))
        })
    }

    fn artifacts_folder(&self, id: &str, run: RunNumber) -> Result<PathBuf, Problem> {
        let slot = self.task_slot(id)?;
        existing_run(&slot, run)?;
        Ok(RunFiles::new(&self.server.common.home.layout.logs(slot.id), run).artifacts())
    }
}

fn unreadable(error: &dyn std::fmt::Display) -> Problem {
    Problem::internal(format!("could not read the artifacts of the run: {error}"))
}
