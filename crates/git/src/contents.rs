//! Which contents of files a mirror has: those of all commits, or only of those that are used.
//!
//! A file marks a mirror that may lack contents. Nothing is fetched here.

use std::io;
use std::path::Path;

use durable::write_atomically;

/// The file in a mirror that marks it as partial.
pub(super) const MARK: &str = "codex-orchestrator-partial";

/// The option that leaves out the contents of files.
pub(super) const FILTER: &str = "--filter=blob:none";

/// Which contents of files a mirror should have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Contents {
    /// Those of all commits.
    #[default]
    All,
    /// Those of the commits that are used.
    OfUsedCommits,
}

impl Contents {
    /// Returns the options for a clone.
    pub(super) fn clone_options(self) -> &'static [&'static str] {
        match self {
            Self::All => &[],
            Self::OfUsedCommits => &[FILTER],
        }
    }

    /// Returns the options of a fetch, which gets all missing contents if they are wanted now.
    pub(super) fn fetch_options(self, mirror: &Path) -> &'static [&'static str] {
        if self == Self::All && is_partial(mirror) { &["--refetch", "--no-filter"] } else { &[] }
    }
}

/// Whether a mirror may lack contents of files.
pub(super) fn is_partial(mirror: &Path) -> bool {
    mirror.join(MARK).is_file()
}

/// Notes which contents a mirror has after it was cloned.
pub(super) fn note(mirror: &Path, contents: Contents) -> io::Result<()> {
    match contents {
        Contents::All => Ok(()),
        Contents::OfUsedCommits => write_atomically(&mirror.join(MARK), b""),
    }
}
