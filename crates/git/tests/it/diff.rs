//! Diffs between commits: bounded patches that `git apply` accepts, whatever the user's settings. The tests use the real git on
//! temporary repositories, without the user's configuration.

use std::io::Write;
use std::process::{Command, Stdio};

use git::{DiffError, Git, Mirror, Standing};
use model::ids::ObjectId;

use crate::support::{Bench, base, committed, write};

/// Returns a base commit and a task's commit with changes of every kind.
async fn changed(bench: &Bench) -> (ObjectId, ObjectId) {
    let text: String = (0..50).map(|number| number.to_string() + "\n").collect();
    bench.upstream.commit("main", &[("old.txt", &text), ("gone.txt", "x\n"), ("mode.sh", "x\n"), ("sp ace.txt", "1\n")], "more");
    bench.fetch().await;
    let worktree = bench.worktree("one").await;
    let path = |name: &str| worktree.path().join(name);
    std::fs::rename(path("old.txt"), path("renamed \u{e4}.txt")).expect("it exists");
    std::fs::remove_file(path("gone.txt")).expect("it exists");
    std::fs::set_permissions(path("mode.sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("the file belongs to the test");
    std::fs::write(path("binary.bin"), [0, 1, 2, 255, 0, 10]).expect("a file");
    std::os::unix::fs::symlink("README.md", path("link")).expect("a link");
    write(&worktree, "sp ace.txt", "no newline at the end");
    write(&worktree, "tab\tquote\".txt", "1\n");
    let to = committed(&worktree, "1").await;
    (worktree.base().clone(), to)
}

/// Applies a patch to a checkout of `from` and returns the resulting tree.
fn applied(bench: &Bench, from: &ObjectId, patch: &[u8]) -> String {
    let folder = bench.path("apply");
    bench.by_hand(bench.mirror.path(), &["worktree", "add", "--quiet", "--detach", &folder.display().to_string(), from.as_str()]);
    #[expect(clippy::disallowed_methods, reason = "the test calls git like a user")]
    let mut apply = Command::new("git")
        .args(["apply", "--index"])
        .current_dir(&folder)
        .stdin(Stdio::piped())
        .spawn()
        .expect("git is installed");
    apply.stdin.take().expect("a pipe").write_all(patch).expect("git reads the patch");
    assert!(apply.wait().expect("it ends").success());
    bench.by_hand(&folder, &["write-tree"])
}

#[tokio::test]
async fn a_patch_leads_from_one_commit_to_the_other_byte_for_byte() {
    let bench = Bench::new().await;
    let (from, to) = changed(&bench).await;
    let patch = bench.mirror.patch(&from, &to, 1 << 20).await.expect("the commits can be compared");
    let tree = bench.by_hand(bench.mirror.path(), &["rev-parse", &format!("{to}^{{tree}}")]);
    assert_eq!(applied(&bench, &from, &patch), tree);
    let text = String::from_utf8_lossy(&patch);
    assert!(text.contains("rename from old.txt") && text.contains("GIT binary patch"), "{text}");
    assert!(bench.mirror.patch(&to, &to, 1 << 20).await.expect("the commits can be compared").is_empty());
}

#[tokio::test]
async fn the_users_taste_in_diffs_does_not_change_a_patch() {
    let mut bench = Bench::new().await;
    let (from, to) = changed(&bench).await;
    let plain = bench.mirror.patch(&from, &to, 1 << 20).await.expect("the commits can be compared");
    let config = bench.path("gitconfig");
    let taste = "[diff]\n\tnoprefix = true\n\tmnemonicPrefix = true\n\tcontext = 0\n\texternal = false\n\trenames = false\n\
                 \tsubmodule = log\n[color]\n\tui = always\n[core]\n\tquotePath = false\n\tpager = false\n";
    std::fs::write(&config, taste).expect("a file");
    let git = Git::discover(base(bench.folder.path()).with("GIT_CONFIG_GLOBAL", &config), None).await.expect("a git");
    bench.mirror = Mirror::open(&git, bench.mirror.path()).expect("the folder is a mirror");
    let same = bench.mirror.patch(&from, &to, 1 << 20).await.expect("the commits can be compared");
    assert_eq!(String::from_utf8_lossy(&same), String::from_utf8_lossy(&plain));
}

#[tokio::test]
async fn a_patch_that_is_too_large_is_an_error_that_says_so() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    write(&worktree, "large.txt", &"line\n".repeat(100_000));
    let to = committed(&worktree, "1").await;
    let error = bench.mirror.patch(worktree.base(), &to, 10_000).await.expect_err("the patch is too large");
    assert!(matches!(error, DiffError::TooLarge { max: 10_000 }), "{error}");
}

#[tokio::test]
async fn a_stat_counts_lines_and_knows_renames() {
    let bench = Bench::new().await;
    let (from, to) = changed(&bench).await;
    let stat = bench.mirror.stat(&from, &to).await.expect("the commits can be compared");
    let file = |path: &str| stat.files.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("{path}: {stat:?}"));
    assert_eq!(file("renamed \u{e4}.txt").old_path.as_deref(), Some("old.txt"));
    assert_eq!(file("binary.bin").lines, None);
    assert_eq!(file("gone.txt").lines, Some((0, 1)));
    assert_eq!(file("sp ace.txt").lines, Some((1, 1)));
    assert_eq!(file("tab\tquote\".txt").lines, Some((1, 0)));
    assert_eq!(stat.files.len(), 7);
    assert_eq!((stat.added(), stat.removed()), (3, 2));
}

