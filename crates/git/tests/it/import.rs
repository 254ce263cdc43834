//! The output of a container is imported only if it is complete, correct and based on the branch. A rejected import leaves every
//! object and ref of the mirror unchanged.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use git::ImportError;

use crate::support::agent::{Agent, LIMIT_BYTES, raw};
use crate::support::{Bench, committed};

/// Everything that a rejected bundle must not change.
#[derive(Debug, PartialEq, Eq)]
struct World {
    refs: String,
    objects: BTreeSet<PathBuf>,
    aside: usize,
    head: String,
    index: Vec<u8>,
}

impl World {
    fn of(agent: &Agent<'_>) -> Self {
        let mirror = agent.bench.mirror.path();
        let admin = PathBuf::from(agent.bench.by_hand(agent.tree(), &["rev-parse", "--absolute-git-dir"]));
        let aside = std::fs::read_dir(mirror.join("codex-orchestrator-trash")).map_or(0, Iterator::count);
        Self {
            refs: agent.bench.by_hand(mirror, &["for-each-ref"]),
            objects: files_below(&mirror.join("objects")),
            aside,
            head: std::fs::read_to_string(admin.join("HEAD")).expect("it exists"),
            index: std::fs::read(admin.join("index")).expect("it exists"),
        }
    }
}

fn files_below(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("it can be read").path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { BTreeSet::from([path]) }).collect()
}

/// Writes the output of an export: a report that names `head`, and a bundle with these arguments.
fn forge(agent: &Agent<'_>, head: &str, bundle: &[&str]) {
    std::fs::create_dir_all(&agent.out).expect("a folder");
    std::fs::write(agent.out.join("result"), format!("harvest 1\0head {head}\0end\0")).expect("a file");
    let path = agent.out.join("bundle").display().to_string();
    agent.git(&[&["bundle", "create", "--quiet", &path], bundle].concat());
}

/// Checks that an import is rejected and changes nothing, and returns its error.
async fn refused(agent: &Agent<'_>, since: &str) -> ImportError {
    let before = World::of(agent);
    let error = agent.try_import("1", since).await.expect_err("the import is rejected");
    assert_eq!(World::of(agent), before, "{error}");
    assert!(error.is_refusal(), "{error}");
    error
}

/// A function that writes something to the first path. The second path is that of the original file.
type Put<'a> = &'a dyn Fn(&Path, &Path);

const BRANCH: &str = "refs/heads/codex/one";

#[tokio::test]
async fn an_honest_bundle_moves_the_branch_and_nothing_else() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    let since = agent.tip();
    let own = agent.commit("a.txt", "1\n");
    forge(&agent, &own, &[BRANCH, &format!("^{since}")]);
    let before = World::of(&agent);
    let taken = agent.try_import("1", &since).await.expect("the import succeeds");
    assert_eq!((taken.commit, taken.head.to_string()), (None, own.clone()), "the imported commit is the agent's own commit");
    let after = World::of(&agent);
    assert_eq!(after.refs, before.refs.replacen(&format!("{since} commit\t{BRANCH}"), &format!("{own} commit\t{BRANCH}"), 1));
    assert_eq!((after.head, after.aside), (before.head, 0));
    assert_eq!(bench.by_hand(agent.tree(), &["status", "--porcelain"]), "", "the index of the worktree matches the new commit");
    let again = World::of(&agent);
    agent.try_import("1", &since).await.expect("a second import succeeds");
    assert_eq!(World::of(&agent), again);
}

#[tokio::test]
async fn other_refs_more_refs_and_other_commits_are_refused() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    let since = agent.tip();
    let own = agent.commit("a.txt", "1\n");
    let not = format!("^{since}");
    agent.git(&["update-ref", "refs/heads/main", &own]);
    agent.git(&["tag", "extra", &own]);
    for refs in [["refs/heads/main", &not].as_slice(), &[BRANCH, "refs/heads/main", &not], &[BRANCH, "refs/tags/extra", &not]] {
        forge(&agent, &own, refs);
        let error = refused(&agent, &since).await;
        assert!(matches!(error, ImportError::Bundle(_)), "{error}");
    }
    forge(&agent, &since, &[BRANCH, &not]);
    let error = refused(&agent, &since).await;
    assert!(matches!(error, ImportError::WrongHead { .. }), "{error}");
}

