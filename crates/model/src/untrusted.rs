//! Limits on what an agent may leave in a worktree, and on the size of a commit.
//!
//! The host and the script in the container apply the same rules. A test checks that the script's defaults are equal to these limits.

/// Files that git and git-lfs open by name, in any folder of a worktree. A FIFO with such a name would block git forever, and
/// git reads such a file into memory completely.
pub const OPENED_BY_NAME: [&str; 5] = [".gitignore", ".gitattributes", ".gitmodules", ".lfsconfig", ".mailmap"];

/// Files that git opens in a folder that looks like a repository, including any folder that a `.git` file points to.
pub const OPENED_IN_REPOSITORIES: [&str; 4] = ["HEAD", "commondir", "config", "packed-refs"];

/// The maximum size of a file with one of the names in [`OPENED_BY_NAME`]. Larger files are moved aside.
pub const OPENED_LIMIT_BYTES: u64 = 4 << 20;

/// The maximum size of a new or changed file in a commit.
pub const FILE_LIMIT_BYTES: u64 = 512 << 20;

/// The maximum total size of new and changed files in a commit. It is smaller than the largest bundle that is accepted from a
/// container.
pub const COMMIT_LIMIT_BYTES: u64 = 960 << 20;

/// The maximum size of a file that git-lfs stores. Its content is not part of the commit.
pub const LFS_FILE_LIMIT_BYTES: u64 = 4 << 30;

/// The maximum total size of files that git-lfs reads for a commit.
pub const LFS_LIMIT_BYTES: u64 = 16 << 30;

/// The maximum number of new files in a commit.
pub const NEW_FILES_LIMIT: u64 = 500_000;

/// The maximum number of files that are omitted from a commit. It is low because git compares every file with each of them.
pub const LEFT_OUT_LIMIT: usize = 1000;

/// The maximum size of an agent's index that is read to find submodules and conflicts.
pub const INDEX_LIMIT_BYTES: u64 = 256 << 20;
