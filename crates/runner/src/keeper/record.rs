//! Records that the server and the keeper write for each other: the order, the identity of the keeper, and the end of the run.
//!
//! Each file is written atomically and names its attempt. None of them contains a secret: the environment of a run is passed
//! from process to process, never through the disk.

use std::io;
use std::path::{Path, PathBuf};

use durable::write_atomically;
use jiff::Timestamp;
use model::codex::Exit;
use model::ids::{Attempt, RunNumber, TaskId};
use process::ProcessIdentity;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::spec::{Limits, RunKey};
use crate::worker::{AppServerCall, Cleanup, SessionFolder, WorkerCall};

/// Instructions for a keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeeperOrder {
    /// The schema version of this file.
    pub schema: u32,
    /// The task.
    pub task_id: TaskId,
    /// The run of the task.
    pub run: RunNumber,
    /// The attempt.
    pub attempt: Attempt,
    /// The worker's program.
    pub program: PathBuf,
    /// The arguments of the worker's program.
    pub args: Vec<String>,
    /// The worktree, where the worker starts.
    pub directory: PathBuf,
    /// The time limit of the run, in milliseconds.
    pub time_limit_ms: u64,
    /// How long the worker may linger after its turn has ended, in milliseconds.
    pub turn_end_grace_ms: u64,
    /// How long a stopped worker gets after SIGINT, and again after SIGTERM, in milliseconds.
    pub stop_grace_ms: u64,
    /// The folder of Codex's sessions, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<SessionFolder>,
    /// The program that ends what the worker may leave behind and no signal reaches. Only orders for containers have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleanup: Option<Cleanup>,
    /// How to start Codex's app server instead of the program with its arguments, if the run uses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_server: Option<AppServerCall>,
    /// Notes about the worker for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl KeeperOrder {
    /// Creates the order for an attempt of a run.
    pub fn new(key: RunKey, limits: Limits, call: &WorkerCall, directory: &Path) -> Self {
        Self {
            schema: model::SCHEMA,
            task_id: key.task,
            run: key.run,
            attempt: key.attempt,
            program: call.program.clone(),
            args: call.args.clone(),
            directory: directory.to_owned(),
            time_limit_ms: limits.run_ms,
            turn_end_grace_ms: limits.turn_end_grace_ms,
            stop_grace_ms: limits.stop_grace_ms,
            sessions: call.sessions.clone(),
            cleanup: call.cleanup.clone(),
            app_server: call.app_server.clone(),
            notes: call.notes.clone(),
        }
    }
}

/// The identity of a run's keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeeperRecord {
    /// The schema version of this file.
    pub schema: u32,
    /// The attempt.
    pub attempt: Attempt,
    /// The keeper's process.
    pub keeper: ProcessIdentity,
    /// The worker's process, once it has started.
    pub worker: Option<ProcessIdentity>,
    /// When the worker started, or was about to start.
    pub started_at: Timestamp,
    /// The length of the log when Codex's app server started, in bytes. The rest of the log is a translation of its messages. `None` if
    /// the worker writes the log itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub translated_from: Option<u64>,
}

/// How a worker ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WorkerEnd {
    /// The worker exited.
    Code {
        /// The exit code of the worker.
        code: i32,
    },
    /// A signal ended the worker.
    Signal {
        /// The signal's number.
        signal: i32,
    },
    /// The keeper ended the worker at the time limit.
    TimeLimit,
    /// The keeper ended the worker because it lingered after the end of its turn.
    Grace,
    /// The worker could not be started.
    NeverStarted {
        /// The error of the failed start.
        reason: String,
    },
}

