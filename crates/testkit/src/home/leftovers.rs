//! Ends the processes that a home leaves when a test ends: keepers and workers, which outlive their server by design.
//!
//! They are found by the path of the home, which occurs in their working directory, their arguments or their environment. No other
//! process knows this path, and no other process is signalled.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::process::has_ended;

/// The number of attempts. A worker may start new processes while it is being ended, so one attempt may not be enough.
const ROUNDS: usize = 20;

/// Kills every process that belongs to the home in this folder.
pub(super) fn end(folder: &Path) {
    for _ in 0..ROUNDS {
        let found = belonging_to(folder);
        if found.is_empty() {
            return;
        }
        for pid in found {
            // The process may have ended in the meantime.
            kill_process(pid, Signal::KILL).ok();
        }
    }
}

fn belonging_to(folder: &Path) -> Vec<Pid> {
    let Ok(entries) = fs_err::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&pid| pid != std::process::id() && !has_ended(pid))
        .filter(|pid| belongs(*pid, folder))
        .filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?))
        .collect()
}

fn belongs(pid: u32, folder: &Path) -> bool {
    let process = Path::new("/proc").join(pid.to_string());
    let needle = folder.as_os_str().as_encoded_bytes();
    let mentions = |file: &str| {
        let bytes = fs_err::read(process.join(file)).unwrap_or_default();
        bytes.windows(needle.len()).any(|window| window == needle)
    };
    fs_err::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder)) || mentions("cmdline") || mentions("environ")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn only_what_belongs_to_the_folder_is_ended() {
        let folder = tempfile::tempdir().expect("a temporary folder can be created");
        let sleeper = || {
            let mut command = Command::new("sleep");
            command.arg("600");
            command
        };
        let mut inside = sleeper().current_dir(folder.path()).spawn().expect("a sleeper");
        let mut named = sleeper().env("HOME_OF_IT", folder.path()).spawn().expect("a sleeper");
        let mut stranger = sleeper().spawn().expect("a sleeper");
        end(folder.path());
        assert!(!inside.wait().expect("it ended").success());
        assert!(!named.wait().expect("it ended").success());
        assert_eq!(stranger.try_wait().expect("our own child"), None, "a process without the path keeps running");
        stranger.kill().expect("our own child");
        stranger.wait().expect("it ended");
    }
}
