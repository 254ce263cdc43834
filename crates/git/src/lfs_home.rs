//! The home of git-lfs in a mirror: a git directory without a worktree, an index or a commit.
//!
//! It shares the objects and the configuration of the mirror. No program is started here. Invariant: no file in the home comes
//! from a commit, so git-lfs finds no `.lfsconfig` there.

use std::io;
use std::path::{Path, PathBuf};

use durable::write_atomically;

/// The environment variable that tells filters where git-lfs's home is.
pub(super) const HOME_VARIABLE: &str = "CODEX_ORCHESTRATOR_LFS_HOME";

/// The folder in a mirror that is git-lfs's home.
const HOME: &str = "codex-orchestrator-lfs";

/// The files that make a folder a git directory with the objects and the configuration of the mirror above it. HEAD names a ref
/// that nobody can create, because a fetch writes only below `refs/heads` and `refs/tags`.
const HOME_FILES: [(&str, &str); 2] = [("HEAD", "ref: refs/orchestrator/none\n"), ("commondir", "..\n")];

/// A prefix that makes a shell command run in git-lfs's home.
pub(super) const IN_HOME: &str = "unset GIT_INDEX_FILE GIT_COMMON_DIR; GIT_DIR=\"$CODEX_ORCHESTRATOR_LFS_HOME\"; \
    GIT_WORK_TREE=\"$GIT_DIR\"; export GIT_DIR GIT_WORK_TREE; ";

/// Returns the path of git-lfs's home in a mirror.
pub(super) fn home_of(mirror: &Path) -> PathBuf {
    mirror.join(HOME)
}

/// Makes sure that the home of git-lfs exists, and returns its path.
pub(super) fn ensure(mirror: &Path) -> io::Result<PathBuf> {
    let home = home_of(mirror);
    fs_err::create_dir_all(&home)?;
    for (name, content) in HOME_FILES {
        // A power cut may have emptied the file.
        if fs_err::read(home.join(name)).is_ok_and(|found| found == content.as_bytes()) {
            continue;
        }
        write_atomically(&home.join(name), content.as_bytes())?;
    }
    Ok(home)
}
