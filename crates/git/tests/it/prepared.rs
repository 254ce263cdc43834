//! Prepared worktrees: a task gets one, with exactly the files of its commit, and every interruption leaves a whole worktree or one
//! that is created again. The tests use the real git on temporary repositories.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use git::{Pool, Prepared, Start, Worktree, WorktreeSpec};
use model::ids::ObjectId;
use model::sources::SourceSettings;
use model::sparse::Cone;
use model::submodule::Sources;
use testkit::upstream::Upstream;
use tokio_util::sync::CancellationToken;

use crate::support::{Bench, branch, committed, quiet, write};

/// The number of files that every commit has. Prepared worktrees are changed only if most files stay.
const FILES: usize = 20;

fn measure(_: &Path) -> u64 {
    123
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).expect("it exists")
}

/// A bench whose repository has some files, and the pool of its mirror.
struct Pooled {
    bench: Bench,
    pool: Pool,
}

impl Pooled {
    async fn new() -> Self {
        let bench = Bench::new().await;
        let files: Vec<_> = (0..FILES).map(|number| (format!("d/f{number}"), format!("{number}\n"))).collect();
        let files: Vec<_> = files.iter().map(|(path, content)| (path.as_str(), content.as_str())).collect();
        bench.upstream.commit("main", &files, "files");
        bench.fetch().await;
        let pool = Pool::new(&bench.mirror, bench.path("prepared"), Cone::default());
        Self { bench, pool }
    }

    async fn commit(&self, name: &str) -> ObjectId {
        self.bench.mirror.resolve_ref(name).await.expect("git answers").expect("it exists")
    }

    /// Prepares a worktree at the tip of `main`.
    async fn prepare(&self) -> Prepared {
        let commit = self.commit("main").await;
        let made = self.pool.create(&commit, FILES as u64 + 1, measure, &CancellationToken::new()).await;
        made.expect("it can be created").expect("nothing is missing")
    }

    /// Creates a branch at the tip of `main`.
    async fn branch(&self, name: &str) {
        self.bench.upstream.point(&format!("refs/heads/{name}"), self.commit("main").await.as_str());
    }

    /// Adds a commit to a branch and fetches it.
    async fn push(&self, branch: &str, files: &[(&str, &str)]) -> String {
        let commit = self.bench.upstream.commit(branch, files, "more");
        self.bench.fetch().await;
        commit
    }

    /// Creates the worktree of a task, without a look at its files.
    async fn create(&self, task: &str, start: &str, sources: &Sources) -> (Worktree, Start) {
        let path = self.bench.tree(task);
        std::fs::create_dir_all(path.parent().expect("the path has a parent")).expect("a folder");
        let (base, branch) = (self.commit(start).await, branch(task));
        let spec = WorktreeSpec { path: &path, branch: &branch, base: &base, cone: &Cone::default() };
        let made = self.bench.mirror.ensure_worktree_from(Some(&self.pool), spec, sources, &quiet, CancellationToken::new());
        made.await.expect("the worktree can be created")
    }

    async fn worktree(&self, task: &str, start: &str) -> (Worktree, Start) {
        let (worktree, start) = self.create(task, start, &Sources::default()).await;
        self.check_files(&worktree);
        (worktree, start)
    }

    /// Checks that a worktree contains exactly the files of its base, according to git's reading of every file.
    fn check_files(&self, worktree: &Worktree) {
        let by_hand = |arguments: &[&str]| self.bench.by_hand(worktree.path(), arguments);
        assert_eq!(by_hand(&["status", "--porcelain", "--branch", "--ignored"]), format!("## {}", worktree.branch()));
        // An index that knows nothing about the files makes git read all of them.
        for arguments in [&["read-tree", "--empty"], &["read-tree", "HEAD"], &["update-index", "--really-refresh"]] {
            by_hand(arguments);
        }
        assert!(!worktree.path().with_file_name("worktree.prepared").exists());
    }

    fn left(&self) -> Vec<PathBuf> {
        let mut left: Vec<_> = std::fs::read_dir(self.bench.path("prepared"))
            .expect("readable")
            .map(|entry| entry.expect("readable").path())
            .collect();
        left.sort();
        left
    }
}

#[tokio::test]
async fn a_task_gets_a_prepared_worktree_on_its_own_branch() {
    let pooled = Pooled::new().await;
    let prepared = pooled.prepare().await;
    assert_eq!((prepared.made.files, prepared.made.bytes), (FILES as u64 + 1, 123));
    let file = pooled.bench.path("prepared/ready/files/d/f7");
    let inode = std::fs::metadata(&file).expect("it exists").ino();
    let (worktree, start) = pooled.worktree("one", "main").await;
    assert_eq!(start, Start::Prepared);
    assert_eq!(std::fs::metadata(worktree.path().join("d/f7")).expect("it exists").ino(), inode, "the file was moved");
    assert_eq!(pooled.left(), Vec::<PathBuf>::new(), "nothing of it is left in the pool");
    assert_eq!(worktree.base(), &prepared.made.commit);
    let listing = pooled.bench.by_hand(pooled.bench.mirror.path(), &["worktree", "list", "--porcelain"]);
    assert!(listing.contains(&worktree.path().display().to_string()) && listing.contains("\nlocked"), "{listing}");
    // The task works like any other.
    write(&worktree, "d/f7", "changed\n");
    let commit = committed(&worktree, "1").await;
    assert_eq!(pooled.bench.content_of(commit.as_str(), "d/f7"), "changed");
    assert_eq!(pooled.create("one", "main", &Sources::default()).await.1, Start::Existing);
}

