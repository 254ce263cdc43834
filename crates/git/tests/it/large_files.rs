//! Large files are downloaded only from a server that the owner trusts, even if a branch names another one.
//!
//! The tests use the git and git-lfs on `PATH` and a server on the loopback interface that records every request.

use git::{Landing, PushRequest, Worktree};
use testkit::lfs_server::LfsServer;
use testkit::upstream::Upstream;
use tokio_util::sync::CancellationToken;

use crate::support::{Bench, PATIENCE, snapshot, write};

/// The SHA-256 of `large\n`.
const LARGE: &str = "9bfce334a37bd1bc1d36b0370195b31fe9a9389dd43d0873891a3544ef1140a1";

/// The SHA-256 of `larger\n`.
const LARGER: &str = "ca549af1b3c36fa36639fa240b9c178aec56118d8f24726e667b6f89068e9278";

const ATTRIBUTES: &str = "*.bin filter=lfs diff=lfs merge=lfs -text\n";

fn pointer(oid: &str, size: usize) -> String {
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n")
}

/// Settings that would redirect git-lfs if it obeyed them.
fn hostile(url: &str) -> String {
    format!(
        "[lfs]\n\turl = {url}/url\n\tpushurl = {url}/pushurl\n\tgitprotocol = http\n\tstandalonetransferagent = evil\n\
         \tallowincompletepush = true\n\tskipdownloaderrors = true\n\tfetchinclude = *\n\
         [lfs \"{url}/url\"]\n\taccess = basic\n\
         [lfs \"customtransfer.evil\"]\n\tpath = touch\n\targs = ran\n\
         [lfs \"extension.evil\"]\n\tclean = touch ran\n\tsmudge = touch ran\n\tpriority = 0\n\
         [remote]\n\tlfsdefault = evil.x\n\tlfspushdefault = evil.x\n\
         [remote \"origin\"]\n\tlfsurl = {url}/lfsurl\n\tlfspushurl = {url}/lfspushurl\n\turl = {url}/r.git\n\
         [remote \"evil.x\"]\n\turl = {url}/r.git\n\tlfsurl = {url}/other\n\
         [branch \"main\"]\n\tremote = evil.x\n\
         [http]\n\tproxy = {url}\n[url \"{url}/\"]\n\tinsteadOf = /\n\tinsteadOf = file://\n\
         [credential]\n\thelper = \"!touch ran\"\n[core]\n\tsshCommand = touch ran\n"
    )
}

/// Stores an object where git-lfs looks for it in a local repository.
fn keep(upstream: &Upstream, oid: &str, content: &str) {
    let folder = upstream.path().join("lfs/objects").join(&oid[..2]).join(&oid[2..4]);
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join(oid), content).expect("a file");
}

fn content(worktree: &Worktree, path: &str) -> String {
    std::fs::read_to_string(worktree.path().join(path)).expect("it exists")
}

/// Creates a mirror of an upstream that has one large file and stores its content.
async fn bench() -> Bench {
    let upstream = Upstream::new();
    upstream.commit("main", &[(".gitattributes", ATTRIBUTES), ("a.bin", &pointer(LARGE, 6))], "large");
    keep(&upstream, LARGE, "large\n");
    Bench::of(upstream).await
}

#[tokio::test]
async fn a_branch_that_names_another_server_gets_its_files_from_the_right_one() {
    let (bench, evil) = (bench().await, LfsServer::start().await);
    evil.put(LARGER, "wrong!\n");
    keep(&bench.upstream, LARGER, "larger\n");
    let files = [(".lfsconfig", hostile(evil.url())), ("b.bin", pointer(LARGER, 7)), ("gone.bin", pointer(&"0".repeat(64), 9))];
    let files: Vec<_> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    bench.upstream.commit("agent", &files, "a branch of an agent's");
    bench.fetch().await;
    let worktree = bench.worktree_from("one", "agent").await;
    assert_eq!((content(&worktree, "a.bin"), content(&worktree, "b.bin")), ("large\n".to_owned(), "larger\n".to_owned()));
    assert_eq!(content(&worktree, "gone.bin"), pointer(&"0".repeat(64), 9));
    let notes = worktree.notes().expect("readable");
    assert!(notes.iter().any(|note| note.starts_with("1 large files are only pointers")), "{notes:?}");
    // The commit at the end of a run replaces new large files with pointers.
    write(&worktree, "c.bin", "larger\n");
    std::fs::remove_file(worktree.path().join(".lfsconfig")).expect("it exists");
    write(&worktree, ".lfsconfig", &hostile(evil.url()));
    let taken = snapshot(&worktree, "1").await;
    assert_eq!(bench.content_of(taken.head.as_str(), "c.bin"), pointer(LARGER, 7).trim_end());
    // The task is updated to its base, which has a different large file.
    let fresh = bench.upstream.commit("main", &[("d.bin", &pointer(LARGER, 7))], "more");
    bench.fetch().await;
    std::fs::remove_dir_all(bench.mirror.path().join("lfs/objects")).expect("the objects can be deleted");
    let merge = bench.by_hand(bench.mirror.path(), &["merge-tree", "--write-tree", taken.head.as_str(), &fresh]);
    let commit = ["commit-tree", "-p", taken.head.as_str(), "-p", &fresh, "-m", "merge", merge.as_str()];
    let merge = bench.by_hand(bench.mirror.path(), &commit);
    let landing = Landing {
        task: "one".to_owned(),
        from: taken.head.clone(),
        to: merge.parse().expect("an id"),
        base: fresh.parse().expect("an id"),
        committed: vec![],
        note: serde_json::Value::Null,
    };
    worktree.land(&landing).await.expect("it lands");
    assert_eq!(content(&worktree, "d.bin"), "larger\n");
    assert_eq!(evil.requests(), Vec::<String>::new());
    assert!(!worktree.path().join("ran").exists() && !bench.mirror.path().join("ran").exists());
}

