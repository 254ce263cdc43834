//! The objects of single paths in a commit.

use std::io;

use model::ids::ObjectId;
use process::{RunProgramError, Stdin};
use tokio_util::sync::CancellationToken;

use super::fetch_error::FetchError;
use super::mirror::Mirror;
use super::program::{GitDir, answer};

impl Mirror {
    /// Returns the object at each path in a commit: a file, a folder or a submodule, or `None` if there is nothing. Paths must not
    /// contain line breaks.
    pub async fn objects_at(&self, commit: &ObjectId, paths: &[&str]) -> Result<Vec<Option<ObjectId>>, RunProgramError> {
        if paths.is_empty() {
            return Ok(vec![]);
        }
        // Git would report objects that a partial mirror lacks as missing paths.
        self.complete(commit, &CancellationToken::new()).await.map_err(|error| self.lost(error))?;
        let asked: Vec<_> = paths.iter().map(|path| format!("{commit}:{path}\n")).collect();
        let command = self.git().command(GitDir::Mirror(self.path())).args(["cat-file", "--batch-check=%(objectname)"]);
        let answer = answer(command.stdin(Stdin::Bytes(asked.concat().into_bytes()))).await?;
        // A missing path is answered with its name and ` missing`.
        Ok(answer.lines().map(|line| line.parse().ok()).chain(std::iter::repeat(None)).take(paths.len()).collect())
    }

    /// Converts an error of a fetch that another question needed.
    fn lost(&self, error: FetchError) -> RunProgramError {
        RunProgramError::Io { program: self.git().tool().to_string(), source: io::Error::other(error) }
    }
}
