//! Repair of worktrees and mirrors after a power cut: content that only a cut can have removed is restored, git's administrative
//! files of worktrees are rebuilt, and edits are kept. The tests simulate a cut by writing the damaged files that it leaves.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use git::{Compared, Work, Worktree, WorktreeSpec};
use model::sparse::Cone;
use testkit::upstream::Upstream;

use crate::support::{Bench, committed, write};

const LONG: &str = "one\ntwo\nthree\nfour\n";

/// Creates a worktree with a committed run.
async fn committed_run() -> (Bench, Worktree) {
    let upstream = Upstream::new();
    upstream.commit("main", &[("a.txt", LONG), ("b.txt", LONG), ("deep/c.txt", LONG), ("empty", "")], "more");
    let bench = Bench::of(upstream).await;
    let worktree = bench.worktree("one").await;
    write(&worktree, "new.txt", LONG);
    committed(&worktree, "1").await;
    (bench, worktree)
}

/// Damages a file like a power cut: changes its content and keeps its modification time.
fn tear(worktree: &Worktree, path: &str, content: &[u8]) {
    let path = worktree.path().join(path);
    let changed = std::fs::metadata(&path).and_then(|found| found.modified()).expect("there");
    std::fs::write(&path, content).expect("written");
    let file = std::fs::File::options().write(true).open(&path).expect("opened");
    file.set_modified(changed).expect("set");
}

fn content(worktree: &Worktree, path: &str) -> String {
    std::fs::read_to_string(worktree.path().join(path)).expect("there")
}

fn aside(worktree: &Worktree) -> PathBuf {
    worktree.path().with_file_name("replaced")
}

async fn compare(worktree: &Worktree, work: Work) -> Compared {
    worktree.restore_torn_files(work, aside(worktree)).await.expect("compared")
}

/// Returns the path of git's administrative folder for a worktree.
fn admin(bench: &Bench, worktree: &Worktree) -> PathBuf {
    bench.by_hand(worktree.path(), &["rev-parse", "--absolute-git-dir"]).into()
}

#[tokio::test]
async fn files_that_a_cut_emptied_zeroed_or_cut_short_are_restored() {
    let (_bench, worktree) = committed_run().await;
    let zeros = vec![0; LONG.len()];
    tear(&worktree, "a.txt", &zeros);
    tear(&worktree, "deep/c.txt", b"");
    tear(&worktree, "new.txt", b"one\ntw");
    let compared = compare(&worktree, Work::Committed).await;
    assert_eq!(compared.restored, ["a.txt", "deep/c.txt", "new.txt"]);
    assert_eq!((compared.edited, compared.failed), (vec![], vec![]));
    for path in ["a.txt", "deep/c.txt", "new.txt"] {
        assert_eq!(content(&worktree, path), LONG, "{path}");
    }
    assert_eq!(compared.replaced, Some(aside(&worktree)));
    let kept = std::fs::read_to_string(aside(&worktree).join("new.txt")).expect("the damaged file is kept");
    assert_eq!(kept, "one\ntw");
    assert_eq!(compare(&worktree, Work::Committed).await, Compared::default(), "a second check finds no damage");
}

#[tokio::test]
async fn an_edit_stays_and_is_named() {
    let (_bench, worktree) = committed_run().await;
    write(&worktree, "a.txt", "one\ntwo\nthree\nFOUR\n");
    write(&worktree, "b.txt", &format!("{LONG}five\n"));
    std::fs::remove_file(worktree.path().join("new.txt")).expect("there");
    std::fs::remove_dir_all(worktree.path().join("deep")).expect("there");
    let outside = worktree.path().with_file_name("outside");
    std::fs::create_dir(&outside).expect("made");
    std::fs::write(outside.join("c.txt"), "").expect("written");
    symlink(&outside, worktree.path().join("deep")).expect("a link");
    write(&worktree, "untracked", "");
    let compared = compare(&worktree, Work::Committed).await;
    assert_eq!(compared.restored, Vec::<String>::new());
    assert_eq!(compared.edited, ["a.txt", "b.txt", "deep/c.txt", "new.txt"]);
    assert_eq!(std::fs::read(outside.join("c.txt")).expect("there"), b"", "nothing is written through a link");
    assert!(!worktree.path().join("new.txt").exists() && !aside(&worktree).exists());
}