#[tokio::test]
async fn uploads_go_to_the_right_server_too() {
    let (bench, evil) = (bench().await, LfsServer::start().await);
    let worktree = bench.worktree("one").await;
    write(&worktree, "b.bin", "larger\n");
    write(&worktree, ".lfsconfig", &hostile(evil.url()));
    let taken = snapshot(&worktree, "1").await;
    let request = PushRequest {
        branch: worktree.branch(),
        sha: &taken.head,
        base: worktree.base(),
        pushed: None,
        replace: None,
        token: None,
        deadline: PATIENCE,
        cancel: CancellationToken::new(),
    };
    bench.mirror.push(&request).await.expect("the branch is pushed");
    let object = bench.upstream.path().join("lfs/objects").join(&LARGER[..2]).join(&LARGER[2..4]).join(LARGER);
    assert_eq!(std::fs::read_to_string(object).expect("the object was uploaded"), "larger\n");
    assert_eq!(evil.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn the_default_branch_decides_and_other_hosts_of_this_machine_are_not_asked() {
    // The repository is a local path, so a server on the loopback interface is a different host.
    let (bench, server) = (bench().await, LfsServer::start().await);
    let config = format!("[lfs]\n\turl = {}/lfs\n", server.url());
    bench.upstream.commit("main", &[(".lfsconfig", &config)], "another server");
    bench.fetch().await;
    let worktree = bench.worktree("one").await;
    assert_eq!(content(&worktree, "a.bin"), pointer(LARGE, 6));
    let notes = worktree.notes().expect("readable");
    assert!(notes.iter().any(|note| note.contains("`.lfsconfig` names an endpoint that is not allowed")), "{notes:?}");
    assert_eq!(server.requests(), Vec::<String>::new());
    // The owner chooses a different default branch, which names an allowed endpoint.
    let store = Upstream::new();
    keep(&store, LARGE, "large\n");
    let config = format!("[lfs]\n\turl = {}\n", store.file_url());
    bench.upstream.commit("stable", &[(".lfsconfig", &config)], "a store");
    bench.fetch().await;
    bench.mirror.follow_default_branch("stable").await.expect("it exists");
    std::fs::remove_dir_all(bench.upstream.path().join("lfs")).expect("it exists");
    let worktree = bench.worktree("two").await;
    assert_eq!(content(&worktree, "a.bin"), "large\n", "{:?}", worktree.notes());
}

#[tokio::test]
async fn a_config_that_includes_a_pipe_holds_up_nobody() {
    let bench = bench().await;
    let pipe = bench.path("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).expect("a pipe");
    let config = format!("[include]\n\tpath = {}\n", pipe.display());
    bench.upstream.commit("main", &[(".lfsconfig", &config), ("b.bin", &pointer(LARGE, 6))], "a pipe");
    bench.fetch().await;
    let worktree = tokio::time::timeout(PATIENCE, bench.worktree("one")).await.expect("in time");
    assert_eq!(content(&worktree, "b.bin"), "large\n");
    write(&worktree, "c.bin", "larger\n");
    tokio::time::timeout(PATIENCE, snapshot(&worktree, "1")).await.expect("in time");
}

#[tokio::test]
async fn a_repository_served_over_http_has_its_large_files_there() {
    let upstream = Upstream::new();
    upstream.commit("main", &[(".gitattributes", ATTRIBUTES), ("a.bin", &pointer(LARGE, 6))], "large");
    let (server, evil) = (LfsServer::start().await, LfsServer::start().await);
    server.put(LARGE, "large\n");
    upstream.commit("main", &[(".lfsconfig", &hostile(evil.url()).replace("url", "x"))], "nothing of use");
    let bench = Bench::of(upstream).await;
    bench.by_hand(bench.mirror.path(), &["config", "remote.origin.url", &format!("{}/o/r.git", server.url())]);
    let worktree = bench.worktree("one").await;
    assert_eq!(content(&worktree, "a.bin"), "large\n", "{:?}", worktree.notes());
    assert_eq!(server.requests(), ["POST /o/r.git/info/lfs/objects/batch", &format!("GET /content/{LARGE}")]);
    assert_eq!(evil.requests(), Vec::<String>::new());
    // The same host may store the large files at another path if the default branch names it.
    let config = format!("[lfs]\n\turl = {}/store\n", server.url());
    let commit = bench.upstream.commit("main", &[(".lfsconfig", &config)], "a store");
    bench.by_hand(bench.mirror.path(), &["fetch", "--quiet", &bench.upstream.url(), &format!("+{commit}:refs/heads/main")]);
    std::fs::remove_dir_all(bench.mirror.path().join("lfs/objects")).expect("the objects can be deleted");
    let worktree = bench.worktree("two").await;
    assert_eq!(content(&worktree, "a.bin"), "large\n", "{:?}", worktree.notes());
    assert_eq!(server.requests()[2], "POST /store/objects/batch");
}