#[tokio::test]
async fn only_files_that_differ_are_written() {
    let pooled = Pooled::new().await;
    pooled.prepare().await;
    let times = |folder: &Path| {
        ["d/f0", "d/f1"]
            .map(|file| std::fs::metadata(folder.join(file)).expect("it exists"))
            .map(|file| (file.ino(), file.ctime_nsec()))
    };
    let [kept, _] = times(&pooled.bench.path("prepared/ready/files"));
    pooled.push("main", &[("d/f1", "newer\n"), ("new.txt", "new\n"), ("e/new.txt", "new\n")]).await;
    let (worktree, start) = pooled.worktree("one", "main").await;
    assert_eq!(start, Start::Prepared);
    assert_eq!(times(worktree.path())[0], kept, "an unchanged file is not touched");
    assert_eq!(read(worktree.path().join("d/f1")), "newer\n");
    assert_eq!(read(worktree.path().join("e/new.txt")), "new\n");
}

#[tokio::test]
async fn a_prepared_worktree_serves_another_branch_of_similar_content() {
    let pooled = Pooled::new().await;
    pooled.branch("older").await;
    pooled.push("main", &[("d/f1", "newer\n"), ("only-main.txt", "x\n")]).await;
    pooled.prepare().await;
    let (worktree, start) = pooled.worktree("one", "older").await;
    assert_eq!(start, Start::Prepared);
    assert!(!worktree.path().join("only-main.txt").exists(), "a file that the commit does not have is removed");
}

#[tokio::test]
async fn a_distant_commit_or_other_attributes_need_a_new_checkout() {
    let pooled = Pooled::new().await;
    pooled.prepare().await;
    let others: Vec<_> = (0..FILES).map(|number| (format!("d/f{number}"), "other\n".to_owned())).collect();
    let others: Vec<_> = others.iter().map(|(path, content)| (path.as_str(), content.as_str())).collect();
    pooled.branch("before").await;
    pooled.push("main", &others).await;
    assert_eq!(pooled.worktree("far", "main").await.1, Start::Written);
    // The unchanged file `d/f1` would keep its line ends.
    pooled.bench.upstream.commit("before", &[("d/.gitattributes", "* text eol=crlf\n")], "attributes");
    pooled.bench.fetch().await;
    let (worktree, start) = pooled.worktree("attributes", "before").await;
    assert_eq!(start, Start::Written);
    assert_eq!(read(worktree.path().join("d/f1")), "1\r\n");
    assert_eq!(pooled.left().len(), 1, "the prepared worktree is still available");
}

#[tokio::test]
async fn a_worktree_that_was_written_with_other_settings_is_not_used() {
    let pooled = Pooled::new().await;
    pooled.prepare().await;
    pooled.bench.by_hand(pooled.bench.mirror.path(), &["config", "core.autocrlf", "true"]);
    let (worktree, start) = pooled.worktree("one", "main").await;
    assert_eq!(start, Start::Written);
    assert_eq!(read(worktree.path().join("d/f1")), "1\r\n");
}

