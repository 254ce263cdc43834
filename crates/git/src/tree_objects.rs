//! The objects of single paths in a commit.

use model::ids::ObjectId;
use process::{RunProgramError, Stdin};

use super::mirror::Mirror;
use super::program::{GitDir, answer};

impl Mirror {
    /// Returns the object at each path in a commit: a file, a folder or a submodule, or `None` if there is nothing. Paths must not
    /// contain line breaks.
    pub async fn objects_at(&self, commit: &ObjectId, paths: &[&str]) -> Result<Vec<Option<ObjectId>>, RunProgramError> {
        if paths.is_empty() {
            return Ok(vec![]);
        }
        let asked: Vec<_> = paths.iter().map(|path| format!("{commit}:{path}\n")).collect();
        let command = self.git().command(GitDir::Mirror(self.path())).args(["cat-file", "--batch-check=%(objectname)"]);
        let answer = answer(command.stdin(Stdin::Bytes(asked.concat().into_bytes()))).await?;
        // A missing path is answered with its name and ` missing`.
        Ok(answer.lines().map(|line| line.parse().ok()).chain(std::iter::repeat(None)).take(paths.len()).collect())
    }
}
