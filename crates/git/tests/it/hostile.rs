//! Worktrees from a hostile agent: nothing in them is run, followed or trusted.
//!
//! Each test first shows that its trap works when git is called carelessly, because a trap that never works proves nothing.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use git::{Git, Mirror, Worktree};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::{Bench, base, branch, committed, snapshot, write};

/// A script that creates a file when it is run.
struct Trap {
    script: PathBuf,
    sign: PathBuf,
}

impl Trap {
    fn new(bench: &Bench) -> Self {
        let (script, sign) = (bench.path("trap"), bench.path("sprung"));
        std::fs::write(&script, format!("#!/bin/sh\ntouch '{}'\ncat\n", sign.display())).expect("a file");
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("the file belongs to the test");
        Self { script, sign }
    }

    /// Returns whether the script was run since the last call.
    fn was_sprung(&self) -> bool {
        std::fs::remove_file(&self.sign).is_ok()
    }

    /// Creates a repository whose configuration runs the script whenever git reads it.
    fn set_in(&self, bench: &Bench, repository: &Path) {
        std::fs::create_dir_all(repository).expect("a folder");
        bench.by_hand(repository, &["init", "--quiet"]);
        std::fs::write(repository.join("file.txt"), "1\n").expect("a file");
        std::fs::write(repository.join(".gitattributes"), "* filter=evil\n").expect("a file");
        bench.by_hand(repository, &["add", "."]);
        bench.by_hand(repository, &["commit", "--quiet", "-m", "inside"]);
        let script = self.script.display().to_string();
        for name in ["core.fsmonitor", "filter.evil.clean", "filter.evil.smudge", "diff.external"] {
            bench.by_hand(repository, &["config", name, &script]);
        }
        let hooks = repository.join(".git/hooks");
        std::fs::create_dir_all(&hooks).expect("a folder");
        for hook in ["pre-commit", "post-checkout", "post-index-change", "reference-transaction"] {
            std::fs::copy(&self.script, hooks.join(hook)).expect("a file");
        }
    }
}

/// A function that replaces the `.git` of a worktree with something else.
type Replace<'a> = &'a dyn Fn(&Path);

/// Does everything that the orchestrator does with a worktree after a run and before the next one.
async fn everything(bench: &Bench, task: &str) -> Worktree {
    let worktree = bench
        .mirror
        .find_worktree(&bench.tree(task), &branch(task))
        .expect("the worktree can be read")
        .expect("the worktree exists");
    let before = snapshot(&worktree, "1").await;
    bench.fetch().await;
    let again = bench.worktree(task).await;
    assert_eq!(snapshot(&again, "1").await, before);
    bench.mirror.patch(worktree.base(), &before.head, 1 << 20).await.expect("the commits can be compared");
    worktree
}

