//! Worktrees are created once, created again if they are incomplete, and removed without losing a commit. The tests use the real
//! git on temporary repositories, without the user's configuration.

use std::sync::Mutex;

use futures_util::future::{join_all, poll_immediate};
use git::{Progress, ProgressPhase, WorktreeSpec};
use model::sparse::Cone;
use model::submodule::Sources;
use tokio_util::sync::CancellationToken;

use crate::support::{Bench, branch, committed, quiet, snapshot, write};

fn read(path: &std::path::Path) -> String {
    std::fs::read_to_string(path).expect("it exists")
}

#[tokio::test]
async fn a_worktree_is_complete_on_its_branch_and_locked() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    assert_eq!(read(&worktree.path().join("README.md")), "hello\n");
    assert_eq!(bench.by_hand(worktree.path(), &["status", "--porcelain", "--branch"]), "## codex/one");
    assert_eq!(bench.by_hand(worktree.path(), &["rev-parse", "HEAD"]), worktree.base().to_string());
    let listing = bench.by_hand(bench.mirror.path(), &["worktree", "list", "--porcelain"]);
    assert!(listing.contains("\nlocked"), "{listing}");
    bench.by_hand(bench.mirror.path(), &["worktree", "prune"]);
    let tracking = bench.upstream.try_git_in(bench.mirror.path(), &["config", "--get-regexp", "^branch\\."]);
    assert!(tracking.stdout.is_empty(), "the branch does not track a remote branch");
}

#[tokio::test]
async fn making_it_twice_changes_nothing() {
    let bench = Bench::new().await;
    let first = bench.worktree("one").await;
    write(&first, "README.md", "edited\n");
    write(&first, "new.txt", "new\n");
    bench.upstream.commit("main", &[("later.txt", "1\n")], "later");
    bench.fetch().await;
    let second = bench.worktree("one").await;
    assert_eq!((second.path(), second.base()), (first.path(), first.base()), "the worktree keeps its base");
    assert_eq!(read(&second.path().join("README.md")), "edited\n");
    assert!(!second.path().join("later.txt").exists());
}

#[tokio::test]
async fn one_that_was_only_half_made_is_made_anew() {
    let bench = Bench::new().await;
    let ready = |worktree: &git::Worktree| {
        let link = read(&worktree.path().join(".git"));
        std::path::Path::new(link.trim_start_matches("gitdir: ").trim_end()).join("codex-orchestrator-ready")
    };
    // The creation was killed before the files were complete.
    let worktree = bench.worktree("one").await;
    std::fs::remove_file(ready(&worktree)).expect("it exists");
    std::fs::remove_file(worktree.path().join("README.md")).expect("it exists");
    std::fs::write(ready(&worktree).with_file_name("index.lock"), "").expect("a file");
    let again = bench.worktree("one").await;
    assert_eq!(read(&again.path().join("README.md")), "hello\n");
    // The creation was killed before any file was written.
    std::fs::remove_file(ready(&again)).expect("it exists");
    std::fs::remove_dir_all(again.path()).expect("it exists");
    let again = bench.worktree("one").await;
    assert_eq!(bench.by_hand(again.path(), &["status", "--porcelain", "--branch"]), "## codex/one");
    // The creation was killed between creating the branch and creating the worktree.
    let path = bench.tree("two");
    std::fs::create_dir_all(path.parent().expect("the path has a parent")).expect("a folder");
    bench.by_hand(bench.mirror.path(), &["update-ref", "refs/heads/codex/two", "main"]);
    let two = bench.worktree("two").await;
    assert_eq!(bench.by_hand(two.path(), &["status", "--porcelain", "--branch"]), "## codex/two");
}

#[tokio::test]
async fn one_whose_files_are_gone_comes_back_with_all_its_commits() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    write(&worktree, "work.txt", "done\n");
    let work = committed(&worktree, "1").await;
    std::fs::remove_dir_all(worktree.path()).expect("it exists");
    let again = bench.worktree("one").await;
    assert_eq!(read(&again.path().join("work.txt")), "done\n");
    assert_eq!(bench.commit_of("refs/heads/codex/one"), work.to_string());
}

