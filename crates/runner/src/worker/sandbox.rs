//! Checks whether Codex ran a thread's last turn in a read-only sandbox, by reading its session.
//!
//! Agents can write to the session too, so the result is only used for a note. All functions here block.

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use model::ids::ThreadId;
use rustix::fs::OFlags;
use serde::Deserialize;

use super::session::{DEPTH, find};

/// The number of bytes that are read from the end of a session: more than a turn that changes nothing writes.
const TAIL_BYTES: u64 = 4 << 20;

/// The needed fields of the line that Codex writes at the start of a turn.
#[derive(Deserialize)]
struct Line {
    payload: TurnContext,
}

#[derive(Deserialize)]
struct TurnContext {
    sandbox_policy: SandboxPolicy,
}

#[derive(Deserialize)]
struct SandboxPolicy {
    #[serde(rename = "type")]
    kind: String,
}

/// Whether the last turn in the thread's session was read-only. The session is somewhere below the folder.
pub fn was_read_only(folder: &Path, thread: ThreadId) -> io::Result<bool> {
    let Some(path) = find(folder, thread, DEPTH)? else { return Ok(false) };
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).map_err(io::Error::other)?;
    let mut file = fs::File::options().read(true).custom_flags(flags).open(path)?;
    let length = file.metadata().map(|found| if found.is_file() { found.len() } else { 0 })?;
    if length == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut tail = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut tail)?;
    let mut turns = tail.split(|&byte| byte == b'\n').rev().filter_map(|line| serde_json::from_slice::<Line>(line).ok());
    Ok(turns.next().is_some_and(|line| line.payload.sandbox_policy.kind == "read-only"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREAD: &str = "01a201f5-b7dd-79a1-8a6e-7e6639f5c650";

    fn looked(lines: &[&str]) -> bool {
        let folder = tempfile::tempdir().expect("a folder");
        let day = folder.path().join("2026/11/28");
        fs::create_dir_all(&day).expect("made");
        fs::write(day.join(format!("rollout-x-{THREAD}.jsonl")), lines.join("\n")).expect("written");
        was_read_only(folder.path(), THREAD.parse().expect("an id")).expect("readable")
    }

    #[test]
    fn the_last_turn_says_in_which_sandbox_it_ran() {
        // The format of Codex 0.75.0 and 0.169.0, without unused fields.
        let read_only = r#"{"type":"turn_context","payload":{"cwd":"/w","sandbox_policy":{"type":"read-only"},"model":"m"}}"#;
        let full =
            r#"{"ordinal":5,"type":"turn_context","payload":{"turn_id":"x","sandbox_policy":{"type":"danger-full-access"}}}"#;
        let other = r#"{"type":"response_item","payload":{"type":"message","content":"sandbox_policy read-only"}}"#;
        assert!(looked(&[full, read_only, other]) && looked(&[read_only, "torn {"]));
        assert!(!looked(&[read_only, full, other]) && !looked(&[other]) && !looked(&[]));
    }

    #[test]
    fn a_thread_without_a_session_was_not_read_only() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(!was_read_only(folder.path(), THREAD.parse().expect("an id")).expect("a missing session is accepted"));
    }
}
