//! What a call of git may cost: the one place for limits on time, memory, and the size of what is compared.
//!
//! An agent chooses what is in its commits, so a diff costs what the agent wants, up to these limits. They hold for each call;
//! nothing in here measures anything.

use std::sync::LazyLock;
use std::time::Duration;

use model::diff::LineLimits;

/// For commands that only look something up or move a ref.
pub(super) const QUICK: Duration = Duration::from_mins(1);

/// For commands that read or write a whole working tree: gigabytes on a slow disk.
pub(super) const LONG: Duration = Duration::from_mins(30);

/// For commands whose answer a page waits for.
pub(super) const PAGE: Duration = Duration::from_secs(20);

/// The memory of a command whose answer a page waits for. Git takes up to 45 bytes for each line that it compares.
pub(super) const PAGE_MEMORY: u64 = 512 << 20;

/// The memory of a command that makes a complete patch.
pub(super) const PATCH_MEMORY: u64 = 1 << 30;

/// The memory of any other command: three quarters of the machine's. Packing a large repository takes gigabytes.
pub(super) fn work_memory() -> u64 {
    static BYTES: LazyLock<u64> = LazyLock::new(|| {
        let machine = rustix::system::sysinfo();
        let bytes = u128::from(machine.totalram) * u128::from(machine.mem_unit) * 3 / 4;
        u64::try_from(bytes).unwrap_or(u64::MAX).max(PATCH_MEMORY)
    });
    *BYTES
}

/// A file with more bytes than this, before or after the change, is named and not compared.
pub(super) const FILE_BYTES: u64 = 4 << 20;

/// The limit of a second attempt, after the first one took too long or too much memory.
pub(super) const SMALL_FILE_BYTES: u64 = 256 << 10;

/// A complete patch is refused if it would contain a file with more bytes than this.
pub(super) const PATCH_FILE_BYTES: u64 = 32 << 20;

/// A file that git considers binary is checked for text up to this size.
pub(super) const BINARY_FILE_BYTES: u64 = 1 << 20;

/// How many bytes of such files are checked at once.
pub(super) const BINARY_BYTES: u64 = 8 << 20;

/// The files of one page.
pub(super) const PAGE_FILES: usize = 500;

/// The content of one page's files, before and after the change.
pub(super) const PAGE_CONTENT_BYTES: u64 = 16 << 20;

/// The names of one page's files. They are arguments of a command, which the system limits.
pub(super) const PAGE_NAME_BYTES: usize = 128 << 10;

/// A longer name is not compared: the system limits each argument of a command.
pub(super) const NAME_BYTES: usize = 32 << 10;

/// The patch of one page. A line can take twice its size.
pub(super) const PAGE_PATCH_BYTES: usize = 40 << 20;

/// The list of files that changed.
pub(super) const LISTING_BYTES: usize = 32 << 20;

/// The lines of one page that are kept.
pub(super) const PAGE_LINES: LineLimits = LineLimits { per_file: 25_000, total: 150_000 };

/// The lines of a whole diff that are kept.
pub(super) const DIFF_LINES: usize = 500_000;

/// The content of a whole diff.
pub(super) const DIFF_CONTENT_BYTES: u64 = 64 << 20;