#[tokio::test]
async fn work_that_is_not_committed_may_be_shorter_but_not_blank() {
    let (_bench, worktree) = committed_run().await;
    write(&worktree, "a.txt", "short\n");
    tear(&worktree, "b.txt", b"");
    let compared = compare(&worktree, Work::Uncommitted).await;
    assert_eq!((compared.restored, compared.edited), (vec!["b.txt".to_owned()], vec![]));
    assert_eq!((content(&worktree, "a.txt").as_str(), content(&worktree, "b.txt").as_str()), ("short\n", LONG));
}

#[tokio::test]
async fn a_fifo_in_place_of_a_file_holds_nobody_up() {
    let (_bench, worktree) = committed_run().await;
    let path = worktree.path().join("a.txt");
    std::fs::remove_file(&path).expect("there");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a FIFO");
    assert_eq!(compare(&worktree, Work::Committed).await.edited, ["a.txt"]);
}

#[tokio::test]
async fn a_worktree_is_checked_once_after_each_unclean_stop() {
    let (_bench, worktree) = committed_run().await;
    assert!(!worktree.is_checked_after("boot-2").expect("readable"));
    worktree.mark_checked_after("boot-2").expect("written");
    assert!(worktree.is_checked_after("boot-2").expect("readable"));
    assert!(!worktree.is_checked_after("boot-3").expect("readable"));
}

/// Damages some of git's administrative files of a worktree and checks that the worktree is rebuilt from the task's record.
async fn rebuilt_after(damage: &[(&str, &[u8])]) {
    let (bench, worktree) = committed_run().await;
    let before = bench.by_hand(worktree.path(), &["rev-parse", "HEAD"]);
    let admin = admin(&bench, &worktree);
    for (name, content) in damage {
        std::fs::write(admin.join(name), content).expect("written");
    }
    write(&worktree, "uncommitted.txt", "the only copy\n");
    let spec = WorktreeSpec { path: worktree.path(), branch: worktree.branch(), base: worktree.base(), cone: &Cone::default() };
    let found = bench.mirror.find_or_rebuild_worktree(spec).await.expect("rebuilt").expect("it exists");
    assert_eq!((found.path(), found.base()), (worktree.path(), worktree.base()), "{damage:?}");
    assert_eq!(bench.by_hand(worktree.path(), &["rev-parse", "HEAD"]), before, "{damage:?}");
    assert_eq!(bench.by_hand(worktree.path(), &["status", "--porcelain"]), "?? uncommitted.txt", "{damage:?}");
    assert_eq!(bench.by_hand(worktree.path(), &["branch", "--show-current"]), "codex/one", "{damage:?}");
    let spec = WorktreeSpec { path: worktree.path(), branch: worktree.branch(), base: worktree.base(), cone: &Cone::default() };
    assert!(bench.mirror.find_or_rebuild_worktree(spec).await.expect("sound").is_some());
}

#[tokio::test]
async fn a_damaged_administration_is_rebuilt_and_uncommitted_work_stays_where_it_is() {
    let cases: [&[(&str, &[u8])]; 7] = [
        &[("HEAD", b"")],
        &[("gitdir", b"")],
        &[("commondir", b"\0\0\0")],
        &[("index", b"")],
        &[("index", b"\0\0\0\0\0\0\0\0")],
        &[("codex-orchestrator-ready", b"")],
        &[("HEAD", b""), ("gitdir", b"\0\0"), ("commondir", b""), ("index", b""), ("codex-orchestrator-ready", b"\0")],
    ];
    for damage in cases {
        rebuilt_after(damage).await;
    }
}

#[tokio::test]
async fn a_worktree_that_was_only_half_made_is_not_taken_for_a_complete_one() {
    let (bench, worktree) = committed_run().await;
    std::fs::remove_file(admin(&bench, &worktree).join("codex-orchestrator-ready")).expect("there");
    let spec = WorktreeSpec { path: worktree.path(), branch: worktree.branch(), base: worktree.base(), cone: &Cone::default() };
    assert!(bench.mirror.find_or_rebuild_worktree(spec).await.expect("looked").is_none());
}

