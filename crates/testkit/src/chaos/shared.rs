//! What all parts of the chaos test know: names, places, time limits, and how to read a repository.
//!
//! Nothing here changes the world of a test.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::TestHome;

/// The time limit of a request. It is long because a removal waits until the task's run has ended.
pub(super) const ANSWER: Duration = Duration::from_secs(30);

/// Returns the name of the nth prompt.
pub(super) fn name_of(prompt: u32) -> String {
    format!("p{prompt}")
}

pub(super) fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Returns `CODEX_HOME` of a test with power cuts, which is on the disk that loses its power.
pub(super) fn codex_home(home: &TestHome) -> PathBuf {
    home.path().join("codex")
}

pub(super) fn git(mirror: &Path, arguments: &[&str]) -> Result<String, String> {
    let done = std::process::Command::new("git").arg("--git-dir").arg(mirror).args(arguments).output();
    let done = done.map_err(|error| error.to_string())?;
    if done.status.success() {
        Ok(String::from_utf8_lossy(&done.stdout).trim_end().to_owned())
    } else {
        Err(String::from_utf8_lossy(&done.stderr).into_owned())
    }
}

/// Returns whether a run has ended, according to its record.
pub(super) fn has_ended(run: &Value) -> bool {
    matches!(run["status"].as_str(), Some("completed" | "failed" | "stopped" | "interrupted"))
}
