//! The end of a run in a container: whatever the agent did to its history, its work is exported and reaches the task's branch.
//!
//! The export script runs here without a container and uses the git on `PATH`. Other tests cover the container.

use testkit::upstream::Upstream;

use crate::support::agent::Agent;
use crate::support::{Bench, committed};

fn parents(bench: &Bench, commit: &str) -> Vec<String> {
    let listing = bench.by_hand(bench.mirror.path(), &["rev-list", "--parents", "-n1", commit]);
    listing.split(' ').skip(1).map(str::to_owned).collect()
}

fn clean() -> (String, String) {
    (String::new(), String::new())
}

#[tokio::test]
async fn what_is_uncommitted_is_one_commit_and_twice_is_the_same() {
    let upstream = Upstream::new();
    upstream.commit("main", &[("gone.txt", "x\n"), (".gitignore", "*.log\n")], "more");
    let bench = Bench::of(upstream).await;
    let agent = Agent::new(&bench, "one").await;
    let base = agent.tip();
    agent.write("README.md", "changed\n");
    agent.write("new/deep.txt", "new\n");
    agent.write("noise.log", "ignored\n");
    std::fs::remove_file(agent.tree().join("gone.txt")).expect("it exists");
    let taken = agent.end_run("1").await;
    let head = taken.head.to_string();
    assert_eq!(taken.commit, Some(taken.head.clone()));
    assert_eq!(parents(&bench, &head), [base.as_str()]);
    assert_eq!(bench.files_of(&head), [".gitignore", "README.md", "new/deep.txt"]);
    let shown = bench.by_hand(bench.mirror.path(), &["show", "--no-patch", "--format=%an <%ae>|%cn|%B", &head]);
    assert_eq!(shown, "Codex <codex@localhost>|Codex|Do it\n\nDone.\n\nTask-Id: codex/one\nRun: 1");
    assert_eq!(agent.status(), clean());

    assert_eq!(agent.harvest_since("1", &base).await.head, taken.head, "a second harvest of the run finds the same commit");
    assert_eq!(agent.try_import("1", &base).await.expect("a second call succeeds"), taken);
    let next = agent.end_run("2").await;
    assert_eq!((next.commit, next.head), (None, taken.head), "the next run changed nothing");
    assert!(!agent.out.join("bundle").exists(), "no bundle is written without new commits");
}

#[tokio::test]
async fn commits_of_the_agent_arrive_with_author_and_message() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    agent.write("own.txt", "1\n");
    agent.git(&["add", "."]);
    agent.git(&["-c", "user.name=A", "commit", "--quiet", "--author=Somebody <s@example.org>", "-m", "Their words"]);
    let own = agent.git(&["rev-parse", "HEAD"]);
    let taken = agent.end_run("1").await;
    assert_eq!((taken.commit, taken.head.to_string()), (None, own.clone()));
    assert_eq!(bench.by_hand(bench.mirror.path(), &["show", "--no-patch", "--format=%an|%s", &own]), "Somebody|Their words");
    agent.write("rest.txt", "1\n");
    let taken = agent.end_run("2").await;
    assert_eq!(parents(&bench, taken.head.as_str()), [own]);
}

#[tokio::test]
async fn a_rewritten_history_loses_nothing_that_the_host_had() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    agent.write("a.txt", "1\n");
    let first = agent.end_run("1").await.head.to_string();
    agent.write("a.txt", "2\n");
    agent.git(&["commit", "--quiet", "--all", "--amend", "-m", "amended"]);
    let amended = agent.git(&["rev-parse", "HEAD"]);
    let second = agent.end_run("2").await.head.to_string();
    assert_eq!(parents(&bench, &second), [first, amended]);
    assert_eq!(bench.content_of(&second, "a.txt"), "2");

    agent.git(&["reset", "--quiet", "--hard", "origin/main"]);
    let third = agent.end_run("3").await;
    assert_eq!(parents(&bench, third.head.as_str()), [second], "the commit is placed on top of the host's branch");
    assert_eq!(bench.files_of(third.head.as_str()), ["README.md"], "the last commit has the content of the worktree");
    assert_eq!(agent.status(), clean());
}

#[tokio::test]
async fn within_a_run_the_agent_may_rewrite_its_own_commits() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    agent.commit("a.txt", "1\n");
    agent.git(&["commit", "--quiet", "--amend", "-m", "better"]);
    let own = agent.git(&["rev-parse", "HEAD"]);
    assert_eq!(agent.end_run("1").await.head.to_string(), own);
}

