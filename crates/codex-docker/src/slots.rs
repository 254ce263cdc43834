//! Limits how many containers start at the same time on one machine: more at once would only make all of them slower.
//!
//! Each slot is a lock on a file, so it becomes free even if its process is killed.

use std::fs::File;
use std::io;
use std::path::Path;

use fs_err::os::unix::fs::OpenOptionsExt as _;

use crate::folder::private_folder;

/// The number of containers that can start at the same time.
const STARTS: usize = 4;

/// A slot that this process holds until this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _lock: File,
}

/// Waits for a free slot to start a container.
pub(crate) async fn to_start(folder: &Path) -> io::Result<Turn> {
    // If no slot is free, this waits for the preferred slot. The process ID spreads the waiting processes over all slots.
    let preferred = usize::try_from(std::process::id()).unwrap_or_default() % STARTS;
    let names = (0..STARTS).map(|n| format!("start-{}.lock", (preferred + n) % STARTS));
    take(folder, names.collect()).await
}

/// Waits until no other process holds the lock with this name, and takes the lock.
pub(crate) async fn alone(folder: &Path, name: &str) -> io::Result<Turn> {
    take(folder, vec![format!("{name}.lock")]).await
}

async fn take(folder: &Path, names: Vec<String>) -> io::Result<Turn> {
    let folder = folder.to_owned();
    let wait = move || {
        private_folder(&folder)?;
        let open = |name: &String| {
            let mut options = fs_err::File::options();
            options.create(true).truncate(false).write(true).mode(0o600).open(folder.join(name)).map(|file| file.into_parts().0)
        };
        let locks = names.iter().map(open).collect::<io::Result<Vec<_>>>()?;
        let free = locks.iter().position(|lock| lock.try_lock().is_ok());
        let mut locks = locks;
        let lock = locks.swap_remove(free.unwrap_or(0));
        if free.is_none() {
            lock.lock()?;
        }
        Ok(Turn { _lock: lock })
    };
    tokio::task::spawn_blocking(wait).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_fifth_waits_until_one_of_four_is_done() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut turns = Vec::new();
        for _ in 0..STARTS {
            turns.push(to_start(folder.path()).await.expect("free"));
        }
        let path = folder.path().to_owned();
        let mut fifth = tokio::spawn(async move { to_start(&path).await });
        assert!(tokio::time::timeout(Duration::from_millis(200), &mut fifth).await.is_err(), "the fifth start waits");
        turns.clear();
        let waited = tokio::time::timeout(Duration::from_secs(20), fifth).await;
        waited.expect("a slot becomes free").expect("no panic").expect("locked");
    }
}
