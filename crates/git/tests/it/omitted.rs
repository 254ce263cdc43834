//! What the commit of a run omits: generated folders, files beyond the limits, and what people decided.
//!
//! Each case is tested twice: on the host, as after a run without a container, and with the script that runs in a container.

use std::os::unix::fs::symlink;
use std::path::Path;

use git::Snapshot;
use model::commit::{Choices, Limits, OmissionReason, PathText};
use secret_forms::{Parts, SecretSearch};
use testkit::upstream::Upstream;

use crate::support::agent::{Agent, Deed, both_with};
use crate::support::{Bench, snapshot, snapshot_with, write};
use crate::untrusted::{fifo, sparse};

/// The start of a file that Python compiled: two bytes of its version, and a line end.
const COMPILED: &str = "x\r\r\n";
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# a cache\n";
const VENV: &str = "home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.11.2\n";
const LOCK: &str = "{\n  \"name\": \"a\",\n  \"lockfileVersion\": 3,\n  \"packages\": {}\n}\n";

async fn bench() -> Bench {
    let upstream = Upstream::new();
    upstream.commit("main", &[("src/a.txt", "1\n"), ("kept/b.txt", "1\n"), (".gitignore", "*.log\n")], "files");
    Bench::of(upstream).await
}

fn put(tree: &Path, path: &str, content: &str) {
    let path = tree.join(path);
    fs_err::create_dir_all(path.parent().expect("the path has a parent")).expect("a folder");
    fs_err::write(path, content).expect("a file");
}

fn omitted(taken: &Snapshot) -> Vec<(&str, OmissionReason, u64)> {
    taken.selection.omitted.iter().map(|left| (left.path.as_str(), left.reason, left.files)).collect()
}

fn held(taken: &Snapshot) -> Vec<(&str, u64)> {
    taken.selection.held.iter().map(|held| (held.path.as_str(), held.files)).collect()
}

/// Returns the files of the task's commit that the base does not have.
fn new_files(bench: &Bench, taken: &Snapshot) -> Vec<String> {
    let mut files = bench.files_of(taken.head.as_str());
    files.retain(|file| ![".gitignore", "README.md", "kept/b.txt", "src/a.txt"].contains(&file.as_str()));
    files
}

fn limits(files: u64, bytes: u64, file_bytes: u64) -> Choices {
    Choices { limits: Limits { files, bytes, file_bytes }, ..Choices::default() }
}

fn paths(texts: &[&str]) -> Vec<PathText> {
    texts.iter().map(|text| PathText::parse(text).expect("the path is valid")).collect()
}

#[tokio::test]
async fn folders_that_prove_to_be_generated_are_omitted_and_listed() {
    let bench = bench().await;
    let hash = "0f".repeat(63);
    let deed = |tree: &Path, _: &dyn Fn(&[&str]) -> String| {
        put(tree, "app/.venv/pyvenv.cfg", VENV);
        put(tree, "app/.venv/bin/activate", "x");
        put(tree, "app/main.py", "x");
        put(tree, "app/__pycache__/main.cpython-311.pyc", COMPILED);
        put(tree, "app/__pycache__/other.cpython-311.opt-1.pyc", "x");
        put(tree, "node_modules/.package-lock.json", LOCK);
        put(tree, "node_modules/left-pad/index.js", "x");
        put(tree, "node_modules/left-pad/.git/HEAD", "ref: refs/heads/x\n");
        put(tree, &format!(".pnpm-store/v10/files/a0/{hash}"), "x");
        put(tree, &format!(".pnpm-store/v10/files/a0/{hash}-exec"), "x");
        put(tree, ".pnpm-store/v10/projects/one", "x");
        put(tree, "out\nput/CACHEDIR.TAG", TAG);
        put(tree, "out\nput/log.log", "ignored");
        put(tree, "src/a.txt", "changed\n");
    };
    for taken in both_with(&bench, "generated", &Choices::default(), &deed).await {
        assert_eq!(new_files(&bench, &taken), ["app/main.py"]);
        assert_eq!(bench.content_of(taken.head.as_str(), "src/a.txt"), "changed");
        let expect = [
            ("\"out\\012put/\"", OmissionReason::Cache, 1),
            ("app/__pycache__/", OmissionReason::Cache, 2),
            ("app/.venv/", OmissionReason::VirtualEnvironment, 2),
            ("node_modules/", OmissionReason::Packages, 2),
            (".pnpm-store/v10/", OmissionReason::PackageStore, 3),
        ];
        let mut found = omitted(&taken);
        // The nested repository is listed elsewhere.
        found.iter_mut().filter(|(path, ..)| *path == "node_modules/").for_each(|(.., files)| *files = 2);
        assert_eq!(found, expect);
        assert_eq!(held(&taken), []);
    }
}

