//! The end of a run: one commit with the content of the worktree, whatever the agent did to `HEAD`. The tests use the real git on
//! temporary repositories, without the user's configuration.

use git::{CommitMessage, Decision, Makers, RunTrailers, Signature, SnapshotError, SnapshotRequest, Worktree};
use model::commit::Choices;
use testkit::upstream::Upstream;

use crate::support::{Bench, committed, omitted, snapshot, try_snapshot, write};

/// Returns the output of `git status` in one line.
fn status(bench: &Bench, worktree: &Worktree) -> String {
    bench.by_hand(worktree.path(), &["status", "--porcelain", "--branch"])
}

fn commit_by_hand(bench: &Bench, worktree: &Worktree, path: &str, content: &str) -> String {
    write(worktree, path, content);
    bench.by_hand(worktree.path(), &["add", "--", path]);
    bench.by_hand(worktree.path(), &["commit", "--quiet", "-m", path]);
    bench.by_hand(worktree.path(), &["rev-parse", "HEAD"])
}

fn parents(bench: &Bench, commit: &str) -> Vec<String> {
    let listing = bench.by_hand(bench.mirror.path(), &["rev-list", "--parents", "-n1", commit]);
    listing.split(' ').skip(1).map(str::to_owned).collect()
}

/// Returns the path of git's administrative folder for a worktree, as git reports it.
fn admin(bench: &Bench, worktree: &Worktree) -> std::path::PathBuf {
    bench.by_hand(worktree.path(), &["rev-parse", "--absolute-git-dir"]).into()
}

#[tokio::test]
async fn changed_new_and_deleted_files_are_one_commit() {
    let upstream = Upstream::new();
    upstream.commit("main", &[("gone.txt", "x\n"), ("dir/same.txt", "x\n"), (".gitignore", "*.log\n")], "more");
    let bench = Bench::of(upstream).await;
    let worktree = bench.worktree("one").await;
    write(&worktree, "README.md", "changed\n");
    write(&worktree, "new/deep.txt", "new\n");
    write(&worktree, "noise.log", "ignored\n");
    std::fs::remove_file(worktree.path().join("gone.txt")).expect("it exists");
    let commit = committed(&worktree, "1").await.to_string();
    assert_eq!(bench.files_of(&commit), [".gitignore", "README.md", "dir/same.txt", "new/deep.txt"]);
    assert_eq!(bench.content_of(&commit, "README.md"), "changed");
    assert_eq!(parents(&bench, &commit), [worktree.base().to_string()]);
    assert_eq!(bench.commit_of("refs/heads/codex/one"), commit);
    assert_eq!(status(&bench, &worktree), "## codex/one", "the worktree is clean afterwards");
    assert!(worktree.path().join("noise.log").exists());
}

#[tokio::test]
async fn the_commit_says_what_was_asked_what_was_answered_and_which_run_it_was() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    write(&worktree, "a.txt", "1\n");
    let trailers = RunTrailers { task_id: "t-1", run: "1", thread_id: Some("th-1") };
    let message = CommitMessage { subject: "Fix it", body: "# Done\n\n- all", trailers, people: &[] };
    let people = ["Signed-off-by: Bot <bot@example.org>".to_owned()];
    let message = CommitMessage { people: &people, ..message };
    let author = Signature { name: "Me".to_owned(), email: "me@example.org".to_owned() };
    let committer = Signature { name: "Bot".to_owned(), email: "bot@example.org".to_owned() };
    let makers = Makers { author, committer, signing_key: None };
    let (file, choices) = (omitted(&worktree, "1"), Choices::default());
    let decision = Decision { file: Some(&file), choices: &choices, secrets: None };
    let commit = worktree
        .snapshot(SnapshotRequest { message, makers: &makers, decision })
        .await
        .expect("the worktree can be committed")
        .commit;
    let format = "--format=%an <%ae>|%cn|%B";
    let commit = commit.expect("the worktree had changes to commit").to_string();
    let shown = bench.by_hand(bench.mirror.path(), &["show", "--no-patch", format, &commit]);
    assert_eq!(
        shown,
        "Me <me@example.org>|Bot|Fix it\n\n# Done\n\n- all\n\nTask-Id: t-1\nRun: 1\nThread-Id: th-1\n\
                       Signed-off-by: Bot <bot@example.org>"
    );
    let read = bench.by_hand(bench.mirror.path(), &["show", "--no-patch", "--format=%(trailers:key=Run,valueonly)", &commit]);
    assert_eq!(read, "1");
}

#[tokio::test]
async fn nothing_to_commit_is_no_error() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    let taken = snapshot(&worktree, "1").await;
    assert_eq!((taken.commit, &taken.head), (None, worktree.base()));
    assert!(taken.dropped_gitlinks.is_empty() && taken.unreadable.is_empty());
}

