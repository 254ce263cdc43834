//! The walk over the lines of a patch. One pass, each byte looked at a fixed number of times.
//! Total: whatever the bytes are, something is made of them.

use super::header::FileHeader;
use super::hunk::OpenHunk;
use super::{Diff, DiffLineKind, DiffStats, FileDiff, FileStatus, Hunk};

impl Diff {
    /// Takes a patch apart. What is no patch is skipped; a patch that is cut off gives what was there.
    pub fn parse(patch: &[u8]) -> Self {
        let mut walk = Walk::default();
        let lines = patch.strip_suffix(b"\n").unwrap_or(patch);
        for line in lines.split(|byte| *byte == b'\n') {
            walk.take(line);
        }
        walk.finish()
    }
}

#[derive(Default)]
struct Walk {
    diff: Diff,
    file: Option<FileHeader>,
    hunks: Vec<Hunk>,
    hunk: Option<OpenHunk>,
}

impl Walk {
    fn take(&mut self, line: &[u8]) {
        if self.hunk.as_mut().is_some_and(|hunk| hunk.take(line)) {
            return;
        }
        self.close_hunk();
        if let Some(rest) = line.strip_prefix(b"diff --git ") {
            self.close_file();
            self.file = Some(FileHeader::of_git_line(rest));
        } else if let Some(file) = &mut self.file {
            self.hunk = OpenHunk::begin(line);
            // Behind the first hunk there is no header any more, only what may follow a patch.
            if self.hunk.is_none() && self.hunks.is_empty() {
                file.take(line);
            }
        }
    }

    fn close_hunk(&mut self) {
        self.hunks.extend(self.hunk.take().map(OpenHunk::finish));
    }

    fn close_file(&mut self) {
        let hunks = std::mem::take(&mut self.hunks);
        let Some(header) = self.file.take() else { return };
        let count = |kind| hunks.iter().flat_map(|hunk| &hunk.lines).filter(|line| line.kind == kind).count() as u64;
        let (additions, deletions) = (count(DiffLineKind::Added), count(DiffLineKind::Removed));
        let file = header.finish(hunks, additions, deletions);
        self.diff.stats.additions += additions;
        self.diff.stats.deletions += deletions;
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

/// Git prints a file that became a link as deleted and added again.
fn is_type_change(last: &FileDiff, file: &FileDiff) -> bool {
    last.status == FileStatus::Deleted
        && file.status == FileStatus::Added
        && last.old_path == file.new_path
        && last.old_mode != file.new_mode
}

fn merge_type_change(last: &mut FileDiff, file: FileDiff) {
    last.status = FileStatus::TypeChanged;
    last.new_path = file.new_path;
    last.new_mode = file.new_mode;
    last.binary |= file.binary;
    last.additions += file.additions;
    last.deletions += file.deletions;
    last.hunks.extend(file.hunks);
}
