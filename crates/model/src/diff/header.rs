//! Parses the header of a file in a patch: paths, modes, renames, and whether it is binary.
//!
//! A header can have any number of lines, in any order. Specific lines (`rename from`, `---`) take precedence over the
//! `diff --git` line, which is ambiguous if paths contain spaces.

use super::lines::Lines;
use super::path::{bare_path, git_line_paths, lossy, side_path};
use super::{FileDiff, FileStatus, Hunk, base64_of};

/// The parts of a file header that have been read so far.
#[derive(Debug, Default)]
pub(super) struct FileHeader {
    git_line: Option<(Vec<u8>, Vec<u8>)>,
    /// The old path, from `---`, `rename from` or `copy from`.
    old_path: Option<Vec<u8>>,
    /// The new path, from `+++`, `rename to` or `copy to`.
    new_path: Option<Vec<u8>>,
    old_mode: Option<String>,
    new_mode: Option<String>,
    change: Option<FileStatus>,
    binary: bool,
}

impl FileHeader {
    /// Starts a header with the rest of a `diff --git` line.
    pub(super) fn of_git_line(rest: &[u8]) -> Self {
        Self { git_line: git_line_paths(rest), ..Self::default() }
    }

    /// Reads the next line. Lines that do not belong to a header are ignored.
    pub(super) fn take(&mut self, line: &[u8]) {
        let after = |prefix: &str| line.strip_prefix(prefix.as_bytes());
        if let Some(path) = after("--- ") {
            self.old_path = side_path(path).or(self.old_path.take());
        } else if let Some(path) = after("+++ ") {
            self.new_path = side_path(path).or(self.new_path.take());
        } else if let Some(modes) = after("index ") {
            self.take_index(modes);
        } else if let Some(mode) = after("new file mode ") {
            (self.change, self.new_mode) = (Some(FileStatus::Added), Some(lossy(mode)));
        } else if let Some(mode) = after("deleted file mode ") {
            (self.change, self.old_mode) = (Some(FileStatus::Deleted), Some(lossy(mode)));
        } else if let Some(mode) = after("old mode ") {
            self.old_mode = Some(lossy(mode));
        } else if let Some(mode) = after("new mode ") {
            self.new_mode = Some(lossy(mode));
        } else if let Some(path) = after("rename from ") {
            (self.change, self.old_path) = (Some(FileStatus::Renamed), Some(bare_path(path)));
        } else if let Some(path) = after("rename to ") {
            self.new_path = Some(bare_path(path));
        } else if let Some(path) = after("copy from ") {
            (self.change, self.old_path) = (Some(FileStatus::Copied), Some(bare_path(path)));
        } else if let Some(path) = after("copy to ") {
            self.new_path = Some(bare_path(path));
        } else if after("Binary files ").is_some() || after("GIT binary patch").is_some() {
            self.binary = true;
        }
    }

    /// Parses `<sha>..<sha> <mode>`. The mode is present if it did not change.
    fn take_index(&mut self, rest: &[u8]) {
        if let Some(blank) = rest.iter().position(|byte| *byte == b' ') {
            let mode = lossy(&rest[blank + 1..]);
            self.old_mode.get_or_insert_with(|| mode.clone());
            self.new_mode.get_or_insert(mode);
        }
    }

    /// Combines the header with the hunks of the file.
    pub(super) fn finish(self, hunks: Vec<Hunk>, lines: &Lines) -> FileDiff {
        let modes_differ = self.old_mode.is_some() && self.new_mode.is_some() && self.old_mode != self.new_mode;
        let status = self.change.unwrap_or(if modes_differ && hunks.is_empty() && !self.binary {
            FileStatus::ModeChanged
        } else {
            FileStatus::Modified
        });
        let (git_old, git_new) = self.git_line.unzip();
        let old_path = self.old_path.or(git_old).filter(|_| status != FileStatus::Added);
        let new_path = self.new_path.or(git_new).filter(|_| status != FileStatus::Deleted);
        FileDiff {
            old_path_base64: old_path.as_deref().and_then(base64_of),
            new_path_base64: new_path.as_deref().and_then(base64_of),
            old_path: old_path.as_deref().map(lossy),
            new_path: new_path.as_deref().map(lossy),
            status,
            old_mode: self.old_mode,
            new_mode: self.new_mode,
            binary: self.binary,
            additions: lines.added,
            deletions: lines.removed,
            has_hidden_characters: lines.has_hidden,
            omitted: lines.omitted(),
            bytes: None,
            on_disk: None,
            hunks,
        }
    }
}