#[tokio::test]
async fn blank_objects_and_refs_are_removed_and_a_branch_comes_back_from_the_record() {
    let (bench, worktree) = committed_run().await;
    let mirror = bench.mirror.path();
    let tip = bench.commit_of("refs/heads/codex/one");
    let id = "ab".repeat(20);
    let object = mirror.join("objects").join(&id[..2]).join(&id[2..]);
    let blank = [object.clone(), mirror.join("refs/heads/codex/one"), mirror.join("lfs/objects/aa/bb/aabb")];
    let kept = [mirror.join("lfs/objects/aa/bb/aacc"), object.with_file_name("tmp_obj_x"), mirror.join("refs/heads/x.lock")];
    for (path, content) in blank.iter().chain(&kept).zip([&b""[..], b"", b"\0\0\0", b"large", b"", b""]) {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, content).expect("written");
    }
    let mut removed = bench.mirror.remove_blank_files().await.expect("removed");
    removed.sort();
    let mut expected = blank.to_vec();
    expected.sort();
    assert_eq!(removed, expected);
    assert!(kept.iter().all(|path| path.exists()));
    let branch = worktree.branch();
    let tip = tip.parse().expect("an id");
    for _ in 0..2 {
        bench.mirror.ensure_branch(branch, &tip).await.expect("restored");
        assert_eq!(bench.commit_of("refs/heads/codex/one"), tip.to_string());
    }
    std::fs::remove_file(&kept[2]).expect("there");
    let checked = bench.by_hand(mirror, &["fsck", "--strict", "--no-dangling"]);
    assert!(!checked.contains("error"), "{checked}");
}

#[tokio::test]
async fn everything_new_in_a_mirror_is_synced_and_what_vanishes_meanwhile_is_no_error() {
    let (bench, worktree) = committed_run().await;
    for number in 0..3 {
        write(&worktree, "a.txt", &format!("{number}\n"));
        committed(&worktree, &number.to_string()).await;
        bench.mirror.sync().await.expect("synced");
    }
    let folder: &Path = &bench.mirror.path().join("refs/heads/gone");
    std::fs::create_dir_all(folder).expect("made");
    bench.mirror.sync().await.expect("synced");
    std::fs::remove_dir(folder).expect("removed");
    bench.mirror.sync().await.expect("synced");
}

#[tokio::test]
async fn refs_that_lead_nowhere_are_deleted_and_a_fetch_brings_the_remotes_back() {
    let (bench, _worktree) = committed_run().await;
    let mirror = bench.mirror.path();
    let main = bench.commit_of("refs/heads/main");
    let nowhere = "ab".repeat(20);
    for name in ["refs/heads/main", "refs/heads/codex/two", "refs/orchestrator/base/two"] {
        let path = mirror.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, format!("{nowhere}\n")).expect("written");
    }
    let mut broken = bench.mirror.delete_broken_refs().await.expect("deleted");
    broken.sort();
    assert_eq!(broken, ["refs/heads/codex/two", "refs/heads/main", "refs/orchestrator/base/two"]);
    assert!(bench.mirror.delete_broken_refs().await.expect("twice").is_empty());
    bench.fetch().await;
    assert_eq!(bench.commit_of("refs/heads/main"), main);
}

#[tokio::test]
async fn locks_of_an_earlier_boot_and_half_made_administrations_are_cleared_away() {
    let (bench, worktree) = committed_run().await;
    let mirror = bench.mirror.path();
    let own = admin(&bench, &worktree);
    let half = mirror.join("worktrees/half");
    std::fs::create_dir_all(&half).expect("made");
    for file in ["HEAD", "gitdir", "commondir"] {
        std::fs::write(half.join(file), "").expect("written");
    }
    let locks = [mirror.join("refs/heads/codex/two.lock"), own.join("index.lock"), half.join("index.lock")];
    for lock in &locks {
        std::fs::write(lock, "").expect("written");
    }
    let mut removed = bench.mirror.remove_all_locks().await.expect("removed");
    removed.sort();
    let mut expected = locks.to_vec();
    expected.sort();
    assert_eq!(removed, expected);
    assert_eq!(bench.mirror.discard_torn_administrations().await.expect("discarded"), 1);
    assert!(!half.exists() && own.exists());
    let second = bench.worktree("two").await;
    assert_eq!(bench.by_hand(second.path(), &["status", "--porcelain"]), "");
}