#[tokio::test]
async fn twice_makes_one_commit_and_the_next_run_another() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    write(&worktree, "a.txt", "1\n");
    let first = snapshot(&worktree, "1").await;
    assert_eq!(snapshot(&worktree, "1").await, first);
    assert_eq!(snapshot(&worktree, "2").await.commit, None, "the second run changed nothing");
    write(&worktree, "a.txt", "2\n");
    let second = committed(&worktree, "2").await;
    assert_eq!(parents(&bench, second.as_str()), [first.head.to_string()]);
}

#[tokio::test]
async fn a_change_in_the_second_of_the_checkout_that_keeps_the_size_is_seen() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    std::fs::write(worktree.path().join("README.md"), "HELLO\n").expect("a file");
    // Git compares times in seconds, so a change in the same second could be missed. The snapshot starts in the next second.
    let written = std::fs::metadata(worktree.path().join("README.md"))
        .expect("it exists")
        .modified()
        .expect("the file has a modification time");
    let seconds = written.duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    tokio::time::sleep(std::time::Duration::from_millis(1100 - u64::from(seconds.subsec_millis()))).await;
    let commit = committed(&worktree, "1").await;
    assert_eq!(bench.content_of(commit.as_str(), "README.md"), "HELLO");
}

#[tokio::test]
async fn one_that_was_killed_halfway_is_finished_by_the_next() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    let admin = admin(&bench, &worktree);
    let before = std::fs::read(admin.join("index")).expect("it exists");
    write(&worktree, "a.txt", "1\n");
    let first = committed(&worktree, "1").await;
    // The killed snapshot has moved the branch, but the index and `HEAD` are still old, and lock files are left.
    std::fs::write(admin.join("index"), before).expect("a file");
    std::fs::write(admin.join("HEAD"), format!("{}\n", worktree.base())).expect("a file");
    let branch_lock = bench.mirror.path().join("refs/heads/codex/one.lock");
    for rest in ["index.lock", "HEAD.lock", "codex-orchestrator-index", "codex-orchestrator-index.lock"] {
        std::fs::write(admin.join(rest), "half").expect("a file");
    }
    std::fs::write(branch_lock, "").expect("a file");
    assert_eq!(snapshot(&worktree, "1").await.commit, Some(first.clone()));
    assert_eq!(bench.commit_of("refs/heads/codex/one"), first.to_string());
    assert_eq!(status(&bench, &worktree), "## codex/one");
}

#[tokio::test]
async fn a_damaged_or_missing_index_is_no_obstacle() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    let index = admin(&bench, &worktree).join("index");
    write(&worktree, "a.txt", "1\n");
    std::fs::write(&index, "not an index").expect("a file");
    let first = committed(&worktree, "1").await;
    assert_eq!(bench.files_of(first.as_str()), ["README.md", "a.txt"]);
    std::fs::remove_file(&index).expect("it exists");
    assert_eq!(snapshot(&worktree, "1").await.commit, Some(first));
    assert_eq!(status(&bench, &worktree), "## codex/one");
}

#[tokio::test]
async fn a_worktree_that_is_gone_is_not_committed_as_a_deletion_of_everything() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    std::fs::remove_dir_all(worktree.path()).expect("it exists");
    let error = try_snapshot(&worktree, "1").await.expect_err("the worktree is missing");
    assert!(matches!(error, SnapshotError::WorktreeMissing { .. }), "{error}");
    std::os::unix::fs::symlink("/etc", worktree.path()).expect("a link");
    let error = try_snapshot(&worktree, "1").await.expect_err("a link is not the worktree");
    assert!(matches!(error, SnapshotError::WorktreeMissing { .. }), "{error}");
    assert_eq!(bench.commit_of("refs/heads/codex/one"), worktree.base().to_string());
}

#[tokio::test]
async fn commits_of_the_agent_are_kept() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    let own = commit_by_hand(&bench, &worktree, "own.txt", "1\n");
    let taken = snapshot(&worktree, "1").await;
    assert_eq!((taken.commit, taken.head.to_string()), (None, own.clone()), "no changes were left to commit");
    write(&worktree, "rest.txt", "1\n");
    let commit = committed(&worktree, "1").await;
    assert_eq!(parents(&bench, commit.as_str()), [own]);
}

#[tokio::test]
async fn a_detached_head_or_a_branch_ahead_of_the_tasks_is_taken_along() {
    let bench = Bench::new().await;
    for (task, command) in
        [("one", ["checkout", "--quiet", "--detach"].as_slice()), ("two", &["checkout", "--quiet", "-b", "idea"])]
    {
        let worktree = bench.worktree(task).await;
        bench.by_hand(worktree.path(), command);
        let own = commit_by_hand(&bench, &worktree, "own.txt", "1\n");
        assert_eq!(snapshot(&worktree, "1").await.head.to_string(), own, "the branch is fast-forwarded without a new commit");
        bench.by_hand(
            worktree.path(),
            command.iter().map(|&word| if word == "idea" { "idea2" } else { word }).collect::<Vec<_>>().as_slice(),
        );
        write(&worktree, "rest.txt", "1\n");
        let commit = committed(&worktree, "1").await;
        assert_eq!(parents(&bench, commit.as_str()), [own]);
        assert_eq!(status(&bench, &worktree), format!("## codex/{task}"));
    }
}

