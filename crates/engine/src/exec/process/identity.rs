//! Which process is meant: its number, when it started, and in which boot.
//!
//! A number alone is given again to somebody else; the three together are not. Signals go through a pidfd that was opened
//! and then compared, so they cannot reach a successor.

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

/// One process of one boot. Can be written down and compared by another process later.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since the boot (field 22 of `/proc/<pid>/stat`).
    pub start_time: u64,
    /// The boot it belongs to.
    pub boot_id: String,
}

/// What became of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalOutcome {
    /// The kernel took it.
    Delivered,
    /// There was nobody left to get it.
    AlreadyGone,
}

impl ProcessIdentity {
    /// Who has this number now, a zombie included.
    pub fn of(pid: u32) -> io::Result<Option<Self>> {
        Stat::of(pid)?.map(Self::from_stat).transpose()
    }

    /// This process.
    pub fn current() -> io::Result<Self> {
        Self::of(std::process::id())?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn from_stat(stat: Stat) -> io::Result<Self> {
        Ok(Self { pid: stat.pid, start_time: stat.start_time, boot_id: stat::boot_id()?.to_owned() })
    }

    /// Whether it still runs. A zombie does not, nor does a process of another boot.
    pub fn is_alive(&self) -> io::Result<bool> {
        if stat::boot_id()? != self.boot_id {
            return Ok(false);
        }
        Ok(Stat::of(self.pid)?.is_some_and(|stat| stat.start_time == self.start_time && !stat.has_ended()))
    }

    /// Sends a signal to this process and to no other.
    pub fn signal(&self, signal: Signal) -> io::Result<SignalOutcome> {
        let Some(pidfd) = self.open()? else { return Ok(SignalOutcome::AlreadyGone) };
        match pidfd_send_signal(pidfd, signal) {
            Ok(()) => Ok(SignalOutcome::Delivered),
            Err(Errno::SRCH) => Ok(SignalOutcome::AlreadyGone),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns when it has ended. Nothing is polled; needs a tokio runtime with I/O. Cancel-safe.
    pub async fn wait_until_gone(&self) -> io::Result<()> {
        match self.open()? {
            Some(pidfd) => watch_pidfd(pidfd)?.readable().await.map(drop),
            None => Ok(()),
        }
    }

    /// Whether it runs and has this file open, whatever name it opened it by.
    ///
    /// Fails for a living process of another user, whose open files the kernel does not show.
    pub fn has_open(&self, file: &Path) -> io::Result<bool> {
        let wanted = std::fs::metadata(file)?;
        let open = match std::fs::read_dir(format!("/proc/{}/fd", self.pid)) {
            Ok(open) => open,
            // The kernel refuses to show what an ended process had open, too.
            Err(error) => return if stat::is_gone(&error) || !self.is_alive()? { Ok(false) } else { Err(error) },
        };
        // A file that was closed in the meantime is not open.
        let mut open = open.flatten().filter_map(|entry| std::fs::metadata(entry.path()).ok());
        let is_open = open.any(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()));
        // Compared after looking: what was seen may have been a successor's.
        Ok(is_open && self.is_alive()?)
    }

    /// A handle on this very process, if it still runs.
    fn open(&self) -> io::Result<Option<OwnedFd>> {
        let pidfd = open_pidfd(self.pid)?;
        // Compared after opening: from here on the handle cannot come to mean another process.
        Ok(if self.is_alive()? { pidfd } else { None })
    }
}

/// A handle on whoever has this number now.
pub(in crate::exec) fn open_pidfd(pid: u32) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = raw(pid) else { return Ok(None) };
    match pidfd_open(pid, PidfdFlags::NONBLOCK) {
        Ok(pidfd) => Ok(Some(pidfd)),
        Err(Errno::SRCH) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The handle as something that becomes readable when the process ends.
#[expect(deprecated, reason = "the replacement is unsafe, and the trouble it warns of cannot happen to an OwnedFd")]
pub(in crate::exec) fn watch_pidfd(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(pidfd, Interest::READABLE)
}

/// Sends a signal to all members of a process group.
///
/// A group has no identity beyond its number, so this is for groups whose leader is known not to have been reaped.
pub fn signal_group(group: u32, signal: Signal) -> io::Result<SignalOutcome> {
    // A group of 0 or 1 would mean this process's own group, or everybody.
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