#[tokio::test]
async fn what_does_not_build_on_the_hosts_branch_is_refused() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    agent.commit("a.txt", "1\n");
    let since = agent.end_run("1").await.head.to_string();
    agent.git(&["checkout", "--quiet", "--orphan", "fresh"]);
    agent.commit("b.txt", "1\n");
    agent.git(&["branch", "--force", "codex/one", "fresh"]);
    let unrelated = agent.git(&["rev-parse", "fresh"]);
    forge(&agent, &unrelated, &[BRANCH]);
    let error = refused(&agent, &since).await;
    assert!(matches!(error, ImportError::NotADescendant { .. }), "{error}");

    // A valid bundle whose commit is behind the branch is rejected too.
    agent.git(&["branch", "--force", "codex/one", "origin/main"]);
    let behind = agent.git(&["rev-parse", "origin/main"]);
    forge(&agent, &behind, &[BRANCH]);
    let error = refused(&agent, &since).await;
    assert!(matches!(error, ImportError::NotADescendant { .. }), "{error}");
}

#[tokio::test]
async fn a_branch_that_has_moved_on_is_not_moved_back_by_an_old_harvest() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    let since = agent.tip();
    let own = agent.commit("a.txt", "1\n");
    forge(&agent, &own, &[BRANCH, &format!("^{since}")]);
    agent.write("b.txt", "1\n");
    committed(&agent.worktree, "1").await;
    let error = refused(&agent, &since).await;
    assert!(matches!(error, ImportError::NotADescendant { .. }), "{error}");
}

#[tokio::test]
async fn broken_and_harmful_objects_are_refused() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    let since = agent.tip();
    let object = |kind: &str, content: &[u8]| agent.object(kind, content);
    let blob = object("blob", b"../../etc/passwd");
    let empty = object("tree", b"");
    let tree = |mode: &str, name: &str, id: &str| object("tree", &[format!("{mode} {name}\0").as_bytes(), &raw(id)].concat());
    let commit = |tree: &str| agent.git(&["-c", "core.fsckObjects=false", "commit-tree", tree, "-p", &since, "-m", "x"]);
    let twice = [b"100644 a\0".as_slice(), &raw(&blob), b"100644 a\0", &raw(&blob)].concat();
    let cases = [
        ("hasDotgit", commit(&tree("40000", ".git", &empty))),
        ("hasDotgit", commit(&tree("40000", ".GIT", &empty))),
        ("hasDotdot", commit(&tree("40000", "..", &empty))),
        ("fullPathname", commit(&tree("100644", "a/b", &blob))),
        ("gitmodulesSymlink", commit(&tree("120000", ".gitmodules", &blob))),
        ("duplicateEntries", commit(&object("tree", &twice))),
        ("missingAuthor", object("commit", format!("tree {empty}\nparent {since}\n\nx\n").as_bytes())),
    ];
    for (sign, head) in cases {
        agent.git(&["update-ref", BRANCH, &head]);
        forge(&agent, &head, &[BRANCH, &format!("^{since}")]);
        let error = refused(&agent, &since).await;
        assert!(matches!(&error, ImportError::BadObjects { words } if words.contains(sign)), "{sign}: {error}");
    }
    let url = object("blob", b"[submodule \"x\"]\n\tpath = x\n\turl = --upload-pack=evil\n");
    let head = commit(&tree("100644", ".gitmodules", &url));
    agent.git(&["update-ref", BRANCH, &head]);
    forge(&agent, &head, &[BRANCH, &format!("^{since}")]);
    let error = refused(&agent, &since).await;
    assert!(error.to_string().contains("gitmodulesUrl"), "{error}");
}

#[tokio::test]
async fn missing_objects_are_noticed() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    let since = agent.tip();
    let first = agent.commit("a.txt", "1\n");
    let second = agent.commit("b.txt", "1\n");
    // The bundle omits the first of two commits and names it as a prerequisite.
    forge(&agent, &second, &[BRANCH, &format!("^{first}")]);
    let error = refused(&agent, &since).await;
    assert!(matches!(error, ImportError::UnknownPrerequisite { .. }), "{error}");
    // The bundle omits the commit without naming it.
    let honest = std::fs::read(agent.out.join("bundle")).expect("it exists");
    let at = honest.windows(2).position(|two| two == b"\n-").expect("the bundle has a prerequisite");
    let end = at + 1 + honest[at + 1..].iter().position(|&byte| byte == b'\n').expect("the line ends");
    std::fs::write(agent.out.join("bundle"), [&honest[..at], &honest[end..]].concat()).expect("a file");
    let error = refused(&agent, &since).await;
    assert!(matches!(error, ImportError::BadObjects { .. } | ImportError::Incomplete { .. }), "{error}");
}

