//! A worker whose behaviour is its prompt: a shell script that evaluates what it reads on stdin.
//!
//! So every test says in its own words what the "agent" does. Nothing of Codex is in here but the shape of its lines.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The words that a prompt can use besides the shell's own.
const SCRIPT: &str = r#"#!/bin/sh
# Honours the worker contract: exec --json [...] [resume THREAD] -, with the prompt on stdin.
resumed=
while [ $# -gt 0 ]; do
  if [ "$1" = resume ]; then resumed=$2; fi
  shift
done
thread_id=${resumed:-$(cat /proc/sys/kernel/random/uuid)}

thread() { printf '{"type":"thread.started","thread_id":"%s"}\n' "${1:-$thread_id}"; }
turn() { echo '{"type":"turn.started"}'; }
begin() { thread; turn; }
say() { printf '{"type":"item.completed","item":{"id":"item_0","type":"agent_message","text":"%s"}}\n' "$1"; }
usage() {
  printf '{"type":"turn.completed","usage":{"input_tokens":%s,"cached_input_tokens":0,"cache_write_input_tokens":0,' "$1"
  printf '"output_tokens":%s,"reasoning_output_tokens":0}}\n' "$2"
}
complete() { usage 100 10; }
end() { say "$1"; complete; }
failed() { printf '{"type":"error","message":"%s"}\n{"type":"turn.failed","error":{"message":"%s"}}\n' "$1" "$1"; exit 1; }
# Waits until a file appears, so that a test decides when the run goes on.
await() { while [ ! -e "$1" ]; do sleep 0.02; done; }

eval "$(cat)"
"#;

/// Writes the script into a folder and returns its path, for `ORCH_WORKER`.
pub fn scripted_worker(folder: &Path) -> PathBuf {
    let path = folder.join("scripted-worker");
    fs_err::write(&path, SCRIPT).expect("a test's folder can be written");
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a test's file is its own");
    path
}