#[tokio::test]
async fn a_folder_that_nobody_knows_is_put_aside_and_not_deleted() {
    let bench = Bench::new().await;
    let path = bench.tree("one");
    std::fs::create_dir_all(&path).expect("a folder");
    std::fs::write(path.join("precious.txt"), "kept\n").expect("a file");
    let worktree = bench.worktree("one").await;
    assert!(!worktree.path().join("precious.txt").exists());
    assert_eq!(read(&path.with_file_name("worktree.found").join("precious.txt")), "kept\n");
    std::fs::create_dir_all(bench.tree("two")).expect("the empty folder is created");
    bench.worktree("two").await;
    assert!(!bench.tree("two").with_file_name("worktree.found").exists());
}

#[tokio::test]
async fn the_link_of_a_worktree_is_restored_before_the_next_run() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    let link = worktree.path().join(".git");
    let right = read(&link);
    std::fs::remove_file(&link).expect("it exists");
    bench.worktree("one").await;
    assert_eq!(read(&link), right);
    std::fs::write(&link, "gitdir: /somewhere/else\n").expect("a file");
    bench.worktree("one").await;
    assert_eq!(read(&link), right);
}

#[tokio::test]
async fn progress_of_the_checkout_is_told() {
    let bench = Bench::new().await;
    let files: Vec<_> = (0..200).map(|number| (format!("f{number}"), format!("{number}\n"))).collect();
    let files: Vec<_> = files.iter().map(|(path, content)| (path.as_str(), content.as_str())).collect();
    bench.upstream.commit("main", &files, "many");
    bench.fetch().await;
    let path = bench.tree("one");
    std::fs::create_dir_all(path.parent().expect("the path has a parent")).expect("a folder");
    let base = bench.mirror.resolve_ref("main").await.expect("git answers").expect("the branch `main` exists");
    let seen = Mutex::new(Vec::new());
    let progress = |step: Progress| seen.lock().expect("nobody panicked").push(step);
    let spec = WorktreeSpec { path: &path, branch: "codex/one", base: &base, cone: &Cone::default() };
    bench
        .mirror
        .ensure_worktree(spec, &Sources::default(), &progress, CancellationToken::new())
        .await
        .expect("the worktree can be created");
    let seen = seen.into_inner().expect("nobody panicked");
    assert!(seen.iter().any(|step| step.phase == ProgressPhase::Updating && step.percent == 100), "{seen:?}");
}

#[tokio::test]
async fn a_cancelled_checkout_is_half_made_and_can_be_made_anew() {
    let bench = Bench::new().await;
    let path = bench.tree("one");
    std::fs::create_dir_all(path.parent().expect("the path has a parent")).expect("a folder");
    let base = bench.mirror.resolve_ref("main").await.expect("git answers").expect("the branch `main` exists");
    let cancel = CancellationToken::new();
    cancel.cancel();
    let spec = WorktreeSpec { path: &path, branch: "codex/one", base: &base, cone: &Cone::default() };
    bench.mirror.ensure_worktree(spec, &Sources::default(), &quiet, cancel).await.expect_err("the checkout was cancelled");
    assert!(bench.mirror.find_worktree(&path, "codex/one").expect("the worktree can be read").is_none());
    let worktree = bench.worktree("one").await;
    assert_eq!(read(&worktree.path().join("README.md")), "hello\n");
}

