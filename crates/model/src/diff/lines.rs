//! Counts the lines of a file in a patch, and decides which of them are kept.
//!
//! Lines beyond the limit are counted too.

use super::{DiffLineKind, Omitted};
use crate::visible::{Of, has_hidden};

/// The statistics of a file's lines, and how many more lines may be kept.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) added: u64,
    pub(super) removed: u64,
    pub(super) has_hidden: bool,
    room: usize,
    is_cut: bool,
}

impl Lines {
    pub(super) fn with_room(room: usize) -> Self {
        Self { room, added: 0, removed: 0, has_hidden: false, is_cut: false }
    }

    /// Counts a line, and returns whether it may be kept.
    pub(super) fn count(&mut self, kind: DiffLineKind, text: &[u8]) -> bool {
        match kind {
            DiffLineKind::Context => {}
            DiffLineKind::Added => self.added += 1,
            DiffLineKind::Removed => self.removed += 1,
        }
        self.has_hidden |= has_hidden(text, Of::Line);
        self.is_cut |= self.room == 0;
        let has_room = self.room > 0;
        self.room = self.room.saturating_sub(1);
        has_room
    }

    /// Whether a line was omitted.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    pub(super) fn omitted(&self) -> Option<Omitted> {
        self.is_cut.then_some(Omitted::TooManyLines)
    }
}

impl Default for Lines {
    fn default() -> Self {
        Self::with_room(usize::MAX)
    }
}