#[tokio::test]
async fn of_ten_tasks_at_once_each_prepared_worktree_serves_one() {
    let pooled = Pooled::new().await;
    for _ in 0..3 {
        pooled.prepare().await;
    }
    let (names, sources) = ((0..10).map(|number| number.to_string()).collect::<Vec<_>>(), Sources::default());
    let created = join_all(names.iter().map(|name| pooled.create(name, "main", &sources))).await;
    for (worktree, _) in &created {
        pooled.check_files(worktree);
    }
    let starts: Vec<_> = created.iter().map(|(_, start)| *start).collect();
    assert_eq!(starts.iter().filter(|start| **start == Start::Prepared).count(), 3, "{starts:?}");
    assert_eq!(pooled.left(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_prepared_worktree_follows_the_newest_commit() {
    let pooled = Pooled::new().await;
    let prepared = pooled.prepare().await;
    pooled.push("main", &[("d/f1", "newer\n")]).await;
    let newest = pooled.commit("main").await;
    let cancel = CancellationToken::new();
    let renewed = pooled.pool.renew(prepared.clone(), &newest, 30, measure, &cancel).await.expect("it can be changed");
    assert_eq!(renewed.map(|renewed| (renewed.made.commit, renewed.made.files)), Some((newest.clone(), 30)));
    assert_eq!(read(pooled.bench.path("prepared/ready/files/d/f1")), "newer\n");
    let (_, start) = pooled.worktree("one", "main").await;
    assert_eq!(start, Start::Prepared);
    let gone = pooled.pool.renew(prepared.clone(), &newest, 30, measure, &cancel).await.expect("it is not an error");
    assert!(gone.is_none(), "a task took it");
    pooled.pool.delete(prepared).await.expect("it is not an error");
}

#[tokio::test]
async fn an_interrupted_creation_is_not_used_and_can_be_cleared() {
    let pooled = Pooled::new().await;
    let (commit, cancel) = (pooled.commit("main").await, CancellationToken::new());
    cancel.cancel();
    pooled.pool.create(&commit, 1, measure, &cancel).await.expect_err("it was cancelled");
    assert_eq!((pooled.left().len(), pooled.pool.list().expect("readable").len()), (1, 0));
    assert_eq!(pooled.worktree("one", "main").await.1, Start::Written);
    pooled.prepare().await;
    pooled.pool.clear_unfinished().await.expect("it can be removed");
    assert_eq!((pooled.left().len(), pooled.pool.list().expect("readable").len()), (1, 1), "complete worktrees stay");
}

#[tokio::test]
async fn a_kill_at_any_step_of_a_move_leads_to_a_new_worktree() {
    let pooled = Pooled::new().await;
    let ready = |worktree: &Worktree| {
        let link = read(worktree.path().join(".git"));
        Path::new(link.trim_start_matches("gitdir: ").trim_end()).join("codex-orchestrator-ready")
    };
    // Killed after the prepared worktree left the pool.
    pooled.prepare().await;
    let path = pooled.bench.tree("one");
    std::fs::create_dir_all(path.parent().expect("the path has a parent")).expect("a folder");
    std::fs::rename(pooled.bench.path("prepared/ready"), path.with_file_name("worktree.prepared")).expect("moved");
    pooled.worktree("one", "main").await;
    // Killed after the files were moved and before their index was.
    pooled.prepare().await;
    let (worktree, _) = pooled.worktree("two", "main").await;
    std::fs::remove_file(ready(&worktree)).expect("it exists");
    std::fs::remove_file(ready(&worktree).with_file_name("index")).expect("it exists");
    std::fs::remove_file(worktree.path().join("d/f1")).expect("it exists");
    std::fs::create_dir(worktree.path().with_file_name("worktree.prepared")).expect("a folder");
    pooled.worktree("two", "main").await;
    // Killed before the worktree got its `.git` file.
    let (worktree, _) = pooled.worktree("three", "main").await;
    std::fs::remove_file(ready(&worktree)).expect("it exists");
    std::fs::remove_file(worktree.path().join(".git")).expect("it exists");
    pooled.worktree("three", "main").await;
}

#[tokio::test]
async fn a_prepared_worktree_that_git_cannot_use_is_replaced() {
    let pooled = Pooled::new().await;
    pooled.prepare().await;
    std::fs::write(pooled.bench.path("prepared/ready/git/index"), "damaged").expect("written");
    let (worktree, start) = pooled.worktree("one", "main").await;
    assert_eq!((start, read(worktree.path().join("d/f1"))), (Start::Written, "1\n".to_owned()));
    assert_eq!(pooled.left(), Vec::<PathBuf>::new(), "the damaged one is gone");
}

#[tokio::test]
async fn a_file_that_changed_in_the_pool_is_written_again() {
    let pooled = Pooled::new().await;
    pooled.prepare().await;
    std::fs::write(pooled.bench.path("prepared/ready/files/d/f1"), "2\n").expect("written");
    std::fs::remove_file(pooled.bench.path("prepared/ready/files/d/f2")).expect("it exists");
    let (worktree, start) = pooled.worktree("one", "main").await;
    assert_eq!((start, read(worktree.path().join("d/f1"))), (Start::Prepared, "1\n".to_owned()));
}

#[tokio::test]
async fn submodules_are_not_in_the_pool_but_in_the_task() {
    let pooled = Pooled::new().await;
    let inner = Upstream::new();
    let commit = inner.commit("main", &[("inner.txt", "inner\n")], "inner");
    let config = format!("[submodule \"s\"]\n\tpath = s\n\turl = {}\n", inner.url());
    pooled.bench.upstream.commit("main", &[(".gitmodules", &config)], "a submodule");
    pooled.bench.upstream.submodule("main", "s", &commit);
    pooled.bench.fetch().await;
    pooled.prepare().await;
    assert!(std::fs::read_dir(pooled.bench.path("prepared/ready/files/s")).expect("it exists").next().is_none());
    let sources = pooled.bench.mirror.trusted_sources(&SourceSettings::default()).await.expect("git answers");
    let (worktree, start) = pooled.create("one", "main", &sources).await;
    assert_eq!((start, read(worktree.path().join("s/inner.txt"))), (Start::Prepared, "inner\n".to_owned()));
}

#[tokio::test]
async fn the_size_of_a_commit_counts_whole_blocks() {
    let pooled = Pooled::new().await;
    let size = pooled.pool.size_of(&pooled.commit("main").await).await.expect("git answers");
    assert_eq!((size.files, size.bytes), (FILES as u64 + 1, (FILES as u64 + 1) * 4096));
}
