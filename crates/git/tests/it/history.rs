//! Mirrors with only a part of the history. The remote and git are real.

use std::num::NonZeroU32;

use git::History;
use testkit::upstream::Upstream;

use crate::support::{Bench, try_snapshot, write};

fn newest(depth: u32) -> History {
    History::Newest(NonZeroU32::new(depth).expect("not zero"))
}

/// An upstream with this number of commits on `main`, including the first one, and one more on `topic`.
fn upstream(commits: usize) -> Upstream {
    let upstream = Upstream::new();
    for number in 1..commits {
        upstream.commit("main", &[("number", &format!("{number}\n"))], &format!("commit {number}"));
    }
    upstream.point("refs/heads/topic", "main");
    upstream.commit("topic", &[("topic", "1\n")], "topic");
    upstream
}

fn commits(bench: &Bench, branch: &str) -> usize {
    bench.by_hand(bench.mirror.path(), &["rev-list", "--count", branch]).trim().parse().expect("a number")
}

fn is_shallow(bench: &Bench) -> bool {
    bench.mirror.path().join("shallow").exists()
}

#[tokio::test]
async fn a_shallow_clone_has_the_newest_commits_of_each_branch_and_grows_from_there() {
    let bench = Bench::with_history(upstream(6), newest(2)).await;
    assert_eq!((commits(&bench, "main"), commits(&bench, "topic")), (2, 3), "the parent of the tip of `topic` is that of `main`");
    bench.mirror.want_history(newest(2));
    for number in 0..4 {
        bench.upstream.commit("main", &[("new", &format!("{number}\n"))], "new");
    }
    bench.fetch().await;
    assert_eq!(commits(&bench, "main"), 6, "no commit between the old tip and the new one is missing");
    bench.by_hand(bench.mirror.path(), &["fsck", "--strict"]);
}

#[tokio::test]
async fn a_fetch_gets_the_history_that_is_wanted_later() {
    let bench = Bench::with_history(upstream(10), newest(1)).await;
    bench.fetch().await;
    assert_eq!(commits(&bench, "main"), 1, "nothing is wanted yet");
    bench.mirror.want_history(newest(4));
    for _ in 0..2 {
        bench.fetch().await;
        assert_eq!((commits(&bench, "main"), is_shallow(&bench)), (4, true), "it is deepened once");
    }
    bench.mirror.want_history(newest(2));
    bench.fetch().await;
    assert_eq!(commits(&bench, "main"), 4, "it is never shortened");
    bench.mirror.want_history(History::Everything);
    for _ in 0..2 {
        bench.fetch().await;
        assert_eq!((commits(&bench, "main"), is_shallow(&bench)), (10, false));
    }
}

#[tokio::test]
async fn a_depth_beyond_the_history_is_the_whole_history() {
    let bench = Bench::with_history(upstream(3), newest(100)).await;
    assert_eq!((commits(&bench, "main"), is_shallow(&bench)), (3, false));
    bench.mirror.want_history(newest(200));
    bench.upstream.commit("main", &[("new", "1\n")], "new");
    bench.fetch().await;
    assert_eq!(commits(&bench, "main"), 4);
}

#[tokio::test]
async fn a_task_of_a_shallow_mirror_is_committed() {
    let bench = Bench::with_history(upstream(5), newest(1)).await;
    let worktree = bench.worktree("task").await;
    write(&worktree, "work", "work\n");
    let snapshot = try_snapshot(&worktree, "1").await.expect("the work is committed");
    assert!(bench.files_of(snapshot.head.as_str()).contains(&"work".to_owned()));
    assert_eq!(commits(&bench, worktree.branch()), 2);
}

#[tokio::test]
async fn a_list_of_the_oldest_commits_that_a_power_cut_emptied_is_restored() {
    for left in [&b""[..], &[0; 82]] {
        let bench = Bench::with_history(upstream(6), newest(2)).await;
        bench.mirror.want_history(newest(3));
        bench.fetch().await;
        let list = bench.mirror.path().join("shallow");
        std::fs::write(&list, left).expect("the list exists");
        let restored = bench.mirror.remove_blank_files().await.expect("the mirror can be cleaned up");
        assert_eq!(restored, [list]);
        assert_eq!(commits(&bench, "main"), 3);
        bench.by_hand(bench.mirror.path(), &["fsck", "--strict"]);
        assert!(bench.mirror.remove_blank_files().await.expect("the mirror can be cleaned up").is_empty());
    }
}

#[tokio::test]
async fn a_fetch_that_was_killed_while_it_got_more_history_is_repeated() {
    let bench = Bench::with_history(upstream(6), newest(2)).await;
    std::fs::write(bench.mirror.path().join("shallow.lock"), "").expect("the folder is writable");
    bench.mirror.want_history(newest(4));
    bench.fetch().await;
    assert_eq!(commits(&bench, "main"), 4);
}