#[tokio::test]
async fn names_and_forged_markers_omit_nothing() {
    let bench = bench().await;
    let deed = |tree: &Path, _: &dyn Fn(&[&str]) -> String| {
        // A folder with files of the commit, and the root, are never omitted.
        put(tree, "kept/CACHEDIR.TAG", TAG);
        put(tree, "kept/evil.sh", "x");
        put(tree, "CACHEDIR.TAG", TAG);
        // Names prove nothing.
        put(tree, "node_modules/a/index.js", "x");
        put(tree, ".venv/pyvenv.cfg", "");
        put(tree, "__pycache__/work.pyc", "my own text\n");
        put(tree, "lib/__pycache__/a.pyc", COMPILED);
        put(tree, "lib/__pycache__/notes.txt", "x");
        // Special files, links and sparse files prove nothing, and nobody waits for them.
        put(tree, "pipe/work.txt", "x");
        fifo(&tree.join("pipe/CACHEDIR.TAG"));
        put(tree, "linked/work.txt", "x");
        symlink("../kept/CACHEDIR.TAG", tree.join("linked/CACHEDIR.TAG")).expect("a link");
        put(tree, "sparse/work.txt", "x");
        sparse(&tree.join("sparse/CACHEDIR.TAG"), 3 << 40);
        symlink("kept", tree.join("packages")).expect("a link");
        put(tree, "store/v3/files/a0/work.txt", "x");
    };
    for taken in both_with(&bench, "forged", &Choices::default(), &deed).await {
        let expect = [
            ".venv/pyvenv.cfg",
            "CACHEDIR.TAG",
            "__pycache__/work.pyc",
            "kept/CACHEDIR.TAG",
            "kept/evil.sh",
            "lib/__pycache__/a.pyc",
            "lib/__pycache__/notes.txt",
            "linked/CACHEDIR.TAG",
            "linked/work.txt",
            "node_modules/a/index.js",
            "packages",
            "pipe/work.txt",
            "sparse/work.txt",
            "store/v3/files/a0/work.txt",
        ];
        assert_eq!(new_files(&bench, &taken), expect);
        assert!(taken.selection.is_empty(), "{:?}", taken.selection);
        assert!(taken.notes.iter().any(|note| note.contains("sparse/CACHEDIR.TAG` (3.0 TiB)")), "{:?}", taken.notes);
    }
}

#[tokio::test]
async fn a_generated_folder_that_was_committed_stays_committed() {
    let bench = bench().await;
    let choices = Choices { commit: paths(&[".venv/"]), ..limits(0, 0, 0) };
    let deed = |tree: &Path, _: &dyn Fn(&[&str]) -> String| {
        put(tree, ".venv/pyvenv.cfg", VENV);
        put(tree, ".venv/bin/python", "x");
    };
    for taken in both_with(&bench, "anyway", &choices, &deed).await {
        assert_eq!(new_files(&bench, &taken), [".venv/bin/python", ".venv/pyvenv.cfg"]);
        assert!(taken.selection.is_empty(), "{:?}", taken.selection);
    }
    let agent = Agent { task: "contained-anyway".to_owned(), ..Agent::new(&bench, "again").await };
    agent.write(".venv/pyvenv.cfg", VENV);
    agent.git(&["add", "."]);
    agent.git(&["commit", "--quiet", "-m", "the agent's own commit"]);
    agent.write(".venv/lib/more.py", "x");
    let since = bench.commit_of("refs/heads/main");
    agent.harvest_since("1", &since).await;
    let taken = agent.try_import("1", &since).await.expect("the import succeeds");
    assert_eq!(new_files(&bench, &taken), [".venv/lib/more.py", ".venv/pyvenv.cfg"], "the folder has files of a commit");
}