#[tokio::test]
async fn who_is_cancelled_does_not_wait_for_the_writer() {
    let bench = Bench::new().await;
    let writer = bench.mirror.writer().await;
    let path = bench.tree("one");
    std::fs::create_dir_all(path.parent().expect("the path has a parent")).expect("a folder");
    let base = bench.mirror.resolve_ref("main").await.expect("git answers").expect("the branch `main` exists");
    let cancel = CancellationToken::new();
    let spec = WorktreeSpec { path: &path, branch: "codex/one", base: &base, cone: &Cone::default() };
    let sources = Sources::default();
    let mut making = Box::pin(bench.mirror.ensure_worktree(spec, &sources, &quiet, cancel.clone()));
    assert!(poll_immediate(&mut making).await.is_none(), "the creation waits for the writer");
    cancel.cancel();
    making.await.expect_err("the creation was cancelled");
    drop(writer);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_removed_worktree_leaves_its_commits_and_nothing_else() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    write(&worktree, "work.txt", "done\n");
    let work = committed(&worktree, "1").await;
    let removed =
        bench.mirror.remove_worktree(worktree.path(), worktree.branch(), "one").await.expect("the worktree can be removed");
    assert_eq!(removed.kept, Some(work.clone()));
    assert!(!worktree.path().exists());
    assert_eq!(bench.by_hand(bench.mirror.path(), &["worktree", "list"]).lines().count(), 1, "git lists only the mirror");
    assert_eq!(bench.mirror.resolve_ref("codex/one").await.expect("git answers"), None);
    assert_eq!(bench.commit_of("refs/orchestrator/removed/one"), work.to_string());
    bench.by_hand(bench.mirror.path(), &["gc", "--quiet", "--prune=now"]);
    bench.fetch().await;
    assert_eq!(bench.content_of(work.as_str(), "work.txt"), "done");
}

#[tokio::test]
async fn removing_works_twice_and_when_half_is_gone() {
    let bench = Bench::new().await;
    let remove = async |task: &str| {
        bench.mirror.remove_worktree(&bench.tree(task), &branch(task), task).await.expect("the worktree can be removed")
    };
    let worktree = bench.worktree("one").await;
    let first = remove("one").await;
    assert_eq!(remove("one").await, first, "the second removal returns the same kept commit");
    // The files of the worktree and their folder are already in the trash.
    bench.worktree("two").await;
    std::fs::remove_dir_all(bench.path("tasks/two")).expect("it exists");
    remove("two").await;
    // The task's branch or git's administrative files of the worktree are missing.
    bench.worktree("three").await;
    bench.by_hand(bench.mirror.path(), &["update-ref", "-d", "refs/heads/codex/three"]);
    assert_eq!(remove("three").await.kept, None);
    bench.worktree("four").await;
    std::fs::remove_dir_all(bench.mirror.path().join("worktrees")).expect("it exists");
    remove("four").await;
    assert_eq!(remove("never").await.kept, None);
    assert!(!worktree.path().exists() && !bench.tree("four").exists());
    assert_eq!(bench.by_hand(bench.mirror.path(), &["for-each-ref", "refs/heads/codex"]), "");
}

#[tokio::test]
async fn a_removed_task_can_be_made_again() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    write(&worktree, "work.txt", "done\n");
    committed(&worktree, "1").await;
    bench.mirror.remove_worktree(worktree.path(), worktree.branch(), "one").await.expect("the worktree can be removed");
    let again = bench.worktree("one").await;
    assert!(!again.path().join("work.txt").exists());
    assert_eq!(snapshot(&again, "1").await.commit, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn making_removing_and_fetching_at_once_get_along() {
    let bench = Bench::new().await;
    for number in 0..10 {
        bench.worktree(&format!("old-{number}")).await;
    }
    let work = |number: usize| {
        let bench = &bench;
        async move {
            bench.fetch().await;
            let worktree = bench.worktree(&format!("new-{number}")).await;
            write(&worktree, "work.txt", &format!("{number}\n"));
            committed(&worktree, "1").await;
            let old = format!("old-{number}");
            bench.mirror.remove_worktree(&bench.tree(&old), &branch(&old), &old).await.expect("the worktree can be removed");
        }
    };
    join_all((0..10).map(work)).await;
    let listing = bench.by_hand(bench.mirror.path(), &["for-each-ref", "--format=%(refname)", "refs/heads/codex"]);
    assert_eq!(listing.lines().count(), 10, "{listing}");
    assert!(bench.by_hand(bench.mirror.path(), &["fsck", "--no-progress"]).is_empty());
}
