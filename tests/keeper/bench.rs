//! A run on disk whose worker is a script of the test, and the keepers that tests start for it.
//!
//! All processes with the run's mark are killed when the bench is dropped, even if the test has failed.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use durable::write_atomically;
use model::ids::{Attempt, RunNumber, TaskId};
use process::{ProcessIdentity, Signal, processes_with_environment};
use runner::keeper::{ExitRecord, KeeperOrder, KeeperRecord, KeeperState, RunFiles, observe};
use tokio::process::{Child, Command};

use crate::BINARY;

/// The time limit of every wait, far longer than needed.
const LIMIT: Duration = Duration::from_mins(1);

/// How often to check for a file that a script creates.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The time limit of a run in tests that are not about time limits.
const LONG: Duration = Duration::from_mins(2);

/// The duration of each stage of a stop. Scripts that clean up need a fraction of it.
pub(crate) const STOP_GRACE: Duration = Duration::from_millis(500);

/// A run on disk.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
    pub(crate) files: RunFiles,
    pub(crate) order: KeeperOrder,
}

impl Bench {
    /// Creates a run whose worker is this shell script.
    pub(crate) fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be created");
        let program = folder.path().join("worker.sh");
        fs_err::write(&program, script).expect("the test's folder is writable");
        let task_id = fs_err::read_to_string("/proc/sys/kernel/random/uuid").expect("the kernel has ids");
        let files = RunFiles::new(folder.path(), RunNumber::FIRST);
        fs_err::write(files.prompt(), "the prompt").expect("the test's folder is writable");
        let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).expect("the duration is in range");
        let order = KeeperOrder {
            schema: model::SCHEMA,
            task_id: task_id.trim().parse::<TaskId>().expect("the kernel's ids are UUIDs"),
            run: RunNumber::FIRST,
            attempt: Attempt::FIRST,
            program: "/bin/sh".into(),
            args: vec![program.display().to_string(), "an argument".to_owned()],
            directory: folder.path().to_owned(),
            time_limit_ms: milliseconds(LONG),
            turn_end_grace_ms: milliseconds(LONG),
            stop_grace_ms: milliseconds(STOP_GRACE),
            cleanup: None,
            sessions: None,
            app_server: None,
            notes: vec![],
        };
        Self { folder, files, order }
    }

    /// Returns the path of a file that the script creates under this name.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces the prompt with a pipe. The keeper opens the prompt before it starts the worker, so it waits until `open_prompt`.
    pub(crate) fn hold_before_the_worker(&self) {
        fs_err::remove_file(self.files.prompt()).expect("the bench has written the prompt");
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
        rustix::fs::mknodat(rustix::fs::CWD, self.files.prompt(), kind, mode, 0).expect("the pipe can be created");
    }

    /// Lets a keeper that waits before starting its worker continue.
    pub(crate) fn open_prompt(&self) {
        match fs_err::write(self.files.prompt(), "the prompt") {
            // A worker may end before it reads its prompt.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            written => written.expect("the keeper opens the prompt"),
        }
    }

    /// Starts a keeper for the run.
    pub(crate) fn start(&self) -> Child {
        let order = serde_json::to_vec(&self.order).expect("the order can be written as JSON");
        // Write the order atomically, like a server, because other keepers may be reading it.
        write_atomically(&self.files.order(), &order).expect("written");
        let complaints = fs_err::File::options().create(true).append(true).open(self.files.complaints()).expect("made");
        let mut keeper = Command::new(BINARY);
        keeper.arg("keeper").arg(self.files.order()).env_clear().env("PATH", "/usr/bin:/bin").env("ORCH_RUN", self.mark());
        keeper.stdin(Stdio::null()).stdout(Stdio::null()).stderr(complaints.into_parts().0);
        keeper.spawn().expect("the binary can be started")
    }

    /// Starts a keeper and waits until the script has created this file and the keeper has recorded the worker.
    pub(crate) async fn start_until(&self, file: &str) -> Child {
        let keeper = self.start();
        appears(&self.file(file)).await;
        // The script can create the file before the keeper writes its record.
        let look = async {
            while self.record().worker.is_none() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(LIMIT, look).await.expect("the worker is recorded");
        keeper
    }

    /// Starts a keeper, waits until it ends, and returns its exit record.
    pub(crate) async fn held(&self) -> ExitRecord {
        self.ended(self.start()).await
    }

    /// Waits until a keeper ends, and returns its exit record.
    pub(crate) async fn ended(&self, keeper: Child) -> ExitRecord {
        let status = gone(keeper).await;
        assert!(status.success(), "{status}: {}", self.complaints());
        let state = self.state();
        let KeeperState::Gone { record: Some(_), exit: Some(exit) } = state else { panic!("{state:?}: {}", self.complaints()) };
        exit
    }

    /// Returns the state of the keeper.
    pub(crate) fn state(&self) -> KeeperState {
        observe(&self.files, self.order.attempt).expect("the keeper can be observed")
    }

    /// Returns the record of a live keeper.
    pub(crate) fn record(&self) -> KeeperRecord {
        let state = self.state();
        let KeeperState::Alive(record) = state else { panic!("{state:?}: {}", self.complaints()) };
        record
    }

    /// Returns the worker's output.
    pub(crate) fn journal(&self) -> String {
        fs_err::read_to_string(self.files.journal()).expect("the keeper has created the log")
    }

    /// Returns the keepers' messages on stderr.
    pub(crate) fn complaints(&self) -> String {
        fs_err::read_to_string(self.files.complaints()).unwrap_or_default()
    }

    /// Returns all processes with the run's mark.
    pub(crate) fn marked(&self) -> Vec<ProcessIdentity> {
        processes_with_environment("ORCH_RUN", &self.mark()).expect("/proc can be read")
    }

    fn mark(&self) -> String {
        format!("{}/{}/{}", self.order.task_id, self.order.run.0, self.order.attempt.0)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for process in self.marked() {
            // The process may have ended in the meantime.
            process.signal(Signal::KILL).ok();
        }
    }
}

/// Waits until a process ends.
pub(crate) async fn gone(mut child: Child) -> ExitStatus {
    let ended = tokio::time::timeout(LIMIT, child.wait()).await;
    ended.expect("the process ends in time").expect("the process can be waited for")
}

/// Waits until a file exists and contains a line end, which means that it is complete.
pub(crate) async fn appears(path: &Path) -> String {
    let look = async {
        loop {
            match fs_err::read_to_string(path) {
                Ok(text) if text.ends_with(['\n', '}']) => return text,
                Ok(_) | Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    };
    let shown = path.display();
    tokio::time::timeout(LIMIT, look).await.unwrap_or_else(|_| panic!("{shown} did not appear"))
}

/// Returns the process whose ID a script wrote to a file.
pub(crate) async fn written_process(path: &Path) -> ProcessIdentity {
    let pid = appears(path).await.trim().parse().expect("the file contains a process ID");
    ProcessIdentity::of(pid).expect("/proc can be read").expect("the process is running")
}
