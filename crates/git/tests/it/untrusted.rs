//! Traps that an agent leaves for the commit of its work: files that block git, a manipulated index, and files of any size.
//!
//! Each trap is tested twice: on the host, as after a run without a container, and with the script that runs in a container.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use git::Snapshot;
use model::commit::Choices;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use testkit::upstream::Upstream;

use crate::support::agent::{Agent, Deed, both_with};
use crate::support::{Bench, committed, write};

/// A time limit that is far shorter than any of these traps would delay the commit.
const SOON: Duration = Duration::from_mins(1);

pub(crate) fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).expect("a fifo");
}

pub(crate) fn sparse(path: &Path, size: u64) {
    fs_err::File::options().create(true).append(true).open(path).expect("a file").set_len(size).expect("a sparse file");
}

/// Creates a mirror with the files that a new task starts from.
async fn bench() -> Bench {
    let upstream = Upstream::new();
    upstream.commit("main", &[("src/a.txt", "good 1\n"), ("src/b.txt", "good 2\n"), (".gitignore", "*.log\n")], "files");
    Bench::of(upstream).await
}

/// Does `deed` in two tasks, and checks that ending their runs does not take long.
async fn both(bench: &Bench, name: &str, deed: Deed<'_>) -> [Snapshot; 2] {
    tokio::time::timeout(SOON, both_with(bench, name, &Choices::default(), deed)).await.expect("git does not block")
}

#[tokio::test]
async fn files_that_git_would_wait_for_are_moved_aside_and_the_work_is_committed() {
    let bench = bench().await;
    let deed = |tree: &Path, _: &dyn Fn(&[&str]) -> String| {
        fs_err::remove_file(tree.join(".gitignore")).expect("it exists");
        fs_err::create_dir_all(tree.join("deep/er")).expect("a folder");
        for folder in ["", "src", "deep/er"] {
            for name in [".gitignore", ".gitattributes", ".gitmodules", ".lfsconfig", ".mailmap"] {
                fifo(&tree.join(folder).join(name));
            }
        }
        // A FIFO replaces a file of the last commit.
        fs_err::remove_file(tree.join("src/b.txt")).expect("it exists");
        fifo(&tree.join("src/b.txt"));
        symlink("/dev/zero", tree.join("deep/.gitattributes")).expect("a link");
        sparse(&tree.join("deep/.gitignore"), 3 << 30);
        fs_err::write(tree.join("deep/er/work.txt"), "done\n").expect("a file");
    };
    for taken in both(&bench, "names", &deed).await {
        let files = bench.files_of(taken.head.as_str());
        let links = ["deep/.gitattributes.aside-1"];
        assert_eq!(files, ["README.md", links[0], "deep/er/work.txt", "src/a.txt", "src/b.txt"], "{taken:?}");
        assert_eq!(
            bench.content_of(taken.head.as_str(), "src/b.txt"),
            "good 2",
            "the last version of an unreadable file is kept"
        );
        let named = |what: &str| taken.notes.iter().any(|note| note.contains(what));
        assert!(named("`deep/er/.gitignore` is a") && named("`.gitignore.aside-1`"), "{:?}", taken.notes);
        assert!(named("`deep/.gitignore.aside-1` (3.0 GiB)"), "{:?}", taken.notes);
    }
}

#[tokio::test]
async fn a_folder_that_looks_like_a_repository_makes_nobody_wait() {
    let bench = bench().await;
    let trap = bench.path("trap");
    fs_err::create_dir(&trap).expect("a folder");
    fifo(&trap.join("HEAD"));
    fifo(&trap.join("commondir"));
    let deed = |tree: &Path, _: &dyn Fn(&[&str]) -> String| {
        for name in ["head/.git", "common/.git/objects", "common/.git/refs", "ignored.log/.git", "src/.git", "pipe"] {
            fs_err::create_dir_all(tree.join(name)).expect("a folder");
        }
        fifo(&tree.join("head/.git/HEAD"));
        fs_err::write(tree.join("common/.git/HEAD"), "ref: refs/heads/main\n").expect("a file");
        fifo(&tree.join("common/.git/commondir"));
        fifo(&tree.join("ignored.log/.git/HEAD"));
        // Git does not look for a repository in a folder that contains files of the commit.
        fifo(&tree.join("src/.git/HEAD"));
        fifo(&tree.join("pipe/.git"));
        for (name, link) in [("file", false), ("link", true)] {
            fs_err::create_dir(tree.join(name)).expect("a folder");
            if link {
                symlink(&trap, tree.join(name).join(".git")).expect("a link");
            } else {
                fs_err::write(tree.join(name).join(".git"), format!("gitdir: {}\n", trap.display())).expect("a file");
            }
        }
        for folder in ["head", "common", "file", "link", "src", "pipe", "."] {
            fs_err::write(tree.join(folder).join("work.txt"), "done\n").expect("a file");
        }
    };
    for taken in both(&bench, "traps", &deed).await {
        assert_eq!(taken.dropped_gitlinks, ["common", "file", "link"]);
        let files = bench.files_of(taken.head.as_str());
        let expected =
            [".gitignore", "README.md", "head/work.txt", "pipe/work.txt", "src/a.txt", "src/b.txt", "src/work.txt", "work.txt"];
        assert_eq!(files, expected);
    }
}

