//! Searches the logs of a task's runs for commands that installed something.
//!
//! Secrets are masked before a command is parsed, so that none can be proposed.

use std::io::Read as _;
use std::path::PathBuf;

use durable::blocking;
use memchr::memmem;
use model::codex::{CodexEvent, Installs, Item, ItemKind, Line, LineContent, LineSplitter};
use model::ids::RunNumber;
use model::problem::Problem;
use process::Redactor;
use runner::keeper::RunFiles;

use super::tasks::{TaskSlot, Tasks};

/// How many bytes of all logs of a task are searched.
const MOST_BYTES: u64 = 128 << 20;

/// How much of a log is read at once, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// What agents installed.
pub(crate) struct FoundInstalls {
    /// The commands.
    pub(crate) installs: Installs,
    /// Whether all logs were searched.
    pub(crate) is_complete: bool,
}

impl Tasks {
    /// Returns what the agents of a task installed in all of its runs so far, or in one of them.
    pub(crate) async fn installs(&self, slot: &TaskSlot, only: Option<RunNumber>) -> Result<FoundInstalls, Problem> {
        let (folder, task) = (self.home.layout.logs(slot.id), slot.record());
        let runs = task.runs.iter().map(|run| run.number).filter(|run| only.is_none_or(|only| only == *run));
        let logs: Vec<_> = runs.map(|run| (run, RunFiles::new(&folder, run).journal())).collect();
        let redactor = self.redaction.redactor(slot.env_id);
        let found = blocking(move || search(&logs, &redactor)).await;
        found.map_err(|error| Problem::internal(format!("could not search the logs of the task: {error}")))
    }
}

/// Searches logs. Blocks.
fn search(logs: &[(RunNumber, PathBuf)], redactor: &Redactor) -> std::io::Result<FoundInstalls> {
    let mut found = FoundInstalls { installs: Installs::default(), is_complete: true };
    let mut left = MOST_BYTES;
    for (run, path) in logs {
        let file = match fs_err::File::open(path) {
            // A run that has not started has no log.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            file => file?,
        };
        let length = file.metadata()?.len();
        found.is_complete &= length <= left;
        let mut log = file.take(left);
        let mut splitter = LineSplitter::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = log.read(&mut chunk)?;
            if read == 0 {
                break;
            }
            splitter.feed(&chunk[..read], |line| observe(&mut found.installs, *run, &line, redactor));
        }
        left = left.saturating_sub(length);
    }
    Ok(found)
}

fn observe(installs: &mut Installs, run: RunNumber, line: &Line<'_>, redactor: &Redactor) {
    let LineContent::Whole(bytes) = line.content else { return };
    if memmem::find(bytes, b"command_execution").is_none() {
        return;
    }
    let masked = redactor.mask(&String::from_utf8_lossy(bytes)).into_owned();
    if let CodexEvent::ItemCompleted(Item { kind: ItemKind::CommandExecution(command), .. }) =
        CodexEvent::parse(masked.as_bytes())
    {
        installs.observe(run, &command);
    }
}