#[tokio::test]
async fn everything_within_the_limits_is_committed_and_only_the_rest_is_held() {
    let bench = bench().await;
    let deed = |tree: &Path, _: &dyn Fn(&[&str]) -> String| {
        for number in 0..50 {
            put(tree, &format!("junk/{number:02}"), "x");
        }
        put(tree, "src/work.txt", "the work\n");
        put(tree, "src/a.txt", &"changed\n".repeat(200));
        put(tree, "kept/b.txt", "also changed\n");
        put(tree, "kept/large.bin", &"x".repeat(1500));
    };
    for taken in both_with(&bench, "limits", &limits(4, 10_000, 1000), &deed).await {
        assert_eq!(new_files(&bench, &taken), ["junk/00", "junk/01", "junk/02", "src/work.txt"]);
        assert_eq!(bench.content_of(taken.head.as_str(), "src/a.txt"), "1", "a file that grew too large keeps its last version");
        assert_eq!(bench.content_of(taken.head.as_str(), "kept/b.txt"), "also changed");
        let held = held(&taken);
        assert_eq!((held.len(), held.iter().map(|(_, files)| files).sum::<u64>()), (49, 49), "{held:?}");
        assert!(held.contains(&("kept/large.bin", 1)) && held.contains(&("src/a.txt", 1)), "{held:?}");
    }
}

#[tokio::test]
async fn held_files_stay_held_and_do_not_stop_the_next_run() {
    let bench = bench().await;
    let small = limits(2, 10_000, 1000);
    let deed = |tree: &Path, _: &dyn Fn(&[&str]) -> String| {
        for number in 0..5 {
            put(tree, &format!("junk/{number}"), "x");
        }
        put(tree, "one.txt", "x");
    };
    let taken = both_with(&bench, "next", &small, &deed).await;
    for (taken, task) in taken.iter().zip(["host-next", "contained-next"]) {
        assert_eq!(new_files(&bench, taken), ["junk/0", "one.txt"], "{task}");
    }
    let held_paths: Vec<_> = taken[0].selection.held.iter().map(|held| held.path.clone()).collect();
    assert_eq!(taken[0].selection.held, taken[1].selection.held);
    let choices = Choices { held: held_paths.clone(), ..small.clone() };
    let host = bench.worktree("host-next").await;
    write(&host, "two.txt", "x");
    write(&host, "kept/b.txt", "changed\n");
    let next = snapshot_with(&host, "2", &choices).await.expect("committed");
    assert_eq!(new_files(&bench, &next), ["junk/0", "one.txt", "two.txt"]);
    assert_eq!((bench.content_of(next.head.as_str(), "kept/b.txt"), held(&next).len()), ("changed".to_owned(), 4));
    let ignored = Choices { ignore: held_paths.clone(), ..small.clone() };
    write(&host, "three.txt", "x");
    let next = snapshot_with(&host, "3", &ignored).await.expect("committed");
    assert_eq!((omitted(&next)[0], held(&next).len()), (("junk/1", OmissionReason::Ignored, 1), 0));
    let wanted = Choices { commit: held_paths, ..small };
    let next = snapshot_with(&host, "4", &wanted).await.expect("committed");
    assert_eq!(bench.files_of(next.head.as_str()).iter().filter(|file| file.starts_with("junk/")).count(), 5);
    assert!(next.selection.is_empty());
}

