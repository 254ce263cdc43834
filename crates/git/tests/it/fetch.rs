//! A mirror of an upstream that adds, rewrites and deletes branches, next to task branches that must stay. The tests use the
//! real git on temporary repositories, without the user's configuration.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use git::{FetchError, Git, Mirror};
use testkit::upstream::Upstream;
use tokio_util::sync::CancellationToken;

use crate::support::{Bench, PATIENCE, base, committed, left_behind, write};

#[tokio::test]
async fn moved_rewritten_and_deleted_branches_are_followed() {
    let bench = Bench::new().await;
    bench.upstream.commit("topic", &[("t", "1\n")], "topic");
    bench.upstream.tag("v1", "main");
    let moved = bench.upstream.commit("main", &[("a", "1\n")], "more");
    bench.fetch().await;
    assert_eq!(bench.commit_of("refs/heads/main"), moved);
    assert_eq!(bench.mirror.branches().await.expect("git answers"), ["main", "topic"]);
    let rewritten = bench.upstream.rewrite("main", &[("b", "1\n")], "anew");
    bench.upstream.delete_branch("topic");
    bench.upstream.git(&["tag", "-d", "v1"]);
    bench.fetch().await;
    assert_eq!(bench.commit_of("refs/heads/main"), rewritten);
    assert_eq!(bench.mirror.branches().await.expect("git answers"), ["main"]);
    assert_eq!(bench.mirror.resolve_ref("v1").await.expect("git answers"), None);
}

#[tokio::test]
async fn how_far_a_fetch_is_can_be_watched() {
    let bench = Bench::new().await;
    bench.upstream.commit("main", &[("a", "1\n"), ("b", "2\n")], "more");
    let mut steps = bench.mirror.fetch_progress();
    let watched = async {
        loop {
            steps.changed().await.expect("the mirror still exists");
            let step = *steps.borrow_and_update();
            if let Some(step) = step {
                return step;
            }
        }
    };
    let (step, ()) = tokio::join!(tokio::time::timeout(PATIENCE, watched), bench.fetch());
    assert!(step.expect("git reports progress").total > 0);
    assert_eq!(*bench.mirror.fetch_progress().borrow(), None, "no progress is reported between fetches");
}

#[tokio::test]
async fn a_branch_that_becomes_a_folder_of_branches_is_followed() {
    let bench = Bench::new().await;
    bench.upstream.commit("a", &[("x", "1\n")], "a");
    bench.fetch().await;
    bench.upstream.delete_branch("a");
    bench.upstream.commit("a/b", &[("x", "2\n")], "a/b");
    bench.fetch().await;
    assert_eq!(bench.mirror.branches().await.expect("git answers"), ["a/b", "main"]);
}

#[tokio::test]
async fn prune_never_loses_a_task_branch() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    write(&worktree, "work.txt", "done\n");
    let work = committed(&worktree, "1").await;
    // The remote has its own `codex/` branches: first one with the same name, later `codex`, which conflicts with all task branches.
    bench.upstream.commit("codex/one", &[("x", "theirs\n")], "theirs");
    bench.upstream.commit("codex/two", &[("x", "theirs\n")], "theirs");
    bench.fetch().await;
    assert_eq!(bench.commit_of("refs/heads/codex/one"), work.to_string());
    bench.upstream.delete_branch("codex/one");
    bench.upstream.delete_branch("codex/two");
    bench.upstream.commit("codex", &[("x", "theirs\n")], "theirs");
    bench.fetch().await;
    assert_eq!(bench.commit_of("refs/heads/codex/one"), work.to_string());
    assert_eq!(bench.by_hand(worktree.path(), &["status", "--porcelain", "--branch"]), "## codex/one");
    assert_eq!(bench.mirror.branches().await.expect("git answers"), ["main"]);
}

#[tokio::test]
async fn a_task_branch_is_pushed_by_hand() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    write(&worktree, "work.txt", "done\n");
    let work = committed(&worktree, "1").await;
    bench.upstream.commit("other", &[("x", "1\n")], "other");
    bench.by_hand(worktree.path(), &["push", "--quiet", "origin", "codex/one"]);
    assert_eq!(bench.upstream.commit_of("codex/one"), Some(work.to_string()));
    assert!(bench.upstream.commit_of("other").is_some(), "a push deletes nothing");
    bench.fetch().await;
    assert_eq!(bench.commit_of("refs/heads/codex/one"), work.to_string());
}

#[tokio::test]
async fn a_worktree_on_a_branch_of_the_remote_does_not_stop_the_fetch() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    bench.by_hand(worktree.path(), &["checkout", "--quiet", "main"]);
    let moved = bench.upstream.commit("main", &[("a", "1\n")], "more");
    bench.fetch().await;
    assert_eq!(bench.commit_of("refs/heads/main"), moved);
}

#[tokio::test]
async fn a_branch_that_the_agent_made_and_stands_on_survives_the_prune() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    bench.by_hand(worktree.path(), &["checkout", "--quiet", "-b", "my-idea"]);
    write(&worktree, "idea.txt", "1\n");
    bench.by_hand(worktree.path(), &["add", "idea.txt"]);
    bench.by_hand(worktree.path(), &["commit", "--quiet", "-m", "idea"]);
    let idea = bench.commit_of("refs/heads/my-idea");
    bench.fetch().await;
    assert_eq!(bench.by_hand(worktree.path(), &["rev-parse", "HEAD"]), idea);
}

