//! What an agent may leave in a worktree, and how much of it a commit takes.
//!
//! The host and the script that runs in a container follow the same rules; a test keeps the script's defaults equal to these.

/// Files that git and git-lfs open by their names, in any folder of a worktree. Git waits for ever on a FIFO of such a name, and reads
/// a large file into memory whole.
pub const OPENED_BY_NAME: [&str; 5] = [".gitignore", ".gitattributes", ".gitmodules", ".lfsconfig", ".mailmap"];

/// Files that git opens in a folder that looks like a repository, wherever a `.git` leads to.
pub const OPENED_IN_REPOSITORIES: [&str; 4] = ["HEAD", "commondir", "config", "packed-refs"];

/// The largest file with one of the first names that stays in its place.
pub const OPENED_LIMIT_BYTES: u64 = 4 << 20;

/// The largest new or changed file that is committed.
pub const FILE_LIMIT_BYTES: u64 = 512 << 20;

/// The most bytes of new and changed files that one commit takes. Less than the largest bundle that is accepted from a container.
pub const COMMIT_LIMIT_BYTES: u64 = 960 << 20;

/// The largest file that git-lfs stores. Its content is not part of the commit.
pub const LFS_FILE_LIMIT_BYTES: u64 = 4 << 30;

/// The most bytes of files that git-lfs reads for one commit.
pub const LFS_LIMIT_BYTES: u64 = 16 << 30;

/// The most new files that one commit takes.
pub const NEW_FILES_LIMIT: u64 = 500_000;

/// The most files that are left out of one commit. Git compares every file with each of them.
pub const LEFT_OUT_LIMIT: usize = 1000;

/// The largest index of an agent that is read, for its submodules and conflicts.
pub const INDEX_LIMIT_BYTES: u64 = 256 << 20;
