//! What the benchmarks compare tasks with: the Git commands that a person would type, in the same kind of mirror.
//!
//! This is a module of several benchmarks. It prints nothing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use testkit::upstream::Upstream;

/// Returns the median.
pub(crate) fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted[sorted.len() / 2]
}

/// Returns the time since 1970.
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970")
}

/// The commands that a person would type for the same task, in the same kind of mirror, up to a started shell.
pub(crate) struct Hand {
    folder: tempfile::TempDir,
    mirror: PathBuf,
}

impl Hand {
    /// Creates a mirror.
    pub(crate) fn new(upstream: &Upstream) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mirror = folder.path().join("mirror");
        git(folder.path(), &["clone", "--quiet", "--mirror", &upstream.url(), "mirror"]);
        git(&mirror, &["config", "--unset", "remote.origin.mirror"]);
        git(&mirror, &["config", "--replace-all", "remote.origin.fetch", "+refs/heads/*:refs/heads/*"]);
        git(&mirror, &["config", "--add", "remote.origin.fetch", "^refs/heads/codex/*"]);
        Self { folder, mirror }
    }

    /// Runs the commands, and returns how long they took.
    pub(crate) fn task(&self, round: usize) -> Duration {
        let path = self.folder.path().join(format!("task-{round}"));
        let worktree = path.display().to_string();
        let begun = Instant::now();
        git(&self.mirror, &["fetch", "--quiet", "--all", "--prune"]);
        git(&self.mirror, &["worktree", "add", "--quiet", "--detach", &worktree, "main"]);
        git(&path, &["checkout", "--quiet", "-b", &format!("codex/{round}")]);
        assert!(Command::new("sh").args(["-c", "date +%s%N > /dev/null"]).status().expect("sh").success());
        let took = begun.elapsed();
        git(&self.mirror, &["worktree", "remove", "--force", &worktree]);
        took
    }
}

fn git(folder: &Path, arguments: &[&str]) {
    let status = Command::new("git").args(arguments).current_dir(folder).status().expect("git");
    assert!(status.success(), "git {arguments:?}");
}
