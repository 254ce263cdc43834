//! Moves a task's branch to a different commit between two runs, together with its worktree: refs, files, index, and git's
//! files about the worktree.
//!
//! The plan is recorded first. If the server is killed at any step, the move is either finished later or has never started.
//! Uncommitted changes stay. Invariant: no uncommitted file is overwritten, and every commit that the branch ever had stays
//! reachable.

use std::io;

use durable::crash::{self, CrashPoint};
use durable::write_atomically;
use model::commit::{Choices, PathText};
use model::ids::ObjectId;
use process::{RunProgramError, Stdin, Stdout};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::admin;
use super::changes::{Change, Changes, in_the_way};
use super::decision::Decision;
use super::mirror::{Mirror, is_ancestor};
use super::program::{GitDir, answer, branch_ref};
use super::snapshot_error::SnapshotError;
use super::staging::{Staged, Staging};
use super::twin::base_ref;
use super::worktree::Worktree;

/// The file with the plan, next to git's files about the worktree.
const INTENT: &str = "codex-orchestrator-landing";

/// The maximum number of files that an error or a note lists.
const FILES_NAMED: usize = 20;

/// A branch update: the old tip, the new tip and the new base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Landing {
    /// The ID of the task, under which the mirror keeps the old commits.
    pub task: String,
    /// The current tip.
    pub from: ObjectId,
    /// The new tip.
    pub to: ObjectId,
    /// The new base.
    pub base: ObjectId,
    /// Files in the worktree that the new tip contains, because somebody decided to commit them.
    #[serde(default)]
    pub committed: Vec<PathText>,
    /// A note that the caller gets back after an interruption.
    pub note: serde_json::Value,
}