#[tokio::test]
async fn a_commit_that_is_not_there_is_an_error() {
    let bench = Bench::new().await;
    let main = bench.mirror.resolve_ref("main").await.expect("git answers").expect("the branch `main` exists");
    let nowhere: ObjectId = "1".repeat(40).parse().expect("an id");
    assert!(matches!(bench.mirror.patch(&main, &nowhere, 1000).await, Err(DiffError::Program(_))));
    assert!(bench.mirror.stat(&main, &nowhere).await.is_err());
}

#[tokio::test]
async fn contents_are_found_by_their_files_and_read_up_to_a_limit() {
    let bench = Bench::new().await;
    let (from, to) = changed(&bench).await;
    let listing = bench.mirror.changed_files(&from, &to).await.expect("the commits can be compared");
    let of = |path: &str| {
        listing.files.iter().find(|file| file.path == path.as_bytes()).unwrap_or_else(|| panic!("{path} is missing"))
    };
    assert!(!of("link").new.as_ref().expect("the file is new").is_file(), "a link is not a file");
    assert!(of("gone.txt").new.is_none() && of("renamed \u{e4}.txt").old == of("renamed \u{e4}.txt").new);
    assert!(of("tab\tquote\".txt").old.is_none());
    let binary = of("binary.bin").new.clone().expect("the file is new");
    assert_eq!(binary.bytes, Some(6));
    let nowhere: ObjectId = "1".repeat(40).parse().expect("an id");
    let sizes = bench.mirror.content_sizes(&[nowhere.clone(), binary.id.clone()]).await.expect("the sizes can be read");
    assert_eq!(sizes, [None, Some(6)]);
    assert_eq!(bench.mirror.content(&binary.id, 6).await.expect("it exists"), [0, 1, 2, 255, 0, 10]);
    assert!(matches!(bench.mirror.content(&binary.id, 5).await, Err(DiffError::TooLarge { max: 5 })));
    assert!(bench.mirror.content(&to, 1000).await.is_err(), "a commit is not a file");
    assert!(bench.mirror.content(&nowhere, 1000).await.is_err());
}

#[tokio::test]
async fn a_commit_stands_before_elsewhere_or_is_gone() {
    let bench = Bench::new().await;
    let (from, to) = changed(&bench).await;
    for (commit, of, expect) in [
        (&from, &to, Standing::Before),
        (&to, &to, Standing::Before),
        (&to, &from, Standing::Elsewhere),
        (&"1".repeat(40).parse().expect("an id"), &to, Standing::Gone),
    ] {
        assert_eq!(bench.mirror.standing(commit, of).await.expect("git knows"), expect, "{commit} of {of}");
    }
}
