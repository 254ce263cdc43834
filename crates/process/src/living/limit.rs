//! Limits the memory of a process that has just started, and of the processes that it starts.
//!
//! The limit covers memory that a process writes to: its heap, stacks and private mappings. Files that are only mapped for
//! reading, such as a large pack of git, do not count, because the system can drop them at any time.

use std::io;

use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use super::stat::is_gone;

/// Limits a process and the processes that it has started so far. Processes that it starts later inherit the limit. A process
/// that has already ended needs no limit.
pub(crate) fn limit_memory(pid: u32, bytes: u64) -> io::Result<()> {
    // A limit of this process is inherited and never raised.
    let bytes = getrlimit(Resource::Data).maximum.map_or(bytes, |most| most.min(bytes));
    let mut pids = vec![pid];
    while let Some(pid) = pids.pop() {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        match prlimit(Some(raw), Resource::Data, Rlimit { current: Some(bytes), maximum: Some(bytes) }) {
            Ok(_) => pids.extend(children(pid)?),
            Err(Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Returns the children of a process, if the kernel was built to list them.
fn children(pid: u32) -> io::Result<Vec<u32>> {
    match fs_err::read_to_string(format!("/proc/{pid}/task/{pid}/children")) {
        Ok(listed) => Ok(listed.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound || is_gone(&error) => Ok(vec![]),
        Err(error) => Err(error),
    }
}