#[tokio::test]
async fn failures_say_what_is_wrong_and_carry_no_password() {
    let bench = Bench::new().await;
    let fetch = async |url: &str, deadline: Duration| {
        bench.by_hand(bench.mirror.path(), &["config", "remote.origin.url", url]);
        bench.mirror.fetch_fresh(deadline, CancellationToken::new()).await.expect_err("the fetch fails")
    };
    let gone = fetch("/nowhere/repo.git", PATIENCE).await;
    assert!(matches!(*gone, FetchError::NotFound { .. }), "{gone:?}");
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it was bound");
    let refused = fetch(&format!("http://me:hunter2@{closed}/r"), PATIENCE).await;
    assert!(matches!(*refused, FetchError::HostUnreachable { .. }), "{refused:?}");
    assert!(!format!("{refused} {refused:?}").contains("hunter2"), "{refused:?}");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("git://{}/r", silent.local_addr().expect("it is bound"));
    let late = fetch(&url, Duration::from_millis(500)).await;
    assert!(matches!(*late, FetchError::TimedOut { .. }), "{late:?}");
    assert_eq!(bench.mirror.branches().await.expect("git answers"), ["main"], "a failed fetch deletes no branch");
}

#[tokio::test]
async fn a_cancelled_fetch_says_so_and_the_next_one_works() {
    let bench = Bench::new().await;
    let cancel = CancellationToken::new();
    cancel.cancel();
    let error = bench.mirror.fetch_fresh(PATIENCE, cancel).await.expect_err("cancelled");
    assert!(matches!(*error, FetchError::Cancelled), "{error:?}");
    bench.fetch().await;
}

/// Returns a git that records every fetch in a file and then runs the real git.
async fn counting_git(bench: &Bench) -> (Git, PathBuf) {
    let (script, log) = (bench.path("counting-git"), bench.path("fetches"));
    let real = bench.git.tool().path().display();
    let text =
        format!("#!/bin/sh\ncase \" $* \" in *' fetch '*) echo fetch >>'{}';; esac\nexec '{real}' \"$@\"\n", log.display());
    std::fs::write(&script, text).expect("a file");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("the file belongs to the test");
    std::fs::write(&log, "").expect("a file");
    (Git::discover(base(bench.folder.path()), Some(&script)).await.expect("the script works as git"), log)
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_five_tasks_at_one_moment_need_two_fetches_and_no_luck() {
    let mut bench = Bench::new().await;
    let (git, log) = counting_git(&bench).await;
    bench.mirror = Mirror::open(&git, bench.mirror.path()).expect("the folder is a mirror");
    let newest = bench.upstream.commit("main", &[("new.txt", "new\n")], "new");
    let create = async |number: usize| {
        bench.fetch().await;
        bench.try_worktree(&format!("task-{number}")).await
    };
    let made = join_all((0..25).map(create)).await;
    for (number, worktree) in made.into_iter().enumerate() {
        let worktree = worktree.unwrap_or_else(|error| panic!("task {number}: {error}"));
        assert_eq!(worktree.base().to_string(), newest);
        assert_eq!(bench.by_hand(worktree.path(), &["status", "--porcelain", "--branch"]), format!("## codex/task-{number}"));
        assert_eq!(std::fs::read_to_string(worktree.path().join("new.txt")).expect("the file is checked out"), "new\n");
    }
    let fetches = std::fs::read_to_string(log).expect("it exists").lines().count();
    assert!((1..=2).contains(&fetches), "{fetches} fetches");
}

#[tokio::test]
async fn locks_of_a_killed_git_do_not_stop_a_fetch_for_ever() {
    let bench = Bench::new().await;
    bench.upstream.commit("topic", &[("t", "1\n")], "topic");
    bench.fetch().await;
    bench.by_hand(bench.mirror.path(), &["pack-refs", "--all"]);
    bench.upstream.delete_branch("topic");
    let moved = bench.upstream.commit("main", &[("a", "1\n")], "more");
    for lock in ["packed-refs.lock", "refs/heads/main.lock"] {
        std::fs::write(bench.mirror.path().join(lock), "").expect("a file");
    }
    bench.fetch().await;
    assert_eq!(bench.commit_of("refs/heads/main"), moved);
    assert_eq!(bench.mirror.branches().await.expect("git answers"), ["main"]);
}

#[tokio::test]
async fn a_mirror_is_put_in_order_after_a_killed_server() {
    let bench = Bench::new().await;
    let path = |name: &str| bench.mirror.path().join(name);
    let rest = ["config.lock", "refs/tags/v1.lock", "objects/pack/tmp_pack_x1Y2z3"];
    let theirs = ["refs/heads/codex/t.lock", "objects/pack/pack-1.keep"];
    std::fs::create_dir_all(path("refs/heads/codex")).expect("a folder");
    for name in rest.iter().chain(&theirs) {
        std::fs::write(path(name), "").expect("a file");
    }
    std::fs::create_dir_all(path("codex-orchestrator-trash/worktree")).expect("a folder");
    let left = left_behind(bench.folder.path(), bench.mirror.path()).await;

    let recovered = bench.mirror.recover().await.expect("the mirror can be recovered");
    assert!(recovered.ended >= 1, "the process that was left behind is ended");
    let mut removed = recovered.removed;
    removed.sort();
    let mut expect = rest.map(path);
    expect.sort();
    assert_eq!(removed, expect);
    assert!(theirs.iter().all(|name| path(name).exists()), "files that an agent may have locked are kept");
    assert!(!path("codex-orchestrator-trash").exists());
    assert!(!left.is_alive().expect("/proc can be read"));
    assert_eq!(bench.mirror.recover().await.expect("a second call succeeds"), git::Recovered::default());
}

#[tokio::test]
async fn a_fetch_takes_nothing_from_the_hosts_own_refs() {
    let bench = Bench::of(Upstream::new()).await;
    bench.upstream.pull_request(7, &[("p", "1\n")]);
    bench.fetch().await;
    assert_eq!(bench.by_hand(bench.mirror.path(), &["for-each-ref", "--format=%(refname)"]), "refs/heads/main");
}
