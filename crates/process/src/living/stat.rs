//! Reads what the kernel reports about processes: `/proc/<pid>/stat`, the boot ID, the list of all processes.
//!
//! If a process is gone, the result is `None`, never an error.

use std::io;
use std::sync::OnceLock;

/// The needed fields of `/proc/<pid>/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) pid: u32,
    pub(super) state: u8,
    pub(super) parent: u32,
    pub(super) group: u32,
    pub(super) session: u32,
    pub(super) start_time: u64,
}

impl Stat {
    /// Reads the fields of `pid`, if there is such a process.
    pub(super) fn of(pid: u32) -> io::Result<Option<Self>> {
        match std::fs::read(format!("/proc/{pid}/stat")) {
            Ok(bytes) => Ok(Self::parse(&bytes)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the process has ended. A zombie has ended and only waits to be reaped.
    pub(super) fn has_ended(self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }

    /// Parses the fields. The name in parentheses may contain anything, even parentheses and spaces, so fields are counted from
    /// the last `)`.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let name_end = bytes.iter().rposition(|&byte| byte == b')')?;
        let name_start = bytes.iter().position(|&byte| byte == b'(')?;
        let pid = std::str::from_utf8(&bytes[..name_start]).ok()?.trim().parse().ok()?;
        let rest = std::str::from_utf8(bytes.get(name_end + 1..)?).ok()?;
        // The state is field 3 of proc(5), so field n is at n - 3.
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Self {
            pid,
            state: *fields.first()?.as_bytes().first()?,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            start_time: fields.get(19)?.parse().ok()?,
        })
    }
}

/// Returns all processes. Processes that end in the meantime may be missing.
pub(super) fn all() -> io::Result<Vec<Stat>> {
    let mut stats = Vec::new();
    for pid in pids()? {
        stats.extend(Stat::of(pid)?);
    }
    Ok(stats)
}

/// Returns the numbers of all processes.
pub(super) fn pids() -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in fs_err::read_dir("/proc")? {
        pids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(pids)
}

/// The environment variable with which tests simulate a reboot. Release builds ignore it.
const BOOT_VARIABLE: &str = "ORCH_TEST_BOOT_ID";

static BOOT_ID: OnceLock<String> = OnceLock::new();

static PRETENDED_BOOT_ID: OnceLock<String> = OnceLock::new();

/// Uses the boot ID from a variable instead of the kernel's, in debug builds. Call this before any process is inspected.
pub fn pretend_boot(variable: impl Fn(&str) -> Option<String>) {
    if cfg!(debug_assertions)
        && let Some(id) = variable(BOOT_VARIABLE).filter(|id| !id.is_empty())
    {
        PRETENDED_BOOT_ID.get_or_init(|| id);
    }
}

/// Returns the variable that makes another process simulate the same boot, if this process simulates one.
pub fn pretended_boot() -> Option<(&'static str, &'static str)> {
    PRETENDED_BOOT_ID.get().map(|id| (BOOT_VARIABLE, id.as_str()))
}

/// Returns the ID of the current boot.
pub fn boot_id() -> io::Result<&'static str> {
    if let Some(id) = PRETENDED_BOOT_ID.get().or(BOOT_ID.get()) {
        return Ok(id);
    }
    let id = fs_err::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(BOOT_ID.get_or_init(|| id.trim().to_owned()))
}

/// Whether an error of `/proc` means that a process is gone. The error must come directly from the system, because wrapped
/// errors have no number.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let line = b"42 (a) R (x) S 7 8 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2\n";
        let expect = Stat { pid: 42, state: b'S', parent: 7, group: 8, session: 9, start_time: 987_654 };
        assert_eq!(Stat::parse(line), Some(expect));
    }

    #[test]
    fn half_a_line_is_no_process() {
        for line in ["", "42", "42 (x", "42 (x) S 1 2", "x (y) S 1 2 3 4 5"] {
            assert_eq!(Stat::parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn this_process_is_among_all_processes() {
        let me = Stat::of(std::process::id()).expect("/proc can be read").expect("this process exists");
        assert!(!me.has_ended());
        assert!(all().expect("/proc can be read").iter().any(|stat| stat.pid == me.pid && stat.start_time == me.start_time));
    }

    #[test]
    fn a_number_that_nobody_has_is_none() {
        assert_eq!(Stat::of(u32::MAX).expect("a missing process is not an error"), None);
    }
}
