//! Reads a patch line by line, in one pass. The parser is total: any input gives a result. Every line is counted and checked, but
//! only the requested number of lines is kept.

use super::header::FileHeader;
use super::hunk::OpenHunk;
use super::lines::Lines;
use super::{Diff, DiffStats, FileDiff, FileStatus, Hunk};

/// The maximum number of lines to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineLimits {
    /// The maximum for one file.
    pub per_file: usize,
    /// The maximum for all files.
    pub total: usize,
}

impl LineLimits {
    /// The limits of a diff that is parsed completely.
    pub const NONE: Self = Self { per_file: usize::MAX, total: usize::MAX };
}

impl Diff {
    /// Parses a whole patch. Text that is not part of a patch is skipped; a truncated patch is parsed up to its end.
    pub fn parse(patch: &[u8]) -> Self {
        Self::parse_within(patch, LineLimits::NONE)
    }

    /// Parses a patch and keeps lines only up to the limits.
    pub fn parse_within(patch: &[u8], limits: LineLimits) -> Self {
        let mut walk = Walk::new(limits);
        let lines = patch.strip_suffix(b"\n").unwrap_or(patch);
        for line in lines.split(|byte| *byte == b'\n') {
            walk.take(line);
        }
        walk.finish()
    }
}

struct Walk {
    diff: Diff,
    file: Option<FileHeader>,
    hunks: Vec<Hunk>,
    hunk: Option<OpenHunk>,
    lines: Lines,
    limits: LineLimits,
    /// The number of lines kept so far.
    kept: usize,
}

impl Walk {
    fn new(limits: LineLimits) -> Self {
        let lines = Lines::with_room(limits.per_file.min(limits.total));
        Self { diff: Diff::default(), file: None, hunks: vec![], hunk: None, lines, limits, kept: 0 }
    }

    fn take(&mut self, line: &[u8]) {
        if self.hunk.as_mut().is_some_and(|hunk| hunk.take(line, &mut self.lines)) {
            return;
        }
        self.close_hunk();
        if let Some(rest) = line.strip_prefix(b"diff --git ") {
            self.close_file();
            self.file = Some(FileHeader::of_git_line(rest));
        } else if let Some(file) = &mut self.file {
            self.hunk = OpenHunk::begin(line);
            // After the first hunk, there are no more header lines, only text that may follow a patch.
            if self.hunk.is_none() && self.hunks.is_empty() && !self.lines.is_cut() {
                file.take(line);
            }
        }
    }

    fn close_hunk(&mut self) {
        let closed = self.hunk.take().map(OpenHunk::finish);
        // Drop a hunk if none of its lines was kept.
        self.hunks.extend(closed.filter(|hunk| !hunk.lines.is_empty() || !self.lines.is_cut()));
    }

    fn close_file(&mut self) {
        let hunks = std::mem::take(&mut self.hunks);
        let Some(header) = self.file.take() else { return };
        self.kept += hunks.iter().map(|hunk| hunk.lines.len()).sum::<usize>();
        let room = self.limits.per_file.min(self.limits.total.saturating_sub(self.kept));
        let lines = std::mem::replace(&mut self.lines, Lines::with_room(room));
        let file = header.finish(hunks, &lines);
        self.diff.stats.additions += file.additions;
        self.diff.stats.deletions += file.deletions;
        match self.diff.files.last_mut().filter(|last| is_type_change(last, &file)) {
            Some(last) => merge_type_change(last, file),
            None => self.diff.files.push(file),
        }
    }

    fn finish(mut self) -> Diff {
        self.close_hunk();
        self.close_file();
        self.diff.stats = DiffStats { files: self.diff.files.len() as u64, ..self.diff.stats };
        self.diff
    }
}

/// Recognizes a change of the file type, such as a file that became a symbolic link. Git prints the file as deleted and added.
fn is_type_change(last: &FileDiff, file: &FileDiff) -> bool {
    last.status == FileStatus::Deleted
        && file.status == FileStatus::Added
        && last.old_path == file.new_path
        && last.old_path_base64 == file.new_path_base64
        && last.old_mode != file.new_mode
}

fn merge_type_change(last: &mut FileDiff, file: FileDiff) {
    last.status = FileStatus::TypeChanged;
    last.new_path = file.new_path;
    last.new_path_base64 = file.new_path_base64;
    last.new_mode = file.new_mode;
    last.binary |= file.binary;
    last.has_hidden_characters |= file.has_hidden_characters;
    last.omitted = last.omitted.or(file.omitted);
    last.additions += file.additions;
    last.deletions += file.deletions;
    last.hunks.extend(file.hunks);
}
