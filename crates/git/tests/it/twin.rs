//! The agent repository is complete, looks ordinary to the agent, is separate from all other repositories, and consists of plain
//! files. The tests ask the real git what the agent sees.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use git::{Signature, TwinError, TwinSpec, Worktree};
use testkit::upstream::Upstream;

use crate::support::agent::Agent;
use crate::support::{Bench, branch, committed, write};

async fn try_twin(worktree: &Worktree, path: &Path) -> Result<(), TwinError> {
    let author = Signature { name: "A \"B\" \\ C".to_owned(), email: "a@example.org".to_owned() };
    let spec = TwinSpec {
        path,
        keep_base_as: "one",
        objects_inside: "/git/objects",
        origin_url: "https://example.org/r.git",
        author: &author,
    };
    worktree.ensure_twin(spec).await
}

#[tokio::test]
async fn the_agent_finds_an_ordinary_repository_in_which_everything_works() {
    let upstream = Upstream::new();
    upstream.commit("topic/a", &[("t.txt", "1\n")], "topic");
    upstream.tag("v1", "main");
    upstream.git(&["tag", "light", "topic/a"]);
    let bench = Bench::of(upstream).await;
    bench.worktree("other").await;
    let agent = Agent::new(&bench, "one").await;
    assert_eq!(agent.git(&["status", "--porcelain", "--branch"]), "## codex/one");
    assert_eq!(agent.git(&["symbolic-ref", "HEAD"]), "refs/heads/codex/one");
    let refs = agent.git(&["for-each-ref", "--format=%(refname) %(objecttype)[%(symref)]"]);
    let expected = [
        "refs/heads/codex/one commit[]",
        "refs/remotes/origin/HEAD commit[refs/remotes/origin/main]",
        "refs/remotes/origin/main commit[]",
        "refs/remotes/origin/topic/a commit[]",
        "refs/tags/light commit[]",
        "refs/tags/v1 tag[]",
    ];
    assert_eq!(refs.lines().collect::<Vec<_>>(), expected, "the agent sees no branch of another task");
    assert_eq!(agent.git(&["describe", "--tags", "origin/topic/a"]), "light");
    assert_eq!(agent.git(&["config", "remote.origin.url"]), "https://example.org/a \"b\".git");
    assert_eq!(agent.git(&["config", "user.name"]), "Codex");
    agent.commit("a.txt", "1\n");
    agent.write("a.txt", "2\n");
    agent.git(&["stash", "--quiet"]);
    agent.git(&["checkout", "--quiet", "-b", "idea", "origin/topic/a"]);
    agent.git(&["rebase", "--quiet", "codex/one"]);
    agent.git(&["branch", "--delete", "--force", "codex/one"]);
    agent.git(&["stash", "pop", "--quiet"]);
    agent.git(&["gc", "--quiet"]);
    agent.git(&["fsck", "--strict"]);
    assert_eq!(
        bench.commit_of("refs/heads/codex/one"),
        agent.worktree.base().to_string(),
        "the branch in the mirror is unchanged"
    );
    bench.by_hand(bench.mirror.path(), &["fsck", "--strict"]);
}

#[tokio::test]
async fn it_is_made_once_and_then_left_as_it_is() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    std::fs::write(agent.twin.join("config"), "whatever the agent wants").expect("a file");
    std::fs::remove_file(agent.twin.join("HEAD")).expect("it exists");
    agent.ensure_twin().await;
    assert_eq!(std::fs::read_to_string(agent.twin.join("config")).expect("a file"), "whatever the agent wants");
    assert!(!agent.twin.join("HEAD").exists(), "the host does not repair the agent repository");
}

