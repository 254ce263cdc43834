//! The artifacts of a run: the folder that its container can write to, and what is kept of it after the run.
//!
//! Invariant: artifacts never keep a run from starting or from being finished. If they cannot be kept, a note says so.

use std::io;
use std::path::{Path, PathBuf};

use artifacts::{ArtifactList, Limits};
use durable::blocking;
use model::artifact::LeftOut;
use printable::printable_line;
use process::Redactor;

use super::LocalRunner;
use crate::spec::RunSpec;
use crate::worker::home_label;

/// The maximum number of files in the note about omitted files.
const NAMED: usize = 5;

/// The maximum length of a path in a note, in characters.
const PATH_CHARS: usize = 100;

/// What was kept, as far as it is part of the run's record.
#[derive(Debug, Default)]
pub(super) struct KeptArtifacts {
    pub(super) count: u32,
    pub(super) notes: Vec<String>,
}

impl LocalRunner {
    /// Creates the folder for artifacts of a run. If this attempt of the run was already started, the folder stays as it is.
    pub(super) async fn open_artifacts(&self, spec: &RunSpec) -> io::Result<PathBuf> {
        let folder = self.files(spec.key).open_artifacts();
        let created = folder.clone();
        blocking(move || durable::create_private_folder(&created)).await?;
        Ok(folder)
    }

    /// Moves the artifacts of a run that has ended to a folder that no agent can reach.
    pub(super) async fn kept_artifacts(&self, spec: &RunSpec) -> KeptArtifacts {
        match self.keep_artifacts(spec).await {
            Ok(kept) => KeptArtifacts {
                count: u32::try_from(kept.artifacts.len()).unwrap_or(u32::MAX),
                notes: note_on(&kept.left_out, kept.more_left_out).into_iter().collect(),
            },
            Err(error) => KeptArtifacts { count: 0, notes: vec![format!("could not keep the artifacts: {error}")] },
        }
    }

    async fn keep_artifacts(&self, spec: &RunSpec) -> io::Result<ArtifactList> {
        let files = self.files(spec.key);
        let (from, into, attempt) = (files.open_artifacts(), files.artifacts(), spec.key.attempt);
        let looked_at = from.clone();
        if blocking(move || io::Result::Ok(may_have_entries(&looked_at))).await? {
            self.take_over_artifacts(spec, &from).await;
        }
        blocking(move || artifacts::keep(&from, &into, attempt, Limits::default())).await
    }

    /// Makes this server's user the owner of files that root in the container created.
    async fn take_over_artifacts(&self, spec: &RunSpec, folder: &Path) {
        let Some(container) = spec.sandbox.container() else { return };
        let image = self.export_image(spec, container).await.unwrap_or_default();
        let label = home_label(self.home.layout.home());
        // Files that this server cannot read are then listed as omitted.
        if let Err(error) = self.housekeeping(Redactor::default()).give_back(folder, image.as_deref(), &label).await {
            tracing::warn!(task = %spec.key.task, %error, "could not change the owner of a run's artifacts");
        }
    }
}

/// Whether a folder has entries, as far as this process can tell.
fn may_have_entries(folder: &Path) -> bool {
    match fs_err::read_dir(folder) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Returns the note about the omitted files.
fn note_on(left_out: &[LeftOut], more: u64) -> Option<String> {
    let total = left_out.len() as u64 + more;
    let named = left_out.iter().take(NAMED);
    let named = named.map(|left| format!("`{}` ({})", printable_line(left.path.as_str(), PATH_CHARS), left.reason.words()));
    let named = named.collect::<Vec<_>>().join(", ");
    let rest = if total > NAMED as u64 { ", …" } else { "" };
    match total {
        0 => None,
        1 => Some(format!("1 artifact was not kept: {named}")),
        total => Some(format!("{total} artifacts were not kept: {named}{rest}")),
    }
}

#[cfg(test)]
mod tests {
    use model::artifact::LeftOutReason;
    use model::commit::PathText;

    use super::*;

    fn left_out(path: &str, reason: LeftOutReason) -> LeftOut {
        LeftOut { path: PathText::new(path.as_bytes()), reason }
    }

    #[test]
    fn a_note_names_the_first_files_that_were_left_out() {
        assert_eq!(note_on(&[], 0), None);
        let one = [left_out("a\u{1b}[2J", LeftOutReason::NotAFile)];
        assert_eq!(note_on(&one, 0).as_deref(), Some(r#"1 artifact was not kept: `"a\033[2J"` (not a regular file)"#));
        let many: Vec<_> = (0..7).map(|number| left_out(&number.to_string(), LeftOutReason::TooMany)).collect();
        let note = note_on(&many, 3).expect("a note");
        assert!(note.starts_with("10 artifacts were not kept: `0` (more than 200 files), "), "{note}");
        assert!(note.ends_with("`4` (more than 200 files), …"), "{note}");
    }
}
