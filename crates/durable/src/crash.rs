//! Crash points: named moments at which recovery from a kill is hard, so that tests can kill the process there.
//!
//! `ORCH_CRASH_AT=name` kills the process when it first reaches the point, and `name:3` the third time. Release builds ignore
//! the variable. Invariant: a crash point does nothing else, so the state afterwards is the same as after a real kill.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The variable that selects a point.
const VARIABLE: &str = "ORCH_CRASH_AT";

/// The crash point that kills this process, and how often the process must reach it.
static WHERE: OnceLock<Option<(CrashPoint, u32)>> = OnceLock::new();

/// How often this process has reached the crash point.
static TIMES: AtomicU32 = AtomicU32::new(0);

macro_rules! crash_points {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A moment at which recovery from a kill is hard.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum CrashPoint {
            $($(#[$doc])* $name,)*
        }

        impl CrashPoint {
            /// All points.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns the name of the point.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

crash_points! {
    /// A repository's record is written, but its clone has not started.
    EnvironmentRecorded = "environment-recorded",
    /// A mirror is complete, but its record does not say so.
    Cloned = "cloned",
    /// A task's folder exists, but its record does not.
    TaskFolderMade = "task-folder-made",
    /// A task is on disk, but no response was sent.
    TaskRecorded = "task-recorded",
    /// The images of a follow-up or a resumed run are on disk, but no record names them.
    ImagesWritten = "images-written",
    /// A record is written, but none of its effects has started.
    RecordWritten = "record-written",
    /// Git knows a worktree, but it has no files.
    WorktreeAdded = "worktree-added",
    /// A worktree for a later task has its files, but is not available yet.
    WorktreeMade = "worktree-made",
    /// A prepared worktree belongs to a task, but is not at its place.
    PreparedTaken = "prepared-taken",
    /// The files of a prepared worktree are at their place, but their index is not.
    PreparedMoved = "prepared-moved",
    /// A worktree has its files, but is not marked as complete.
    WorktreeCheckedOut = "worktree-checked-out",
    /// A worktree is complete, but the record does not say so.
    Prepared = "prepared",
    /// A keeper's order is written, but the keeper was not started.
    OrderWritten = "order-written",
    /// A keeper supervises the run, but the record does not say so.
    KeeperStarted = "keeper-started",
    /// The result of a setup is complete, and its snapshot has no name yet.
    SetUp = "set-up",
    /// A snapshot that nobody needs has lost its name, and its files are still there.
    SnapshotDiscarded = "snapshot-discarded",
    /// The layers from before a refresh of a task's environment are deleted, but this is not recorded.
    LayersDiscarded = "layers-discarded",
    /// A run has ended, but the server has not processed its result.
    RunEnded = "run-ended",
    /// A run's work is committed, but its record does not say so.
    Committed = "committed",
    /// A branch is pushed, but its record does not say so.
    Pushed = "pushed",
    /// A pull request is open, but its record does not say so.
    PullRequestOpened = "pull-request-opened",
    /// What the commit of a run omits is decided, but nothing is exported yet.
    OmissionDecided = "omission-decided",
    /// The work in a container is exported to a bundle, but not imported yet.
    Harvested = "harvested",
    /// The artifacts of a run are copied, but the folder of its container still exists.
    ArtifactsKept = "artifacts-kept",
    /// An update of a task's branch is recorded, but nothing is moved.
    UpdateRecorded = "update-recorded",
    /// A task's branch is updated to its base, but its worktree is not.
    BranchMoved = "branch-moved",
    /// A worktree is updated, but its index and the record are not.
    FilesMoved = "files-moved",
    /// A task's branch and worktree are updated to its base, but the record does not say so.
    Landed = "landed",
    /// A task is in the trash, but the mirror still contains its branch and worktree.
    TaskInTrash = "task-in-trash",
    /// A task's branch and worktree were removed from its mirror, but this is not recorded.
    WorktreeRetired = "worktree-retired",
    /// A task's branch is restored in its mirror, but its folder is still in the trash.
    BranchRestored = "branch-restored",
    /// A task's folder is restored, but no response was sent.
    TaskBack = "task-back",
    /// A repository is in the trash, but no response was sent.
    EnvironmentInTrash = "environment-in-trash",
    /// A notification was sent, but this is not recorded.
    NoticeSent = "notice-sent",
    /// Notifications held in quiet hours were sent, but this is not recorded.
    HeldTold = "held-told",
    /// A keeper has recorded its identity, but has not started its worker.
    KeeperRecorded = "keeper-recorded",
    /// A worker runs, but its keeper has not recorded its process.
    WorkerStarted = "worker-started",
    /// Codex's app server has sent a message, but it is not translated into the log.
    MessageReceived = "message-received",
    /// Codex's app server has answered, but no thread is requested.
    AppServerAnswered = "app-server-answered",
    /// Codex's app server has started the turn, but its keeper has done nothing since.
    TurnAccepted = "turn-accepted",
    /// The turn of an app server has ended, but the server still runs.
    TurnOver = "turn-over",
    /// A worker has ended, but its keeper has not recorded how.
    WorkerEnded = "worker-ended",
}

/// Reads which crash point kills this process. Only debug builds do this.
pub fn arm(variable: impl Fn(&str) -> Option<String>) {
    if cfg!(debug_assertions) {
        WHERE.get_or_init(|| variable(VARIABLE).and_then(|text| parse(&text)));
    }
}

fn parse(text: &str) -> Option<(CrashPoint, u32)> {
    let (name, time) = text.split_once(':').unwrap_or((text, "1"));
    let point = CrashPoint::ALL.iter().find(|point| point.as_str() == name)?;
    Some((*point, time.parse().ok()?))
}

/// Kills this process, if this is the selected point.
pub fn point(here: CrashPoint) {
    if let Some(Some((point, time))) = WHERE.get()
        && *point == here
        && TIMES.fetch_add(1, Ordering::SeqCst) + 1 == *time
    {
        // Kill the process without flushing or printing anything, like a kill from outside.
        let killed = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        tracing::error!(?killed, "could not kill this process at its crash point");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_named_with_its_time() {
        assert_eq!(parse("committed"), Some((CrashPoint::Committed, 1)));
        assert_eq!(parse("record-written:12"), Some((CrashPoint::RecordWritten, 12)));
        for text in ["", "nowhere", "committed:x", "committed:"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn no_name_comes_twice() {
        let mut names: Vec<_> = CrashPoint::ALL.iter().map(|point| point.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CrashPoint::ALL.len());
    }
}
