//! Clones a repository into a mirror, completely or not at all.
//!
//! The result is like that of `git clone --mirror`, but without the host's own refs (`refs/pull/*`), and with settings that
//! protect task branches from fetches and allow pushing a single branch. The URL must not contain a password, because it is
//! passed as a command-line argument. Invariant: the folder appears under its name only when it is complete; a failed or
//! cancelled clone leaves nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use process::{RunProgramError, Stderr, Stdin, Stdout};
use process::{kill_all, processes_with_environment};
use tokio_util::sync::CancellationToken;

use super::contents::{self, Contents};
use super::fetch::run_network;
use super::fetch_error::FetchError;
use super::history::{self, History};
use super::mirror::{BranchMissing, Mirror, OpenMirrorError, VerifyBranchError, is_task_branch};
use super::program::{ANSWER_LIMIT_BYTES, ENDING, Git, GitDir, MARK, answer, branch_ref, with_suffix};
use super::progress::{OnProgress, Progress};
use super::remove_tree::{RemoveTreeError, remove_tree, remove_tree_aside};

/// The time limit for listing refs. It takes seconds; a remote that needs longer hangs.
const LISTING: Duration = Duration::from_mins(1);

/// The refs that a mirror follows: the remote's tags and branches, except task branches and branches that would conflict with
/// them.
const REFSPECS: [&str; 4] =
    ["+refs/heads/*:refs/heads/*", "^refs/heads/codex", "^refs/heads/codex/*", "+refs/tags/*:refs/tags/*"];

/// A request to clone a repository.
pub struct CloneRequest<'a> {
    /// The URL. The caller has checked it: no password, no option, no remote helper.
    pub url: &'a str,
    /// The folder to create.
    pub into: &'a Path,
    /// The default branch, or `None` for the remote's default.
    pub default_branch: Option<&'a str>,
    /// How much history to get.
    pub history: History,
    /// Which contents of files to get.
    pub contents: Contents,
    /// Receives the progress.
    pub progress: OnProgress<'a>,
    /// Cancels the clone.
    pub cancel: CancellationToken,
    /// The time limit of the whole clone.
    pub deadline: Duration,
}

/// A complete mirror.
#[derive(Debug, Clone)]
pub struct Cloned {
    /// The mirror.
    pub mirror: Mirror,
    /// The default branch, which exists.
    pub default_branch: String,
}