#[tokio::test]
async fn one_that_was_half_made_is_made_anew() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    let (twin, half) = (bench.path("tasks/one/agent.git"), bench.path("tasks/one/agent.git.partial"));
    std::fs::create_dir_all(half.join("objects/pack")).expect("a folder");
    std::fs::write(half.join("HEAD"), "ref: refs/heads/wrong\n").expect("a file");
    try_twin(&worktree, &twin).await.expect("the agent repository can be created");
    assert_eq!(std::fs::read_to_string(twin.join("HEAD")).expect("a file"), "ref: refs/heads/codex/one\n");
    assert!(!half.exists());
}

#[tokio::test]
async fn its_files_are_its_own_and_only_its_alternates_lead_out() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    let twin = bench.path("tasks/one/agent.git");
    try_twin(&worktree, &twin).await.expect("the agent repository can be created");
    assert_eq!(std::fs::read_to_string(twin.join("objects/info/alternates")).expect("a file"), "/git/objects\n");
    let mut folders = vec![twin];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("the entry can be read").path();
            let found = std::fs::symlink_metadata(&path).expect("it exists");
            if found.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            assert!(found.is_file() && found.nlink() == 1, "{} is not a separate file", path.display());
            assert_eq!(found.permissions().mode() & 0o111, 0, "{} is executable", path.display());
            let content = String::from_utf8_lossy(&std::fs::read(&path).expect("a file")).into_owned();
            assert!(
                !content.contains(&bench.folder.path().display().to_string()),
                "{} contains a path of the host",
                path.display()
            );
        }
    }
    assert_eq!(files, 8);
}

#[tokio::test]
async fn what_is_in_the_way_is_no_repository_and_stays() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    let twin = bench.path("tasks/one/agent.git");
    symlink("/etc", &twin).expect("a link");
    let error = try_twin(&worktree, &twin).await.expect_err("a link is not a repository");
    assert!(matches!(error, TwinError::InTheWay { .. }), "{error}");
    assert!(twin.is_symlink());
}

#[tokio::test]
async fn a_mirror_that_borrows_objects_is_refused() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    let elsewhere = format!("{}\n", bench.upstream.path().join("objects").display());
    std::fs::write(bench.mirror.path().join("objects/info/alternates"), elsewhere).expect("a file");
    let twin = bench.path("tasks/one/agent.git");
    let error = try_twin(&worktree, &twin).await.expect_err("a container would not see the borrowed objects");
    assert!(matches!(error, TwinError::MirrorBorrows { .. }), "{error}");
    assert!(!twin.exists());
}

#[tokio::test]
async fn the_base_stays_when_its_branch_is_gone_and_goes_with_the_task() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    let base = agent.worktree.base().to_string();
    bench.upstream.rewrite("main", &[("new.txt", "1\n")], "another history");
    bench.fetch().await;
    assert_eq!(bench.commit_of("refs/orchestrator/base/one"), base);
    bench.by_hand(bench.mirror.path(), &["gc", "--quiet", "--prune=now"]);
    agent.git(&["fsck"]);
    bench.mirror.remove_worktree(agent.tree(), &branch("one"), "one").await.expect("the worktree can be removed");
    bench.mirror.remove_worktree(agent.tree(), &branch("one"), "one").await.expect("a second call succeeds");
    let left =
        bench.by_hand(bench.mirror.path(), &["for-each-ref", "--format=%(refname)", "refs/orchestrator", "refs/heads/codex"]);
    assert_eq!(left, "refs/orchestrator/removed/one");
}

#[tokio::test]
async fn a_follow_up_finds_the_branch_where_the_last_run_left_it() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    write(&worktree, "a.txt", "1\n");
    let commit = committed(&worktree, "1").await;
    let agent = Agent::new(&bench, "one").await;
    assert_eq!(agent.git(&["rev-parse", "HEAD"]), commit.to_string());
    assert_eq!(agent.status(), (String::new(), String::new()));
}

