//! Parses patches that git prints, for pages and the API.
//!
//! [`Diff::parse`] reads the output of `git diff --no-color --full-index -M --patch`. It is total: anything that is not part of
//! a patch is skipped. The content of a file is never mistaken for the patch around it, because the counts in a hunk's
//! first line decide where the hunk ends.

mod header;
mod hunk;
mod lines;
mod parse;
mod path;
mod picture;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
pub use parse::LineLimits;
pub use picture::{Picture, PictureKind};
use serde::{Deserialize, Serialize};

use crate::visible::{Of, Visible, path_key};

/// The difference between two commits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Diff {
    /// The files, in git's order.
    pub files: Vec<FileDiff>,
    /// The totals over all files.
    pub stats: DiffStats,
}

/// The size of a diff.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DiffStats {
    /// Number of changed files.
    pub files: u64,
    /// Number of added lines.
    pub additions: u64,
    /// Number of removed lines.
    pub deletions: u64,
}

/// The changes of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FileDiff {
    /// The path before the change, or `None` if the file was added. Invalid UTF-8 is replaced.
    pub old_path: Option<String>,
    /// The path after the change, or `None` if the file was deleted.
    pub new_path: Option<String>,
    /// The old path in Base64, if it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_path_base64: Option<String>,
    /// The new path in Base64, if it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_path_base64: Option<String>,
    /// The kind of change.
    pub status: FileStatus,
    /// The mode before the change, as git writes it (`100644`), or `None` if the file was added or the mode is unknown.
    pub old_mode: Option<String>,
    /// The mode after the change, or `None` if the file was deleted or the mode is unknown.
    pub new_mode: Option<String>,
    /// Whether the content is binary. A binary file has no hunks, unless it was requested as text.
    pub binary: bool,
    /// Number of added lines.
    pub additions: u64,
    /// Number of removed lines.
    pub deletions: u64,
    /// Whether the lines contain control characters, invisible characters or bytes that are not UTF-8.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_hidden_characters: bool,
    /// Why lines are missing, or `None` if nothing is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub omitted: Option<Omitted>,
    /// The size of the content after the change (before it, if the file was deleted), in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Why the file on disk differs from the text of the diff, or `None` if no difference is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_disk: Option<String>,
    /// The hunks, from top to bottom.
    pub hunks: Vec<Hunk>,
}

/// Why lines of a file are missing from a diff.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Omitted {
    /// The file is too large.
    TooLarge,
    /// The diff has too many lines. Only the first ones are included.
    TooManyLines,
    /// Only whitespace changed, and such changes are hidden.
    WhitespaceOnly,
    /// Git did not compare the file.
    NotCompared,
}

impl Omitted {
    /// Returns the reason as display text. `bytes` is the size of the file.
    pub fn reason(self, bytes: Option<u64>) -> String {
        match (self, bytes) {
            (Self::TooLarge, Some(bytes)) => format!("{}, too large to show", crate::size::bytes(bytes)),
            (Self::TooLarge, None) => "too large to show".to_owned(),
            (Self::TooManyLines, _) => "too many lines; the rest is not shown".to_owned(),
            (Self::WhitespaceOnly, _) => "only whitespace changed".to_owned(),
            (Self::NotCompared, _) => "not shown: git could not compare this file".to_owned(),
        }
    }
}

/// Returns the text in Base64 if it is not UTF-8.
pub(crate) fn base64_of(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).is_err().then(|| BASE64_STANDARD.encode(bytes))
}

/// Returns the bytes of a text that is also available in Base64 if it is not UTF-8.
fn bytes_of(text: &str, base64: Option<&String>) -> Vec<u8> {
    base64.and_then(|encoded| BASE64_STANDARD.decode(encoded).ok()).unwrap_or_else(|| text.as_bytes().to_vec())
}

