//! Identifies a process by its number, its start time and the boot ID.
//!
//! The system reuses process numbers for other processes, but never all three values together. Signals go through a pidfd that
//! is opened first and compared afterwards, so they cannot reach a different process.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::stat::{self, Stat};

/// The identity of a process. It can be stored, and another process can compare it later.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// The process number.
    pub pid: u32,
    /// The start time in clock ticks since boot (field 22 of `/proc/<pid>/stat`).
    pub start_time: u64,
    /// The ID of the boot.
    pub boot_id: String,
}

/// The result of sending a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalOutcome {
    /// The kernel accepted the signal.
    Delivered,
    /// The process was already gone.
    AlreadyGone,
}

impl ProcessIdentity {
    /// Returns the current process with this number, even if it is a zombie.
    pub fn of(pid: u32) -> io::Result<Option<Self>> {
        Stat::of(pid)?.map(Self::from_stat).transpose()
    }

    /// Returns this process.
    pub fn current() -> io::Result<Self> {
        Self::of(std::process::id())?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn from_stat(stat: Stat) -> io::Result<Self> {
        Ok(Self { pid: stat.pid, start_time: stat.start_time, boot_id: stat::boot_id()?.to_owned() })
    }

    /// Whether the process still runs. A zombie or a process of a different boot does not count as running.
    pub fn is_alive(&self) -> io::Result<bool> {
        if stat::boot_id()? != self.boot_id {
            return Ok(false);
        }
        Ok(Stat::of(self.pid)?.is_some_and(|stat| stat.start_time == self.start_time && !stat.has_ended()))
    }

    /// Sends a signal to this process only.
    pub fn signal(&self, signal: Signal) -> io::Result<SignalOutcome> {
        let Some(pidfd) = self.open()? else { return Ok(SignalOutcome::AlreadyGone) };
        match pidfd_send_signal(pidfd, signal) {
            Ok(()) => Ok(SignalOutcome::Delivered),
            Err(Errno::SRCH) => Ok(SignalOutcome::AlreadyGone),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns when the process has ended. Does not poll. Needs a tokio runtime with I/O. Cancel-safe.
    pub async fn wait_until_gone(&self) -> io::Result<()> {
        match self.open()? {
            Some(pidfd) => watch_pidfd(pidfd)?.readable().await.map(drop),
            None => Ok(()),
        }
    }

    /// Whether the process runs and has this file open, under any name.
    ///
    /// Fails for a live process of a different user, because the kernel does not show its open files.
    pub fn has_open(&self, file: &Path) -> io::Result<bool> {
        let wanted = std::fs::metadata(file)?;
        let open = match std::fs::read_dir(format!("/proc/{}/fd", self.pid)) {
            Ok(open) => open,
            // The kernel does not show the open files of an ended process either.
            Err(error) => return if stat::is_gone(&error) || !self.is_alive()? { Ok(false) } else { Err(error) },
        };
        // The file may have been closed in the meantime.
        let mut open = open.flatten().filter_map(|entry| std::fs::metadata(entry.path()).ok());
        let is_open = open.any(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()));
        // Check the process again, because a different one may have replaced it.
        Ok(is_open && self.is_alive()?)
    }

    /// Opens a handle on this process, if it still runs.
    fn open(&self) -> io::Result<Option<OwnedFd>> {
        let pidfd = open_pidfd(self.pid)?;
        // Check the process after opening the handle, which cannot refer to a different process from now on.
        Ok(if self.is_alive()? { pidfd } else { None })
    }
}

/// Opens a handle on the current process with this number.
pub(crate) fn open_pidfd(pid: u32) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = raw(pid) else { return Ok(None) };
    match pidfd_open(pid, PidfdFlags::NONBLOCK) {
        Ok(pidfd) => Ok(Some(pidfd)),
        Err(Errno::SRCH) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns a handle that becomes readable when the process ends.
#[expect(deprecated, reason = "the replacement is unsafe, and the problem that it warns about cannot happen with an OwnedFd")]
pub(crate) fn watch_pidfd(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(pidfd, Interest::READABLE)
}

/// Sends a signal to all members of a process group.
///
/// A group has no identity beyond its number, so use this only while the leader is known not to have been reaped.
pub fn signal_group(group: u32, signal: Signal) -> io::Result<SignalOutcome> {
    // 0 or 1 would mean this process's own group, or all processes.
    let Some(group) = raw(group).filter(|group| group.as_raw_pid() > 1) else { return Ok(SignalOutcome::AlreadyGone) };
    match kill_process_group(group, signal) {
        Ok(()) => Ok(SignalOutcome::Delivered),
        Err(Errno::SRCH) => Ok(SignalOutcome::AlreadyGone),
        Err(error) => Err(error.into()),
    }
}

fn raw(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}
