//! Repacks a mirror: its packs and loose objects become one pack, and unneeded objects are deleted after a grace period.
//!
//! The long part writes new packs, deletes no object and needs no lock, so fetches and new worktrees continue. Deletion needs
//! the writer's lock and yields: as soon as another writer waits, git is stopped and nothing changes. Invariant: an object is
//! deleted only if every repack during a whole grace period found it unreachable.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use process::is_open;
use process::{CommandSpec, RunProgramError};
use tokio_util::sync::CancellationToken;

use super::admin::ignore_missing;
use super::locks::half_packs;
use super::mirror::Mirror;
use super::needed::Needs;
use super::objects::{CountObjectsError, ObjectFiles};
use super::program::{GitDir, GitVersion};

/// The oldest git version that stores unreachable objects in a separate pack, with a time for each object.
const CRUFT_PACKS: GitVersion = GitVersion { major: 2, minor: 37 };

/// The time limit of a step.
const LIMIT: Duration = Duration::from_hours(4);

/// How many times deletion is attempted if it has to yield.
const ATTEMPTS: usize = 3;

/// A file whose modification time is the start of the last repack.
const REPACKED: &str = "codex-orchestrator-repacked";

/// The number of packs at which git lookups become noticeably slower.
const MANY_PACKS: usize = 20;

/// The number of packs at which a repack no longer waits until no task runs. Every run leaves a pack, and a busy server may
/// never be idle.
const VERY_MANY_PACKS: usize = 100;

/// The number of loose objects at which a repack is worthwhile.
const MANY_LOOSE: usize = 4000;

/// How long objects that a fetch dropped may wait for a repack, if there is no other reason for one.
const OVERDUE: Duration = Duration::from_hours(7 * 24);

/// Settings for a repack: git leaves processors to the runs, writes no files that only help to serve clones, and does not
/// search for deltas of large files, which takes minutes and much memory and rarely finds any.
const SETTINGS: [(&str, &str); 3] = [("pack.threads", "1"), ("repack.writeBitmaps", "false"), ("core.bigFileThreshold", "8m")];

/// How unreachable objects are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpacked {
    /// In a cruft pack.
    Cruft,
    /// As loose objects, for git before 2.37.
    Loose,
}

/// A function that collects what needs objects. It is called again just before objects are deleted.
pub type CollectNeeds = Arc<dyn Fn() -> io::Result<Needs> + Send + Sync>;

/// A request to repack a mirror.
#[derive(Clone)]
pub struct RepackRequest {
    /// The current time.
    pub now: SystemTime,
    /// How long an object must have been unreachable before it is deleted.
    pub grace: Duration,
    /// What needs objects besides the mirror's refs and worktrees.
    pub needs: CollectNeeds,
    /// How to store unreachable objects. If this is not set, it depends on the version of git.
    pub unpacked: Option<Unpacked>,
    /// Cancels the repack. Nothing is lost.
    pub cancel: CancellationToken,
}

/// What happened to objects whose grace period is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pruning {
    /// There were no such objects.
    NothingExpired,
    /// The objects were deleted.
    Done,
    /// The objects still exist, because other work on the mirror was waiting.
    GaveWay,
    /// The objects still exist, because it is not known which of them this repository borrows.
    Withheld(PathBuf),
}

/// The result of a repack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repacked {
    /// The size of the mirror's objects before the repack, in bytes.
    pub before: u64,
    /// The size of the mirror's objects after the repack, in bytes.
    pub after: u64,
    /// What happened to objects whose grace period is over.
    pub pruning: Pruning,
}

