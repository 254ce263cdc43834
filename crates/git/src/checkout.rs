//! Writes the files of a commit into a worktree.
//!
//! Call this only for a worktree that no agent has seen: git trusts its index, and writes only the files that differ from it.

use model::sparse::Cone;
use process::{RunProgramError, Stderr};
use tokio_util::sync::CancellationToken;

use super::mirror::Mirror;
use super::program::{GitDir, LONG};
use super::progress::{OnProgress, Progress};
use super::sparse;

impl Mirror {
    /// Writes the files of HEAD in a cone that differ from those in the index, including large ones whose objects are in the mirror. Needs
    /// no lock of the mirror and no network.
    pub(super) async fn check_out(
        &self,
        git_dir: GitDir<'_>,
        cone: &Cone,
        progress: OnProgress<'_>,
        cancel: CancellationToken,
    ) -> Result<(), RunProgramError> {
        let tell = |piece: &str| {
            if let Some(step) = Progress::parse(piece) {
                progress(step);
            }
        };
        let mut settings = self.git().filters(git_dir).await?;
        settings.extend(sparse::settings(cone));
        let command = self.git().command_with(git_dir, &settings);
        let command = command.env("GIT_PROGRESS_DELAY", "0");
        let command = command.args(["read-tree", "-v", "--reset", "-u", "--no-recurse-submodules", "HEAD"]);
        command.stderr(Stderr::Progress(Box::new(tell))).deadline(LONG).cancel(cancel).run_ok().await?;
        Ok(())
    }
}
