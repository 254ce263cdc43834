//! A server under strace: a trace of the system calls of the server and of all programs that it starts. The trace is deleted when its
//! value is dropped. A copy can be kept.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::TRACED;

/// A time limit that is longer than strace needs to write its last lines.
const LIMIT: Duration = Duration::from_secs(30);

/// A program that replaces the binary of a server and runs it under strace. Needs permission to trace, e.g. as root.
#[derive(Debug)]
pub struct TracedServer {
    folder: TempDir,
}

impl TracedServer {
    /// Traces `binary`, which is the test's `env!("CARGO_BIN_EXE_codex-orchestrator")`.
    ///
    /// # Panics
    /// If no temporary folder can be written.
    pub fn of(binary: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be created");
        let this = Self { folder };
        // With `-D`, the tracer is a grandchild, so that the server keeps the process ID that the test knows.
        let script = format!(
            "#!/bin/sh\nexec strace -D -f -y -s 1000000 -o {} -e trace={TRACED} -- {binary} \"$@\"\n",
            this.trace_path().display()
        );
        fs_err::write(this.program(), script).expect("a test's folder can be written");
        let executable = std::fs::Permissions::from_mode(0o755);
        fs_err::set_permissions(this.program(), executable).expect("the file belongs to the test");
        this
    }

    /// Returns the path of the program, which a [`crate::TestHome`] starts as its server.
    pub fn program(&self) -> PathBuf {
        self.folder.path().join("traced-server")
    }

    /// Waits until the server with this process ID has exited and returns the complete trace.
    ///
    /// # Panics
    /// If strace does not write the end of the server in time.
    pub fn trace(&self, server: u32) -> String {
        let read = || self.trace_so_far();
        let server = server.to_string();
        let is_its_end =
            |line: &str| line.split_once(' ').is_some_and(|(pid, rest)| pid == server && rest.trim_start().starts_with("+++ "));
        crate::until(LIMIT, "strace has written the server's end", || read().lines().any(is_its_end));
        read()
    }

    /// Returns what strace has written so far.
    pub fn trace_so_far(&self) -> String {
        String::from_utf8_lossy(&fs_err::read(self.trace_path()).unwrap_or_default()).into_owned()
    }

    /// Copies the trace to a file that outlives the test, so that the lines of a violation can be examined.
    ///
    /// # Panics
    /// If the trace cannot be copied.
    pub fn keep(&self) -> PathBuf {
        let kept = std::env::temp_dir().join(format!("codex-orchestrator-trace-{}", std::process::id()));
        fs_err::copy(self.trace_path(), &kept).expect("the trace can be copied");
        kept
    }

    fn trace_path(&self) -> PathBuf {
        self.folder.path().join("trace")
    }
}
