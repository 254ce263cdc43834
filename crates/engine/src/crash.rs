//! Crash points: the moments at which a kill is the hardest to survive, by name, so that tests can kill there.
//!
//! `ORCH_CRASH_AT=name` kills the process the first time that it comes there, `name:3` the third time. Programs that are built for
//! use have none of it. Invariant: a point does nothing but kill, so that what follows is what a real kill leaves.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The variable that says where.
const VARIABLE: &str = "ORCH_CRASH_AT";

/// Where this process is to be killed.
static WHERE: OnceLock<Option<(CrashPoint, u32)>> = OnceLock::new();

/// How often it came there.
static TIMES: AtomicU32 = AtomicU32::new(0);

macro_rules! crash_points {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A moment at which a kill is hard to survive.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum CrashPoint {
            $($(#[$doc])* $name,)*
        }

        impl CrashPoint {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

crash_points! {
    /// An environment's record is written, and its clone has not begun.
    EnvironmentRecorded = "environment-recorded",
    /// A mirror is complete, and its record does not say so.
    Cloned = "cloned",
    /// A task's folder is there, and its record is not.
    TaskFolderMade = "task-folder-made",
    /// A task is on disk, and nobody was told.
    TaskRecorded = "task-recorded",
    /// The images of another prompt are on disk, and no record names them.
    ImagesWritten = "images-written",
    /// A record is written, and nothing of what follows from it was begun.
    RecordWritten = "record-written",
    /// A worktree is known to git, and has no files.
    WorktreeAdded = "worktree-added",
    /// A worktree has its files, and nothing says that it is complete.
    WorktreeCheckedOut = "worktree-checked-out",
    /// A worktree is complete, and the record does not say so.
    Prepared = "prepared",
    /// A keeper has its order, and was not started.
    OrderWritten = "order-written",
    /// A keeper holds the run, and the record does not say so.
    KeeperStarted = "keeper-started",
    /// A run has ended, and nothing was made of it.
    RunEnded = "run-ended",
    /// A run's work is committed, and its record does not say so.
    Committed = "committed",
    /// A branch is on its remote, and its record does not say so.
    Pushed = "pushed",
    /// A pull request is open, and its record does not say so.
    PullRequestOpened = "pull-request-opened",
    /// A container's work is a bundle, and nothing of it was taken in.
    Harvested = "harvested",
    /// A task's branch is up to its base, and its worktree is not.
    BranchMoved = "branch-moved",
    /// A worktree has followed its branch, and neither its index nor the record says so.
    FilesMoved = "files-moved",
    /// A task's branch and worktree are up to its base, and the record does not say so.
    Landed = "landed",
    /// A task is in the trash, and its mirror still knows it.
    TaskInTrash = "task-in-trash",
    /// A task's branch and worktree are out of its mirror, and nothing says so.
    WorktreeRetired = "worktree-retired",
    /// A task's branch is back in its mirror, and its folder is in the trash.
    BranchRestored = "branch-restored",
    /// A task's folder is back, and nobody was told.
    TaskBack = "task-back",
    /// An environment is in the trash, and nobody was told.
    EnvironmentInTrash = "environment-in-trash",
    /// What was held in quiet hours is told, and nothing says so.
    HeldTold = "held-told",
    /// A keeper has written down who it is, and started nothing.
    KeeperRecorded = "keeper-recorded",
    /// A worker runs, and its keeper has not written down which process it is.
    WorkerStarted = "worker-started",
    /// A worker has ended, and its keeper has not written down how.
    WorkerEnded = "worker-ended",
}

/// Reads where this process is to be killed, if it was built for tests and is to be at all.
pub(crate) fn arm(variable: impl Fn(&str) -> Option<String>) {
    if cfg!(debug_assertions) {
        WHERE.get_or_init(|| variable(VARIABLE).and_then(|text| parse(&text)));
    }
}

fn parse(text: &str) -> Option<(CrashPoint, u32)> {
    let (name, time) = text.split_once(':').unwrap_or((text, "1"));
    let point = CrashPoint::ALL.iter().find(|point| point.as_str() == name)?;
    Some((*point, time.parse().ok()?))
}

/// Kills this process, if it is to be killed here.
pub(crate) fn point(here: CrashPoint) {
    if let Some(Some((point, time))) = WHERE.get()
        && *point == here
        && TIMES.fetch_add(1, Ordering::SeqCst) + 1 == *time
    {
        // As an outsider would, with nothing flushed and nothing said.
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
