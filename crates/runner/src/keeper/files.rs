//! The paths of a run's files. They are stored next to its log, under its number. This module never touches the disk.

use std::path::{Path, PathBuf};

use model::ids::RunNumber;
use model::setup::ServiceName;

/// The paths of a run's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFiles {
    /// The path without an extension, such as `…/logs/run-001`.
    stem: PathBuf,
}

impl RunFiles {
    /// Returns the files of a run in a task's `logs` folder.
    pub fn new(logs: &Path, run: RunNumber) -> Self {
        Self { stem: logs.join(format!("run-{run}")) }
    }

    /// Returns the files of the run that an order is for, or `None` if the path is not that of an order.
    pub(super) fn of_order(order: &Path) -> Option<Self> {
        let name = order.file_name()?.to_str()?.strip_suffix(".order.json")?;
        Some(Self { stem: order.with_file_name(name) })
    }

    fn with(&self, ending: &str) -> PathBuf {
        let mut path = self.stem.clone().into_os_string();
        path.push(ending);
        path.into()
    }

    /// The worker's stdin.
    pub fn prompt(&self) -> PathBuf {
        self.with(".prompt")
    }

    /// The log of the run in the schema of `codex exec --json`: the worker's stdout, byte for byte, unless it is Codex's app server.
    pub fn journal(&self) -> PathBuf {
        self.with(".jsonl")
    }

    /// The messages of Codex's app server, byte for byte, if the run uses it. The log is a translation of them.
    pub fn messages(&self) -> PathBuf {
        self.with(".rpc.jsonl")
    }

    /// The messages that are about to replace those of an ended run.
    pub fn compacted_messages(&self) -> PathBuf {
        self.with(".rpc.new")
    }

    /// The named pipe that is the stdin of Codex's app server.
    pub fn pipe(&self) -> PathBuf {
        self.with(".stdin")
    }

    /// The worker's stderr, byte for byte.
    pub fn stderr(&self) -> PathBuf {
        self.with(".stderr")
    }

    /// The order: what the keeper must do.
    pub fn order(&self) -> PathBuf {
        self.with(".order.json")
    }

    /// The identities of the keeper and the worker.
    pub fn keeper(&self) -> PathBuf {
        self.with(".keeper.json")
    }

    /// How the worker ended.
    pub fn exit(&self) -> PathBuf {
        self.with(".exit.json")
    }

    /// The message for the commit of a run in a container.
    pub fn message(&self) -> PathBuf {
        self.with(".message")
    }

    /// What the commit of the run omits. The commit may be repeated, so this is decided once.
    pub fn omitted(&self) -> PathBuf {
        self.with(".omitted.json")
    }

    /// What the commit of the run omits if it contains none of the agent's own commits.
    pub fn omitted_from_files(&self) -> PathBuf {
        self.with(".omitted-from-files.json")
    }

    /// The paths that the container leaves out of the commit.
    pub fn leave_out(&self) -> PathBuf {
        self.with(".leave-out")
    }

    /// The folder with the logs of the services that run next to the worker.
    pub fn services(&self) -> PathBuf {
        self.with(".services")
    }

    /// The log of a service that runs next to the worker.
    pub fn service_log(&self, name: &ServiceName) -> PathBuf {
        self.services().join(format!("{name}.log"))
    }

    /// The folder for artifacts that the worker can write to while it runs.
    pub fn open_artifacts(&self) -> PathBuf {
        self.with(".artifacts-open")
    }

    /// The folder with the artifacts of the run. No worker can reach it.
    pub fn artifacts(&self) -> PathBuf {
        self.with(".artifacts")
    }

    /// The script of a setup that runs on this machine before the run.
    pub fn setup_script(&self) -> PathBuf {
        self.with(".setup")
    }

    /// The output of this script.
    pub fn setup_log(&self) -> PathBuf {
        self.with(".setup.log")
    }

    /// A lock that the keeper holds while it lives.
    pub fn lock(&self) -> PathBuf {
        self.with(".lock")
    }

    /// The keeper's own messages.
    pub fn complaints(&self) -> PathBuf {
        self.with(".keeper.log")
    }

    /// Returns the folder of these files.
    pub fn folder(&self) -> &Path {
        self.stem.parent().unwrap_or(Path::new("."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_leads_to_the_other_files_of_its_run() {
        let files = RunFiles::new(Path::new("/t/logs"), RunNumber(2));
        assert_eq!(files.journal(), Path::new("/t/logs/run-002.jsonl"));
        assert_eq!(RunFiles::of_order(&files.order()), Some(files));
        assert_eq!(RunFiles::of_order(Path::new("/etc/passwd")), None);
    }
}
