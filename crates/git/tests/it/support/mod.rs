//! Shared parts of the git tests: an upstream, its mirror, and worktrees.
//!
//! The tests use the git on `PATH`, with its own home and only the configuration that a test writes.

pub(crate) mod agent;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use git::{
    CloneError, CloneRequest, Cloned, CommitMessage, Contents, Decision, Git, History, Makers, Mirror, Progress, RunTrailers,
    Snapshot, SnapshotError, SnapshotRequest, Worktree, WorktreeError, WorktreeSpec,
};
use model::commit::Choices;
use model::ids::ObjectId;
use model::sparse::Cone;
use model::submodule::Sources;
use process::ProcessIdentity;
use process::{BaseEnvironment, CommandSpec, Stdout, Tool};
use testkit::upstream::{Upstream, environment};
use tokio_util::sync::CancellationToken;

/// A time limit that is far longer than any step of these tests takes.
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
        Self::with_history(upstream, History::Everything).await
    }

    /// Creates a mirror of this upstream that has so much of its history.
    pub(crate) async fn with_history(upstream: Upstream, history: History) -> Self {
        Self::with(upstream, history, Contents::All).await
    }

    /// Creates a mirror of this upstream that has the contents of files only for the commits that are used.
    pub(crate) async fn partial(upstream: Upstream) -> Self {
        Self::with(upstream, History::Everything, Contents::OfUsedCommits).await
    }

    async fn with(upstream: Upstream, history: History, contents: Contents) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let base = base(folder.path());
        Self::in_folder(folder, base, upstream, (history, contents)).await
    }

    /// Creates a mirror of this upstream whose git sees one more variable.
    pub(crate) async fn with_variable(upstream: Upstream, name: &str, value: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let base = base(folder.path()).with(name, value);
        Self::in_folder(folder, base, upstream, (History::Everything, Contents::All)).await
    }

    async fn in_folder(
        folder: tempfile::TempDir,
        base: BaseEnvironment,
        upstream: Upstream,
        (history, contents): (History, Contents),
    ) -> Self {
        let git = Git::discover(base, None).await.expect("git is installed");
        let (url, into) = (upstream.url(), folder.path().join("mirror"));
        let request = CloneRequest { history, contents, ..clone_request(&url, &into) };
        let cloned = git.clone_mirror(request).await.expect("the upstream can be cloned");
        Self { folder, upstream, git, mirror: cloned.mirror }
    }

    /// Returns a path in the folder of this bench.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().expect("it exists").join(name)
    }

    /// Returns the path of a task's worktree.
    pub(crate) fn tree(&self, task: &str) -> PathBuf {
        self.path(&format!("tasks/{task}/worktree"))
    }

    pub(crate) async fn try_worktree(&self, task: &str) -> Result<Worktree, WorktreeError> {
        self.try_worktree_from(task, "main", &Cone::default()).await
    }

    /// Creates the worktree of a task, on `codex/<task>`, from a branch.
    pub(crate) async fn worktree_from(&self, task: &str, start: &str) -> Worktree {
        self.try_worktree_from(task, start, &Cone::default()).await.expect("the worktree can be created")
    }

    async fn try_worktree_from(&self, task: &str, start: &str, cone: &Cone) -> Result<Worktree, WorktreeError> {
        let path = self.tree(task);
        std::fs::create_dir_all(path.parent().expect("the path has a parent")).expect("a folder");
        let base = self.mirror.resolve_ref(start).await.expect("git answers").expect("the branch exists");
        let branch = branch(task);
        let spec = WorktreeSpec { path: &path, branch: &branch, base: &base, cone };
        self.mirror.ensure_worktree(spec, &Sources::default(), &quiet, CancellationToken::new()).await
    }

    /// Creates the worktree of a task, on `codex/<task>`, from `main`, with only some folders.
    pub(crate) async fn sparse_worktree(&self, task: &str, cone: &Cone) -> Worktree {
        self.try_worktree_from(task, "main", cone).await.expect("the worktree can be created")
    }

    /// Creates the worktree of a task, on `codex/<task>`, from `main`.
    pub(crate) async fn worktree(&self, task: &str) -> Worktree {
        self.try_worktree(task).await.expect("the worktree can be created")
    }

    pub(crate) async fn fetch(&self) {
        self.mirror.fetch_fresh(PATIENCE, CancellationToken::new()).await.expect("the upstream can be fetched");
    }

    /// Runs git in a folder, as the agent or a person would.
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

