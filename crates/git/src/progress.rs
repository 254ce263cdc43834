//! Parses git's progress messages on stderr.
//!
//! Unknown lines return `None`. No other code depends on this information.

/// A phase of a git command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProgressPhase {
    /// The remote counts objects.
    Counting,
    /// The remote compresses objects.
    Compressing,
    /// Objects are received.
    Receiving,
    /// Deltas are resolved.
    Resolving,
    /// Files of a worktree are written.
    Updating,
    /// Large files are fetched for a worktree.
    Filtering,
}

impl ProgressPhase {
    /// Returns git's name of the phase.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counting => "Counting objects",
            Self::Compressing => "Compressing objects",
            Self::Receiving => "Receiving objects",
            Self::Resolving => "Resolving deltas",
            Self::Updating => "Updating files",
            Self::Filtering => "Filtering content",
        }
    }

    const ALL: [Self; 6] = [Self::Counting, Self::Compressing, Self::Receiving, Self::Resolving, Self::Updating, Self::Filtering];
}

/// The progress of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The phase.
    pub phase: ProgressPhase,
    /// The percentage, 0 to 100.
    pub percent: u8,
    /// The number of finished items.
    pub done: u64,
    /// The total number of items.
    pub total: u64,
}

/// A callback for progress.
pub type OnProgress<'a> = &'a (dyn Fn(Progress) + Send + Sync);

impl Progress {
    /// Parses `Receiving objects:  45% (123/273), 1.20 MiB | 2.00 MiB/s`, with or without `remote: ` before it.
    pub(super) fn parse(piece: &str) -> Option<Self> {
        let piece = piece.strip_prefix("remote: ").unwrap_or(piece);
        let (name, rest) = piece.split_once(':')?;
        let phase = ProgressPhase::ALL.into_iter().find(|phase| phase.as_str() == name)?;
        let (percent, rest) = rest.split_once('%')?;
        let (count, _) = rest.trim_start().strip_prefix('(')?.split_once(')')?;
        let (done, total) = count.split_once('/')?;
        let percent: u8 = percent.trim().parse().ok()?;
        Some(Self { phase, percent: percent.min(100), done: done.parse().ok()?, total: total.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(piece: &str, expect: (ProgressPhase, u8, u64, u64)) {
        let (phase, percent, done, total) = expect;
        assert_eq!(Progress::parse(piece), Some(Progress { phase, percent, done, total }), "{piece}");
    }

    #[test]
    fn every_phase_of_a_clone_is_read() {
        check("remote: Counting objects: 100% (5/5), done.", (ProgressPhase::Counting, 100, 5, 5));
        check("remote: Compressing objects:  50% (1/2)", (ProgressPhase::Compressing, 50, 1, 2));
        check("Receiving objects:  45% (123/273), 1.20 MiB | 2.00 MiB/s", (ProgressPhase::Receiving, 45, 123, 273));
        check("Resolving deltas:   0% (0/9)", (ProgressPhase::Resolving, 0, 0, 9));
        check("Updating files: 100% (4709/4709), done.", (ProgressPhase::Updating, 100, 4709, 4709));
        check("Filtering content:  33% (1/3)", (ProgressPhase::Filtering, 33, 1, 3));
    }

    #[test]
    fn what_is_no_progress_is_nothing() {
        for piece in ["", "Cloning into bare repository 'x'...", "remote: Enumerating objects: 5, done.", "fatal: 100% (1/2)"] {
            assert_eq!(Progress::parse(piece), None, "{piece}");
        }
    }
}
