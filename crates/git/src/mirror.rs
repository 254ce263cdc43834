//! A bare mirror of a repository, and queries about its content.
//!
//! This module only reads. Fetching, worktrees and snapshots have their own modules. All handles of a mirror share one gate.
//! Invariant: a ref is always looked up by its complete name or as a commit ID, never as an expression.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use durable::ChangedTree;
use model::ids::ObjectId;
use process::{CommandSpec, RunProgramError, Stdin, Stdout};
use tokio::sync::watch;

use super::admin;
use super::contents::Contents;
use super::gate::{FetchGate, WriterGuard};
use super::history::{History, is_shallow};
use super::program::{ANSWER_LIMIT_BYTES, Git, GitDir, answer, branch_ref};
use super::progress::Progress;
use super::unreachable::LastCount;

/// The maximum number of branches in an error.
const BRANCHES_NAMED: usize = 20;

/// The minimum length of an abbreviated commit ID.
const SHORTEST_ABBREVIATION: usize = 7;

/// Why a folder cannot be opened as a mirror.
#[derive(Debug, thiserror::Error)]
pub enum OpenMirrorError {
    /// The folder is not a bare repository.
    #[error("{path} is not a bare git repository")]
    NotAMirror {
        /// The folder.
        path: String,
    },
    /// The folder cannot be read.
    #[error("could not open the mirror: {0}")]
    Files(#[from] io::Error),
}

/// The error for a missing branch, which lists existing branches.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("branch `{branch}` not found; {}", there_are(available, *more))]
pub struct BranchMissing {
    /// The requested branch.
    pub branch: String,
    /// Some of the existing branches.
    pub available: Vec<String>,
    /// The number of further branches.
    pub more: usize,
}

impl BranchMissing {
    pub(super) fn new(branch: &str, mut available: Vec<String>) -> Self {
        let more = available.len().saturating_sub(BRANCHES_NAMED);
        available.truncate(BRANCHES_NAMED);
        Self { branch: branch.to_owned(), available, more }
    }
}

fn there_are(available: &[String], more: usize) -> String {
    let named: Vec<String> = available.iter().map(|branch| format!("`{branch}`")).collect();
    match (named.is_empty(), more) {
        (true, _) => "the repository has no branches".to_owned(),
        (false, 0) => format!("existing branches: {}", named.join(", ")),
        (false, more) => format!("existing branches: {} and {more} more", named.join(", ")),
    }
}

/// Why a branch could not be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyBranchError {
    /// The branch does not exist.
    #[error(transparent)]
    Missing(#[from] BranchMissing),
    /// Git failed.
    #[error(transparent)]
    Program(#[from] RunProgramError),
}

/// A bare mirror. Cheap to clone; all clones share the writer's lock.
#[derive(Debug, Clone)]
pub struct Mirror {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    git: Git,
    path: PathBuf,
    gate: FetchGate,
    /// The progress of the running fetch.
    fetching: watch::Sender<Option<Progress>>,
    /// How much history the mirror should have, once that is known.
    wanted_history: watch::Sender<Option<History>>,
    /// Which contents of files the mirror should have, once that is known.
    wanted_contents: watch::Sender<Option<Contents>>,
    /// Tracks which files have been synced to disk.
    on_disk: ChangedTree,
    /// Only one repack runs at a time.
    repack_turn: tokio::sync::Mutex<()>,
    /// The last count of unreachable objects.
    last_count: LastCount,
}

impl Mirror {
    /// Opens the mirror in this folder. Call it once per mirror, because a second handle would have its own lock.
    pub fn open(git: &Git, path: &Path) -> Result<Self, OpenMirrorError> {
        // Git writes real paths into its files about worktrees, and this path is compared with them.
        let path = fs_err::canonicalize(path)?;
        if !path.join("HEAD").is_file() || !path.join("objects").is_dir() {
            return Err(OpenMirrorError::NotAMirror { path: path.display().to_string() });
        }
        let inner = Inner {
            git: git.clone(),
            path,
            gate: FetchGate::default(),
            fetching: watch::Sender::default(),
            wanted_history: watch::Sender::default(),
            wanted_contents: watch::Sender::default(),
            on_disk: ChangedTree::default(),
            repack_turn: tokio::sync::Mutex::default(),
            last_count: LastCount::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Syncs everything that changed to disk: objects, large files, refs, and git's files about worktrees. Git syncs the data
    /// of most of these files, but no folders. Call this before you write a record that names a commit or a worktree.
    pub async fn sync(&self) -> io::Result<()> {
        let mirror = self.clone();
        let synced = tokio::task::spawn_blocking(move || {
            let trash = admin::trash(mirror.path());
            mirror.inner.on_disk.sync(mirror.path(), |folder| folder == trash)
        });
        synced.await.map_err(io::Error::other)?
    }

    /// Returns the path.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Waits for the right to write to the mirror.
    pub async fn writer(&self) -> WriterGuard {
        self.inner.gate.writer().await
    }

    pub(super) fn gate(&self) -> &FetchGate {
        &self.inner.gate
    }

    pub(super) fn fetching(&self) -> &watch::Sender<Option<Progress>> {
        &self.inner.fetching
    }

    /// Sets how much history the mirror should have from the next fetch on. Until this is called, fetches leave that as it is.
    pub fn want_history(&self, history: History) {
        self.inner.wanted_history.send_replace(Some(history));
    }

    /// Sets which contents of files the mirror should have from the next fetch on. A mirror with all contents keeps them.
    pub fn want_contents(&self, contents: Contents) {
        self.inner.wanted_contents.send_replace(Some(contents));
    }

    pub(super) fn wanted_contents(&self) -> Option<Contents> {
        *self.inner.wanted_contents.borrow()
    }

    pub(super) fn wanted_history(&self) -> Option<History> {
        *self.inner.wanted_history.borrow()
    }

    /// Whether the mirror lacks older commits.
    pub fn is_shallow(&self) -> bool {
        is_shallow(self.path())
    }

    pub(super) fn repack_turn(&self) -> &tokio::sync::Mutex<()> {
        &self.inner.repack_turn
    }

    pub(super) fn last_count(&self) -> &LastCount {
        &self.inner.last_count
    }

    pub(super) fn git(&self) -> &Git {
        &self.inner.git
    }

    /// Returns the branch that HEAD names: the remote's default branch when it was cloned.
    pub async fn default_branch(&self) -> Result<String, RunProgramError> {
        let command = self.git().command(GitDir::Mirror(self.path())).args(["symbolic-ref", "HEAD"]);
        let name = answer(command).await?;
        Ok(name.strip_prefix("refs/heads/").unwrap_or(&name).to_owned())
    }

    /// Returns the remote's branches, as of the last fetch.
    pub async fn branches(&self) -> Result<Vec<String>, RunProgramError> {
        let command = self.git().command(GitDir::Mirror(self.path()));
        let names = answer(command.args(["for-each-ref", "--format=%(refname)", "refs/heads/"])).await?;
        let names = names.lines().filter_map(|name| name.strip_prefix("refs/heads/"));
        Ok(names.filter(|name| !is_task_branch(name)).map(str::to_owned).collect())
    }

    /// Returns the commit of a branch, or an error that lists existing branches.
    pub async fn verify_branch(&self, branch: &str) -> Result<ObjectId, VerifyBranchError> {
        let command = self.git().command(GitDir::Mirror(self.path()));
        let command = command.args(["show-ref", "--verify", "--hash", &branch_ref(branch)]);
        let found = command.stdout(Stdout::Capture { max: ANSWER_LIMIT_BYTES }).run().await?;
        if found.status.success()
            && let Ok(id) = found.text().trim().parse()
        {
            return Ok(id);
        }
        Err(BranchMissing::new(branch, self.branches().await?).into())
    }

    /// Returns the commit of a branch, a tag, or a complete or abbreviated commit ID, looked up in this order.
    pub async fn resolve_ref(&self, name: &str) -> Result<Option<ObjectId>, RunProgramError> {
        if name.contains(['^', '~', ':', '{', '\\', '*', '?', '[', ' ', '\n']) || name.contains("..") {
            return Ok(None);
        }
        let mut asked = vec![branch_ref(name), format!("refs/tags/{name}")];
        let is_hex = name.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hex && (SHORTEST_ABBREVIATION..=64).contains(&name.len()) {
            asked.push(name.to_owned());
        }
        Ok(self.commits_of(&asked).await?.into_iter().flatten().next())
    }

    /// Returns the commit at the tip of a branch.
    pub async fn resolve_branch(&self, branch: &str) -> Result<Option<ObjectId>, RunProgramError> {
        Ok(self.commits_of(&[branch_ref(branch)]).await?.into_iter().flatten().next())
    }

    /// Returns the commit of each complete ref name. Tags are followed.
    pub(super) async fn commits_of(&self, names: &[String]) -> Result<Vec<Option<ObjectId>>, RunProgramError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        commits_of(self.git(), GitDir::Mirror(self.path()), names).await
    }
}

/// Whether `branch` is a task branch. Task branches belong to this server, even if the remote has branches with such names.
pub(super) fn is_task_branch(branch: &str) -> bool {
    branch == "codex" || branch.starts_with("codex/")
}

/// Returns the commit of each name.
pub(super) async fn commits_of(
    git: &Git,
    git_dir: GitDir<'_>,
    names: &[String],
) -> Result<Vec<Option<ObjectId>>, RunProgramError> {
    let asked: Vec<_> = names.iter().map(|name| format!("{name}^{{commit}}\n")).collect();
    let command = git.command(git_dir).args(["cat-file", "--batch-check=%(objectname)"]);
    let told = answer(command.stdin(Stdin::Bytes(asked.concat().into_bytes()))).await?;
    // For a missing or ambiguous name, git prints a line that is not an ID.
    Ok(told.lines().map(|line| line.parse().ok()).collect())
}

/// Whether `ancestor` is the same commit or an ancestor of `of`. `command` is a git command on their repository.
pub(super) async fn is_ancestor(command: CommandSpec<'_>, ancestor: &ObjectId, of: &ObjectId) -> Result<bool, RunProgramError> {
    if ancestor == of {
        return Ok(true);
    }
    Ok(command.args(["merge-base", "--is-ancestor", ancestor.as_str(), of.as_str()]).run().await?.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_branch_names_the_ones_there_are() {
        let check = |available: usize, expect: &str| {
            let names = (0..available).map(|number| format!("b{number}")).collect();
            let text = BranchMissing::new("x", names).to_string();
            assert!(text.ends_with(expect), "{text}");
        };
        check(0, "the repository has no branches");
        check(2, "existing branches: `b0`, `b1`");
        check(25, "`b19` and 5 more");
    }

    #[test]
    fn task_branches_are_told_from_the_remotes() {
        assert!(is_task_branch("codex/x") && is_task_branch("codex"));
        assert!(!is_task_branch("codex-2") && !is_task_branch("main") && !is_task_branch("a/codex/b"));
    }
}
