//! Takes an agent's work in: a bundle that came out of its container becomes commits of the task's branch.
//!
//! Whatever lies in the folder was written by an agent. It is opened without following links, its size is bounded, and its
//! objects are checked aside from the mirror's own. It moves exactly the task's branch, forwards only, and never looks at the
//! worktree. Invariant: what is refused leaves the mirror's objects and refs as they were.

use std::io;
use std::path::Path;

use model::bundle::{BundleError, HarvestReport, ReportError};
use model::ids::ObjectId;

use super::admin;
use super::fetch::telling_lines;
use super::incoming::{Bundle, Incoming, Quarantine};
use super::message::RunTrailers;
use super::program::{LONG, Place, answer, branch_ref};
use super::snapshot::{Snapshot, SnapshotError, is_ancestor};
use super::worktree::Worktree;
use crate::exec::{CommandSpec, RunProgramError, Stdin};

/// Larger files are checked piece by piece, without being held in memory.
const STREAMED_FROM: &str = "64m";

/// The most memory that git asks for at once. Few bytes of a pack can claim to become any number.
const ALLOCATION_LIMIT: &str = "1g";

/// What to take in.
#[derive(Debug, Clone, Copy)]
pub struct ImportRequest<'a> {
    /// The folder with what came out of the container: `result`, and `bundle` if there is something new.
    pub out: &'a Path,
    /// Where the branch was when the run began. What comes in must build on it.
    pub since: &'a ObjectId,
    /// Which run it was, to tell its commit from the agent's own.
    pub trailers: RunTrailers<'a>,
    /// The largest bundle that is taken.
    pub limit_bytes: u64,
    /// Where the agent's repository keeps large files.
    pub lfs_objects: &'a Path,
}

