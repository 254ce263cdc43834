//! Finds the processes of a run, by descent, group, session or a variable in their environment, and ends them.
//!
//! Processes are ended in rounds: pause all that were found so that they cannot fork, search again, kill, wait, and search
//! again. This process itself is never touched.

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::Duration;

use futures_util::future::try_join_all;
use rustix::process::Signal;

use super::identity::ProcessIdentity;
use super::stat::{self, Stat};

/// Why processes did not end.
#[derive(Debug, thiserror::Error)]
pub enum KillError {
    /// Some processes were still alive at the deadline.
    #[error("{} processes did not exit within {} s: {survivors:?}", survivors.len(), within.as_secs_f32())]
    Survivors {
        /// The processes.
        survivors: Vec<ProcessIdentity>,
        /// The time limit.
        within: Duration,
    },
    /// The system returned an error.
    #[error("could not stop the processes of a run: {0}")]
    Io(#[from] io::Error),
}

/// Returns all live descendants of a process, nearest first, without the process itself.
pub fn descendants_of(pid: u32) -> io::Result<Vec<ProcessIdentity>> {
    let mut children: HashMap<u32, Vec<Stat>> = HashMap::new();
    for stat in stat::all()? {
        children.entry(stat.parent).or_default().push(stat);
    }
    let mut found = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            parents.push(child.pid);
            if !child.has_ended() {
                found.push(ProcessIdentity::from_stat(child)?);
            }
        }
    }
    Ok(found)
}

/// Returns the numbers of a process's children that have ended and wait to be reaped.
pub fn ended_children_of(pid: u32) -> io::Result<Vec<u32>> {
    let ended = stat::all()?.into_iter().filter(|stat| stat.parent == pid && stat.has_ended());
    Ok(ended.map(|stat| stat.pid).collect())
}

/// Returns all live members of a process group.
pub fn members_of_group(group: u32) -> io::Result<Vec<ProcessIdentity>> {
    living(|stat| stat.group == group)
}

/// Returns all live members of a session.
pub fn members_of_session(session: u32) -> io::Result<Vec<ProcessIdentity>> {
    living(|stat| stat.session == session)
}

fn living(belongs: impl Fn(&Stat) -> bool) -> io::Result<Vec<ProcessIdentity>> {
    let found = stat::all()?.into_iter().filter(|stat| belongs(stat) && !stat.has_ended());
    found.map(ProcessIdentity::from_stat).collect()
}

/// Returns all live processes that were started with `name=value` in their environment and that this user may see. A process
/// that is just being started may be missed, so use this for leftovers, not for processes that are being created.
pub fn processes_with_environment(name: &str, value: &str) -> io::Result<Vec<ProcessIdentity>> {
    let wanted = format!("{name}={value}");
    let mut found = Vec::new();
    for pid in stat::pids()? {
        let environment = match std::fs::read(format!("/proc/{pid}/environ")) {
            Ok(environment) => environment,
            Err(error) if stat::is_gone(&error) || error.kind() == io::ErrorKind::PermissionDenied => continue,
            Err(error) => return Err(error),
        };
        let marked = environment.split(|&byte| byte == 0).any(|entry| entry == wanted.as_bytes());
        if marked && let Some(stat) = Stat::of(pid)?.filter(|stat| !stat.has_ended()) {
            found.push(ProcessIdentity::from_stat(stat)?);
        }
    }
    Ok(found)
}

/// Ends a process and all its descendants.
pub async fn kill_tree(root: &ProcessIdentity, within: Duration) -> Result<(), KillError> {
    let find = || {
        let mut found = Vec::new();
        if root.is_alive()? {
            found.push(root.clone());
            found.extend(descendants_of(root.pid)?);
        }
        Ok(found)
    };
    kill_all(find, within).await
}

/// Ends all processes that `find` returns, until it returns none.
pub async fn kill_all(find: impl Fn() -> io::Result<Vec<ProcessIdentity>>, within: Duration) -> Result<(), KillError> {
    let find = || {
        let mut found = find()?;
        found.retain(|process| process.pid != std::process::id());
        io::Result::Ok(found)
    };
    let ending = async {
        loop {
            let doomed = freeze(&find)?;
            if doomed.is_empty() {
                return io::Result::Ok(());
            }
            for process in &doomed {
                process.signal(Signal::KILL)?;
            }
            try_join_all(doomed.iter().map(ProcessIdentity::wait_until_gone)).await?;
            // The deadline must be checked even if `find` keeps returning processes that are gone.
            tokio::task::yield_now().await;
        }
    };
    if let Ok(ended) = tokio::time::timeout(within, ending).await {
        return Ok(ended?);
    }
    let survivors = find()?;
    if survivors.is_empty() { Ok(()) } else { Err(KillError::Survivors { survivors, within }) }
}

/// Pauses all processes that are found, and searches again until there are no new ones. Paused processes cannot fork.
fn freeze(find: &impl Fn() -> io::Result<Vec<ProcessIdentity>>) -> io::Result<Vec<ProcessIdentity>> {
    let mut frozen: HashSet<ProcessIdentity> = HashSet::new();
    loop {
        let fresh: Vec<_> = find()?.into_iter().filter(|process| !frozen.contains(process)).collect();
        if fresh.is_empty() {
            return Ok(frozen.into_iter().collect());
        }
        for process in fresh {
            process.signal(Signal::STOP)?;
            frozen.insert(process);
        }
    }
}