#[tokio::test]
async fn a_dot_git_of_the_agents_own_is_never_obeyed() {
    let bench = Bench::new().await;
    let trap = Trap::new(&bench);
    let evil = bench.path("evil");
    trap.set_in(&bench, &evil);
    trap.was_sprung();
    bench.by_hand(&evil, &["status"]);
    assert!(trap.was_sprung(), "the trap works");

    let replacements: [(&str, Replace<'_>); 5] = [
        ("removed", &|_| {}),
        ("file", &|link| std::fs::write(link, format!("gitdir: {}\n", evil.join(".git").display())).expect("a file")),
        ("symlink", &|link| symlink(evil.join(".git"), link).expect("a link")),
        ("folder", &|link| drop(std::fs::rename(bench.path("evil-copy/.git"), link))),
        ("loop", &|link| symlink(".git", link).expect("a link")),
    ];
    trap.set_in(&bench, &bench.path("evil-copy"));
    for (task, replace) in replacements {
        let worktree = bench.worktree(task).await;
        let link = worktree.path().join(".git");
        std::fs::remove_file(&link).expect("it exists");
        replace(&link);
        write(&worktree, "work.txt", "done\n");
        trap.was_sprung();
        let worktree = everything(&bench, task).await;
        assert!(!trap.was_sprung(), "{task}");
        assert_eq!(bench.files_of(&bench.commit_of(&format!("refs/heads/codex/{task}"))), ["README.md", "work.txt"], "{task}");
        assert_eq!(bench.by_hand(worktree.path(), &["status", "--porcelain"]), "", "{task}: the link to the mirror is restored");
        bench.mirror.remove_worktree(worktree.path(), &branch(task), task).await.expect("the worktree can be removed");
        assert!(!trap.was_sprung() && evil.join(".git/config").exists(), "{task}");
    }
}

#[tokio::test]
async fn a_nested_repository_is_not_entered_and_is_named() {
    let bench = Bench::new().await;
    let trap = Trap::new(&bench);
    let worktree = bench.worktree("one").await;
    trap.set_in(&bench, &worktree.path().join("vendor/nested"));
    bench.by_hand(worktree.path(), &["add", "vendor/nested"]);
    // When the nested repository is staged as a submodule, a careless git enters it.
    write(&worktree, "vendor/nested/file.txt", "2\n");
    trap.was_sprung();
    bench.by_hand(worktree.path(), &["status"]);
    assert!(trap.was_sprung(), "the trap works");
    write(&worktree, "work.txt", "done\n");
    let taken = snapshot(&worktree, "1").await;
    assert!(!trap.was_sprung());
    assert_eq!(taken.dropped_gitlinks, ["vendor/nested"]);
    assert_eq!(bench.files_of(taken.head.as_str()), ["README.md", "work.txt"]);
    everything(&bench, "one").await;
    assert!(!trap.was_sprung());
    assert!(worktree.path().join("vendor/nested/file.txt").exists(), "the nested repository stays in the worktree");
}

#[tokio::test]
async fn nested_repositories_of_every_kind_leave_the_rest_committed() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    let inside = |name: &str| worktree.path().join(name);
    let init = |name: &str| bench.by_hand(worktree.path(), &["init", "--quiet", "--", name]);
    init("without commits");
    init(":(top)*");
    init("-x\n\"y");
    std::fs::create_dir(inside("linked")).expect("a folder");
    std::fs::write(inside("linked/.git"), format!("gitdir: {}\n", inside("without commits/.git").display())).expect("a file");
    std::fs::create_dir_all(inside("bogus/.git")).expect("a folder");
    write(&worktree, "bogus/kept.txt", "1\n");
    write(&worktree, "work.txt", "done\n");
    let taken = snapshot(&worktree, "1").await;
    assert_eq!(taken.dropped_gitlinks, ["-x\n\"y", ":(top)*", "linked", "without commits"]);
    assert_eq!(bench.files_of(taken.head.as_str()), ["README.md", "bogus/kept.txt", "work.txt"]);
}

#[tokio::test]
async fn a_folder_of_the_repository_that_became_a_repository_is_committed_as_before() {
    let bench = Bench::new().await;
    bench.upstream.commit("main", &[("template/a.txt", "1\n")], "template");
    bench.fetch().await;
    let trap = Trap::new(&bench);
    let worktree = bench.worktree("one").await;
    trap.set_in(&bench, &worktree.path().join("template"));
    write(&worktree, "template/a.txt", "2\n");
    trap.was_sprung();
    let commit = committed(&worktree, "1").await;
    assert!(!trap.was_sprung());
    assert_eq!(bench.content_of(commit.as_str(), "template/a.txt"), "2");
    assert!(bench.files_of(commit.as_str()).contains(&"template/file.txt".to_owned()));
}

#[tokio::test]
async fn a_submodule_that_the_agent_committed_is_not_entered() {
    let bench = Bench::new().await;
    let trap = Trap::new(&bench);
    let worktree = bench.worktree("one").await;
    trap.set_in(&bench, &worktree.path().join("nested"));
    write(&worktree, ".gitmodules", "[submodule \"nested\"]\n\tpath = nested\n\turl = ./nested\n\tignore = none\n");
    bench.by_hand(worktree.path(), &["add", ".gitmodules", "nested"]);
    bench.by_hand(worktree.path(), &["commit", "--quiet", "-m", "submodule"]);
    write(&worktree, "nested/file.txt", "2\n");
    trap.was_sprung();
    bench.by_hand(worktree.path(), &["-c", "diff.ignoreSubmodules=all", "status"]);
    assert!(trap.was_sprung(), "the trap works, although `diff.ignoreSubmodules` is `all`");
    everything(&bench, "one").await;
    write(&worktree, "work.txt", "done\n");
    committed(&worktree, "2").await;
    assert!(!trap.was_sprung());
}

