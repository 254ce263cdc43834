//! Free disk space, and the minimum that a run must leave free.
//! This module only measures. Its callers refuse or stop runs.

use std::path::Path;

use crate::failure::Failure;
use model::ErrorCode;

/// Returns the free bytes on the file system of `path`, or `None` if they cannot be determined.
pub(crate) fn free(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Fails if less than `floor` bytes are free.
pub(crate) fn check(path: &Path, floor: u64) -> Result<(), Failure> {
    match free(path) {
        Some(free) if free < floor => Err(Failure::new(ErrorCode::DiskFull, below(path, free, floor))
            .hint("free disk space: `docker system df` and `codex-orchestrator disk` show what uses it")
            .hint("or set CODEX_DOCKER_FREE_DISK to a lower minimum")),
        Some(_) | None => Ok(()),
    }
}

/// Describes a disk with less than `floor` bytes free in a message.
pub(crate) fn below(path: &Path, free: u64, floor: u64) -> String {
    format!("only {} MiB are free on the disk of `{}`, less than the minimum of {} MiB", free >> 20, path.display(), floor >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_refused_with_the_figures() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(free(folder.path()).is_some_and(|free| free > 0));
        assert_eq!(check(folder.path(), 0), Ok(()));
        let failure = check(folder.path(), u64::MAX).expect_err("no disk is that large");
        assert!(failure.code == ErrorCode::DiskFull && failure.message.contains("MiB"), "{failure:?}");
        assert_eq!(free(Path::new("/nowhere")), None);
    }
}