/// Returns the environment variables for git, with `home` as its home directory.
pub(crate) fn base(home: &Path) -> BaseEnvironment {
    BaseEnvironment::pick(environment(home).into_iter().map(|(name, value)| (OsString::from(name), OsString::from(value))))
}

/// Returns the git on `PATH`, with `home` as its home directory.
pub(crate) async fn git(home: &Path) -> Git {
    Git::discover(base(home), None).await.expect("git is installed")
}

pub(crate) fn clone_request<'a>(url: &'a str, into: &'a Path) -> CloneRequest<'a> {
    let cancel = CancellationToken::new();
    let (history, contents) = (History::Everything, Contents::All);
    CloneRequest { url, into, default_branch: None, history, contents, progress: &quiet, cancel, deadline: PATIENCE }
}

pub(crate) async fn clone(git: &Git, url: &str, into: &Path) -> Result<Cloned, CloneError> {
    git.clone_mirror(clone_request(url, into)).await
}

/// Commits a worktree, as happens at the end of run `run`.
pub(crate) async fn try_snapshot(worktree: &Worktree, run: &str) -> Result<Snapshot, SnapshotError> {
    snapshot_with(worktree, run, &Choices::default()).await
}

/// Commits a worktree with limits and decisions of people.
pub(crate) async fn snapshot_with(worktree: &Worktree, run: &str, choices: &Choices) -> Result<Snapshot, SnapshotError> {
    committing(worktree, run, choices, &Makers::default()).await
}

/// Commits a worktree as somebody, and maybe with a signature.
pub(crate) async fn snapshot_by(worktree: &Worktree, run: &str, makers: &Makers) -> Result<Snapshot, SnapshotError> {
    committing(worktree, run, &Choices::default(), makers).await
}

async fn committing(worktree: &Worktree, run: &str, choices: &Choices, makers: &Makers) -> Result<Snapshot, SnapshotError> {
    let trailers = RunTrailers { task_id: worktree.branch(), run, thread_id: None };
    let message = CommitMessage { subject: "Do it", body: "Done.", trailers, people: &[] };
    let file = omitted(worktree, run);
    let decision = Decision { file: Some(&file), choices, secrets: None };
    worktree.snapshot(SnapshotRequest { message, makers, decision }).await
}

/// Returns the file with the decision about the commit of a run.
pub(crate) fn omitted(worktree: &Worktree, run: &str) -> PathBuf {
    worktree.path().with_file_name(format!("run-{run}.omitted.json"))
}

pub(crate) async fn snapshot(worktree: &Worktree, run: &str) -> Snapshot {
    try_snapshot(worktree, run).await.expect("the worktree can be committed")
}

/// Returns the commit that a snapshot made.
pub(crate) async fn committed(worktree: &Worktree, run: &str) -> ObjectId {
    snapshot(worktree, run).await.commit.expect("the worktree had changes to commit")
}

/// Writes a file of a worktree.
pub(crate) fn write(worktree: &Worktree, path: &str, content: &str) {
    let path = worktree.path().join(path);
    std::fs::create_dir_all(path.parent().expect("the path has a parent")).expect("a folder");
    std::fs::write(path, content).expect("a file");
}

/// Simulates what a killed server leaves behind: a process that still works on this mirror.
pub(crate) async fn left_behind(home: &Path, mirror: &Path) -> ProcessIdentity {
    let base = base(home);
    let shell = Tool::find("sh", &base).expect("a shell is part of every system");
    let (read, write) = std::io::pipe().expect("a pipe");
    let command = CommandSpec::new(&shell, &base, "/").args(["-c", "echo ready; while :; do sleep 600; done"]);
    let command = command.env("CODEX_ORCHESTRATOR_MIRROR", mirror);
    let left = command.stdout(Stdout::File(std::os::fd::OwnedFd::from(write).into())).start_detached().expect("it starts");
    let wait = move || std::io::BufRead::read_line(&mut std::io::BufReader::new(read), &mut String::new());
    tokio::task::spawn_blocking(wait).await.expect("no panic").expect("the process reports that it is ready");
    left
}
