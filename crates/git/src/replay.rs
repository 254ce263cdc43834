//! Updates a branch's commits to a new base without a worktree, by merging in memory.
//!
//! Nothing is checked out, so no hook, filter, editor, merge program or attribute has any effect. New objects are created in a
//! separate place and enter the mirror only if everything succeeds. Invariant: a conflict leaves objects and refs unchanged,
//! and only what the new commits need enters the mirror.

use std::io;

use model::ids::ObjectId;
use model::merge::{FileConflict, Merged};
use model::task::UpdateStrategy;
use process::{CommandSpec, RunProgramError, Stdin, Stdout};
use tokio_util::sync::CancellationToken;

use super::commit_object::CommitObject;
use super::fetch_error::FetchError;
use super::incoming::Quarantine;
use super::makers::Signature;
use super::mirror::{Mirror, is_ancestor};
use super::program::{ANSWER_LIMIT_BYTES, GitDir, GitVersion, LONG, answer};

/// The maximum number of commits in a rebase.
const MOST_COMMITS: usize = 1000;

/// The oldest git version that can merge without a worktree.
const OLDEST: GitVersion = GitVersion { major: 2, minor: 38 };

/// Settings for merges, whatever the user's configuration says. No program is called for any file.
const SETTINGS: [(&str, &str); 5] = [
    ("merge.default", "codex-orchestrator-none"),
    ("merge.renames", "true"),
    ("merge.directoryRenames", "conflict"),
    ("merge.renormalize", "false"),
    ("merge.verbosity", "2"),
];

/// A request to update a branch.
#[derive(Debug, Clone, Copy)]
pub struct ReplayRequest<'a> {
    /// The tip of the branch.
    pub head: &'a ObjectId,
    /// The current base. The commits after it belong to the branch.
    pub old_base: &'a ObjectId,
    /// The new base.
    pub base: &'a ObjectId,
    /// The strategy.
    pub strategy: UpdateStrategy,
    /// The message of a merge commit.
    pub message: &'a str,
    /// The committer.
    pub committer: &'a Signature,
    /// The commit time in seconds since 1970.
    pub seconds: i64,
}

/// The result of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    /// The branch already contains the base.
    Current {
        /// The base.
        base: ObjectId,
    },
    /// The new commits are in the mirror, but no ref points to them yet.
    Moved {
        /// The new tip of the branch.
        head: ObjectId,
        /// The number of commits that were dropped because the base already contains their changes.
        dropped: u32,
    },
    /// There are conflicts. Nothing was changed.
    Conflicts(Vec<FileConflict>),
}

/// Why the update could not be attempted. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The branch has too many commits.
    #[error("the branch has {commits} commits; at most {MOST_COMMITS} can be rebased")]
    TooMany {
        /// The number of commits.
        commits: usize,
    },
    /// This git is too old.
    #[error("git {found} cannot merge without a worktree: {OLDEST} or newer is needed")]
    TooOld {
        /// The installed version.
        found: GitVersion,
    },
    /// Git gave an unexpected answer.
    #[error("git gave an unexpected answer when asked for {what}")]
    Unexpected {
        /// What git was asked for.
        what: &'static str,
    },
    /// Git failed.
    #[error(transparent)]
    Program(#[from] RunProgramError),
    /// The contents of files could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Files could not be read or written.
    #[error("could not store the new commits: {0}")]
    Files(#[from] io::Error),
}

impl Mirror {
    /// Returns the files in which two commits conflict, or none if git can merge them. Leaves nothing in the mirror.
    pub async fn conflicts_of(&self, ours: &ObjectId, theirs: &ObjectId) -> Result<Vec<FileConflict>, ReplayError> {
        self.complete(theirs, &CancellationToken::new()).await?;
        Ok(Replay::begin(self)?.merged(ours, theirs).await?.conflicts)
    }

    /// Creates the commits of the updated branch.
    pub async fn replay(&self, request: ReplayRequest<'_>) -> Result<Replayed, ReplayError> {
        let ancestor = |a, b| is_ancestor(self.git().command(GitDir::Mirror(self.path())), a, b);
        let has_it = ancestor(request.base, request.head).await?;
        // A base that moved back lacks commits that the branch started from. A rebase drops these commits, and a merge has
        // nothing to do.
        let went_back = request.base != request.old_base && !ancestor(request.old_base, request.base).await?;
        if has_it && !(went_back && request.strategy == UpdateStrategy::Rebase) {
            let base = if went_back { request.old_base } else { request.base };
            return Ok(Replayed::Current { base: base.clone() });
        }
        if ancestor(request.head, request.base).await? {
            return Ok(Replayed::Moved { head: request.base.clone(), dropped: 0 });
        }
        self.complete(request.base, &CancellationToken::new()).await?;
        let replay = Replay::begin(self)?;
        let made = match request.strategy {
            UpdateStrategy::Rebase => replay.rebase(&request).await?,
            UpdateStrategy::Merge => replay.merge(&request).await?,
        };
        if let Replayed::Moved { head, .. } = &made {
            replay.keep(head, &request).await?;
        }
        Ok(made)
    }
}

/// A place for new objects, separate from the mirror's objects.
struct Replay<'m> {
    mirror: &'m Mirror,
    aside: Quarantine,
}

impl<'m> Replay<'m> {
    fn begin(mirror: &'m Mirror) -> Result<Self, ReplayError> {
        let found = mirror.git().version();
        if found < OLDEST {
            return Err(ReplayError::TooOld { found });
        }
        Ok(Self { mirror, aside: Quarantine::new(mirror.path())? })
    }

    fn command<'a>(&self) -> CommandSpec<'a> {
        let settings = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.aside.inside(self.mirror.git().command_with(GitDir::Mirror(self.mirror.path()), &settings))
    }

