//! Brings a branch's commits up to another base, without a worktree: merges in memory, and commits made from what they come to.
//!
//! Nothing is checked out, so that no hook, filter, editor, merge program or attribute has a say. What is made is made aside, and
//! reaches the mirror only when all of it went well. Invariant: a conflict leaves objects and refs as they were, and what goes in is
//! what the new commits need and nothing else.

use std::io;

use model::ids::ObjectId;
use model::merge::{FileConflict, Merged};
use model::task::UpdateStrategy;

use super::commit_object::CommitObject;
use super::incoming::Quarantine;
use super::mirror::Mirror;
use super::program::{ANSWER_LIMIT_BYTES, GitVersion, LONG, Place, answer};
use super::snapshot::{Signature, is_ancestor};
use crate::exec::{CommandSpec, RunProgramError, Stdin, Stdout};

/// The most commits that are made anew, one after the other.
const MOST_COMMITS: usize = 1000;

/// The oldest git that merges without a worktree.
const OLDEST: GitVersion = GitVersion { major: 2, minor: 38 };

/// How merges go, whatever a configuration prefers. No program is called for any file.
const SETTINGS: [(&str, &str); 5] = [
    ("merge.default", "codex-orchestrator-none"),
    ("merge.renames", "true"),
    ("merge.directoryRenames", "conflict"),
    ("merge.renormalize", "false"),
    ("merge.verbosity", "2"),
];

/// What to bring where.
#[derive(Debug, Clone, Copy)]
pub struct ReplayRequest<'a> {
    /// Where the branch is.
    pub head: &'a ObjectId,
    /// What it was based on: the commits after that are its own.
    pub old_base: &'a ObjectId,
    /// What it is to be based on.
    pub base: &'a ObjectId,
    /// How.
    pub strategy: UpdateStrategy,
    /// The message of a commit that merges.
    pub message: &'a str,
    /// Who commits.
    pub committer: &'a Signature,
    /// When, in seconds since 1970.
    pub seconds: i64,
}

/// What it came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    /// The branch has all of the base already.
    Current {
        /// What it builds on.
        base: ObjectId,
    },
    /// These commits are in the mirror now; no ref leads to them yet.
    Moved {
        /// Where the branch is to be.
        head: ObjectId,
        /// How many commits are left out, since the base has what they did.
        dropped: u32,
    },
    /// Git cannot do it alone. Nothing was changed.
    Conflicts(Vec<FileConflict>),
}

/// It could not be tried. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// There are more commits than are made anew.
    #[error("the branch has {commits} commits of its own, and at most {MOST_COMMITS} are made anew")]
    TooMany {
        /// How many there are.
        commits: usize,
    },
    /// This git cannot do it.
    #[error("git {found} cannot merge without a worktree: {OLDEST} or newer is needed")]
    TooOld {
        /// What is installed.
        found: GitVersion,
    },
    /// Git answered something that makes no sense.
    #[error("git answered something that makes no sense to the question for {what}")]
    Unexpected {
        /// What was asked for.
        what: &'static str,
    },
    /// Git could not do its part.
    #[error(transparent)]
    Program(#[from] RunProgramError),
    /// Files could not be read or written.
    #[error("could not make room for new commits: {0}")]
    Files(#[from] io::Error),
}

impl Mirror {
    /// The files in which two commits conflict; none if git can merge them. Nothing is left in the mirror.
    pub async fn conflicts_of(&self, ours: &ObjectId, theirs: &ObjectId) -> Result<Vec<FileConflict>, ReplayError> {
        Ok(Replay::begin(self)?.merged(ours, theirs).await?.conflicts)
    }

    /// Makes the commits of a branch that is up to its base.
    pub async fn replay(&self, request: ReplayRequest<'_>) -> Result<Replayed, ReplayError> {
        let ancestor = |a, b| is_ancestor(self.git().command(Place::Mirror(self.path())), a, b);
        let has_it = ancestor(request.base, request.head).await?;
        // A base that went back has less than the branch was made from: a rebase leaves that out, and there is nothing to merge.
        let went_back = request.base != request.old_base && !ancestor(request.old_base, request.base).await?;
        if has_it && !(went_back && request.strategy == UpdateStrategy::Rebase) {
            let base = if went_back { request.old_base } else { request.base };
            return Ok(Replayed::Current { base: base.clone() });
        }
        if ancestor(request.head, request.base).await? {
            return Ok(Replayed::Moved { head: request.base.clone(), dropped: 0 });
        }
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

/// Work aside of the mirror's objects.
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
        self.aside.inside(self.mirror.git().command_with(Place::Mirror(self.mirror.path()), &settings))
    }

    /// Each of the branch's own commits, one after the other, on the new base.
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
            // What became empty is left out; what was empty before says something by being there.
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

    /// What leads from one tree to another, done to a third. Commits of no history at all tell git what the common ground is.
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
            Some(code @ (0 | 1)) => Merged::parse(&told.stdout, code == 1).ok_or(ReplayError::Unexpected { what: "a merge" }),
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
        told.parse().map_err(|_| ReplayError::Unexpected { what: "the id of a commit" })
    }

    async fn empty_tree(&self) -> Result<ObjectId, ReplayError> {
        let told = answer(self.command().arg("mktree").stdin(Stdin::Bytes(Vec::new()))).await?;
        told.parse().map_err(|_| ReplayError::Unexpected { what: "the id of a tree" })
    }

    /// Gives the mirror what the new commits need, as one pack.
    async fn keep(self, head: &ObjectId, request: &ReplayRequest<'_>) -> Result<(), ReplayError> {
        let wanted = format!("{head}\n^{}\n^{}\n", request.head, request.base);
        let command = self.command().args(["pack-objects", "--revs", "--quiet", "--non-empty"]);
        let command = command.arg(self.aside.packs().join("pack")).stdin(Stdin::Bytes(wanted.into_bytes()));
        command.stdout(Stdout::Capture { max: ANSWER_LIMIT_BYTES }).deadline(LONG).run_ok().await?;
        let mirror = self.mirror.path();
        Ok(self.aside.migrate(mirror)?)
    }
}