/// Why a mirror could not be created.
#[derive(Debug, thiserror::Error)]
pub enum CloneError {
    /// The remote could not be read.
    #[error(transparent)]
    Remote(#[from] FetchError),
    /// The repository has no branches.
    #[error("the repository has no branches, so no task can start from it")]
    Empty,
    /// The repository does not have the requested branch.
    #[error(transparent)]
    BranchMissing(#[from] BranchMissing),
    /// The remote does not report its default branch.
    #[error("the repository has no default branch; {0}")]
    NoDefaultBranch(BranchMissing),
    /// The path already exists.
    #[error("{path} already exists")]
    AlreadyThere {
        /// The path.
        path: String,
    },
    /// Git could not configure the clone.
    #[error(transparent)]
    Program(#[from] RunProgramError),
    /// The folder could not be created.
    #[error("could not create the mirror's folder: {0}")]
    Files(#[from] io::Error),
    /// Leftovers of an earlier clone could not be removed.
    #[error(transparent)]
    Remove(#[from] RemoveTreeError),
    /// The result is not a valid mirror.
    #[error(transparent)]
    Open(#[from] OpenMirrorError),
}

impl Git {
    /// Clones a repository.
    pub async fn clone_mirror(&self, request: CloneRequest<'_>) -> Result<Cloned, CloneError> {
        if fs_err::symlink_metadata(request.into).is_ok() {
            return Err(CloneError::AlreadyThere { path: request.into.display().to_string() });
        }
        let branches = self.remote_branches(&request).await?;
        let default_branch = branches.choose(request.default_branch)?;
        end_leftovers(request.into).await?;
        let mut partial = PartialFolder::new(with_suffix(request.into, ".partial")).await?;
        self.download(&request, partial.path()).await?;
        self.set_up(partial.path(), &default_branch).await?;
        history::note(partial.path(), request.history)?;
        contents::note(partial.path(), request.contents)?;
        Mirror::open(self, partial.path())?.verify_branch(&default_branch).await.map_err(|error| match error {
            VerifyBranchError::Missing(missing) => CloneError::BranchMissing(missing),
            VerifyBranchError::Program(error) => CloneError::Program(error),
        })?;
        if request.cancel.is_cancelled() {
            return Err(FetchError::Cancelled.into());
        }
        if request.contents == Contents::OfUsedCommits {
            let mirror = Mirror::open(self, partial.path())?;
            let tip = mirror.resolve_branch(&default_branch).await?;
            if let Some(tip) = tip {
                mirror.complete(&tip, &request.cancel).await?;
            }
        }
        let into = request.into.to_owned();
        let completed = tokio::task::spawn_blocking(move || partial.complete(&into));
        completed.await.map_err(io::Error::other)??;
        Ok(Cloned { mirror: Mirror::open(self, request.into)?, default_branch })
    }

    /// Asks the remote for its branches. This is the first request to the remote, so a clone that cannot succeed fails before
    /// anything is downloaded.
    async fn remote_branches(&self, request: &CloneRequest<'_>) -> Result<RemoteBranches, CloneError> {
        let command = self.network_command(GitDir::None).await?;
        let command = command.args(["ls-remote", "--symref", "--", request.url, "HEAD", "refs/heads/*"]);
        let command = command.stdout(Stdout::Capture { max: ANSWER_LIMIT_BYTES }).cancel(request.cancel.clone());
        let listed = run_network(command.deadline(request.deadline.min(LISTING))).await?;
        Ok(RemoteBranches::parse(&listed.text()))
    }

    async fn download(&self, request: &CloneRequest<'_>, into: &Path) -> Result<(), CloneError> {
        let tell = |piece: &str| {
            if let Some(progress) = Progress::parse(piece) {
                (request.progress)(progress);
            }
        };
        let command = self.network_command(GitDir::None).await?;
        // `--no-local`: copy objects instead of sharing them by hard links with a repository that others may write to.
        let command = command.args(["clone", "--bare", "--progress", "--no-local", "--template=", "--origin=origin"]);
        let command = command.args(request.history.clone_options()).args(request.contents.clone_options()).arg("--");
        let command = command.env(MARK, request.into).arg(request.url).arg(into).stderr(Stderr::Progress(Box::new(tell)));
        run_network(command.deadline(request.deadline).cancel(request.cancel.clone())).await?;
        Ok(())
    }

    /// Configures a bare clone as a mirror that works with `fetch --prune` and `push`.
    async fn set_up(&self, mirror: &Path, default_branch: &str) -> Result<(), CloneError> {
        let git_dir = GitDir::Mirror(mirror);
        for refspec in REFSPECS {
            self.command(git_dir).args(["config", "--add", "remote.origin.fetch", refspec]).run_ok().await?;
        }
        for (name, value) in [("gc.auto", "0"), ("gc.worktreePruneExpire", "never")] {
            self.command(git_dir).args(["config", name, value]).run_ok().await?;
        }
        let foreign =
            answer(self.command(git_dir).args(["for-each-ref", "--format=delete %(refname)", "refs/heads/codex"])).await?;
        if !foreign.is_empty() {
            let input = Stdin::Bytes(format!("{foreign}\n").into_bytes());
            self.command(git_dir).args(["update-ref", "--stdin"]).stdin(input).run_ok().await?;
        }
        self.command(git_dir).args(["symbolic-ref", "HEAD", &branch_ref(default_branch)]).run_ok().await?;
        Ok(())
    }
}

impl Mirror {
    /// Makes sure that HEAD names the owner's default branch, because trusted settings are read from there.
    pub async fn follow_default_branch(&self, branch: &str) -> Result<(), RunProgramError> {
        if self.default_branch().await.is_ok_and(|known| known == branch) {
            return Ok(());
        }
        let command = self.git().command(GitDir::Mirror(self.path())).args(["symbolic-ref", "HEAD", &branch_ref(branch)]);
        command.run_ok().await.map(drop)
    }
}

/// Kills processes of a clone into this folder that a killed server may have left running, so that two clones never write to
/// it.
async fn end_leftovers(into: &Path) -> io::Result<()> {
    let mark = into.display().to_string();
    kill_all(|| processes_with_environment(MARK, &mark), ENDING).await.map_err(io::Error::other)
}

/// The branches that the remote reports.
#[derive(Debug, Default, PartialEq, Eq)]
struct RemoteBranches {
    /// The branch that HEAD names.
    head: Option<String>,
    /// The branches that point to the same commit as HEAD.
    at_head: Vec<String>,
    /// All branches that a mirror follows.
    names: Vec<String>,
}

impl RemoteBranches {
    /// Parses lines of the form `ref: refs/heads/main<TAB>HEAD` and `<commit><TAB><ref>`.
    fn parse(listing: &str) -> Self {
        let pairs: Vec<(&str, &str)> = listing.lines().filter_map(|line| line.split_once('\t')).collect();
        let head_commit = pairs.iter().find(|(value, name)| *name == "HEAD" && !value.starts_with("ref: "));
        let mut branches = Self::default();
        for (value, name) in &pairs {
            if *name == "HEAD" {
                branches.head = branches.head.or(value.strip_prefix("ref: refs/heads/").map(str::to_owned));
            } else if let Some(branch) = name.strip_prefix("refs/heads/").filter(|branch| !is_task_branch(branch)) {
                branches.names.push(branch.to_owned());
                if head_commit.is_some_and(|(commit, _)| commit == value) {
                    branches.at_head.push(branch.to_owned());
                }
            }
        }
        branches
    }

    /// Returns the requested branch. If none was requested, returns the branch that HEAD names, or else the only branch at
    /// HEAD's commit, `main` or `master`, or the only branch.
    fn choose(&self, wished: Option<&str>) -> Result<String, CloneError> {
        if self.names.is_empty() {
            return Err(CloneError::Empty);
        }
        let has = |branch: &&str| self.names.iter().any(|name| name == branch);
        if let Some(wished) = wished {
            let missing = || BranchMissing::new(wished, self.names.clone()).into();
            return if has(&wished) { Ok(wished.to_owned()) } else { Err(missing()) };
        }
        let only = |names: &[String]| if let [only] = names { Some(only.clone()) } else { None };
        let head = self.head.as_deref().filter(has).map(str::to_owned);
        let usual = || ["main", "master"].into_iter().find(has).map(str::to_owned);
        head.or_else(|| only(&self.at_head)).or_else(usual).or_else(|| only(&self.names)).ok_or_else(|| {
            CloneError::NoDefaultBranch(BranchMissing::new(self.head.as_deref().unwrap_or("HEAD"), self.names.clone()))
        })
    }
}

/// A folder that is removed unless it was completed.
struct PartialFolder {
    path: PathBuf,
    completed: bool,
}

impl PartialFolder {
    /// Removes leftovers of an earlier clone first.
    async fn new(path: PathBuf) -> Result<Self, CloneError> {
        remove_tree_aside(path.clone()).await?;
        Ok(Self { path, completed: false })
    }

    fn path(&self) -> &Path {
        &self.path
    }

    /// Syncs the folder to disk, then gives it its final name. Blocks.
    fn complete(&mut self, into: &Path) -> io::Result<()> {
        durable::sync_tree(&self.path)?;
        durable::rename(&self.path, into)?;
        self.completed = true;
        Ok(())
    }
}

impl Drop for PartialFolder {
    fn drop(&mut self) {
        if !self.completed
            && let Err(error) = remove_tree(&self.path)
        {
            tracing::warn!(%error, "could not remove an incomplete clone");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(listing: &str, wished: Option<&str>) -> Result<String, String> {
        RemoteBranches::parse(listing).choose(wished).map_err(|error| error.to_string())
    }

    #[test]
    fn the_default_branch_is_the_wished_one_or_heads() {
        let listing = "ref: refs/heads/dev\tHEAD\naa\tHEAD\naa\trefs/heads/dev\nbb\trefs/heads/main\n";
        assert_eq!(choose(listing, None).as_deref(), Ok("dev"));
        assert_eq!(choose(listing, Some("main")).as_deref(), Ok("main"));
        assert!(choose(listing, Some("x")).expect_err("the branch is missing").contains("existing branches: `dev`, `main`"));
    }

    #[test]
    fn without_a_usable_head_the_only_one_that_can_be_meant_is_taken() {
        assert_eq!(choose("aa\tHEAD\naa\trefs/heads/b\ncc\trefs/heads/a\n", None).as_deref(), Ok("b"), "detached");
        assert_eq!(choose("ref: refs/heads/gone\tHEAD\naa\trefs/heads/a\ncc\trefs/heads/main\n", None).as_deref(), Ok("main"));
        assert_eq!(choose("aa\trefs/heads/trunk\n", None).as_deref(), Ok("trunk"));
        assert!(choose("aa\trefs/heads/a\nbb\trefs/heads/b\n", None).expect_err("undecided").contains("`a`, `b`"));
    }

    #[test]
    fn a_repository_without_branches_is_empty() {
        assert!(choose("", None).expect_err("empty").contains("no branches"));
        assert!(choose("aa\trefs/heads/codex/x\n", None).is_err(), "another orchestrator's task branches are not followed");
    }

    #[test]
    fn a_branch_that_is_called_head_is_not_head() {
        let listing = "ref: refs/heads/main\tHEAD\naa\tHEAD\nbb\trefs/heads/HEAD\naa\trefs/heads/main\n";
        assert_eq!(choose(listing, None).as_deref(), Ok("main"));
    }
}