#[tokio::test]
async fn a_commit_that_only_seems_to_be_there_is_nothing_to_build_on() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    let since = agent.tip();
    let first = agent.commit("a.txt", "1\n");
    agent.git(&["rm", "--quiet", "a.txt"]);
    let second = agent.commit("b.txt", "another\n");
    forge(&agent, &second, &[BRANCH, &format!("^{first}")]);
    // The mirror has the first commit and its tree, but no ref points to the commit, and one of its files is missing.
    for object in [first.clone(), agent.git(&["rev-parse", &format!("{first}^{{tree}}")])] {
        let (folder, rest) = object.split_at(2);
        let to = bench.mirror.path().join("objects").join(folder);
        std::fs::create_dir_all(&to).expect("a folder");
        std::fs::copy(agent.twin.join("objects").join(folder).join(rest), to.join(rest)).expect("it exists");
    }
    let error = refused(&agent, &since).await;
    assert!(matches!(error, ImportError::Incomplete { .. }), "{error}");
}

#[tokio::test]
async fn a_bundle_that_was_cut_or_changed_is_refused() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    let since = agent.tip();
    let own = agent.commit("a.txt", "some content that is long enough to be cut\n");
    forge(&agent, &own, &[BRANCH, &format!("^{since}")]);
    let bundle = agent.out.join("bundle");
    let honest = std::fs::read(&bundle).expect("it exists");
    let pack = honest.windows(4).position(|four| four == b"PACK").expect("the bundle contains a pack");
    for length in [0, 10, pack - 1, pack, pack + 4, pack + 12, honest.len() - 30, honest.len() - 1] {
        std::fs::write(&bundle, &honest[..length]).expect("a file");
        let error = refused(&agent, &since).await;
        assert!(matches!(error, ImportError::Bundle(_) | ImportError::BadObjects { .. }), "{length}: {error}");
    }
    for at in (pack..honest.len()).step_by(7) {
        let mut changed = honest.clone();
        changed[at] ^= 0x55;
        std::fs::write(&bundle, changed).expect("a file");
        let error = refused(&agent, &since).await;
        assert!(matches!(error, ImportError::BadObjects { .. }), "{at}: {error}");
    }
}

#[tokio::test]
async fn something_that_is_no_commit_is_refused() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    let since = agent.tip();
    let own = agent.commit("a.txt", "1\n");
    agent.git(&["tag", "--annotate", "-m", "x", "note", &own]);
    let tag = agent.git(&["rev-parse", "refs/tags/note"]);
    // Git itself would never point a branch to a tag object.
    std::fs::write(agent.twin.join(BRANCH), format!("{tag}\n")).expect("a file");
    forge(&agent, &tag, &[BRANCH, &format!("^{since}")]);
    let error = refused(&agent, &since).await;
    assert!(matches!(error, ImportError::NotACommit { .. }), "{error}");
}

#[tokio::test]
async fn one_that_is_too_large_is_not_even_read() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    let since = agent.tip();
    let own = agent.commit("a.txt", "1\n");
    forge(&agent, &own, &[BRANCH, &format!("^{since}")]);
    let file = std::fs::File::options().write(true).open(agent.out.join("bundle")).expect("it exists");
    file.set_len(LIMIT_BYTES + 1).expect("the sparse file can be created");
    let error = refused(&agent, &since).await;
    assert!(matches!(error, ImportError::TooLarge { file: "bundle", .. }), "{error}");
    file.set_len(1 << 30).expect("the sparse file can be created");
    assert!(matches!(refused(&agent, &since).await, ImportError::TooLarge { .. }));
    std::fs::File::create(agent.out.join("result"))
        .and_then(|file| file.set_len(1 << 30))
        .expect("the sparse file can be created");
    let error = refused(&agent, &since).await;
    assert!(matches!(error, ImportError::TooLarge { file: "result", .. }), "{error}");
}

#[tokio::test]
async fn a_few_bytes_that_claim_to_be_gigabytes_are_refused() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    let since = agent.tip();
    forge(&agent, &since, &[BRANCH]);
    let header = format!("# v2 git bundle\n{} {BRANCH}\n\nPACK\0\0\0\u{2}\0\0\0\u{1}", "a".repeat(40));
    let commit_of_terabytes = [0x9f, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x78, 0x9c];
    std::fs::write(agent.out.join("bundle"), [header.as_bytes(), &commit_of_terabytes].concat()).expect("a file");
    std::fs::write(agent.out.join("result"), format!("harvest 1\0head {}\0end\0", "a".repeat(40))).expect("a file");
    let error = refused(&agent, &since).await;
    assert!(matches!(error, ImportError::BadObjects { .. }), "{error}");
}

