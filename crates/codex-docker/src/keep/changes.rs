//! Decides whether a container changed its root file system. Pure.
//!
//! The engine and this program create mount points, and programs leave temporary files. They do not count.

use std::path::Path;

use bollard::models::{ChangeType, FilesystemChange};

/// Folders and files whose changes do not count, with everything below them.
const NOISE: [&str; 20] = [
    "/.dockerenv",
    "/artifacts",
    "/codex",
    "/codex-auth",
    "/codex-docker",
    "/context",
    "/dev",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/mtab",
    "/etc/resolv.conf",
    "/git",
    "/proc",
    "/run",
    "/sbin/docker-init",
    "/sys",
    "/tmp",
    "/usr/sbin/docker-init",
    "/var/tmp",
    "/workspace",
];

/// Returns whether there is a change that is worth keeping. `mounts` are the paths of the container's mounts.
pub(super) fn is_worth_keeping(changes: &[FilesystemChange], mounts: &[String]) -> bool {
    changes.iter().any(|change| !is_noise(change, mounts))
}

/// Returns whether a path belongs to the container, and not to its image.
fn is_of_container(path: &Path, mounts: &[String]) -> bool {
    NOISE.iter().copied().chain(mounts.iter().map(String::as_str)).any(|noise| path.starts_with(noise))
}

fn is_noise(change: &FilesystemChange, mounts: &[String]) -> bool {
    let path = Path::new(&change.path);
    if is_of_container(path, mounts) {
        return true;
    }
    // The folders above a mount point are created or get a new time with it.
    let leads_to = |noise: &str| Path::new(noise).starts_with(path);
    let is_there = change.kind != ChangeType::_2;
    is_there && NOISE.iter().copied().chain(mounts.iter().map(String::as_str)).any(leads_to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_and_temporary_files_are_not_worth_an_image() {
        let mounts = ["/root/.cache/pip".to_owned(), "/etc/profile.d/zz-codex-docker.sh".to_owned()];
        let check = |kind, path: &str, expected| {
            let change = FilesystemChange { path: path.to_owned(), kind };
            assert_eq!(is_worth_keeping(&[change], &mounts), expected, "{kind:?} {path}");
        };
        for path in [
            "/run/x",
            "/tmp",
            "/tmp/a/b",
            "/var/tmp/x",
            "/codex/x",
            "/workspace/a",
            "/etc",
            "/etc/hosts",
            "/etc/profile.d",
            "/root",
            "/root/.cache",
            "/root/.cache/pip",
            "/root/.cache/pip/x",
            "/var",
            "/.dockerenv",
            "/git/agent.git",
        ] {
            check(ChangeType::_1, path, false);
        }
        for path in
            ["/usr/local/bin/x", "/etc/passwd", "/root/.cache/other", "/opt", "/gitea", "/tmpfiles", "/codex-x", "/root/x"]
        {
            check(ChangeType::_1, path, true);
            check(ChangeType::_0, path, true);
            check(ChangeType::_2, path, true);
        }
        check(ChangeType::_2, "/root/.cache", true);
        check(ChangeType::_2, "/tmp/x", false);
        assert!(!is_worth_keeping(&[], &mounts));
    }
}