/// Replaces the content of a file and restores its times. The new content must have the same size, so that git may miss it.
fn secretly(path: &Path, content: &str) {
    let before = fs_err::metadata(path).expect("it exists");
    assert_eq!(before.len(), content.len() as u64);
    let file = fs_err::File::options().write(true).open(path).expect("a file");
    std::io::Write::write_all(&mut &file, content.as_bytes()).expect("written");
    file.set_modified(before.modified().expect("the file has a modification time")).expect("the file belongs to the test");
}

#[tokio::test]
async fn an_index_that_lies_hides_no_edit() {
    let bench = bench().await;
    let evil = |tree: &Path| fs_err::write(tree.join("src/a.txt"), "evil 1\n").expect("a file");
    let lies: [(&str, Deed<'_>); 11] = [
        ("assumed", &|tree, git| {
            git(&["update-index", "--assume-unchanged", "src/a.txt"]);
            evil(tree);
        }),
        ("skipped", &|tree, git| {
            git(&["update-index", "--skip-worktree", "src/a.txt"]);
            evil(tree);
        }),
        ("both", &|tree, git| {
            git(&["update-index", "--skip-worktree", "src/a.txt"]);
            git(&["update-index", "--assume-unchanged", "src/a.txt"]);
            evil(tree);
        }),
        ("times", &|tree, git| {
            for (name, value) in [("core.trustctime", "false"), ("core.checkStat", "minimal")] {
                git(&["config", name, value]);
            }
            git(&["update-index", "--refresh"]);
            secretly(&tree.join("src/a.txt"), "evil 1\n");
        }),
        ("entry", &|tree, git| {
            // The index records the old content with the times of the new content.
            for (name, value) in [("core.trustctime", "false"), ("core.checkStat", "minimal")] {
                git(&["config", name, value]);
            }
            evil(tree);
            fs_err::write(tree.join("src/a.txt"), "good 1\n").expect("a file");
            git(&["update-index", "--refresh"]);
            secretly(&tree.join("src/a.txt"), "evil 1\n");
        }),
        ("ignored-stat", &|tree, git| {
            git(&["config", "core.ignoreStat", "true"]);
            git(&["read-tree", "--reset", "-u", "HEAD"]);
            evil(tree);
        }),
        ("monitor", &|tree, git| {
            git(&["config", "core.fsmonitor", "/bin/true"]);
            git(&["update-index", "--fsmonitor"]);
            git(&["update-index", "--fsmonitor-valid", "src/a.txt"]);
            evil(tree);
        }),
        ("split", &|tree, git| {
            git(&["update-index", "--split-index"]);
            git(&["update-index", "--assume-unchanged", "src/a.txt"]);
            evil(tree);
        }),
        ("sparse", &|tree, git| {
            git(&["config", "core.sparseCheckout", "true"]);
            git(&["sparse-checkout", "set", "--no-cone", "/src/b.txt"]);
            fs_err::create_dir_all(tree.join("src")).expect("a folder");
            for (path, content) in [("README.md", "hello\n"), (".gitignore", "*.log\n")] {
                fs_err::write(tree.join(path), content).expect("a file");
            }
            evil(tree);
        }),
        ("removed", &|tree, git| {
            git(&["rm", "--quiet", "--cached", "src/a.txt"]);
            fs_err::write(tree.join(".gitignore"), "*.log\na.txt\n").expect("a file");
            evil(tree);
        }),
        ("intended", &|tree, git| {
            git(&["rm", "--quiet", "--cached", "src/a.txt"]);
            git(&["add", "--intent-to-add", "src/a.txt"]);
            evil(tree);
        }),
    ];
    for (name, lie) in lies {
        for taken in both(&bench, name, lie).await {
            assert_eq!(bench.content_of(taken.head.as_str(), "src/a.txt"), "evil 1", "{name}");
            assert_eq!(bench.content_of(taken.head.as_str(), "src/b.txt"), "good 2", "{name}");
        }
    }
}

#[tokio::test]
async fn configuration_of_the_agent_hides_no_edit_and_no_file() {
    let bench = bench().await;
    let excludes = bench.path("excludes");
    fs_err::write(&excludes, "hidden*\n").expect("a file");
    let deed = |tree: &Path, git: &dyn Fn(&[&str]) -> String| {
        let excludes = excludes.display().to_string();
        for (name, value) in [
            ("core.fileMode", "false"),
            ("core.symlinks", "false"),
            ("core.autocrlf", "true"),
            ("core.excludesFile", excludes.as_str()),
            ("core.attributesFile", "/dev/null"),
        ] {
            git(&["config", name, value]);
        }
        fs_err::write(tree.join("hidden.sh"), "evil\n").expect("a file");
        fs_err::write(tree.join("src/b.txt"), "good 2\r\n").expect("a file");
        fs_err::set_permissions(tree.join("src/a.txt"), std::fs::Permissions::from_mode(0o755))
            .expect("the file belongs to the test");
        symlink("/etc/passwd", tree.join("link")).expect("a link");
    };
    for taken in both(&bench, "configured", &deed).await {
        let head = taken.head.as_str();
        let listing = bench.by_hand(bench.mirror.path(), &["ls-tree", "-r", "--format=%(objectmode) %(path)", head]);
        let expected = "100644 .gitignore\n100644 README.md\n100644 hidden.sh\n120000 link\n100755 src/a.txt\n100644 src/b.txt";
        assert_eq!(listing, expected);
        let size = bench.by_hand(bench.mirror.path(), &["cat-file", "-s", &format!("{head}:src/b.txt")]);
        assert_eq!(size, "8", "the file keeps the line ending that it has in the worktree");
    }
}

#[tokio::test]
async fn a_file_that_is_ignored_in_the_agents_own_repository_is_committed() {
    let bench = bench().await;
    let agent = Agent::new(&bench, "one").await;
    fs_err::write(agent.twin.join("info/exclude"), "hidden*\n").expect("a file");
    agent.write("hidden.sh", "evil\n");
    assert_eq!(agent.git(&["status", "--porcelain"]), "", "the file is hidden from the agent's own git");
    let taken = agent.end_run("1").await;
    assert!(bench.files_of(taken.head.as_str()).contains(&"hidden.sh".to_owned()));
}

#[tokio::test]
async fn a_file_of_terabytes_costs_nothing_and_is_named() {
    let bench = bench().await;
    let elsewhere = bench.path("elsewhere");
    fs_err::create_dir(&elsewhere).expect("a folder");
    sparse(&elsewhere.join("b.txt"), 3 << 40);
    let deed = |tree: &Path, _: &dyn Fn(&[&str]) -> String| {
        sparse(&tree.join("new\nname.bin"), 3 << 40);
        sparse(&tree.join("src/a.txt"), 2 << 40);
        sparse(&tree.join("junk.log"), 3 << 40);
        fs_err::write(tree.join("work.txt"), "done\n").expect("a file");
    };
    for taken in both(&bench, "sizes", &deed).await {
        let files = bench.files_of(taken.head.as_str());
        assert_eq!(
            files,
            [".gitignore", "README.md", "src/a.txt", "src/b.txt", "work.txt"],
            "files within the limits are committed"
        );
        assert_eq!(bench.content_of(taken.head.as_str(), "src/a.txt"), "good 1", "the last version of the file is kept");
        let notes = taken.notes.join("\n");
        assert!(notes.contains("name.bin` (3.0 TiB)") && notes.contains("`src/a.txt` (2.0 TiB)"), "{notes}");
        assert!(notes.contains("so the last version was kept"), "{notes}");
        assert!(!notes.contains("junk.log"), "{notes}");
    }
}

#[tokio::test]
async fn many_files_that_are_too_large_together_are_taken_up_to_the_limit_and_few_are_named() {
    let bench = bench().await;
    let agent = Agent::new(&bench, "one").await;
    for number in 0..60 {
        sparse(&agent.tree().join(format!("many-{number}")), 1 << 20);
    }
    let limit = [("HARVEST_COMMIT_LIMIT", "5300000")];
    let since = agent.tip();
    let ended = agent.try_harvest("1", &since, &limit).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    let taken = agent.try_import("1", &since).await.expect("taken in");
    let many = bench.files_of(taken.head.as_str()).iter().filter(|name| name.starts_with("many-")).count();
    assert_eq!(many, 5);
    let named = taken.notes.iter().filter(|note| note.contains("(1.0 MiB)")).count();
    assert_eq!((named, taken.notes.last().map(String::as_str)), (20, Some("too large to commit: 35 more files")));
}

#[tokio::test]
async fn a_large_file_behind_a_link_does_not_bring_the_old_file_back() {
    let bench = bench().await;
    let elsewhere = bench.path("elsewhere");
    fs_err::create_dir(&elsewhere).expect("a folder");
    sparse(&elsewhere.join("a.txt"), 3 << 40);
    let deed = |tree: &Path, _: &dyn Fn(&[&str]) -> String| {
        fs_err::remove_dir_all(tree.join("src")).expect("it exists");
        symlink(&elsewhere, tree.join("src")).expect("a link");
    };
    for taken in both(&bench, "behind", &deed).await {
        assert_eq!(bench.files_of(taken.head.as_str()), [".gitignore", "README.md", "src"]);
    }
}

#[tokio::test]
async fn more_new_files_than_a_commit_takes_are_an_error_that_says_so_and_the_next_run_is_committed() {
    let bench = bench().await;
    let agent = Agent::new(&bench, "one").await;
    for number in 0..20 {
        agent.write(&format!("many/{number}"), "");
    }
    let since = agent.tip();
    let limit = [("HARVEST_NEW_FILES_LIMIT", "10")];
    let ended = agent.try_harvest("1", &since, &limit).await;
    assert_eq!(ended.code, Some(7), "{}", ended.said);
    assert!(ended.said.contains("20 new files") && ended.said.contains(".gitignore"), "{}", ended.said);
    fs_err::remove_dir_all(agent.tree().join("many")).expect("it exists");
    agent.write("work.txt", "done\n");
    assert_eq!(agent.try_harvest("2", &since, &limit).await.code, Some(0));
}

#[tokio::test]
async fn what_git_would_wait_for_in_the_agents_repository_is_removed() {
    let bench = bench().await;
    let agent = Agent::new(&bench, "one").await;
    agent.commit("own.txt", "own\n");
    agent.write("work.txt", "done\n");
    let id = agent.git(&["hash-object", "work.txt"]);
    let folder = agent.twin.join("objects").join(&id[..2]);
    fs_err::create_dir_all(&folder).expect("a folder");
    fifo(&folder.join(&id[2..]));
    fifo(&agent.twin.join("refs/heads/pipe"));
    for name in ["packed-refs", "index", "MERGE_HEAD", "shallow"] {
        let path = agent.twin.join(name);
        if path.exists() {
            fs_err::remove_file(&path).expect("it exists");
        }
        fifo(&path);
    }
    let trap = agent.tree().join("trap");
    fifo(&trap);
    symlink(&trap, agent.twin.join("refs/heads/link")).expect("a link");
    let taken = tokio::time::timeout(SOON, agent.end_run("1")).await.expect("git does not block");
    let files = bench.files_of(taken.head.as_str());
    assert_eq!(files, [".gitignore", "README.md", "own.txt", "src/a.txt", "src/b.txt", "work.txt"]);
    assert!(taken.notes.iter().any(|note| note.contains("FIFOs")), "{:?}", taken.notes);
}

#[tokio::test]
async fn files_that_git_reads_beside_a_worktree_are_looked_at_too() {
    let bench = bench().await;
    let worktree = bench.worktree("one").await;
    let admin = bench.by_hand(worktree.path(), &["rev-parse", "--absolute-git-dir"]);
    write(&worktree, "work.txt", "done\n");
    for path in [bench.mirror.path().join("info/exclude"), bench.mirror.path().join("info/attributes")] {
        fs_err::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        drop(fs_err::remove_file(&path));
        fifo(&path);
    }
    for name in ["HEAD", "index", "MERGE_HEAD"] {
        let path = Path::new(&admin).join(name);
        drop(fs_err::remove_file(&path));
        fifo(&path);
    }
    let commit = tokio::time::timeout(SOON, committed(&worktree, "1")).await.expect("git does not block");
    assert!(bench.files_of(commit.as_str()).contains(&"work.txt".to_owned()));
}
