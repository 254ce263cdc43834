//! Shared parts of the git tests: an upstream, its mirror, and worktrees.
//!
//! Git is that of the machine, with its own home and no configuration except what a test writes.
#![expect(dead_code, reason = "every test program uses another part of this")]

pub(crate) mod agent;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::exec::process::ProcessIdentity;
use engine::exec::{BaseEnvironment, CommandSpec, Stdout, Tool};
use engine::git::{
    CloneError, CloneRequest, Cloned, CommitMessage, Git, Mirror, Progress, RunTrailers, Signature, Snapshot, SnapshotError,
    SnapshotRequest, Worktree, WorktreeError, WorktreeSpec,
};
use model::ids::ObjectId;
use model::submodule::Sources;
use testkit::upstream::{Upstream, environment};
use tokio_util::sync::CancellationToken;

/// Far longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// An upstream, its mirror, and a folder for the worktrees.
pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) upstream: Upstream,
    pub(crate) git: Git,
    pub(crate) mirror: Mirror,
}

impl Bench {
    /// Creates a mirror of a new upstream.
    pub(crate) async fn new() -> Self {
        Self::of(Upstream::new()).await
    }

    /// Creates a mirror of this upstream.
    pub(crate) async fn of(upstream: Upstream) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let git = git(folder.path()).await;
        let cloned = clone(&git, &upstream.url(), &folder.path().join("mirror")).await.expect("it can be cloned");
        Self { folder, upstream, git, mirror: cloned.mirror }
    }

    /// Returns a path in the bench's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().expect("it exists").join(name)
    }

    /// Returns the path of a task's worktree.
    pub(crate) fn tree(&self, task: &str) -> PathBuf {
        self.path(&format!("tasks/{task}/worktree"))
    }

    pub(crate) async fn try_worktree(&self, task: &str) -> Result<Worktree, WorktreeError> {
        self.try_worktree_from(task, "main").await
    }

    /// Creates the worktree of a task, on `codex/<task>`, from a branch.
    pub(crate) async fn worktree_from(&self, task: &str, start: &str) -> Worktree {
        self.try_worktree_from(task, start).await.expect("a worktree can be made")
    }

    async fn try_worktree_from(&self, task: &str, start: &str) -> Result<Worktree, WorktreeError> {
        let path = self.tree(task);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
        let base = self.mirror.resolve_ref(start).await.expect("git answers").expect("there is such a branch");
        let branch = branch(task);
        let spec = WorktreeSpec { path: &path, branch: &branch, base: &base };
        self.mirror.ensure_worktree(spec, &Sources::default(), &quiet, CancellationToken::new()).await
    }

    /// Creates the worktree of a task, on `codex/<task>`, from `main`.
    pub(crate) async fn worktree(&self, task: &str) -> Worktree {
        self.try_worktree(task).await.expect("a worktree can be made")
    }

    pub(crate) async fn fetch(&self) {
        self.mirror.fetch_fresh(PATIENCE, CancellationToken::new()).await.expect("the upstream is there");
    }

    /// Runs git in a folder as the agent or a person would.
    pub(crate) fn by_hand(&self, folder: &Path, arguments: &[&str]) -> String {
        self.upstream.git_in(folder, arguments)
    }

    /// Returns the commit that a name refers to in the mirror.
    pub(crate) fn commit_of(&self, name: &str) -> String {
        self.by_hand(self.mirror.path(), &["rev-parse", "--verify", &format!("{name}^{{commit}}")])
    }

    /// Returns the files in a commit of the mirror, by path.
    pub(crate) fn files_of(&self, commit: &str) -> Vec<String> {
        let listing = self.by_hand(self.mirror.path(), &["ls-tree", "-r", "-z", "--name-only", commit]);
        listing.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect()
    }

    /// Returns the content of a file in a commit of the mirror.
    pub(crate) fn content_of(&self, commit: &str, path: &str) -> String {
        self.by_hand(self.mirror.path(), &["show", &format!("{commit}:{path}")])
    }
}

/// Ignores the progress.
pub(crate) fn quiet(_: Progress) {}

/// Returns the branch of a task.
pub(crate) fn branch(task: &str) -> String {
    format!("codex/{task}")
}

/// Returns the environment of a git whose home is `home`.
pub(crate) fn base(home: &Path) -> BaseEnvironment {
    BaseEnvironment::pick(environment(home).into_iter().map(|(name, value)| (OsString::from(name), OsString::from(value))))
}

/// Returns the git on PATH, with its own home.
pub(crate) async fn git(home: &Path) -> Git {
    Git::discover(base(home), None).await.expect("git is installed")
}

pub(crate) fn clone_request<'a>(url: &'a str, into: &'a Path) -> CloneRequest<'a> {
    let cancel = CancellationToken::new();
    CloneRequest { url, into, default_branch: None, progress: &quiet, cancel, deadline: PATIENCE }
}

pub(crate) async fn clone(git: &Git, url: &str, into: &Path) -> Result<Cloned, CloneError> {
    git.clone_mirror(clone_request(url, into)).await
}

/// Commits a worktree as the end of run `run`.
pub(crate) async fn try_snapshot(worktree: &Worktree, run: &str) -> Result<Snapshot, SnapshotError> {
    let trailers = RunTrailers { task_id: worktree.branch(), run, thread_id: None };
    let message = CommitMessage { subject: "Do it", body: "Done.", trailers };
    worktree.snapshot(SnapshotRequest { message, author: &Signature::default() }).await
}

pub(crate) async fn snapshot(worktree: &Worktree, run: &str) -> Snapshot {
    try_snapshot(worktree, run).await.expect("it can be committed")
}

/// Returns the commit that a snapshot made.
pub(crate) async fn committed(worktree: &Worktree, run: &str) -> ObjectId {
    snapshot(worktree, run).await.commit.expect("there was something to commit")
}

/// Writes a file of a worktree.
pub(crate) fn write(worktree: &Worktree, path: &str, content: &str) {
    let path = worktree.path().join(path);
    std::fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
    std::fs::write(path, content).expect("a file");
}

/// Simulates what a killed server leaves: a process that continues on this mirror.
pub(crate) async fn left_behind(home: &Path, mirror: &Path) -> ProcessIdentity {
    let base = base(home);
    let shell = Tool::find("sh", &base).expect("a shell is part of every system");
    let (read, write) = std::io::pipe().expect("a pipe");
    let command = CommandSpec::new(&shell, &base, "/").args(["-c", "echo ready; while :; do sleep 600; done"]);
    let command = command.env("CODEX_ORCHESTRATOR_MIRROR", mirror);
    let left = command.stdout(Stdout::File(std::os::fd::OwnedFd::from(write).into())).start_detached().expect("it starts");
    let wait = move || std::io::BufRead::read_line(&mut std::io::BufReader::new(read), &mut String::new());
    tokio::task::spawn_blocking(wait).await.expect("no panic").expect("it says that it is ready");
    left
}
