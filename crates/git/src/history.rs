//! How much history a mirror has: all of it, or only the newest commits of each branch and tag.
//!
//! Git calls a repository without its older commits shallow. Fetches add the commits that are new on the remote, so the history grows
//! from there. It is never shortened, because tasks need the commits that they started from. Invariant: if more history is wanted than the
//! mirror has, the next fetch gets it.

use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

/// The file in a mirror with the number of commits that were fetched when it was cloned or deepened.
const DEPTH: &str = "codex-orchestrator-depth";

/// Git's list of the oldest commits of a shallow repository.
const SHALLOW: &str = "shallow";

/// A synced copy of Git's list, which Git itself does not sync.
const COPY: &str = "codex-orchestrator-shallow";

/// How much history a mirror should have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum History {
    /// All commits.
    #[default]
    Everything,
    /// At least this number of commits of each branch and tag, if it has that many.
    Newest(NonZeroU32),
}

impl History {
    /// Returns the history with this number of commits, or all of it.
    pub fn of_depth(depth: Option<NonZeroU32>) -> Self {
        depth.map_or(Self::Everything, Self::Newest)
    }

    /// Returns the options for a clone.
    pub(super) fn clone_options(self) -> Vec<String> {
        match self {
            Self::Everything => vec![],
            // `--depth` alone would fetch only one branch.
            Self::Newest(depth) => vec![format!("--depth={depth}"), "--no-single-branch".to_owned()],
        }
    }
}

/// Whether a mirror lacks older commits.
pub(super) fn is_shallow(mirror: &Path) -> bool {
    mirror.join(SHALLOW).is_file()
}

/// Returns the option of a fetch that gets the missing history, or `None` if the mirror has what is wanted.
pub(super) fn deepening(mirror: &Path, wanted: History) -> io::Result<Option<String>> {
    if !is_shallow(mirror) {
        return Ok(None);
    }
    let History::Newest(wanted) = wanted else { return Ok(Some("--unshallow".to_owned())) };
    let missing = wanted.get().saturating_sub(depth(mirror)?);
    Ok((missing > 0).then(|| format!("--deepen={missing}")))
}

/// Notes that a mirror has at least this history.
pub(super) fn note(mirror: &Path, history: History) -> io::Result<()> {
    match fs_err::read(mirror.join(SHALLOW)) {
        Ok(list) => durable::write_atomically(&mirror.join(COPY), &list)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    match history {
        History::Newest(wanted) if wanted.get() > depth(mirror)? => {
            durable::write_atomically(&mirror.join(DEPTH), format!("{wanted}\n").as_bytes())
        }
        History::Newest(_) | History::Everything => Ok(()),
    }
}

/// Restores Git's list if a power cut left it without content. Without it, Git expects commits that were never fetched. An older list is
/// valid, too: the commits beyond it are not used. Returns the path of the list if it was restored.
pub(super) fn restore_blank_list(mirror: &Path) -> io::Result<Option<PathBuf>> {
    let (list, copy) = (mirror.join(SHALLOW), mirror.join(COPY));
    let is_blank = is_shallow(mirror) && fs_err::read(&list)?.iter().all(|byte| *byte == 0);
    if !is_blank || !copy.is_file() {
        return Ok(None);
    }
    durable::write_atomically(&list, &fs_err::read(copy)?)?;
    Ok(Some(list))
}

/// Returns the number of commits that were fetched of each branch, or 0 if that is unknown.
fn depth(mirror: &Path) -> io::Result<u32> {
    match fs_err::read_to_string(mirror.join(DEPTH)) {
        Ok(text) => Ok(text.trim().parse().unwrap_or(0)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}
