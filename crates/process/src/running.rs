//! A started program that is ended together with its process group.
//!
//! This module knows nothing about pipes. Invariant: a group is signalled only until its leader is reaped, because until then
//! the number still belongs to the group.

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::unix::AsyncFd;
use tokio::process::Child;

use super::living::{self, ProcessIdentity};

/// A started program. Dropping this value ends the program together with its group.
#[derive(Debug)]
pub struct RunningProgram {
    // The guard must be first: it signals the group before the child is reaped, while the group's number is still in use.
    pub(super) group: GroupGuard,
    pub(super) child: Child,
    pub(super) identity: ProcessIdentity,
    pub(super) pidfd: AsyncFd<OwnedFd>,
}

impl RunningProgram {
    /// Returns the identity of the process, which stays valid after this process ends.
    pub fn identity(&self) -> &ProcessIdentity {
        &self.identity
    }

    /// Returns when the program has ended. The program is not reaped yet, so its group can still be signalled. Cancel-safe.
    pub async fn ended(&self) -> io::Result<()> {
        self.pidfd.readable().await.map(drop)
    }

    /// Sends a signal to the whole group. A group that is gone is not an error.
    pub fn signal_group(&self, signal: Signal) -> io::Result<()> {
        self.target().signal(signal)
    }

    pub(super) fn target(&self) -> Target {
        match self.group.leader {
            Some(leader) => Target::Group(leader),
            None => Target::Process(self.identity.clone()),
        }
    }

    /// Waits for the end and returns the exit status. Background processes of the program continue.
    pub async fn reap(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.group.leader = None;
        Ok(status)
    }
}

/// The receivers of a signal. A group is named by its leader, so this is valid until the leader is reaped.
pub(super) enum Target {
    Group(u32),
    Process(ProcessIdentity),
}

impl Target {
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match self {
            Self::Group(leader) => living::signal_group(*leader, signal).map(drop),
            Self::Process(identity) => identity.signal(signal).map(drop),
        }
    }

    /// Kills the processes and waits until they are gone, so that none of them still writes to files that the caller cleans up.
    pub(super) async fn end(&self, within: Duration) {
        let find = || match self {
            Self::Group(leader) => living::members_of_group(*leader),
            Self::Process(identity) => Ok(if identity.is_alive()? { vec![identity.clone()] } else { Vec::new() }),
        };
        let signalled = self.signal(Signal::KILL);
        let ended = living::kill_all(find, within).await;
        if let Err(error) = signalled.map_err(living::KillError::from).and(ended) {
            tracing::warn!(%error, "could not stop all processes of a canceled program");
        }
    }
}

/// Ends a process group on drop, unless the guard was disarmed.
#[derive(Debug)]
pub(super) struct GroupGuard {
    pub(super) leader: Option<u32>,
}

impl Drop for GroupGuard {
    fn drop(&mut self) {
        if let Some(leader) = self.leader
            && let Err(error) = living::signal_group(leader, Signal::KILL)
        {
            tracing::warn!(leader, %error, "could not stop a process group");
        }
    }
}
