//! A patch as git prints it, taken apart for people and pages.
//!
//! [`Diff::parse`] reads the output of `git diff --no-color --full-index -M --patch`. It is a total function of bytes:
//! whatever is no patch is skipped, and what a file contains can never be mistaken for the patch around it, because
//! the counts of a hunk decide where it ends.

mod header;
mod hunk;
mod parse;
mod path;
mod picture;

pub use picture::{Picture, PictureKind};

use serde::{Deserialize, Serialize};

/// The difference between two commits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Diff {
    /// In git's order.
    pub files: Vec<FileDiff>,
    /// The sums over all files.
    pub stats: DiffStats,
}

/// Sums over a diff.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DiffStats {
    /// Files that changed.
    pub files: u64,
    /// Lines that were added.
    pub additions: u64,
    /// Lines that were removed.
    pub deletions: u64,
}

/// The difference in one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FileDiff {
    /// Where it was; none when it was added. Bytes that are not UTF-8 are replaced.
    pub old_path: Option<String>,
    /// Where it is; none when it was deleted.
    pub new_path: Option<String>,
    /// What happened to it.
    pub status: FileStatus,
    /// Its mode before, as git writes it (`100644`); none when it was added or git did not tell.
    pub old_mode: Option<String>,
    /// Its mode after; none when it was deleted or git did not tell.
    pub new_mode: Option<String>,
    /// Whether its content is binary; then there are no hunks.
    pub binary: bool,
    /// Lines that were added.
    pub additions: u64,
    /// Lines that were removed.
    pub deletions: u64,
    /// The places that changed, from top to bottom.
    pub hunks: Vec<Hunk>,
}

impl FileDiff {
    /// The path to show: the new one, or the old one of a deleted file.
    pub fn path(&self) -> &str {
        self.new_path.as_deref().or(self.old_path.as_deref()).unwrap_or_default()
    }
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileStatus {
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
    /// It has other content, and perhaps another mode.
    Modified,
    /// It has another path, and perhaps other content.
    Renamed,
    /// It was made from another file.
    Copied,
    /// It has another mode (such as executable) and the same content.
    ModeChanged,
    /// It became another kind of thing: a file, a symbolic link, a submodule.
    TypeChanged,
}

/// A place in a file that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Hunk {
    /// The first line in the old file, from 1; 0 when there is none.
    pub old_start: u64,
    /// How many lines of the old file it covers.
    pub old_lines: u64,
    /// The first line in the new file, from 1; 0 when there is none.
    pub new_start: u64,
    /// How many lines of the new file it covers.
    pub new_lines: u64,
    /// The function or section it is in, as git guesses it; may be empty.
    pub heading: String,
    /// The lines.
    pub lines: Vec<DiffLine>,
}

/// A line of a hunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DiffLine {
    /// Whether it was there before and is there now.
    pub kind: DiffLineKind,
    /// Without the newline; a carriage return before it is kept. Bytes that are not UTF-8 are replaced.
    pub text: String,
    /// Whether the file ends here without a newline.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_newline: bool,
}

/// Whether a line was there before and is there now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DiffLineKind {
    /// In both.
    Context,
    /// Only now.
    Added,
    /// Only before.
    Removed,
}