    /// Rebases the branch's own commits onto the new base, one after the other.
    async fn rebase(&self, request: &ReplayRequest<'_>) -> Result<Replayed, ReplayError> {
        let own = self.command().args(["rev-list", "--topo-order", "--reverse", "--no-merges", request.head.as_str()]);
        let own = answer(own.args([format!("^{}", request.old_base), format!("^{}", request.base), "--".to_owned()])).await?;
        let own: Vec<ObjectId> = own.lines().filter_map(|line| line.parse().ok()).collect();
        if own.len() > MOST_COMMITS {
            return Err(ReplayError::TooMany { commits: own.len() });
        }
        let mut head = request.base.clone();
        let mut content = self.read(&head).await?.tree().clone();
        let mut dropped = 0;
        for id in own {
            let commit = self.read(&id).await?;
            let before = match commit.parents().first() {
                Some(parent) if *parent == head => {
                    (head, content) = (id, commit.tree().clone());
                    continue;
                }
                Some(parent) => self.read(parent).await?.tree().clone(),
                None => self.empty_tree().await?,
            };
            let merged = self.applied(&before, &content, commit.tree(), request).await?;
            if !merged.conflicts.is_empty() {
                return Ok(Replayed::Conflicts(merged.conflicts));
            }
            // Drop commits that became empty, but keep commits that were already empty.
            if merged.tree == content && *commit.tree() != before {
                dropped += 1;
                continue;
            }
            head = self.write(&commit.on(&merged.tree, &head, request.committer, request.seconds)).await?;
            content = merged.tree;
        }
        Ok(Replayed::Moved { head, dropped })
    }

    async fn merge(&self, request: &ReplayRequest<'_>) -> Result<Replayed, ReplayError> {
        let merged = self.merged(request.head, request.base).await?;
        if !merged.conflicts.is_empty() {
            return Ok(Replayed::Conflicts(merged.conflicts));
        }
        let parents = [request.head.clone(), request.base.clone()];
        let commit = CommitObject::new(&merged.tree, &parents, request.committer, request.seconds, request.message);
        Ok(Replayed::Moved { head: self.write(&commit).await?, dropped: 0 })
    }

    /// Applies the changes between two trees to a third tree. Temporary commits without history tell git the common ancestor.
    async fn applied(
        &self,
        before: &ObjectId,
        content: &ObjectId,
        after: &ObjectId,
        request: &ReplayRequest<'_>,
    ) -> Result<Merged, ReplayError> {
        if before == content {
            return Ok(Merged { tree: after.clone(), conflicts: vec![] });
        }
        let commit = |tree: &ObjectId, parents: &[ObjectId]| {
            CommitObject::new(tree, parents, request.committer, request.seconds, "for a merge\n")
        };
        let ground = [self.write(&commit(before, &[])).await?];
        let ours = self.write(&commit(content, &ground)).await?;
        let theirs = self.write(&commit(after, &ground)).await?;
        self.merged(&ours, &theirs).await
    }

    async fn merged(&self, ours: &ObjectId, theirs: &ObjectId) -> Result<Merged, ReplayError> {
        let command = self.command().args(["merge-tree", "--write-tree", "-z", "--name-only", "--allow-unrelated-histories"]);
        let command = command.args([ours.as_str(), theirs.as_str()]).deadline(LONG);
        let program = self.mirror.git().tool().to_string();
        let told = command.stdout(Stdout::Capture { max: ANSWER_LIMIT_BYTES }).run().await?;
        match told.status.code() {
            Some(0) => Merged::parse_clean(&told.stdout).ok_or(ReplayError::Unexpected { what: "a merge" }),
            Some(1) => Merged::parse_conflicts(&told.stdout).ok_or(ReplayError::Unexpected { what: "a merge" }),
            Some(_) | None => Err(RunProgramError::Failed { program, status: told.status, stderr_tail: told.stderr_tail }.into()),
        }
    }

    async fn read(&self, id: &ObjectId) -> Result<CommitObject, ReplayError> {
        let command = self.command().args(["cat-file", "commit", id.as_str()]);
        let told = command.stdout(Stdout::Capture { max: ANSWER_LIMIT_BYTES }).run_ok().await?;
        CommitObject::parse(told.stdout).ok_or(ReplayError::Unexpected { what: "a commit" })
    }

    async fn write(&self, commit: &CommitObject) -> Result<ObjectId, ReplayError> {
        let command = self.command().args(["hash-object", "-t", "commit", "-w", "--stdin"]);
        let told = answer(command.stdin(Stdin::Bytes(commit.bytes().to_vec()))).await?;
        told.parse().map_err(|_| ReplayError::Unexpected { what: "the ID of a commit" })
    }

    async fn empty_tree(&self) -> Result<ObjectId, ReplayError> {
        let told = answer(self.command().arg("mktree").stdin(Stdin::Bytes(Vec::new()))).await?;
        told.parse().map_err(|_| ReplayError::Unexpected { what: "the ID of a tree" })
    }

    /// Moves what the new commits need into the mirror, as one pack.
    async fn keep(self, head: &ObjectId, request: &ReplayRequest<'_>) -> Result<(), ReplayError> {
        let wanted = format!("{head}\n^{}\n^{}\n", request.head, request.base);
        let command = self.command().args(["pack-objects", "--revs", "--quiet", "--non-empty"]);
        let command = command.arg(self.aside.packs().join("pack")).stdin(Stdin::Bytes(wanted.into_bytes()));
        command.stdout(Stdout::Capture { max: ANSWER_LIMIT_BYTES }).deadline(LONG).run_ok().await?;
        let mirror = self.mirror.path();
        Ok(self.aside.migrate(mirror)?)
    }
}