/// Work could not be taken in. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The harvest left no such file.
    #[error("the harvest left no `{file}`")]
    Missing {
        /// Which file.
        file: &'static str,
    },
    /// It is a link, a folder or something that only looks like a file.
    #[error("the harvest's `{file}` is no plain file: it was not opened")]
    NotAPlainFile {
        /// Which file.
        file: &'static str,
    },
    /// It is larger than is taken.
    #[error("the harvest's `{file}` has {size} bytes, and at most {limit} are taken")]
    TooLarge {
        /// Which file.
        file: &'static str,
        /// How large it is.
        size: u64,
        /// How much is taken.
        limit: u64,
    },
    /// The report means nothing.
    #[error("the harvest's `result` was refused: {0}")]
    Report(#[from] ReportError),
    /// The header of the bundle means nothing, or it brings something else.
    #[error("the bundle was refused: {0}")]
    Bundle(#[from] BundleError),
    /// The bundle builds on a commit that is not there.
    #[error("the bundle was refused: it builds on {commit}, which the mirror does not have")]
    UnknownPrerequisite {
        /// The commit.
        commit: ObjectId,
    },
    /// The bundle brings another commit than the report says.
    #[error("the bundle was refused: it brings {found}, and the harvest's `result` says {expected}")]
    WrongHead {
        /// What it brings.
        found: ObjectId,
        /// What was said.
        expected: ObjectId,
    },
    /// Its objects are broken, or would do harm in a worktree.
    #[error("the bundle's objects were refused: {words}")]
    BadObjects {
        /// What git said.
        words: String,
    },
    /// Objects are missing that what is in it needs.
    #[error("the bundle was refused, since it is not complete: {words}")]
    Incomplete {
        /// What git said.
        words: String,
    },
    /// What it brings is no commit.
    #[error("the bundle was refused: {id} is no commit")]
    NotACommit {
        /// What it brings.
        id: ObjectId,
    },
    /// The commits do not build on what the branch has: taking them in would lose something.
    #[error("the work was refused: {head} does not build on {tip}, which the branch has already")]
    NotADescendant {
        /// What comes in.
        head: ObjectId,
        /// What is there.
        tip: ObjectId,
    },
    /// The worktree's own records could not be brought along.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Git could not do its part.
    #[error(transparent)]
    Program(#[from] RunProgramError),
    /// Files could not be read or written.
    #[error("could not take the work in: {0}")]
    Files(#[from] io::Error),
}

impl ImportError {
    /// Whether the reason is in what came out. A harvest of the worktree's content alone may still be taken then.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Missing { .. }
            | Self::NotAPlainFile { .. }
            | Self::TooLarge { .. }
            | Self::Report(_)
            | Self::Bundle(_)
            | Self::UnknownPrerequisite { .. }
            | Self::WrongHead { .. }
            | Self::BadObjects { .. }
            | Self::Incomplete { .. }
            | Self::NotACommit { .. }
            | Self::NotADescendant { .. } => true,
            Self::Snapshot(_) | Self::Program(_) | Self::Files(_) => false,
        }
    }
}

impl Worktree {
    /// Takes the harvest of a run in. For when no process of the run is left. Doing it twice is harmless.
    pub async fn import(&self, request: ImportRequest<'_>) -> Result<Snapshot, ImportError> {
        let branch = branch_ref(&self.branch);
        let Incoming { report, bundle } = self.read_incoming(&request, &branch).await?;
        let missing = self.take_large_files(&request).await?;
        let (tip, prerequisites) = self.what_is_known(&branch, bundle.as_ref()).await?;
        admin::clear_locks(self.mirror.path(), &self.admin, &self.branch)?;
        let head = report.head.clone();
        let head = if tip.as_ref() == Some(&head) {
            head
        } else if let Some(bundle) = bundle {
            if let Some(commit) = prerequisites {
                return Err(ImportError::UnknownPrerequisite { commit });
            }
            self.take_in(bundle, &head, &request, tip.as_ref()).await?;
            head
        } else if let Some(tip) = tip.filter(|_| head == *request.since) {
            tip
        } else {
            return Err(ImportError::Missing { file: "bundle" });
        };
        self.bring_along(&head).await?;
        let commit = self.is_commit_of(&head, &request).await?.then(|| head.clone());
        let HarvestReport { dropped: dropped_gitlinks, unreadable, mut notes, .. } = report;
        notes.extend(missing);
        Ok(Snapshot { commit, head, dropped_gitlinks, unreadable, notes })
    }

    /// Before the branch moves: a commit in the mirror has its large files.
    async fn take_large_files(&self, request: &ImportRequest<'_>) -> io::Result<Vec<String>> {
        let (from, mirror) = (request.lfs_objects.to_owned(), self.mirror.path().to_owned());
        let taken = tokio::task::spawn_blocking(move || super::lfs::take_objects(&from, &mirror)).await;
        taken.map_err(io::Error::other)?
    }

    async fn read_incoming(&self, request: &ImportRequest<'_>, branch: &str) -> Result<Incoming, ImportError> {
        let (out, branch, limit) = (request.out.to_owned(), branch.to_owned(), request.limit_bytes);
        let read = tokio::task::spawn_blocking(move || Incoming::read(&out, &branch, limit)).await;
        read.map_err(io::Error::other)?
    }

    /// Where the branch is, and the first commit that a bundle builds on and the mirror does not have.
    async fn what_is_known(
        &self,
        branch: &str,
        bundle: Option<&Bundle>,
    ) -> Result<(Option<ObjectId>, Option<ObjectId>), RunProgramError> {
        let needed = bundle.map_or(&[][..], |bundle| &bundle.prerequisites);
        let mut names = vec![branch.to_owned()];
        names.extend(needed.iter().map(ObjectId::to_string));
        let mut commits = self.mirror.commits_of(&names).await?.into_iter();
        let tip = commits.next().flatten();
        let unknown = needed.iter().zip(commits).find(|(_, known)| known.is_none());
        Ok((tip, unknown.map(|(id, _)| id.clone())))
    }

    /// Checks all that a bundle brings; then gives it to the mirror and moves the branch.
    async fn take_in(
        &self,
        bundle: Bundle,
        head: &ObjectId,
        request: &ImportRequest<'_>,
        tip: Option<&ObjectId>,
    ) -> Result<(), ImportError> {
        let quarantine = Quarantine::new(self.mirror.path())?;
        self.unpack(bundle, &quarantine, request.limit_bytes).await?;
        let kind = answer(self.checking(&quarantine).args(["cat-file", "-t", head.as_str()])).await;
        if kind.map_err(|error| refused(error, |words| ImportError::Incomplete { words }))? != "commit" {
            return Err(ImportError::NotACommit { id: head.clone() });
        }
        let walk = self.checking(&quarantine).args(["rev-list", "--objects", "--quiet", head.as_str(), "--not", "--all"]);
        walk.deadline(LONG).run_ok().await.map_err(|error| refused(error, |words| ImportError::Incomplete { words }))?;
        for known in std::iter::once(request.since).chain(tip.filter(|tip| *tip != request.since)) {
            if !is_ancestor(self.checking(&quarantine), known, head).await? {
                return Err(ImportError::NotADescendant { head: head.clone(), tip: known.clone() });
            }
        }
        let _writer = self.mirror.writer().await;
        quarantine.migrate(self.mirror.path())?;
        Ok(self.move_branch(head, tip).await?)
    }

    /// Puts the objects aside, each of them checked.
    async fn unpack(&self, bundle: Bundle, quarantine: &Quarantine, limit_bytes: u64) -> Result<(), ImportError> {
        let settings = [("core.bigFileThreshold".to_owned(), STREAMED_FROM.to_owned())];
        let command = self.mirror.git().command_with(Place::Mirror(self.mirror.path()), &settings);
        let command = quarantine.inside(command).args(["index-pack", "--stdin", "--fix-thin", "--strict"]);
        let command = command.arg(format!("--max-input-size={limit_bytes}")).env("GIT_ALLOC_LIMIT", ALLOCATION_LIMIT);
        let done = command.stdin(Stdin::File(bundle.pack)).deadline(LONG).run_ok().await;
        done.map(drop).map_err(|error| refused(error, |words| ImportError::BadObjects { words }))
    }

    fn checking<'a>(&self, quarantine: &Quarantine) -> CommandSpec<'a> {
        quarantine.inside(self.mirror.git().command(Place::Mirror(self.mirror.path())))
    }

    /// Lets HEAD and index of the trusted administration follow the branch, without a look at the worktree's files.
    async fn bring_along(&self, head: &ObjectId) -> Result<(), ImportError> {
        self.stand_on_branch().await?;
        let read_tree = || self.mirror.git().command(self.place()).args(["read-tree", "--reset", head.as_str()]);
        if let Err(error) = read_tree().run_ok().await {
            tracing::warn!(%error, "could not update a worktree's index; creating a new one");
            admin::ignore_missing(fs_err::remove_file(self.admin.join("index")))?;
            read_tree().run_ok().await?;
        }
        Ok(admin::clear_unfinished(&self.admin)?)
    }

    /// Whether this is the commit of what the run left uncommitted, and not one of the agent's own.
    async fn is_commit_of(&self, head: &ObjectId, request: &ImportRequest<'_>) -> Result<bool, RunProgramError> {
        if head == request.since {
            return Ok(false);
        }
        let object = self.mirror.git().command(Place::Mirror(self.mirror.path())).args(["cat-file", "commit", head.as_str()]);
        let object = answer(object).await?;
        Ok(object.split_once("\n\n").is_some_and(|(_, message)| request.trailers.are_in(message)))
    }
}

/// What git found wrong with objects, in its own words; any other failure is none of theirs.
fn refused(error: RunProgramError, kind: impl FnOnce(String) -> ImportError) -> ImportError {
    match error {
        RunProgramError::Failed { stderr_tail, .. } => kind(telling_lines(&stderr_tail)),
        RunProgramError::NotFound { .. }
        | RunProgramError::DirectoryMissing { .. }
        | RunProgramError::Spawn { .. }
        | RunProgramError::Io { .. }
        | RunProgramError::TimedOut { .. }
        | RunProgramError::Cancelled { .. }
        | RunProgramError::OutputTooLarge { .. } => ImportError::Program(error),
    }
}
