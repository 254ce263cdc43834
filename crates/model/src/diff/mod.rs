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

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
pub use parse::LineLimits;
pub use picture::{Picture, PictureKind};
use serde::{Deserialize, Serialize};

use crate::visible::{Of, Visible, path_key};

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
    /// The old path in Base64, if it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_path_base64: Option<String>,
    /// The new path in Base64, if it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_path_base64: Option<String>,
    /// What happened to it.
    pub status: FileStatus,
    /// Its mode before, as git writes it (`100644`); none when it was added or git did not tell.
    pub old_mode: Option<String>,
    /// Its mode after; none when it was deleted or git did not tell.
    pub new_mode: Option<String>,
    /// Whether its content is binary; then there are no hunks, unless binary files were asked for as text.
    pub binary: bool,
    /// Lines that were added.
    pub additions: u64,
    /// Lines that were removed.
    pub deletions: u64,
    /// Whether the lines contain control characters, invisible characters or bytes that are not UTF-8.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_hidden_characters: bool,
    /// Why lines are missing; none if nothing is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub omitted: Option<Omitted>,
    /// The size of the content after the change, or before it if the file was deleted; none if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Why the file on disk differs from the text of the diff; none if it does not, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_disk: Option<String>,
    /// The places that changed, from top to bottom.
    pub hunks: Vec<Hunk>,
}

/// Why lines of a file are not in a diff.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Omitted {
    /// The file is too large.
    TooLarge,
    /// The diff has too many lines. Those that come first are there.
    TooManyLines,
    /// Only whitespace changed, and such changes are hidden.
    WhitespaceOnly,
    /// Git did not compare it.
    NotCompared,
}

impl Omitted {
    /// The reason for people. `bytes` is the file's size.
    pub fn reason(self, bytes: Option<u64>) -> String {
        match (self, bytes) {
            (Self::TooLarge, Some(bytes)) => format!("{}: too large to show", crate::size::bytes(bytes)),
            (Self::TooLarge, None) => "too large to show".to_owned(),
            (Self::TooManyLines, _) => "too many lines: the rest is not shown".to_owned(),
            (Self::WhitespaceOnly, _) => "only whitespace changed".to_owned(),
            (Self::NotCompared, _) => "not shown: git could not compare this file".to_owned(),
        }
    }
}

/// A text as Base64, if it is not UTF-8.
pub(crate) fn base64_of(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).is_err().then(|| BASE64_STANDARD.encode(bytes))
}

/// The bytes of a text that may be in Base64 as well.
fn bytes_of(text: &str, base64: Option<&String>) -> Vec<u8> {
    base64.and_then(|encoded| BASE64_STANDARD.decode(encoded).ok()).unwrap_or_else(|| text.as_bytes().to_vec())
}

impl FileDiff {
    /// A file whose content is not compared.
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

    /// The path as text: the new one, or the old one of a deleted file. Bytes that are not UTF-8 are replaced.
    pub fn path(&self) -> &str {
        self.new_path.as_deref().or(self.old_path.as_deref()).unwrap_or_default()
    }

    /// The path byte for byte: the new one, or the old one of a deleted file.
    pub fn path_bytes(&self) -> Vec<u8> {
        match &self.new_path {
            Some(path) => bytes_of(path, self.new_path_base64.as_ref()),
            None => self.old_path_bytes().unwrap_or_default(),
        }
    }

    /// The old path byte for byte.
    pub fn old_path_bytes(&self) -> Option<Vec<u8>> {
        self.old_path.as_ref().map(|path| bytes_of(path, self.old_path_base64.as_ref()))
    }

    /// Whether more than a tenth of the lines is no text. A few control characters do not make a file binary.
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

    /// What identifies the file in an address or a form.
    pub fn key(&self) -> String {
        path_key(&self.path_bytes())
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
    /// The line in Base64, if it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// Whether the file ends here without a newline.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_newline: bool,
}

impl DiffLine {
    /// The line as it is shown. Beyond `limit` bytes it is cut, and says so.
    pub fn visible(&self, limit: usize) -> Visible {
        let of = if self.no_newline { Of::LastLine } else { Of::Line };
        match &self.base64 {
            Some(_) => Visible::new(&bytes_of(&self.text, self.base64.as_ref()), of, limit),
            None => Visible::new(self.text.as_bytes(), of, limit),
        }
    }
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