#[tokio::test]
async fn another_branch_a_detached_head_and_an_orphan_are_taken_along() {
    let bench = Bench::new().await;
    for (task, arguments) in
        [("one", ["checkout", "--quiet", "-b", "idea"].as_slice()), ("two", &["checkout", "--quiet", "--detach"])]
    {
        let agent = Agent::new(&bench, task).await;
        agent.git(arguments);
        let own = agent.commit("own.txt", "1\n");
        agent.write("rest.txt", "1\n");
        let taken = agent.end_run("1").await;
        assert_eq!(parents(&bench, taken.head.as_str()), [own], "{task}");
        assert_eq!(agent.status(), clean(), "{task}");
    }
    let agent = Agent::new(&bench, "three").await;
    let base = agent.tip();
    agent.git(&["checkout", "--quiet", "--orphan", "fresh"]);
    let own = agent.commit("own.txt", "1\n");
    let taken = agent.end_run("1").await;
    assert_eq!(parents(&bench, taken.head.as_str()), [base, own]);
    agent.git(&["checkout", "--quiet", "--orphan", "unborn"]);
    agent.write("more.txt", "1\n");
    assert_eq!(parents(&bench, agent.end_run("2").await.head.as_str()), [taken.head.to_string()]);
}

#[tokio::test]
async fn a_head_beside_the_branch_becomes_a_second_parent() {
    let bench = Bench::new().await;
    bench.upstream.commit("other", &[("other.txt", "1\n")], "other");
    bench.fetch().await;
    let agent = Agent::new(&bench, "one").await;
    let own = agent.commit("own.txt", "1\n");
    agent.git(&["checkout", "--quiet", "-b", "there", "origin/other"]);
    let taken = agent.end_run("1").await;
    assert_eq!(parents(&bench, taken.head.as_str()), [own, bench.commit_of("refs/heads/other")]);
    assert_eq!(bench.files_of(taken.head.as_str()), ["README.md", "other.txt"]);
}

#[tokio::test]
async fn a_deleted_branch_starts_again_from_the_hosts() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    let base = agent.tip();
    agent.git(&["update-ref", "-d", "refs/heads/codex/one"]);
    agent.write("a.txt", "1\n");
    assert_eq!(parents(&bench, agent.end_run("1").await.head.as_str()), [base]);
}

#[tokio::test]
async fn half_done_operations_are_ended_and_a_resolved_merge_is_one() {
    let upstream = Upstream::new();
    upstream.commit("other", &[("README.md", "other\n")], "other");
    let bench = Bench::of(upstream).await;
    let other = bench.commit_of("refs/heads/other");
    for (task, operation) in [("one", "merge"), ("two", "rebase"), ("three", "cherry-pick")] {
        let agent = Agent::new(&bench, task).await;
        let own = agent.commit("README.md", "mine\n");
        let arguments = [operation, "origin/other"];
        let git_dir = format!("--git-dir={}", agent.twin.display());
        let ended = bench.upstream.try_git_in(agent.tree(), &[&[git_dir.as_str(), "--work-tree=."], &arguments[..]].concat());
        assert!(!ended.status.success(), "{task}: the operation stops with a conflict");
        agent.write("README.md", "resolved\n");
        agent.git(&["add", "README.md"]);
        let taken = agent.end_run("1").await;
        let expected = if operation == "cherry-pick" { vec![own] } else { vec![own, other.clone()] };
        assert_eq!(parents(&bench, taken.head.as_str()), expected, "{task}");
        assert_eq!(bench.content_of(taken.head.as_str(), "README.md"), "resolved");
        assert_eq!(agent.git(&["status"]).lines().count(), 2, "{task}: no operation is in progress");
    }
    let agent = Agent::new(&bench, "four").await;
    let own = agent.commit("README.md", "mine\n");
    let git_dir = format!("--git-dir={}", agent.twin.display());
    bench.upstream.try_git_in(agent.tree(), &[&git_dir, "--work-tree=.", "merge", "origin/other"]);
    let taken = agent.end_run("1").await;
    assert_eq!(parents(&bench, taken.head.as_str()), [own], "a merge with conflicts does not count as merged");
}

#[tokio::test]
async fn a_stash_and_other_branches_stay_in_the_agents_repository() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    agent.git(&["branch", "kept"]);
    agent.write("README.md", "stashed\n");
    agent.git(&["stash", "--quiet"]);
    agent.write("a.txt", "1\n");
    agent.end_run("1").await;
    agent.git(&["stash", "pop", "--quiet"]);
    let taken = agent.end_run("2").await;
    assert_eq!(bench.content_of(taken.head.as_str(), "README.md"), "stashed");
    assert_eq!(agent.git(&["branch", "--format=%(refname:short)"]), "codex/one\nkept");
    assert_eq!(bench.by_hand(bench.mirror.path(), &["branch", "--format=%(refname:short)"]), "codex/one\nmain");
}

