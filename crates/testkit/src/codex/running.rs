//! A running Codex: reads its lines as they arrive, interrupts it, and waits for its end.
//!
//! Codex is killed when its value is dropped. No method waits longer than [`LIMIT`], so that a test fails instead of hanging.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;

use super::Outcome;

/// A time limit that is far longer than any scripted run takes.
const LIMIT: Duration = Duration::from_secs(90);

/// A Codex run that may still be active.
#[derive(Debug)]
pub struct RunningCodex {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    stdout: String,
    stderr: JoinHandle<String>,
}

impl RunningCodex {
    pub(super) async fn spawn(mut command: Command, prompt: &str) -> Self {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = piped.spawn().expect("the installed Codex starts");
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let mut stderr = child.stderr.take().expect("stderr is a pipe");
        let mut stdin = child.stdin.take().expect("stdin is a pipe");
        // Ignore the error: a Codex that fails early does not read the prompt, and its exit code and stderr say more.
        stdin.write_all(prompt.as_bytes()).await.ok();
        let stderr = tokio::spawn(async move {
            let mut bytes = Vec::new();
            stderr.read_to_end(&mut bytes).await.expect("a pipe can be read");
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Self { child, lines: BufReader::new(stdout).lines(), stdout: String::new(), stderr }
    }

    /// Waits for the next event of this type, such as `item.started`.
    ///
    /// # Panics
    /// If Codex exits without such an event or prints nothing for too long.
    pub async fn until(&mut self, kind: &str) -> Value {
        while let Some(line) = self.next_line().await {
            match serde_json::from_str::<Value>(&line) {
                Ok(event) if event["type"] == kind => return event,
                Ok(_) | Err(_) => {}
            }
        }
        panic!("Codex ended without `{kind}`:\n{}", self.stdout)
    }

    /// Sends SIGINT to Codex. Codex then ends its commands and exits.
    pub fn interrupt(&self) {
        let id = self.child.id().expect("Codex has not been waited for");
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw).expect("the process ID is valid");
        kill_process(pid, Signal::INT).expect("our own child can be signalled");
    }

    /// Waits for Codex to end.
    pub async fn end(mut self) -> Outcome {
        while self.next_line().await.is_some() {}
        let waiting = async { (self.child.wait().await, self.stderr.await) };
        let (status, stderr) = within(waiting).await;
        Outcome {
            exit_code: status.expect("our own child can be waited for").code(),
            stdout: self.stdout,
            stderr: stderr.expect("reading stderr does not panic"),
        }
    }

    async fn next_line(&mut self) -> Option<String> {
        let line = within(self.lines.next_line()).await.expect("Codex prints UTF-8")?;
        self.stdout.push_str(&line);
        self.stdout.push('\n');
        Some(line)
    }
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    let Ok(done) = tokio::time::timeout(LIMIT, work).await else { panic!("Codex printed nothing for {LIMIT:?}") };
    done
}
