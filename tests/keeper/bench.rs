//! One run on disk, with a worker whose script is the test's, and a keeper to be started on it.
//!
//! Whatever carries the run's mark is killed when the bench goes, also when the test has failed.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use engine::exec::process::{ProcessIdentity, Signal, processes_with_environment};
use engine::keeper::{ExitRecord, KeeperRecord, KeeperState, Order, RunFiles, observe};
use engine::store::atomic::write_atomically;
use model::ids::{Attempt, RunNumber, TaskId};
use tokio::process::{Child, Command};

/// Far longer than anything in here takes.
const LIMIT: Duration = Duration::from_mins(1);

/// How often a file is looked for that a script makes.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Longer than a run in here may take, where the test is not about that.
const LONG: Duration = Duration::from_mins(2);

/// How long a stage of the stop protocol takes. Scripts that clean up need a fraction of it.
pub(crate) const STOP_GRACE: Duration = Duration::from_millis(500);

/// One run on disk.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
    pub(crate) files: RunFiles,
    pub(crate) order: Order,
}

impl Bench {
    /// A run whose worker is this shell script.
    pub(crate) fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let program = folder.path().join("worker.sh");
        fs_err::write(&program, script).expect("a test's folder can be written");
        let task_id = fs_err::read_to_string("/proc/sys/kernel/random/uuid").expect("the kernel has ids");
        let files = RunFiles::new(folder.path(), RunNumber::FIRST);
        fs_err::write(files.prompt(), "the prompt").expect("a test's folder can be written");
        let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).expect("a short time");
        let order = Order {
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
            notes: vec![],
        };
        Self { folder, files, order }
    }

    /// A file that the script knows by its name.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes the prompt a pipe: the keeper, which opens it before it starts the worker, waits there until `open_prompt`.
    pub(crate) fn hold_before_the_worker(&self) {
        fs_err::remove_file(self.files.prompt()).expect("the bench has made it");
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
        rustix::fs::mknodat(rustix::fs::CWD, self.files.prompt(), kind, mode, 0).expect("a pipe can be made");
    }

    /// Lets a keeper go on that waits before its worker.
    pub(crate) fn open_prompt(&self) {
        fs_err::write(self.files.prompt(), "the prompt").expect("the keeper reads it");
    }

    /// Starts a keeper.
    pub(crate) fn start(&self) -> Child {
        let order = serde_json::to_vec(&self.order).expect("it has a form");
        // Whole or not at all, as a server does it: other keepers may be reading it.
        write_atomically(&self.files.order(), &order).expect("written");
        let complaints = fs_err::File::options().create(true).append(true).open(self.files.complaints()).expect("made");
        let mut keeper = Command::new(env!("CARGO_BIN_EXE_codex-orchestrator"));
        keeper.arg("keeper").arg(self.files.order()).env_clear().env("PATH", "/usr/bin:/bin").env("ORCH_RUN", self.mark());
        keeper.stdin(Stdio::null()).stdout(Stdio::null()).stderr(complaints.into_parts().0);
        keeper.spawn().expect("the binary can be started")
    }

    /// Starts a keeper and waits until the script has made this file, and the keeper has written the worker down.
    pub(crate) async fn start_until(&self, file: &str) -> Child {
        let keeper = self.start();
        appears(&self.file(file)).await;
        // The script does not wait for the keeper's record.
        let look = async {
            while self.record().worker.is_none() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(LIMIT, look).await.expect("the worker is written down");
        keeper
    }

    /// Holds the run from its beginning to its end.
    pub(crate) async fn held(&self) -> ExitRecord {
        self.ended(self.start()).await
    }

    /// Waits for a keeper's end. Returns its last record.
    pub(crate) async fn ended(&self, keeper: Child) -> ExitRecord {
        let status = gone(keeper).await;
        assert!(status.success(), "{status}: {}", self.complaints());
        let state = self.state();
        let KeeperState::Gone { record: Some(_), exit: Some(exit) } = state else { panic!("{state:?}: {}", self.complaints()) };
        exit
    }

    /// Who holds the run.
    pub(crate) fn state(&self) -> KeeperState {
        observe(&self.files, self.order.attempt).expect("it can be seen")
    }

    /// What a living keeper wrote down.
    pub(crate) fn record(&self) -> KeeperRecord {
        let state = self.state();
        let KeeperState::Alive(record) = state else { panic!("{state:?}: {}", self.complaints()) };
        record
    }

    /// What the worker wrote.
    pub(crate) fn journal(&self) -> String {
        fs_err::read_to_string(self.files.journal()).expect("a keeper has made it")
    }

    /// What keepers said on stderr.
    pub(crate) fn complaints(&self) -> String {
        fs_err::read_to_string(self.files.complaints()).unwrap_or_default()
    }

    /// Everything that carries the run's mark.
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
            // It may have ended in between.
            process.signal(Signal::KILL).ok();
        }
    }
}

/// Waits for a process's end.
pub(crate) async fn gone(mut child: Child) -> ExitStatus {
    let ended = tokio::time::timeout(LIMIT, child.wait()).await;
    ended.expect("it ends in time").expect("our own child can be waited for")
}

/// Waits until a file is there that has an end of line: whoever writes it has written it whole.
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

/// The process whose number a script wrote into a file.
pub(crate) async fn written_process(path: &Path) -> ProcessIdentity {
    let pid = appears(path).await.trim().parse().expect("a process's number");
    ProcessIdentity::of(pid).expect("/proc can be read").expect("it lives when the test asks for it")
}