#[tokio::test]
async fn nested_repositories_are_left_out_and_named() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    for (folder, commits) in [("vendor/nested", true), ("empty", false), ("odd\nname", true), ("staged", true)] {
        let nested = agent.tree().join(folder);
        std::fs::create_dir_all(&nested).expect("a folder");
        bench.by_hand(&nested, &["init", "--quiet"]);
        if commits {
            bench.by_hand(&nested, &["commit", "--quiet", "--allow-empty", "-m", "x"]);
        }
    }
    agent.git(&["-c", "advice.addEmbeddedRepo=false", "add", "staged"]);
    agent.write("work.txt", "1\n");
    let taken = agent.end_run("1").await;
    assert_eq!(taken.dropped_gitlinks, ["empty", "odd\u{fffd}name", "staged", "vendor/nested"]);
    assert_eq!(bench.files_of(taken.head.as_str()), ["README.md", "work.txt"]);
    assert!(agent.tree().join("vendor/nested/.git").is_dir(), "the nested repository is still in the worktree");
}

#[tokio::test]
async fn submodules_of_the_repository_keep_their_commit() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    let base = agent.tip();
    let line = |path: &str| format!("160000,{base},{path}");
    for path in ["libs/sub", "gone", "taken"] {
        agent.git(&["update-index", "--add", "--cacheinfo", &line(path)]);
        std::fs::create_dir_all(agent.tree().join(path)).expect("a folder");
    }
    agent.git(&["commit", "--quiet", "-m", "submodules"]);
    let own = agent.git(&["rev-parse", "HEAD"]);
    bench.by_hand(&agent.tree().join("libs/sub"), &["init", "--quiet"]);
    agent.write("libs/sub/file", "1\n");
    std::fs::remove_dir(agent.tree().join("gone")).expect("the folder is empty");
    std::fs::remove_dir(agent.tree().join("taken")).expect("the folder is empty");
    agent.write("taken", "a file now\n");
    let taken = agent.end_run("1").await;
    assert_eq!(parents(&bench, taken.head.as_str()), [own]);
    let listing = bench.by_hand(bench.mirror.path(), &["ls-tree", "-r", "--format=%(objectmode) %(path)", taken.head.as_str()]);
    assert_eq!(listing, "100644 README.md\n160000 libs/sub\n100644 taken");
    assert!(taken.dropped_gitlinks.is_empty());
}

#[tokio::test]
async fn the_agents_branch_follows_the_hosts_when_nothing_is_lost_by_it() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    agent.write("a.txt", "1\n");
    // The export failed, and the host committed the worktree on its own.
    let host = committed(&agent.worktree, "1").await.to_string();
    let sync = [("HARVEST_MODE", "sync")];
    let ended = agent.try_harvest("2", &host, &sync).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert_eq!((agent.report().head.to_string(), agent.git(&["rev-parse", "HEAD"])), (host.clone(), host.clone()));
    assert_eq!(agent.status(), clean());
    assert!(agent.report().notes.is_empty() && !agent.out.join("bundle").exists());

    // Someone else's commit arrives while the worktree has no changes.
    let bare = bench.mirror.path();
    let tree = bench.by_hand(bare, &["rev-parse", "main^{tree}"]);
    let theirs = bench.by_hand(bare, &["commit-tree", &tree, "-p", &host, "-m", "theirs"]);
    agent.try_harvest("2", &theirs, &sync).await;
    assert_eq!(agent.git(&["rev-parse", "HEAD"]), theirs);
    assert!(!agent.tree().join("a.txt").exists(), "the worktree has the files of the new commit");

    // Another commit arrives while the worktree has an uncommitted change.
    let more = bench.by_hand(bare, &["commit-tree", &tree, "-p", &theirs, "-m", "more"]);
    let last = bench.by_hand(bare, &["commit-tree", &format!("{host}^{{tree}}"), "-p", &more, "-m", "last"]);
    agent.write("README.md", "mine\n");
    agent.try_harvest("2", &last, &sync).await;
    assert_eq!((agent.report().head.to_string(), agent.report().notes.len()), (theirs.clone(), 1));
    assert_eq!(agent.git(&["status", "--porcelain"]), " M README.md");

    // Another commit arrives while the agent has a commit that the host does not have.
    let own = agent.commit("README.md", "mine\n");
    agent.try_harvest("2", &last, &sync).await;
    assert_eq!((agent.report().head.to_string(), agent.report().notes.len()), (own.clone(), 1));
    agent.try_harvest("2", &theirs, &sync).await;
    assert_eq!((agent.report().head.to_string(), agent.report().notes.len()), (own, 0), "the agent's branch is already ahead");
}