#[tokio::test]
async fn a_packed_mirror_and_one_of_sha256_are_no_different() {
    let bench = Bench::new().await;
    bench.by_hand(bench.mirror.path(), &["gc", "--quiet"]);
    let agent = Agent::new(&bench, "one").await;
    agent.write("a.txt", "1\n");
    agent.end_run("1").await;

    let upstream = Upstream::empty();
    std::fs::remove_dir_all(upstream.path()).expect("it exists");
    let folder = upstream.path().parent().expect("the path has a parent").to_owned();
    upstream.git_in(&folder, &["init", "--quiet", "--bare", "--object-format=sha256", "--initial-branch=main", "upstream.git"]);
    upstream.commit("main", &[("README.md", "hello\n")], "start");
    let bench = Bench::of(upstream).await;
    let agent = Agent::new(&bench, "one").await;
    let own = agent.commit("a.txt", "1\n");
    agent.write("b.txt", "1\n");
    let taken = agent.end_run("1").await;
    assert_eq!((own.len(), taken.head.as_str().len()), (64, 64));
    assert_eq!(bench.files_of(taken.head.as_str()), ["README.md", "a.txt", "b.txt"]);
    assert_eq!(agent.status(), (String::new(), String::new()));
}

#[tokio::test]
async fn one_that_is_renewed_keeps_commits_and_nothing_that_git_obeys() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    let fresh = std::fs::read(agent.twin.join("config")).expect("a file");
    let own = agent.commit("own.txt", "1\n");
    agent.git(&["branch", "kept"]);
    agent.git(&["config", "core.fsmonitor", "/bin/true"]);
    agent.git(&["update-index", "--split-index", "--assume-unchanged", "own.txt"]);
    for path in [
        "hooks/pre-commit",
        "info/attributes",
        "info/exclude",
        "config.worktree",
        "commondir",
        "modules/m/config",
        "remotes/origin",
    ] {
        let path = agent.twin.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, "planted\n").expect("a file");
    }
    std::fs::write(agent.twin.join("objects/info/alternates"), "/elsewhere\n").expect("a file");
    symlink("/etc/passwd", agent.twin.join("shallow")).expect("a link");
    for _ in 0..2 {
        agent.renew_twin().await;
        assert_eq!(std::fs::read(agent.twin.join("config")).expect("a file"), fresh);
        assert_eq!(std::fs::read_to_string(agent.twin.join("info/exclude")).expect("a file"), "");
        let alternates = std::fs::read_to_string(agent.twin.join("objects/info/alternates")).expect("a file");
        assert_eq!(alternates, format!("{}\n", agent.objects()));
        let mut left: Vec<_> = std::fs::read_dir(&agent.twin)
            .expect("readable")
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        left.sort();
        assert_eq!(left, ["HEAD", "config", "index", "info", "logs", "objects", "packed-refs", "refs"]);
        assert_eq!(agent.git(&["rev-parse", "HEAD", "kept"]), format!("{own}\n{own}"));
    }
    let taken = agent.end_run("1").await;
    assert_eq!(taken.head.to_string(), own);
    agent.renew_twin().await;
    assert_eq!(agent.status(), (String::new(), String::new()));
}

#[tokio::test]
async fn one_in_ruins_is_renewed_from_what_the_mirror_has() {
    let bench = Bench::new().await;
    let agent = Agent::new(&bench, "one").await;
    for name in ["HEAD", "packed-refs", "config", "index"] {
        std::fs::remove_file(agent.twin.join(name)).expect("it exists");
        symlink("/dev/zero", agent.twin.join(name)).expect("a link");
    }
    for name in ["objects", "refs"] {
        std::fs::remove_dir_all(agent.twin.join(name)).expect("it exists");
        symlink("/etc", agent.twin.join(name)).expect("a link");
    }
    agent.renew_twin().await;
    assert_eq!(agent.git(&["status", "--porcelain", "--branch"]), "## codex/one");
    agent.write("a.txt", "1\n");
    assert_eq!(bench.files_of(agent.end_run("1").await.head.as_str()), ["README.md", "a.txt"]);
}