/// The end of a run. Written after all its processes have ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// The schema version of this file.
    pub schema: u32,
    /// The attempt.
    pub attempt: Attempt,
    /// When the worker started, if it did.
    pub started_at: Option<Timestamp>,
    /// When the run ended.
    pub finished_at: Timestamp,
    /// How the worker ended.
    pub ending: WorkerEnd,
    /// Whether a stop was requested.
    pub stop_requested: bool,
    /// Whether the log, the session and the work were on the disk before this was written. The field is missing in records of
    /// earlier versions.
    #[serde(default)]
    pub work_on_disk: bool,
    /// Why Codex's app server could not be used, if `codex exec` ran instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unusable_app_server: Option<String>,
    /// Whether the keeper could not translate all messages of Codex's app server into the log.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub log_is_incomplete: bool,
}

impl ExitRecord {
    /// Returns the exit code, if the worker exited normally.
    pub fn code(&self) -> Option<i32> {
        match self.ending {
            WorkerEnd::Code { code } => Some(code),
            WorkerEnd::Signal { .. } | WorkerEnd::TimeLimit | WorkerEnd::Grace | WorkerEnd::NeverStarted { .. } => None,
        }
    }

    /// Converts the ending to the form in which the run's outcome uses it.
    pub fn exit(&self) -> Exit {
        match &self.ending {
            WorkerEnd::Code { code } => Exit::Code(*code),
            WorkerEnd::Signal { signal } => Exit::Signal(*signal),
            WorkerEnd::TimeLimit => Exit::TimeLimit,
            WorkerEnd::Grace => Exit::Grace,
            WorkerEnd::NeverStarted { reason } => Exit::NeverStarted(reason.clone()),
        }
    }
}

/// Reads a record. Returns `None` if the file is missing, and an error of kind `InvalidData` if it is malformed.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs_err::read(path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| {
            let what = format!("could not parse `{}`: {error}", path.display());
            io::Error::new(io::ErrorKind::InvalidData, what)
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a record atomically.
pub(super) fn write<T: Serialize>(path: &Path, record: &T) -> io::Result<()> {
    write_atomically(path, &serde_json::to_vec(record)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(ending: WorkerEnd) -> ExitRecord {
        let finished_at = "2026-01-02T03:04:05Z".parse().expect("a time");
        ExitRecord {
            schema: 1,
            attempt: Attempt::FIRST,
            started_at: None,
            finished_at,
            ending,
            stop_requested: true,
            work_on_disk: true,
            unusable_app_server: None,
            log_is_incomplete: false,
        }
    }

    #[test]
    fn every_ending_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run-001.exit.json");
        for (ending, said, code) in [
            (WorkerEnd::Code { code: 3 }, Exit::Code(3), Some(3)),
            (WorkerEnd::Signal { signal: 9 }, Exit::Signal(9), None),
            (WorkerEnd::TimeLimit, Exit::TimeLimit, None),
            (WorkerEnd::Grace, Exit::Grace, None),
            (WorkerEnd::NeverStarted { reason: "why".to_owned() }, Exit::NeverStarted("why".to_owned()), None),
        ] {
            let exit = exit(ending);
            write(&path, &exit).expect("written");
            assert_eq!(read::<ExitRecord>(&path).expect("readable"), Some(exit.clone()));
            assert_eq!((exit.exit(), exit.code()), (said, code));
        }
    }

    #[test]
    fn the_form_of_an_exit_record_stays_what_it_is() {
        let text = serde_json::to_string(&exit(WorkerEnd::Code { code: 3 })).expect("the record can be serialized");
        let expected = r#"{"schema":1,"attempt":1,"started_at":null,"finished_at":"2026-01-02T03:04:05Z","ending":{"kind":"code","code":3},"stop_requested":true,"work_on_disk":true}"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn a_record_that_is_not_there_is_none_and_a_damaged_one_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run-001.exit.json");
        assert_eq!(read::<ExitRecord>(&path).expect("a missing file is accepted"), None);
        fs_err::write(&path, "{\"schema\":1,").expect("written");
        let error = read::<ExitRecord>(&path).expect_err("torn");
        assert!(error.kind() == io::ErrorKind::InvalidData && error.to_string().contains("run-001.exit.json"), "{error}");
    }
}