#[tokio::test]
async fn links_folders_pipes_and_sockets_are_not_opened() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    let since = agent.tip();
    let own = agent.commit("a.txt", "1\n");
    let kinds: [(&str, Put<'_>); 5] = [
        ("link", &|path, honest| symlink(honest, path).expect("a link")),
        ("dangling link", &|path, _| symlink("/nowhere", path).expect("a link")),
        ("folder", &|path, _| std::fs::create_dir(path).expect("a folder")),
        ("pipe", &|path, _| {
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).expect("a pipe");
        }),
        ("socket", &|path, _| drop(std::os::unix::net::UnixListener::bind(path).expect("a socket"))),
    ];
    for name in ["bundle", "result"] {
        for (kind, put) in kinds {
            std::fs::remove_dir_all(&agent.out).ok();
            forge(&agent, &own, &[BRANCH, &format!("^{since}")]);
            let honest = agent.out.join("honest");
            std::fs::rename(agent.out.join(name), &honest).expect("it exists");
            put(&agent.out.join(name), &honest);
            let error = refused(&agent, &since).await;
            assert!(matches!(error, ImportError::NotAPlainFile { file } if file == name), "{kind} for {name}: {error}");
        }
    }
    std::fs::rename(&agent.out, bench.path("away")).expect("it exists");
    symlink(bench.path("away"), &agent.out).expect("a link");
    refused(&agent, &since).await;
}

#[tokio::test]
async fn a_harvest_that_is_not_complete_is_refused() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    let since = agent.tip();
    assert!(matches!(refused(&agent, &since).await, ImportError::Missing { file: "result" }), "no folder");
    std::fs::create_dir(&agent.out).expect("a folder");
    assert!(matches!(refused(&agent, &since).await, ImportError::Missing { file: "result" }));
    let own = agent.commit("a.txt", "1\n");
    for report in
        [String::new(), format!("harvest 1\0head {own}\0"), "harvest 2\0end\0".to_owned(), "harvest 1\0end\0".to_owned()]
    {
        std::fs::write(agent.out.join("result"), &report).expect("a file");
        let error = refused(&agent, &since).await;
        assert!(matches!(error, ImportError::Report(_)), "{report:?}: {error}");
    }
    std::fs::write(agent.out.join("result"), format!("harvest 1\0head {own}\0end\0")).expect("a file");
    assert!(matches!(refused(&agent, &since).await, ImportError::Missing { file: "bundle" }));
}

#[tokio::test]
async fn what_a_killed_import_left_is_cleared_away_and_the_next_one_succeeds() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    let since = agent.tip();
    let own = agent.commit("a.txt", "1\n");
    forge(&agent, &own, &[BRANCH, &format!("^{since}")]);
    let left = bench.mirror.path().join("codex-orchestrator-trash/incoming-x/pack");
    std::fs::create_dir_all(&left).expect("a folder");
    std::fs::write(left.join("tmp_pack_1"), "half").expect("a file");
    std::fs::write(bench.mirror.path().join(format!("{BRANCH}.lock")), "").expect("a file");
    bench.mirror.recover().await.expect("the mirror can be recovered");
    assert!(!left.exists());
    assert_eq!(agent.try_import("1", &since).await.expect("the import succeeds").head.to_string(), own);
}

#[tokio::test]
async fn two_tasks_of_one_mirror_are_taken_in_at_once() {
    let bench = Bench::new().await;
    let mut agents = Vec::new();
    for task in ["one", "two", "three", "four"] {
        let agent = Agent::new(&bench, task).await;
        agent.commit("a.txt", &format!("{task}\n"));
        let since = agent.tip();
        agent.harvest_since("1", &since).await;
        agents.push((agent, since));
    }
    let imports = agents.iter().map(|(agent, since)| agent.try_import("1", since));
    for ((agent, _), taken) in agents.iter().zip(futures_util::future::join_all(imports).await) {
        assert_eq!(agent.tip(), taken.expect("the import succeeds").head.to_string());
    }
    bench.by_hand(bench.mirror.path(), &["fsck", "--strict"]);
}
