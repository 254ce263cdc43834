//! Parses a hunk: `@@ -1,2 +3,4 @@ heading` and exactly the lines that it announces.
//!
//! The counts, not the content, decide which lines belong to a hunk, because a file may itself contain a patch.

use super::lines::Lines;
use super::path::lossy;
use super::{DiffLine, DiffLineKind, Hunk, base64_of};

/// A hunk that is being read.
#[derive(Debug)]
pub(super) struct OpenHunk {
    hunk: Hunk,
    old_left: u64,
    new_left: u64,
}

impl OpenHunk {
    /// Parses the first line of a hunk.
    pub(super) fn begin(line: &[u8]) -> Option<Self> {
        let rest = line.strip_prefix(b"@@ -")?;
        let (old_start, old_lines, rest) = range(rest)?;
        let rest = rest.strip_prefix(b" +")?;
        let (new_start, new_lines, rest) = range(rest)?;
        let rest = rest.strip_prefix(b" @@")?;
        let heading = lossy(rest.strip_prefix(b" ").unwrap_or(rest));
        let hunk = Hunk { old_start, old_lines, new_start, new_lines, heading, lines: Vec::new() };
        Some(Self { hunk, old_left: old_lines, new_left: new_lines })
    }

    /// Accepts a line if it belongs to the hunk, and returns whether it does. All lines are counted, but lines beyond the limits
    /// are not kept.
    pub(super) fn take(&mut self, line: &[u8], lines: &mut Lines) -> bool {
        if line.first() == Some(&b'\\') {
            if let Some(last) = self.hunk.lines.last_mut() {
                last.no_newline = true;
                // Without a newline, a carriage return at the end is not part of a line ending.
                lines.has_hidden |= last.text.ends_with('\r');
            }
            return true;
        }
        let (kind, text) = match line.split_first() {
            Some((b' ', text)) => (DiffLineKind::Context, text),
            Some((b'+', text)) => (DiffLineKind::Added, text),
            Some((b'-', text)) => (DiffLineKind::Removed, text),
            // Mail programs remove the space of an empty context line; `git apply` accepts this too.
            None => (DiffLineKind::Context, line),
            Some(_) => return false,
        };
        let (old, new) = match kind {
            DiffLineKind::Context => (1, 1),
            DiffLineKind::Added => (0, 1),
            DiffLineKind::Removed => (1, 0),
        };
        let (Some(old_left), Some(new_left)) = (self.old_left.checked_sub(old), self.new_left.checked_sub(new)) else {
            return false;
        };
        (self.old_left, self.new_left) = (old_left, new_left);
        if lines.count(kind, text) {
            self.hunk.lines.push(DiffLine { kind, text: lossy(text), base64: base64_of(text), no_newline: false });
        }
        true
    }

    /// Returns the hunk with the lines read so far.
    pub(super) fn finish(self) -> Hunk {
        self.hunk
    }
}

/// Parses `start[,lines]` and returns what follows.
fn range(rest: &[u8]) -> Option<(u64, u64, &[u8])> {
    let (start, rest) = number(rest)?;
    match rest.strip_prefix(b",") {
        Some(rest) => number(rest).map(|(lines, rest)| (start, lines, rest)),
        None => Some((start, 1, rest)),
    }
}

fn number(rest: &[u8]) -> Option<(u64, &[u8])> {
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
    Some((number, &rest[digits..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_count_is_one() {
        let hunk = OpenHunk::begin(b"@@ -3 +4,0 @@").expect("the line starts a hunk").finish();
        assert_eq!((hunk.old_start, hunk.old_lines, hunk.new_start, hunk.new_lines, hunk.heading.as_str()), (3, 1, 4, 0, ""));
        assert_eq!(
            OpenHunk::begin(b"@@ -1,2 +1,2 @@ fn main() {").expect("the line starts a hunk").finish().heading,
            "fn main() {"
        );
    }

    #[test]
    fn what_is_no_hunk_line_is_none() {
        for line in ["@@ -1 +1", "@@ -a +1 @@", "@@@ -1 -1 +1 @@@", "@@ -99999999999999999999 +1 @@", "", "@@ -,1 +1 @@"] {
            assert!(OpenHunk::begin(line.as_bytes()).is_none(), "{line}");
        }
    }

    #[test]
    fn only_as_many_lines_are_taken_as_were_announced() {
        let mut hunk = OpenHunk::begin(b"@@ -1,2 +1,2 @@").expect("the line starts a hunk");
        let mut lines = Lines::default();
        let taken = [" a", "-b", "+c", "\\ No newline at end of file", "+d", "-e", " f", "", "x"]
            .map(|line| hunk.take(line.as_bytes(), &mut lines));
        assert_eq!(taken, [true, true, true, true, false, false, false, false, false]);
        assert_eq!(hunk.finish().lines.iter().map(|line| line.no_newline).collect::<Vec<_>>(), [false, false, true]);
    }
}