/// Why a mirror was not repacked. No object was lost.
#[derive(Debug, thiserror::Error)]
pub enum RepackError {
    /// Git failed.
    #[error(transparent)]
    Program(#[from] RunProgramError),
    /// Files could not be read or written.
    #[error("could not repack the mirror: {0}")]
    Files(#[from] io::Error),
}

impl From<CountObjectsError> for RepackError {
    fn from(error: CountObjectsError) -> Self {
        match error {
            CountObjectsError::Program(error) => Self::Program(error),
            CountObjectsError::Files(error) => Self::Files(error),
        }
    }
}

/// A step under the writer's lock.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Create refs for needed objects.
    Name,
    /// Create refs for needed objects, then delete objects whose grace period is over.
    Prune { unpacked: Unpacked, cutoff: SystemTime },
}

impl Mirror {
    /// Repacks the mirror. Repeating the call is harmless, and concurrent calls wait for each other.
    pub async fn repack(&self, request: &RepackRequest) -> Result<Repacked, RepackError> {
        let _turn = self.repack_turn().lock().await;
        let by_version = if self.git().version() >= CRUFT_PACKS { Unpacked::Cruft } else { Unpacked::Loose };
        let unpacked = request.unpacked.unwrap_or(by_version);
        let cutoff = request.now.checked_sub(request.grace).unwrap_or(SystemTime::UNIX_EPOCH);
        let before = self.object_files().await?.bytes;
        // Delete refs that are no longer needed first, so that the grace period of their objects starts now. If this step
        // yields, the period starts with the next repack.
        self.locked(request, Step::Name).await?;
        let known = half_packs(self.path())?;
        if let Err(error) = self.gather(request, unpacked).await {
            let _writer = self.writer().await;
            self.remove_half_packs(known).await;
            return Err(error);
        }
        let mut pruning = Pruning::GaveWay;
        for _ in 0..ATTEMPTS {
            pruning = self.locked(request, Step::Prune { unpacked, cutoff }).await?;
            if pruning != Pruning::GaveWay || request.cancel.is_cancelled() {
                break;
            }
        }
        self.forget_count();
        Ok(Repacked { before, after: self.object_files().await?.bytes, pruning })
    }

    /// Whether a repack is worthwhile: there are many packs or loose objects, objects whose grace period is over, or changes
    /// but no repack for a week.
    pub async fn wants_repack(&self, now: SystemTime, grace: Duration) -> Result<bool, RepackError> {
        let cutoff = now.checked_sub(grace).unwrap_or(SystemTime::UNIX_EPOCH);
        let files = self.object_files().await?;
        if files.packs.len() >= MANY_PACKS || files.loose.len() >= MANY_LOOSE || self.expired(&files, cutoff).await? > 0 {
            return Ok(true);
        }
        let changed = |name: &str| fs_err::metadata(self.path().join(name)).and_then(|found| found.modified()).ok();
        let Some(repacked) = changed(REPACKED).or_else(|| changed("config")) else { return Ok(false) };
        let is_overdue = now.duration_since(repacked).is_ok_and(|since| since >= OVERDUE);
        let is_newer = |name: &&str| changed(name).is_some_and(|time| time > repacked);
        let is_changed = !files.loose.is_empty() || ["packed-refs", "refs/heads", "objects/pack"].iter().any(is_newer);
        Ok(is_overdue && is_changed)
    }

    /// Whether there are so many packs that every git command is slow.
    pub async fn has_very_many_packs(&self) -> Result<bool, RepackError> {
        Ok(self.object_files().await?.packs.len() >= VERY_MANY_PACKS)
    }

    /// Writes a pack of all reachable objects, and moves the rest aside. Deletes no object, so it needs no lock.
    async fn gather(&self, request: &RepackRequest, unpacked: Unpacked) -> Result<(), RepackError> {
        let (mirror, now) = (self.path().to_owned(), request.now);
        let marker = mirror.join(format!("{REPACKED}.new"));
        let half = marker.clone();
        let touched = tokio::task::spawn_blocking(move || {
            File::create(&half)?.set_modified(now)?;
            touch(&mirror, now)
        });
        touched.await.map_err(io::Error::other)??;
        let how: &[&str] = match unpacked {
            Unpacked::Cruft => &["-a", "-d", "--cruft"],
            Unpacked::Loose => &["-A", "-d"],
        };
        self.repack_command(&["repack", "--quiet"]).args(how).cancel(request.cancel.clone()).run_ok().await?;
        fs_err::rename(marker, self.path().join(REPACKED))?;
        Ok(())
    }

    /// Performs a step under the writer's lock, unless another writer waits for it.
    async fn locked(&self, request: &RepackRequest, step: Step) -> Result<Pruning, RepackError> {
        // While the lock is held, no ref moves, and no worktree is created or removed.
        let (_writer, other_waits) = self.gate().yielding_writer().await;
        let known = half_packs(self.path())?;
        let cancel = request.cancel.child_token();
        let performed = self.perform(request, step, &cancel);
        let mut performed = std::pin::pin!(performed);
        let ended = tokio::select! {
            ended = &mut performed => ended,
            () = other_waits.cancelled() => {
                cancel.cancel();
                performed.await
            }
        };
        if !matches!(ended, Ok(Pruning::NothingExpired | Pruning::Done)) {
            self.remove_half_packs(known).await;
        }
        match ended {
            Err(RepackError::Program(RunProgramError::Cancelled { .. })) if !request.cancel.is_cancelled() => {
                Ok(Pruning::GaveWay)
            }
            ended => ended,
        }
    }