#[tokio::test]
async fn no_filter_is_run_but_git_lfs() {
    let mut bench = Bench::new().await;
    let trap = Trap::new(&bench);
    let config = bench.path("gitconfig");
    let (script, lfs) = (trap.script.display(), bench.path("lfs"));
    let text = format!(
        "[filter \"evil.one=x\"]\n\tclean = {script}\n\tsmudge = {script}\n\trequired = true\n\
         [filter \"lfs\"]\n\tclean = \"touch '{lfs}'; tr a-z A-Z\"\n\tsmudge = \"tr A-Z a-z\"\n\trequired = true\n",
        lfs = lfs.display()
    );
    std::fs::write(&config, text).expect("a file");
    let git = Git::discover(base(bench.folder.path()).with("GIT_CONFIG_GLOBAL", &config), None).await.expect("a git");
    bench.mirror = Mirror::open(&git, bench.mirror.path()).expect("the folder is a mirror");
    let worktree = bench.worktree("one").await;
    write(&worktree, ".gitattributes", "*.txt filter=evil.one=x\n*.bin filter=lfs\n");
    write(&worktree, "a.txt", "text\n");
    write(&worktree, "a.bin", "large\n");
    #[expect(clippy::disallowed_methods, reason = "the test calls git without precautions")]
    let careless = std::process::Command::new("git")
        .args(["add", "a.txt"])
        .current_dir(worktree.path())
        .env("GIT_CONFIG_GLOBAL", &config)
        .status()
        .expect("git is installed");
    assert!(careless.success() && trap.was_sprung(), "the trap works");
    let commit = committed(&worktree, "1").await;
    assert!(!trap.was_sprung());
    assert!(lfs.exists(), "the configured git-lfs filter runs");
    assert_eq!(bench.content_of(commit.as_str(), "a.bin"), "LARGE");
    // A checkout does not run the other filter either.
    std::fs::remove_dir_all(worktree.path()).expect("it exists");
    let again = bench.worktree("one").await;
    assert!(!trap.was_sprung());
    assert_eq!(std::fs::read_to_string(again.path().join("a.bin")).expect("it exists"), "large\n");
}

#[tokio::test]
async fn hooks_and_a_monitor_of_the_mirror_are_not_run() {
    let bench = Bench::new().await;
    let trap = Trap::new(&bench);
    let hooks = bench.mirror.path().join("hooks");
    std::fs::create_dir_all(&hooks).expect("a folder");
    for hook in ["reference-transaction", "post-checkout", "pre-commit", "post-index-change", "post-commit"] {
        std::fs::copy(&trap.script, hooks.join(hook)).expect("a file");
    }
    bench.by_hand(bench.mirror.path(), &["update-ref", "refs/heads/x", "main"]);
    assert!(trap.was_sprung(), "the trap works");
    let worktree = bench.worktree("one").await;
    bench.by_hand(bench.mirror.path(), &["config", "core.fsmonitor", &trap.script.display().to_string()]);
    bench.by_hand(worktree.path(), &["-c", "core.hooksPath=/dev/null", "status"]);
    assert!(trap.was_sprung(), "the trap works");
    write(&worktree, "work.txt", "done\n");
    everything(&bench, "one").await;
    bench.mirror.remove_worktree(worktree.path(), "codex/one", "one").await.expect("the worktree can be removed");
    assert!(!trap.was_sprung());
}

#[tokio::test]
async fn links_are_committed_as_links_and_never_followed() {
    let bench = Bench::new().await;
    bench.upstream.commit("main", &[("dir/a.txt", "1\n")], "dir");
    bench.fetch().await;
    let secret = bench.path("secret");
    std::fs::create_dir(&secret).expect("a folder");
    std::fs::write(secret.join("a.txt"), "secret\n").expect("a file");
    let worktree = bench.worktree("one").await;
    symlink("/etc/passwd", worktree.path().join("passwd")).expect("a link");
    symlink(&secret, worktree.path().join("link")).expect("a link");
    symlink("nowhere", worktree.path().join("dangling")).expect("a link");
    std::fs::remove_dir_all(worktree.path().join("dir")).expect("it exists");
    symlink(&secret, worktree.path().join("dir")).expect("a link replaces the folder");
    let commit = committed(&worktree, "1").await;
    assert_eq!(bench.files_of(commit.as_str()), ["README.md", "dangling", "dir", "link", "passwd"]);
    assert_eq!(bench.content_of(commit.as_str(), "passwd"), "/etc/passwd");
    bench.mirror.remove_worktree(worktree.path(), "codex/one", "one").await.expect("the worktree can be removed");
    assert_eq!(std::fs::read_to_string(secret.join("a.txt")).expect("it stays"), "secret\n");
}