#[tokio::test]
async fn a_file_with_a_secret_is_held_and_commits_with_one_are_rejected() {
    let bench = bench().await;
    let secrets = || SecretSearch::new([("DOTENV", "API_TOKEN=tok-0123456789\nDEBUG=1\n")], Parts::Lines);
    let agent = Agent { secrets: secrets(), ..Agent::new(&bench, "held").await };
    agent.write("copy.txt", "x API_TOKEN=tok-0123456789 y");
    agent.write("src/a.txt", "key = 'tok-0123456789'\n");
    agent.write(".env", "");
    agent.write("work.txt", "work");
    symlink("tok-0123456789", agent.tree().join("link")).expect("writable");
    let choices = Choices { placed: paths(&[".env"]), ..Choices::default() };
    let taken = agent.end_run_with("1", &choices).await;
    assert_eq!(new_files(&bench, &taken), ["work.txt"]);
    assert_eq!(bench.content_of(taken.head.as_str(), "src/a.txt"), "1");
    let found: Vec<_> = taken.selection.held.iter().map(|held| (held.path.as_str(), held.has_secret)).collect();
    assert_eq!(found, [("copy.txt", true), ("link", true), ("src/a.txt", true)]);
    assert_eq!(taken.selection.placed, paths(&[".env"]));
    // The agent commits a secret, and removes it from its last commit.
    let agent = Agent { secrets: secrets(), ..Agent::new(&bench, "rejected").await };
    let since = agent.tip();
    agent.commit("copy.txt", "API_TOKEN=tok-0123456789\n");
    agent.commit("copy.txt", "nothing\n");
    assert_eq!(agent.try_harvest("1", &since, &[]).await.code, Some(0));
    let error = agent.try_import("1", &since).await.expect_err("a commit has a secret");
    assert!(error.is_refusal() && error.to_string().contains("`DOTENV`"), "{error}");
    assert_eq!(agent.tip(), since);
    // The server wrote the message of the commit that it makes, but not the rest of any commit with this message.
    let own = "Own tok-0123456789 message\n";
    // The accepted one comes last, because a commit that is on a branch is not searched again.
    for (task, message, name, is_taken) in
        [("other-message", "", "Ada", false), ("other-author", own, "tok-0123456789", false), ("own", own, "Ada", true)]
    {
        let agent = Agent { secrets: secrets(), message, ..Agent::new(&bench, task).await };
        let since = agent.tip();
        agent.write("work.txt", "work");
        agent.git(&["add", "work.txt"]);
        agent.git(&["commit", "--quiet", "--author", &format!("{name} <a@example.org>"), "-m", own]);
        assert_eq!(agent.try_harvest("1", &since, &[]).await.code, Some(0));
        assert_eq!(agent.try_import("1", &since).await.is_ok(), is_taken, "{task}");
    }
    let clean = Agent { secrets: secrets(), ..Agent::new(&bench, "clean").await };
    clean.commit("work.txt", "tok-012\n");
    assert_eq!(clean.end_run("1").await.head.to_string(), clean.tip());
}

#[tokio::test]
async fn a_commit_that_is_repeated_omits_the_same_files() {
    let bench = bench().await;
    let small = limits(2, 10_000, 1000);
    let host = bench.worktree("host").await;
    let agent = Agent::new(&bench, "contained").await;
    for number in 0..4 {
        write(&host, &number.to_string(), "x");
        agent.write(&number.to_string(), "x");
    }
    let first = snapshot_with(&host, "1", &small).await.expect("committed");
    assert_eq!(new_files(&bench, &first), ["0", "1"]);
    assert_eq!(
        snapshot_with(&host, "1", &small).await.expect("committed"),
        first,
        "the remaining files would be within the limit"
    );
    let since = agent.tip();
    for _ in 0..2 {
        assert_eq!(agent.harvest_with("1", &since, &[], &small).await.code, Some(0));
        let taken = agent.try_import("1", &since).await.expect("imported");
        assert_eq!((new_files(&bench, &taken), held(&taken)), (vec!["0".to_owned(), "1".to_owned()], vec![("2", 1), ("3", 1)]));
    }
}

#[tokio::test]
async fn an_agents_branch_moves_although_files_are_omitted() {
    let bench = bench().await;
    let agent = Agent::new(&bench, "one").await;
    agent.write(".venv/pyvenv.cfg", VENV);
    agent.write("work.txt", "x");
    let taken = agent.end_run("1").await;
    assert_eq!(new_files(&bench, &taken), ["work.txt"]);
    // Somebody decides to commit the folder.
    let wanted = Choices { commit: paths(&[".venv/"]), ..Choices::default() };
    let late = snapshot_with(&agent.worktree, "2", &wanted).await.expect("committed");
    agent.write("more.txt", "not committed yet");
    let sync = [("HARVEST_MODE", "sync")];
    let ended = agent.try_harvest("3", late.head.as_str(), &sync).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert_eq!(agent.git(&["rev-parse", "HEAD"]), late.head.to_string());
    assert_eq!(agent.git(&["status", "--porcelain"]), "?? more.txt");
}

#[tokio::test]
async fn one_file_of_very_many_is_found_and_the_rest_is_held_by_folder() {
    let bench = bench().await;
    let deed: Deed<'_> = &|tree, _| {
        for number in 0..2500 {
            put(tree, &format!("junk/{}/{number}", number % 7), "x");
        }
        put(tree, "src/work.txt", "the work\n");
    };
    for taken in both_with(&bench, "many", &limits(1000, 1 << 20, 1 << 20), deed).await {
        assert_eq!((new_files(&bench, &taken), held(&taken)), (vec!["src/work.txt".to_owned()], vec![("junk/", 2500)]));
    }
    let host = bench.worktree("host-many").await;
    assert_eq!(snapshot(&host, "2").await.head.to_string(), bench.commit_of("refs/heads/codex/host-many"));
}