    /// Removes temporary packs that a cancelled git left, which can be as large as the repository. The caller holds the
    /// writer's lock; an agent's own git may still be writing.
    async fn remove_half_packs(&self, known: Vec<PathBuf>) {
        let mirror = self.path().to_owned();
        let removed = tokio::task::spawn_blocking(move || {
            for half in half_packs(&mirror)?.into_iter().filter(|half| !known.contains(half)) {
                if !is_open(&half)? {
                    ignore_missing(fs_err::remove_file(half))?;
                }
            }
            Ok::<_, io::Error>(())
        });
        if let Err(error) = removed.await.map_err(io::Error::other).flatten() {
            tracing::warn!(mirror = %self.path().display(), %error, "could not remove temporary packs; retrying at the next start");
        }
    }

    /// Creates refs for needed objects, then deletes objects whose grace period is over.
    async fn perform(&self, request: &RepackRequest, step: Step, cancel: &CancellationToken) -> Result<Pruning, RepackError> {
        let collect = Arc::clone(&request.needs);
        let collected = cancel.run_until_cancelled(tokio::task::spawn_blocking(move || collect())).await;
        let Some(collected) = collected else { return Ok(Pruning::GaveWay) };
        let mut needs = collected.map_err(io::Error::other)??;
        let unlisted = needs.unlisted.take();
        self.name_needed(needs, cancel).await?;
        let Step::Prune { unpacked, cutoff } = step else { return Ok(Pruning::NothingExpired) };
        // In a partial mirror, git counts an object as unreachable if the remote has it, too, even if a task's branch needs it.
        if self.is_partial() {
            return Ok(Pruning::NothingExpired);
        }
        let files = self.object_files().await?;
        let has_expired = match unpacked {
            Unpacked::Cruft => self.expired(&files, cutoff).await? > 0,
            Unpacked::Loose => has_older(&files, cutoff)?,
        };
        match (has_expired, unlisted) {
            (false, _) => return Ok(Pruning::NothingExpired),
            (true, Some(unlisted)) => return Ok(Pruning::Withheld(unlisted)),
            (true, None) => {}
        }
        let seconds = cutoff.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let date = format!("@{seconds} +0000");
        let command = match unpacked {
            Unpacked::Cruft => {
                let command = self.repack_command(&["repack", "--quiet", "-a", "-d", "--cruft"]);
                let kept = files.packs.iter().filter_map(|pack| pack.file_name()).map(|name| {
                    let mut option = OsString::from("--keep-pack=");
                    option.push(name);
                    option
                });
                command.arg(format!("--cruft-expiration={date}")).args(kept)
            }
            Unpacked::Loose => self.repack_command(&["prune"]).arg(format!("--expire={date}")),
        };
        command.cancel(cancel.clone()).run_ok().await?;
        Ok(Pruning::Done)
    }

    fn repack_command<'a>(&self, arguments: &[&str]) -> CommandSpec<'a> {
        let settings = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.git().command_with(GitDir::Mirror(self.path()), &settings).args(arguments).deadline(LIMIT)
    }
}

/// Sets the time of all objects to now, except those that an earlier repack found unreachable. If git now finds an object
/// unreachable, its grace period starts at this time; otherwise, it would start when the object was written.
fn touch(mirror: &Path, now: SystemTime) -> io::Result<()> {
    let files = ObjectFiles::list(mirror)?;
    let last = fs_err::metadata(mirror.join(REPACKED)).and_then(|marker| marker.modified()).ok();
    let is_new = |path: &Path| -> io::Result<bool> {
        let Some(last) = last else { return Ok(true) };
        Ok(fs_err::metadata(path)?.modified()? > last)
    };
    for path in &files.packs {
        give_time(path, now)?;
    }
    for path in &files.loose {
        match is_new(path) {
            Ok(true) => give_time(path, now)?,
            Ok(false) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Sets the time of a file, unless the file has disappeared.
fn give_time(path: &Path, now: SystemTime) -> io::Result<()> {
    // Objects are read-only, but their owner may set their times.
    ignore_missing(File::open(path).and_then(|file| file.set_modified(now)))
}

fn has_older(files: &ObjectFiles, cutoff: SystemTime) -> io::Result<bool> {
    for path in &files.loose {
        match fs_err::metadata(path).and_then(|found| found.modified()) {
            Ok(time) if time < cutoff => return Ok(true),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}
