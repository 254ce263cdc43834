//! Limits on what a git command may cost: time, memory, and the size of compared content. This is the only place for them.
//!
//! An agent chooses the content of its commits, so it controls the cost of a diff up to these limits. They apply to each
//! command; nothing is measured here.

use std::sync::LazyLock;
use std::time::Duration;

use model::diff::LineLimits;

/// The time limit of commands that only look something up or move a ref.
pub(super) const QUICK: Duration = Duration::from_mins(1);

/// The time limit of commands that read or write a whole working tree, which can mean gigabytes on a slow disk.
pub(super) const LONG: Duration = Duration::from_mins(30);

/// The time limit of commands that a page waits for.
pub(super) const PAGE: Duration = Duration::from_secs(20);

/// The memory limit of commands that a page waits for, in bytes. Git uses up to 45 bytes for each compared line.
pub(super) const PAGE_MEMORY: u64 = 512 << 20;

/// The memory limit of commands that create a complete patch, in bytes.
pub(super) const PATCH_MEMORY: u64 = 1 << 30;

/// Returns the memory limit of all other commands: three quarters of the machine's memory. Packing a large repository takes
/// gigabytes.
pub(super) fn work_memory() -> u64 {
    static BYTES: LazyLock<u64> = LazyLock::new(|| {
        let machine = rustix::system::sysinfo();
        let bytes = u128::from(machine.totalram) * u128::from(machine.mem_unit) * 3 / 4;
        u64::try_from(bytes).unwrap_or(u64::MAX).max(PATCH_MEMORY)
    });
    *BYTES
}

/// The maximum size of a compared file in bytes, before or after the change. Larger files are only listed.
pub(super) const FILE_BYTES: u64 = 4 << 20;

/// The maximum size of a compared file in a second attempt, after the first one took too much time or memory.
pub(super) const SMALL_FILE_BYTES: u64 = 256 << 10;

/// The maximum size of a file in a complete patch, in bytes.
pub(super) const PATCH_FILE_BYTES: u64 = 32 << 20;

/// The maximum size up to which a file that git considers binary is checked for text, in bytes.
pub(super) const BINARY_FILE_BYTES: u64 = 1 << 20;

/// The maximum total size of such files per check, in bytes.
pub(super) const BINARY_BYTES: u64 = 8 << 20;

/// The maximum number of files on a page.
pub(super) const PAGE_FILES: usize = 500;

/// The maximum size of the content of a page's files, before and after the change, in bytes.
pub(super) const PAGE_CONTENT_BYTES: u64 = 16 << 20;

/// The maximum total length of the names of a page's files, in bytes. They are arguments of a command, which the system limits.
pub(super) const PAGE_NAME_BYTES: usize = 128 << 10;

/// The maximum length of a compared file's name, in bytes. The system limits each argument of a command.
pub(super) const NAME_BYTES: usize = 32 << 10;

/// The maximum size of the patch of a page, in bytes. A line can take twice its size.
pub(super) const PAGE_PATCH_BYTES: usize = 40 << 20;

/// The maximum size of the list of changed files, in bytes.
pub(super) const LISTING_BYTES: usize = 32 << 20;

/// The maximum number of lines that are kept for a page.
pub(super) const PAGE_LINES: LineLimits = LineLimits { per_file: 25_000, total: 150_000 };

/// The maximum number of lines that are kept for a whole diff.
pub(super) const DIFF_LINES: usize = 500_000;

/// The maximum size of the content of a whole diff, in bytes.
pub(super) const DIFF_CONTENT_BYTES: u64 = 64 << 20;