#[tokio::test]
async fn a_head_behind_the_branch_loses_nothing() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    let own = commit_by_hand(&bench, &worktree, "own.txt", "1\n");
    bench.by_hand(worktree.path(), &["checkout", "--quiet", worktree.base().as_str()]);
    write(&worktree, "rest.txt", "1\n");
    let commit = committed(&worktree, "1").await;
    assert_eq!(parents(&bench, commit.as_str()), [own]);
    assert_eq!(bench.files_of(commit.as_str()), ["README.md", "rest.txt"], "the last commit has the content of the worktree");
}

#[tokio::test]
async fn a_head_elsewhere_becomes_a_second_parent() {
    let bench = Bench::new().await;
    bench.upstream.commit("other", &[("other.txt", "1\n")], "other");
    bench.fetch().await;
    let worktree = bench.worktree("one").await;
    let own = commit_by_hand(&bench, &worktree, "own.txt", "1\n");
    bench.by_hand(worktree.path(), &["checkout", "--quiet", "--detach", "other"]);
    let stray = commit_by_hand(&bench, &worktree, "stray.txt", "1\n");
    let commit = committed(&worktree, "1").await;
    assert_eq!(parents(&bench, commit.as_str()), [own, stray]);
    assert_eq!(bench.files_of(commit.as_str()), ["README.md", "other.txt", "stray.txt"]);
    assert_eq!(status(&bench, &worktree), "## codex/one");
    assert_eq!(snapshot(&worktree, "1").await.commit, Some(commit), "a second snapshot creates no commit");
}

#[tokio::test]
async fn a_deleted_task_branch_is_made_again() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    let own = commit_by_hand(&bench, &worktree, "own.txt", "1\n");
    bench.by_hand(worktree.path(), &["checkout", "--quiet", "--detach"]);
    bench.by_hand(worktree.path(), &["branch", "--quiet", "-D", "codex/one"]);
    assert_eq!(snapshot(&worktree, "1").await.head.to_string(), own);
    bench.by_hand(bench.mirror.path(), &["update-ref", "-d", "refs/heads/codex/one"]);
    let taken = snapshot(&worktree, "2").await;
    assert_eq!(
        parents(&bench, taken.head.as_str()),
        [worktree.base().to_string()],
        "the parent is the base commit, because HEAD was unborn"
    );
    assert_eq!(bench.files_of(taken.head.as_str()), ["README.md", "own.txt"]);
}

/// Creates a task and a branch `other` that changed the same line.
async fn conflicting(bench: &Bench) -> (Worktree, String) {
    let other = bench.upstream.commit("other", &[("README.md", "theirs\n")], "theirs");
    bench.fetch().await;
    let worktree = bench.worktree("one").await;
    commit_by_hand(bench, &worktree, "README.md", "ours\n");
    let merge = bench.upstream.try_git_in(worktree.path(), &["merge", "other"]);
    assert!(!merge.status.success(), "the command stops with a conflict");
    (worktree, other)
}

#[tokio::test]
async fn a_merge_that_was_resolved_but_not_committed_is_a_merge() {
    let bench = Bench::new().await;
    let (worktree, other) = conflicting(&bench).await;
    let ours = bench.commit_of("refs/heads/codex/one");
    write(&worktree, "README.md", "both\n");
    bench.by_hand(worktree.path(), &["add", "README.md"]);
    let commit = committed(&worktree, "1").await;
    assert_eq!(parents(&bench, commit.as_str()), [ours, other]);
    assert!(!admin(&bench, &worktree).join("MERGE_HEAD").exists());
    assert_eq!(status(&bench, &worktree), "## codex/one");
}

#[tokio::test]
async fn a_conflict_that_nobody_resolved_is_committed_as_it_lies_there() {
    let bench = Bench::new().await;
    let (worktree, _) = conflicting(&bench).await;
    let ours = bench.commit_of("refs/heads/codex/one");
    let commit = committed(&worktree, "1").await;
    assert_eq!(parents(&bench, commit.as_str()), [ours]);
    assert!(bench.content_of(commit.as_str(), "README.md").contains("<<<<<<<"));
    assert_eq!(status(&bench, &worktree), "## codex/one");
}

