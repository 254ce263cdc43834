//! Checks whether a process still runs, for tests that only know its PID.
//!
//! A process that has exited stays in `/proc` and accepts signals until its parent reaps it. The new parent of an orphan may do this
//! late or never, for example in a container without an init process. Tests treat such a zombie as ended.

/// Returns whether the process has exited, even if it has not been reaped.
pub fn has_ended(pid: u32) -> bool {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the name, which is in parentheses and may contain anything.
    let after_name = stat.iter().rposition(|byte| *byte == b')').and_then(|end| stat.get(end + 2));
    after_name.is_none_or(|state| matches!(state, b'Z' | b'X' | b'x'))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use rustix::process::{Pid, test_kill_process};

    use super::*;

    #[test]
    fn a_zombie_has_ended() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().expect("it starts");
        assert!(!has_ended(child.id()));
        drop(child.stdin.take());
        crate::until(std::time::Duration::from_mins(1), "the child has exited", || has_ended(child.id()));
        test_kill_process(Pid::from_child(&child)).expect("a zombie that has not been reaped accepts signals");
        assert!(child.wait().expect("our own child").success());
        assert!(has_ended(child.id()));
    }

    #[test]
    fn a_number_that_nobody_has_is_nobody_that_runs() {
        assert!(has_ended(u32::MAX));
        assert!(!has_ended(std::process::id()));
    }
}
