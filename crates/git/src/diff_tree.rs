//! Builds the git command behind listings, patches and diffs of two commits, and explains why it failed.
//!
//! Nothing is read or run here. Invariant: no attribute and no setting of an agent or a user changes what a comparison shows.

use model::ids::ObjectId;
use process::{CommandSpec, RunProgramError};

use super::mirror::Mirror;
use super::program::GitDir;

/// The empty tree, which every repository has.
const EMPTY_TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
const EMPTY_TREE_SHA256: &str = "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321";

/// Why commits could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// The patch or a file's content is larger than the caller accepts.
    #[error("the diff is larger than {}", model::size::bytes(*max as u64))]
    TooLarge {
        /// The accepted size in bytes.
        max: usize,
    },
    /// A file is too large for a patch.
    #[error("`{path}` is too large for a patch ({})", model::size::bytes(*bytes))]
    FileTooLarge {
        /// The path, as it is displayed.
        path: String,
        /// The size in bytes.
        bytes: u64,
    },
    /// Git took too long.
    #[error("the diff took too long")]
    TooSlow,
    /// Git needed too much memory.
    #[error("the diff needed too much memory")]
    TooMuchMemory,
    /// Git failed.
    #[error(transparent)]
    Program(RunProgramError),
}

impl From<RunProgramError> for DiffError {
    fn from(error: RunProgramError) -> Self {
        match error {
            RunProgramError::OutputTooLarge { max, .. } => Self::TooLarge { max },
            RunProgramError::TimedOut { .. } => Self::TooSlow,
            RunProgramError::Failed { stderr_tail, .. } if is_out_of_memory(&stderr_tail) => Self::TooMuchMemory,
            other => Self::Program(other),
        }
    }
}

/// Whether git's message says that it ran out of memory.
fn is_out_of_memory(said: &str) -> bool {
    ["ut of memory", "annot allocate memory"].iter().any(|words| said.contains(words))
}

impl Mirror {
    /// Builds a `git diff-tree` command, which ignores the user's settings for diffs. Submodules are compared by the commit
    /// that they name, without reading the submodule. Attributes come from an empty tree and an empty file, so neither an agent
    /// nor the user can declare a file binary. `commit` is any commit of the repository.
    pub(super) fn diff_tree<'a>(&self, commit: &ObjectId, renames: &str, options: &[&str]) -> CommandSpec<'a> {
        let no_attributes = ("core.attributesFile".to_owned(), "/dev/null".to_owned());
        let command = self.git().command_with(GitDir::Mirror(self.path()), &[no_attributes]).args(["diff-tree", "-r", renames]);
        let empty = if commit.as_str().len() == 64 { EMPTY_TREE_SHA256 } else { EMPTY_TREE };
        let command = command.env("GIT_ATTR_SOURCE", empty).env("GIT_ATTR_NOSYSTEM", "1");
        let command = command.args(["--no-ext-diff", "--no-textconv", "--submodule=short", "--ignore-submodules=none"]);
        command.args(options)
    }
}