#[tokio::test]
async fn files_that_are_no_files_are_left_out() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    let path = |name: &str| worktree.path().join(name);
    mknodat(CWD, path("fifo"), FileType::Fifo, Mode::RWXU, 0).expect("a fifo");
    std::os::unix::net::UnixListener::bind(path("socket")).expect("a socket");
    std::fs::remove_file(path("README.md")).expect("it exists");
    mknodat(CWD, path("README.md"), FileType::Fifo, Mode::RWXU, 0).expect("a FIFO replaces the file");
    write(&worktree, "work.txt", "done\n");
    let taken = snapshot(&worktree, "1").await;
    let files = bench.files_of(taken.head.as_str());
    assert!(files.contains(&"work.txt".to_owned()), "{files:?}");
    assert!(!files.contains(&"fifo".to_owned()) && !files.contains(&"socket".to_owned()), "{files:?}");
    assert_eq!(snapshot(&worktree, "1").await.commit, taken.commit);
}

#[tokio::test]
async fn names_of_every_kind_are_committed() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    let names: [&[u8]; 9] = [
        b"-rf",
        b"--help",
        b"new\nline",
        b"tab\tquote\"",
        b":(exclude)x",
        b"*",
        b"\xff\xfe",
        b" lead and trail ",
        "\u{e4}\u{1f980}".as_bytes(),
    ];
    for name in names {
        std::fs::write(worktree.path().join(OsStr::from_bytes(name)), "1\n").expect("a file");
    }
    let commit = committed(&worktree, "1").await;
    let listing = bench.upstream.try_git_in(bench.mirror.path(), &["ls-tree", "-r", "-z", "--name-only", commit.as_str()]);
    let mut found: Vec<&[u8]> = listing.stdout.split(|&byte| byte == 0).filter(|name| !name.is_empty()).collect();
    let mut expect = names.to_vec();
    expect.push(b"README.md");
    found.sort_unstable();
    expect.sort_unstable();
    assert_eq!(found, expect);
    assert_eq!(bench.by_hand(worktree.path(), &["status", "--porcelain"]), "");
}

#[tokio::test]
async fn names_that_git_refuses_are_told_and_the_rest_is_committed() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    write(&worktree, "git~1", "1\n");
    write(&worktree, "work.txt", "done\n");
    let taken = snapshot(&worktree, "1").await;
    assert_eq!(bench.files_of(taken.head.as_str()), ["README.md", "work.txt"]);
    assert!(taken.unreadable.iter().any(|line| line.contains("git~1")), "{:?}", taken.unreadable);
}

#[tokio::test]
async fn what_cannot_be_read_is_told_and_the_rest_is_committed() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    write(&worktree, "closed/a.txt", "1\n");
    write(&worktree, "secret.txt", "1\n");
    write(&worktree, "work.txt", "done\n");
    let close = |name: &str, mode| {
        let path = worktree.path().join(name);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("the file belongs to the test");
    };
    close("closed", 0o000);
    close("secret.txt", 0o000);
    let taken = snapshot(&worktree, "1").await;
    assert!(bench.files_of(taken.head.as_str()).contains(&"work.txt".to_owned()));
    // Root can read every file, so nothing is reported for root.
    assert_eq!(taken.unreadable.is_empty(), rustix::process::geteuid().is_root(), "{:?}", taken.unreadable);
    bench.mirror.remove_worktree(worktree.path(), "codex/one", "one").await.expect("the worktree can be removed");
    assert!(!worktree.path().exists());
}

#[tokio::test]
async fn attributes_and_ignore_files_that_are_links_are_not_followed() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    std::fs::write(bench.path("rules"), "*\n").expect("a file");
    for name in [".gitignore", ".gitattributes", ".gitmodules"] {
        symlink(bench.path("rules"), worktree.path().join(name)).expect("a link");
    }
    write(&worktree, "work.txt", "done\n");
    let taken = snapshot(&worktree, "1").await;
    assert!(bench.files_of(taken.head.as_str()).contains(&"work.txt".to_owned()));
}