impl FileDiff {
    /// Creates an entry for a file whose content is not compared.
    pub fn without_lines(status: FileStatus, old_path: Option<&[u8]>, new_path: Option<&[u8]>, omitted: Omitted) -> Self {
        Self {
            old_path: old_path.map(path::lossy),
            new_path: new_path.map(path::lossy),
            old_path_base64: old_path.and_then(base64_of),
            new_path_base64: new_path.and_then(base64_of),
            status,
            old_mode: None,
            new_mode: None,
            binary: false,
            additions: 0,
            deletions: 0,
            has_hidden_characters: false,
            omitted: Some(omitted),
            bytes: None,
            on_disk: None,
            hunks: vec![],
        }
    }

    /// Returns the path as text: the new one, or the old one of a deleted file. Invalid UTF-8 is replaced.
    pub fn path(&self) -> &str {
        self.new_path.as_deref().or(self.old_path.as_deref()).unwrap_or_default()
    }

    /// Returns the path as bytes: the new one, or the old one of a deleted file.
    pub fn path_bytes(&self) -> Vec<u8> {
        match &self.new_path {
            Some(path) => bytes_of(path, self.new_path_base64.as_ref()),
            None => self.old_path_bytes().unwrap_or_default(),
        }
    }

    /// Returns the old path as bytes.
    pub fn old_path_bytes(&self) -> Option<Vec<u8>> {
        self.old_path.as_ref().map(|path| bytes_of(path, self.old_path_base64.as_ref()))
    }

    /// Whether more than a tenth of the lines are not text. A few control characters do not make a file binary.
    pub fn is_mostly_binary(&self) -> bool {
        let (mut all, mut odd) = (0, 0);
        for line in self.hunks.iter().flat_map(|hunk| &hunk.lines) {
            let bytes = bytes_of(&line.text, line.base64.as_ref());
            let controls = bytes.iter().filter(|byte| byte.is_ascii_control() && !b"\t\r".contains(byte)).count();
            let invalid: usize = bytes.utf8_chunks().map(|chunk| chunk.invalid().len()).sum();
            all += bytes.len() + 1;
            odd += controls + invalid;
        }
        odd * 10 > all
    }

    /// Returns a key that identifies the file in a URL or form.
    pub fn key(&self) -> String {
        path_key(&self.path_bytes())
    }
}

/// The kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileStatus {
    /// Added.
    Added,
    /// Deleted.
    Deleted,
    /// The content changed, and possibly the mode.
    Modified,
    /// The path changed, and possibly the content.
    Renamed,
    /// Copied from another file.
    Copied,
    /// Only the mode changed, for example to executable.
    ModeChanged,
    /// The file type changed: regular file, symbolic link or submodule.
    TypeChanged,
}

/// A changed region of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Hunk {
    /// The first line in the old file, counted from 1, or 0 if the hunk has no old lines.
    pub old_start: u64,
    /// The number of lines in the old file.
    pub old_lines: u64,
    /// The first line in the new file, counted from 1, or 0 if the hunk has no new lines.
    pub new_start: u64,
    /// The number of lines in the new file.
    pub new_lines: u64,
    /// The function or section that contains the hunk, as guessed by git. May be empty.
    pub heading: String,
    /// The lines.
    pub lines: Vec<DiffLine>,
}

/// A line of a hunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DiffLine {
    /// The kind of line.
    pub kind: DiffLineKind,
    /// The text without the newline. A carriage return before the newline is kept. Invalid UTF-8 is replaced.
    pub text: String,
    /// The line in Base64, if it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// Whether the file ends here without a newline.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_newline: bool,
}

impl DiffLine {
    /// Returns the line for display. Lines longer than `limit` bytes are cut and marked.
    pub fn visible(&self, limit: usize) -> Visible {
        let of = if self.no_newline { Of::LastLine } else { Of::Line };
        match &self.base64 {
            Some(_) => Visible::new(&bytes_of(&self.text, self.base64.as_ref()), of, limit),
            None => Visible::new(self.text.as_bytes(), of, limit),
        }
    }
}

/// The kind of a line in a hunk: added, removed or context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DiffLineKind {
    /// Unchanged.
    Context,
    /// Added.
    Added,
    /// Removed.
    Removed,
}
