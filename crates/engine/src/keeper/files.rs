//! What a run has on disk, all beside its journal and under its number.
//! Paths only: nothing in here touches the disk.

use std::path::{Path, PathBuf};

use model::ids::RunNumber;

/// The paths of one run's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFiles {
    /// `…/logs/run-001`, without an ending.
    stem: PathBuf,
}

impl RunFiles {
    /// The files of a run in a task's `logs` folder.
    pub fn new(logs: &Path, run: RunNumber) -> Self {
        Self { stem: logs.join(format!("run-{run}")) }
    }

    /// The files of the run that an order is for. None if the path is not that of an order.
    pub(super) fn of_order(order: &Path) -> Option<Self> {
        let name = order.file_name()?.to_str()?.strip_suffix(".order.json")?;
        Some(Self { stem: order.with_file_name(name) })
    }

    fn with(&self, ending: &str) -> PathBuf {
        let mut path = self.stem.clone().into_os_string();
        path.push(ending);
        path.into()
    }

    /// What the worker reads on stdin.
    pub fn prompt(&self) -> PathBuf {
        self.with(".prompt")
    }

    /// The worker's stdout, byte for byte.
    pub fn journal(&self) -> PathBuf {
        self.with(".jsonl")
    }

    /// The worker's stderr, byte for byte.
    pub fn stderr(&self) -> PathBuf {
        self.with(".stderr")
    }

    /// What the keeper is to do.
    pub fn order(&self) -> PathBuf {
        self.with(".order.json")
    }

    /// Who the keeper and the worker are.
    pub fn keeper(&self) -> PathBuf {
        self.with(".keeper.json")
    }

    /// How the worker ended.
    pub fn exit(&self) -> PathBuf {
        self.with(".exit.json")
    }

    /// What the commit of a run in a container is to say.
    pub fn message(&self) -> PathBuf {
        self.with(".message")
    }

    /// Held by the keeper for as long as it lives.
    pub fn lock(&self) -> PathBuf {
        self.with(".lock")
    }

    /// What the keeper itself had to say.
    pub fn complaints(&self) -> PathBuf {
        self.with(".keeper.log")
    }

    /// The folder that all of them are in.
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