#[tokio::test]
async fn a_rebase_that_stopped_in_the_middle_loses_nothing_and_is_over() {
    let bench = Bench::new().await;
    let other = bench.upstream.commit("other", &[("README.md", "theirs\n")], "theirs");
    bench.fetch().await;
    let worktree = bench.worktree("one").await;
    commit_by_hand(&bench, &worktree, "first.txt", "1\n");
    let tip = commit_by_hand(&bench, &worktree, "README.md", "ours\n");
    assert!(
        !bench.upstream.try_git_in(worktree.path(), &["rebase", "other"]).status.success(),
        "the command stops with a conflict"
    );
    let commit = committed(&worktree, "1").await;
    let parents = parents(&bench, commit.as_str());
    assert_eq!((parents.len(), &parents[0]), (2, &tip));
    bench.by_hand(bench.mirror.path(), &["merge-base", "--is-ancestor", &other, commit.as_str()]);
    let shown = bench.by_hand(worktree.path(), &["status"]);
    assert!(shown.contains("On branch codex/one") && !shown.contains("rebase"), "{shown}");
}

#[tokio::test]
async fn submodules_of_the_repository_keep_their_commit() {
    let upstream = Upstream::new();
    let tip =
        upstream.commit("main", &[(".gitmodules", "[submodule \"libs/sub\"]\n\tpath = libs/sub\n\turl = /nowhere\n")], "sub");
    let index = format!("160000,{},libs/sub", "1".repeat(40));
    let work = tempfile::tempdir().expect("a folder");
    let work = work.path().join("work");
    upstream.git_in(upstream.path(), &["worktree", "add", "--quiet", "--detach", &work.display().to_string(), &tip]);
    upstream.git_in(&work, &["update-index", "--add", "--cacheinfo", &index]);
    upstream.git_in(&work, &["commit", "--quiet", "-m", "submodule"]);
    let with_sub = upstream.git_in(&work, &["rev-parse", "HEAD"]);
    upstream.point("refs/heads/main", &with_sub);
    let bench = Bench::of(upstream).await;
    let worktree = bench.worktree("one").await;
    let gitlinks = |commit: &str| {
        let listing = bench.by_hand(bench.mirror.path(), &["ls-tree", "-r", commit]);
        listing.lines().filter(|line| line.starts_with("160000")).map(str::to_owned).collect::<Vec<_>>()
    };
    let before = gitlinks(&with_sub);
    assert_eq!(before.len(), 1);
    assert_eq!(snapshot(&worktree, "1").await.commit, None, "nothing changed");
    write(&worktree, "a.txt", "1\n");
    assert_eq!(gitlinks(committed(&worktree, "1").await.as_str()), before);
    // A different commit of the submodule is staged, and the submodule is checked out, which the snapshot ignores.
    bench.by_hand(worktree.path(), &["update-index", "--cacheinfo", &format!("160000,{},libs/sub", "2".repeat(40))]);
    bench.by_hand(&worktree.path().join("libs/sub"), &["init", "--quiet"]);
    write(&worktree, "libs/sub/inside.txt", "1\n");
    let taken = snapshot(&worktree, "2").await;
    assert!(gitlinks(taken.head.as_str())[0].contains(&"2".repeat(40)));
    assert!(taken.dropped_gitlinks.is_empty(), "{taken:?}");
    assert!(!bench.files_of(taken.head.as_str()).contains(&"libs/sub/inside.txt".to_owned()));
    // The submodule is replaced with regular files and then removed.
    std::fs::remove_dir_all(worktree.path().join("libs/sub/.git")).expect("it exists");
    let taken = snapshot(&worktree, "3").await;
    assert!(gitlinks(taken.head.as_str()).is_empty());
    assert!(bench.files_of(taken.head.as_str()).contains(&"libs/sub/inside.txt".to_owned()));
    std::fs::remove_dir_all(worktree.path().join("libs")).expect("it exists");
    assert_eq!(bench.files_of(snapshot(&worktree, "4").await.head.as_str()), [".gitmodules", "README.md", "a.txt"]);
}

#[tokio::test]
async fn what_an_agent_left_out_of_its_worktree_is_deleted_in_the_commit_and_said() {
    let upstream = Upstream::new();
    upstream.commit("main", &[("in/a.txt", "1\n"), ("out/b.txt", "1\n")], "two folders");
    let bench = Bench::of(upstream).await;
    let worktree = bench.worktree("one").await;
    bench.by_hand(worktree.path(), &["sparse-checkout", "set", "in"]);
    assert!(!worktree.path().join("out").exists());
    write(&worktree, "in/a.txt", "2\n");
    write(&worktree, "out/new.txt", "1\n");
    let taken = snapshot(&worktree, "1").await;
    assert_eq!(bench.files_of(taken.head.as_str()), ["README.md", "in/a.txt", "out/new.txt"]);
    assert!(taken.notes.iter().any(|note| note.contains("sparse-checkout")), "{:?}", taken.notes);
}