/// Why a branch was not moved. Nothing was changed, unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum LandError {
    /// The branch is not at the expected commit.
    #[error("the branch was moved in the meantime")]
    Moved,
    /// An operation is in progress in the worktree, or a different commit is checked out.
    #[error("cannot update the branch in this worktree: {why}")]
    Unsettled {
        /// The reason, such as an unfinished operation.
        why: String,
    },
    /// Uncommitted files would be overwritten.
    #[error("uncommitted files are in the way: {}", named(files))]
    InTheWay {
        /// The files.
        files: Vec<String>,
    },
    /// Git rejected the move in a trial run that changes nothing.
    #[error("git cannot write the new files to the worktree: {0}")]
    Refused(RunProgramError),
    /// The worktree could not be read.
    #[error(transparent)]
    Worktree(#[from] SnapshotError),
    /// Git failed.
    #[error(transparent)]
    Program(#[from] RunProgramError),
    /// Files could not be read or written.
    #[error("could not move the branch: {0}")]
    Files(#[from] io::Error),
}

/// Lists the first files for an error or a note, and how many more there are.
pub fn named(files: &[String]) -> String {
    let few: Vec<_> = files.iter().take(FILES_NAMED).map(|file| format!("`{file}`")).collect();
    match files.len().saturating_sub(FILES_NAMED) {
        0 => few.join(", "),
        more => format!("{} and {more} more", few.join(", ")),
    }
}

impl Worktree {
    /// Moves the branch. Call this only if no process of the task runs, and call [`Worktree::landed`] once the result is
    /// recorded.
    pub async fn land(&self, landing: &Landing) -> Result<(), LandError> {
        admin::ensure_head(&self.admin, &branch_ref(&self.branch))?;
        admin::clear_locks(self.mirror.path(), &self.admin, &self.branch)?;
        if let Some(begun) = admin::begun(&self.admin) {
            return Err(LandError::Unsettled { why: format!("`{begun}` shows that an operation is in progress") });
        }
        let head = admin::head(&self.admin)?;
        if head != format!("ref: {}", branch_ref(&self.branch)) {
            return Err(LandError::Unsettled { why: format!("`{head}` is checked out") });
        }
        let ready = if landing.from == landing.to { None } else { Some(self.look(landing).await?) };
        self.mirror.sync().await?;
        self.put_intent(landing)?;
        if let Err(error) = self.move_refs(landing).await {
            self.landed()?;
            return Err(error);
        }
        crash::point(CrashPoint::BranchMoved);
        if let Some((staging, staged, changes)) = ready {
            self.move_files(staging, &staged.tree, &changes, &landing.to).await?;
        }
        Ok(admin::mark_ready(&self.admin, &landing.base)?)
    }

    /// Continues an interrupted move. Returns the caller's note if the branch was moved.
    pub async fn finish_landing(&self) -> Result<Option<serde_json::Value>, LandError> {
        let Some(landing) = intent(&self.admin)? else { return Ok(None) };
        let Some(tip) = self.mirror.resolve_branch(&self.branch).await? else {
            self.landed()?;
            return Ok(None);
        };
        if tip == landing.from && landing.from != landing.to {
            // The move was never started.
            self.landed()?;
            return Ok(None);
        }
        if tip == landing.to && landing.from != landing.to {
            admin::clear_locks(self.mirror.path(), &self.admin, &self.branch)?;
            let staging = Staging::begin(self, &landing.from).await?;
            let staged = self.stage_for(&staging, &landing).await?;
            let changes = Changes::between(self, &landing.from, &landing.to).await?;
            self.keep_leftovers(&landing, &staged.tree, &changes).await?;
            self.move_files(staging, &staged.tree, &changes, &landing.to).await?;
        } else if !is_ancestor(self.mirror.git().command(GitDir::Mirror(self.mirror.path())), &landing.to, &tip).await? {
            // Somebody has moved the branch since.
            self.landed()?;
            return Ok(None);
        } else {
            // Only the base had to move, or somebody has added commits since.
            self.move_base(&landing).await?;
        }
        admin::mark_ready(&self.admin, &landing.base)?;
        Ok(Some(landing.note))
    }

    /// Deletes the plan of a move whose result is recorded everywhere.
    pub fn landed(&self) -> io::Result<()> {
        admin::ignore_missing(fs_err::remove_file(self.admin.join(INTENT)))
    }

    /// Whether a move was started and not finished.
    pub fn is_landing(&self) -> io::Result<bool> {
        Ok(intent(&self.admin)?.is_some())
    }

    /// Stages the worktree without generated folders, unless the new tip contains them.
    async fn stage_for(&self, staging: &Staging<'_>, landing: &Landing) -> Result<Staged, SnapshotError> {
        let choices = Choices { commit: landing.committed.clone(), ..Choices::default() };
        staging.stage(std::slice::from_ref(&landing.from), &Decision { file: None, choices: &choices, secrets: None }).await
    }

    fn put_intent(&self, landing: &Landing) -> io::Result<()> {
        write_atomically(&self.admin.join(INTENT), &serde_json::to_vec(landing)?)
    }

    /// Compares the worktree with the planned changes. Fails if uncommitted changes would be lost.
    async fn look(&self, landing: &Landing) -> Result<(Staging<'_>, Staged, Changes), LandError> {
        let staging = Staging::begin(self, &landing.from).await?;
        let staged = self.stage_for(&staging, landing).await?;
        if staged.had_conflicts {
            return Err(LandError::Unsettled { why: "there are unresolved conflicts".to_owned() });
        }
        if let Some(words) = staged.unreadable.first() {
            return Err(LandError::Unsettled { why: words.clone() });
        }
        let changes = Changes::between(self, &landing.from, &landing.to).await?;
        let uncommitted = Changes::between(self, &landing.from, &staged.tree).await?;
        for note in &staged.notes {
            tracing::warn!(task = landing.task, note, "checked a worktree before updating its branch");
        }
        let too_large = staged.kept_back.iter().filter(|path| changes.0.contains_key(*path));
        let too_large: Vec<_> = too_large.map(|path| String::from_utf8_lossy(path).into_owned()).collect();
        if !too_large.is_empty() {
            return Err(LandError::InTheWay { files: too_large });
        }
        let (tree, changes) = (self.tree.clone(), changes);
        let looked = tokio::task::spawn_blocking(move || {
            let found = in_the_way(&tree, &changes, &uncommitted);
            (found, changes)
        });
        let (found, changes) = looked.await.map_err(io::Error::other)?;
        let files = found?;
        if !files.is_empty() {
            return Err(LandError::InTheWay { files });
        }
        self.rehearse(&staging, &staged.tree, &changes, &landing.to).await.map_err(|error| match error {
            LandError::Program(error @ RunProgramError::Failed { .. }) => LandError::Refused(error),
            other => other,
        })?;
        Ok((staging, staged, changes))
    }

    /// Tries everything that [`Self::move_files`] does, without writing.
    async fn rehearse(
        &self,
        staging: &Staging<'_>,
        content: &ObjectId,
        changes: &Changes,
        to: &ObjectId,
    ) -> Result<(), LandError> {
        let wanted = self.with_changes(staging, changes).await?;
        let command = staging.writing_command().args(["read-tree", "--dry-run", "-m", "-u", "--no-recurse-submodules"]);
        command.args([content.as_str(), wanted.as_str()]).run_ok().await?;
        staging.command().args(["read-tree", "--dry-run", "--reset", to.as_str()]).run_ok().await?;
        Ok(())
    }

    /// Updates the branch, its base, and the ref that keeps the old commit, in one transaction.
    async fn move_refs(&self, landing: &Landing) -> Result<(), LandError> {
        let Landing { task, from, to, base, .. } = landing;
        let branch = branch_ref(&self.branch);
        let mut moves = vec![format!("update {} {base}\n", base_ref(task))];
        if from != to {
            moves.push(format!("update {branch} {to} {from}\nupdate {} {from}\n", kept_ref(task, from)));
        }
        let _writer = self.mirror.writer().await;
        let command = self.mirror.git().command(GitDir::Mirror(self.mirror.path())).args(["update-ref", "--stdin", "-m"]);
        let command = command.arg("codex-orchestrator: updated to its base").stdin(Stdin::Bytes(moves.concat().into_bytes()));
        match command.run_ok().await {
            Ok(_) => Ok(()),
            Err(error) => match self.mirror.resolve_branch(&self.branch).await? {
                Some(tip) if tip == *from => Err(error.into()),
                Some(_) | None => Err(LandError::Moved),
            },
        }
    }

    async fn move_base(&self, landing: &Landing) -> Result<(), RunProgramError> {
        let command = self.mirror.git().command(GitDir::Mirror(self.mirror.path())).arg("update-ref");
        command.args([base_ref(&landing.task).as_str(), landing.base.as_str()]).run_ok().await.map(drop)
    }

    /// Writes the changed files, and sets the index to the new commit. Everything else in the worktree stays.
    async fn move_files(
        &self,
        staging: Staging<'_>,
        content: &ObjectId,
        changes: &Changes,
        to: &ObjectId,
    ) -> Result<(), LandError> {
        let wanted = self.with_changes(&staging, changes).await?;
        // Large files that could not be downloaded remain pointers.
        let missing = self.mirror.fetch_large_files(to, &CancellationToken::new()).await?;
        if let Some(missing) = missing {
            tracing::warn!(tree = %self.tree.display(), missing, "updated a branch without some of its large files");
        }
        let command = staging.writing_command().args(["read-tree", "-m", "-u", "--no-recurse-submodules"]);
        command.args([content.as_str(), wanted.as_str()]).run_ok().await?;
        crash::point(CrashPoint::FilesMoved);
        staging.command().args(["read-tree", "--reset", to.as_str()]).run_ok().await?;
        Ok(staging.install().await?)
    }

    /// Returns the tree that the worktree should have: its current content with the changes applied.
    async fn with_changes(&self, staging: &Staging<'_>, changes: &Changes) -> Result<ObjectId, LandError> {
        let index = staging.path().with_extension("wanted");
        fs_err::copy(staging.path(), &index)?;
        let command = || staging.command().env("GIT_INDEX_FILE", &index);
        let edits = Stdin::Bytes(changes.as_index_info(self.base.as_str().len()));
        command().args(["update-index", "-z", "--index-info"]).stdin(edits).run_ok().await?;
        let tree = answer(command().arg("write-tree")).await?;
        admin::ignore_missing(fs_err::remove_file(&index))?;
        tree.parse().map_err(|_| SnapshotError::Unexpected { answer: tree }.into())
    }

    /// Keeps the worktree's content in the mirror if a file matches neither its old nor its new version: it was written only
    /// partly, or somebody has changed it since.
    async fn keep_leftovers(&self, landing: &Landing, content: &ObjectId, changes: &Changes) -> Result<(), LandError> {
        let uncommitted = Changes::between(self, &landing.from, content).await?;
        let foreign = changes.0.iter().any(|(path, change)| uncommitted.0.get(path).is_some_and(|is| is.to != change.to));
        if !foreign {
            return Ok(());
        }
        let command =
            self.mirror.git().command(self.git_dir()).args(["commit-tree", content.as_str(), "-p", landing.from.as_str()]);
        let command = command.args(["-m", "Files that were in the worktree when an interrupted branch update was finished"]);
        let by = super::makers::Signature::default();
        let command = command.env("GIT_AUTHOR_NAME", &by.name).env("GIT_AUTHOR_EMAIL", &by.email);
        let commit = answer(command.env("GIT_COMMITTER_NAME", &by.name).env("GIT_COMMITTER_EMAIL", &by.email)).await?;
        let commit: ObjectId = commit.parse().map_err(|_| SnapshotError::Unexpected { answer: commit })?;
        tracing::warn!(task = landing.task, %commit, "files in a worktree changed during a branch update; kept a copy in the mirror");
        let command = self.mirror.git().command(GitDir::Mirror(self.mirror.path())).arg("update-ref");
        command.args([kept_ref(&landing.task, &commit).as_str(), commit.as_str()]).run_ok().await?;
        Ok(())
    }
}

impl Mirror {
    /// Returns the moves that were started and not finished when a server was killed.
    pub fn landings(&self) -> io::Result<Vec<Landing>> {
        let mut landings = Vec::new();
        for admin in admin::all(self.path())? {
            landings.extend(intent(&admin)?);
        }
        Ok(landings)
    }

    /// Returns the commits that a task's branch had before it was moved, as `<ref> <commit>`.
    pub(super) async fn kept(&self, task: &str) -> Result<Vec<(String, String)>, RunProgramError> {
        let command = self.git().command(GitDir::Mirror(self.path())).args(["for-each-ref", "--format=%(refname) %(objectname)"]);
        let listed = answer(command.arg(format!("refs/orchestrator/kept/{task}/"))).await?;
        let pair = |line: &str| line.split_once(' ').map(|(name, commit)| (name.to_owned(), commit.to_owned()));
        Ok(listed.lines().filter_map(pair).collect())
    }
}

/// Returns the plan of an unfinished move in this worktree.
fn intent(admin: &std::path::Path) -> io::Result<Option<Landing>> {
    Ok(admin::read(&admin.join(INTENT))?.map(|bytes| serde_json::from_slice(&bytes)).transpose()?)
}

/// Returns the ref that keeps an old commit of a branch.
fn kept_ref(task: &str, commit: &ObjectId) -> String {
    format!("refs/orchestrator/kept/{task}/{commit}")
}

impl Changes {
    /// Returns the changes between two commits or trees.
    pub(super) async fn between(worktree: &Worktree, from: &ObjectId, to: &ObjectId) -> Result<Self, RunProgramError> {
        let mirror = worktree.mirror();
        let command =
            mirror.git().command(GitDir::Mirror(mirror.path())).args(["diff-tree", "-r", "-z", "--raw", "--no-renames"]);
        let command = command.args(["--no-abbrev", "--ignore-submodules=none", from.as_str(), to.as_str(), "--"]);
        let mut changes = Self::default();
        let mut header = None;
        let on_record = |record: &[u8]| match header.take() {
            Some(change) => drop(changes.0.insert(record.to_vec(), change)),
            None => header = Change::parse(record),
        };
        command.stdout(Stdout::Records(Box::new(on_record))).run_ok().await?;
        Ok(changes)
    }
}
