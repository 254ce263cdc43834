//! Worktrees with only some folders of the repository: the other files stay in every commit, and whatever an agent does outside of the
//! folders is committed like anything else. On the host and with the script of the export container.

use git::{Landing, Pool, ReplayRequest, Replayed, Signature, Start, Work, Worktree, WorktreeSpec};
use model::sparse::{Cone, SparsePath};
use model::submodule::Sources;
use model::task::UpdateStrategy;
use testkit::upstream::Upstream;
use tokio_util::sync::CancellationToken;

use crate::support::agent::Agent;
use crate::support::{Bench, branch, committed, quiet, snapshot, write};

/// The files of the repository. Worktrees contain the first three.
const FILES: [(&str, &str); 7] = [
    ("README.md", "hello\n"),
    ("services/api/main.c", "1\n"),
    ("services/list", "1\n"),
    ("services/web/index", "1\n"),
    ("docs/a b.txt", "1\n"),
    ("docs/deep/b", "1\n"),
    ("other", "1\n"),
];

fn cone() -> Cone {
    Cone::of([SparsePath::parse("services/api").expect("a folder")])
}

async fn bench() -> Bench {
    let upstream = Upstream::new();
    let files = FILES.map(|(path, content)| if path == "other" { ("other/x", content) } else { (path, content) });
    upstream.commit("main", &files, "files");
    Bench::of(upstream).await
}

/// Lists the files of a worktree.
fn files(worktree: &Worktree) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![worktree.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(worktree.path()).expect("inside").display().to_string());
            }
        }
    }
    found.retain(|path| path != ".git");
    found.sort();
    found
}

/// Returns the changes of a commit, e.g. `M README.md`.
fn changes(bench: &Bench, commit: &str) -> Vec<String> {
    let listed = bench.by_hand(bench.mirror.path(), &["show", "--format=", "--name-status", "--no-renames", commit]);
    listed.lines().map(|line| line.replace('\t', " ")).collect()
}

#[tokio::test]
async fn a_worktree_contains_its_folders_and_its_status_is_clean() {
    let bench = bench().await;
    let worktree = bench.sparse_worktree("one", &cone()).await;
    assert_eq!(files(&worktree), ["README.md", "services/api/main.c", "services/list"]);
    assert_eq!(bench.by_hand(worktree.path(), &["status", "--porcelain"]), "");
    // The worktree keeps its folders, whatever the settings are now.
    let again = bench.sparse_worktree("one", &Cone::default()).await;
    assert_eq!(again.cone(), &cone());
    assert_eq!(snapshot(&again, "1").await.commit, None, "nothing was changed");
}

/// Changes files in and outside of the folders, and removes a file in them.
fn work(worktree: &Worktree) {
    write(worktree, "services/api/new.c", "new\n");
    write(worktree, "docs/deep/b", "changed\n");
    write(worktree, "fresh/file", "new\n");
    std::fs::remove_file(worktree.path().join("services/list")).expect("it exists");
}

const WORK: [&str; 4] = ["M docs/deep/b", "A fresh/file", "A services/api/new.c", "D services/list"];

#[tokio::test]
async fn a_commit_keeps_the_other_files_and_contains_what_the_agent_changed_anywhere() {
    let bench = bench().await;
    let worktree = bench.sparse_worktree("host", &cone()).await;
    work(&worktree);
    let made = committed(&worktree, "1").await;
    assert_eq!(changes(&bench, made.as_str()), WORK);
    assert_eq!(bench.by_hand(worktree.path(), &["status", "--porcelain"]), "");

    let agent = Agent::in_worktree(&bench, "contained", bench.sparse_worktree("contained", &cone()).await).await;
    assert_eq!(agent.git(&["status", "--porcelain"]), "", "the agent repository is sparse, too");
    work(&agent.worktree);
    let ended = agent.end_run("1").await;
    assert_eq!(changes(&bench, ended.head.as_str()), WORK);
    assert_eq!(ended.notes, Vec::<String>::new());
    assert_eq!(agent.status(), (String::new(), String::new()));
    agent.renew_twin().await;
    assert_eq!(agent.status(), (String::new(), String::new()));
    assert_eq!(agent.end_run("2").await.commit, None, "the next run changed nothing");
}

#[tokio::test]
async fn a_file_or_a_link_in_the_place_of_a_folder_deletes_its_files() {
    let bench = bench().await;
    let replace = |worktree: &Worktree| {
        write(worktree, "docs", "a file\n");
        std::os::unix::fs::symlink("services", worktree.path().join("other")).expect("a link");
    };
    let expected = ["A docs", "D docs/a b.txt", "D docs/deep/b", "A other", "D other/x"];
    let worktree = bench.sparse_worktree("host", &cone()).await;
    replace(&worktree);
    assert_eq!(changes(&bench, committed(&worktree, "1").await.as_str()), expected);
    let agent = Agent::in_worktree(&bench, "contained", bench.sparse_worktree("contained", &cone()).await).await;
    replace(&agent.worktree);
    assert_eq!(changes(&bench, agent.end_run("1").await.head.as_str()), expected);
}

#[tokio::test]
async fn a_submodule_outside_of_the_folders_stays_in_every_commit() {
    let bench = bench().await;
    bench.upstream.submodule("main", "docs/sub", &"1".repeat(40));
    bench.fetch().await;
    let worktree = bench.sparse_worktree("host", &cone()).await;
    assert_eq!(bench.by_hand(worktree.path(), &["status", "--porcelain"]), "");
    work(&worktree);
    assert_eq!(changes(&bench, committed(&worktree, "1").await.as_str()), WORK);
    let agent = Agent::in_worktree(&bench, "contained", bench.sparse_worktree("contained", &cone()).await).await;
    work(&agent.worktree);
    let ended = agent.end_run("1").await;
    assert_eq!((changes(&bench, ended.head.as_str()), ended.dropped_gitlinks), (WORK.map(str::to_owned).to_vec(), vec![]));
}

#[tokio::test]
async fn an_agent_adds_a_folder_and_commits_a_deletion_itself() {
    let bench = bench().await;
    let agent = Agent::in_worktree(&bench, "one", bench.sparse_worktree("one", &cone()).await).await;
    agent.git(&["sparse-checkout", "add", "docs"]);
    assert!(agent.tree().join("docs/deep/b").is_file());
    agent.write("docs/deep/b", "changed\n");
    let ended = agent.end_run("1").await;
    assert_eq!(changes(&bench, ended.head.as_str()), ["M docs/deep/b"]);
    assert!(ended.notes[0].contains("`git sparse-checkout`"), "{:?}", ended.notes);
    agent.renew_twin().await;
    assert_eq!(agent.git(&["status", "--porcelain"]), "");
    agent.git(&["rm", "--quiet", "--sparse", "other/x"]);
    agent.git(&["commit", "--quiet", "-m", "remove"]);
    let ended = agent.end_run("2").await;
    assert_eq!((ended.commit, changes(&bench, ended.head.as_str())), (None, vec!["D other/x".to_owned()]));
}

#[tokio::test]
async fn a_file_that_the_agent_removes_from_its_sparse_worktree_is_deleted_only_in_the_folders() {
    let bench = bench().await;
    let agent = Agent::in_worktree(&bench, "one", bench.sparse_worktree("one", &cone()).await).await;
    agent.git(&["sparse-checkout", "set", "docs"]);
    let ended = agent.end_run("1").await;
    assert_eq!(changes(&bench, ended.head.as_str()), ["D services/api/main.c", "D services/list"]);
}

#[tokio::test]
async fn a_branch_update_writes_only_files_of_the_folders() {
    let bench = bench().await;
    let worktree = bench.sparse_worktree("one", &cone()).await;
    write(&worktree, "services/api/own.c", "own\n");
    let own = committed(&worktree, "1").await;
    let base = [("README.md", "new\n"), ("docs/deep/b", "new\n"), ("docs/new", "new\n"), ("services/api/main.c", "2\n")];
    bench.upstream.commit("main", &base, "base");
    bench.fetch().await;
    let to = bench.commit_of("main").parse().expect("an ID");
    let (message, committer, old_base) = ("Merge\n", &Signature::default(), worktree.base());
    let strategy = UpdateStrategy::Rebase;
    let request = ReplayRequest { head: &own, old_base, base: &to, strategy, message, committer, seconds: 1_700_000_000 };
    let Replayed::Moved { head, .. } = bench.mirror.replay(request).await.expect("git answers") else { panic!("it is moved") };
    let (task, note) = ("one".to_owned(), serde_json::Value::Null);
    let landing = Landing { task, from: own, to: head.clone(), base: to, committed: vec![], note };
    worktree.land(&landing).await.expect("the worktree can be updated");
    worktree.landed().expect("finished");
    assert_eq!(files(&worktree), ["README.md", "services/api/main.c", "services/api/own.c", "services/list"]);
    assert_eq!(bench.by_hand(worktree.path(), &["status", "--porcelain"]), "");
    assert_eq!(bench.content_of(head.as_str(), "docs/new"), "new");
    let worktree = bench.sparse_worktree("one", &cone()).await;
    write(&worktree, "services/api/own.c", "more\n");
    assert_eq!(changes(&bench, committed(&worktree, "2").await.as_str()), ["M services/api/own.c"]);
}

#[tokio::test]
async fn a_prepared_worktree_is_used_only_for_its_folders() {
    let bench = bench().await;
    let commit = bench.commit_of("main").parse().expect("an ID");
    let pool = |cone: Cone| Pool::new(&bench.mirror, bench.path("prepared"), cone);
    let size = pool(cone()).size_of(&commit).await.expect("it is known");
    assert_eq!(size.files, 3);
    let made = pool(cone()).create(&commit, size.files, |_| 1, &CancellationToken::new()).await;
    made.expect("it can be created").expect("complete");
    let create = async |task: &str, cone: Cone| {
        let (path, branch, pool) = (bench.tree(task), branch(task), pool(cone.clone()));
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        let spec = WorktreeSpec { path: &path, branch: &branch, base: &commit, cone: &cone };
        let sources = Sources::default();
        let made = bench.mirror.ensure_worktree_from(Some(&pool), spec, &sources, &quiet, CancellationToken::new());
        made.await.expect("the worktree can be created")
    };
    let (whole, start) = create("whole", Cone::default()).await;
    assert_eq!((start, files(&whole).len()), (Start::Written, 7));
    let (sparse, start) = create("sparse", cone()).await;
    assert_eq!((start, files(&sparse).len()), (Start::Prepared, 3));
    assert_eq!(bench.by_hand(sparse.path(), &["status", "--porcelain"]), "");
    assert_eq!(snapshot(&sparse, "1").await.commit, None);
}

#[tokio::test]
async fn a_prepared_worktree_with_other_folders_is_deleted() {
    let bench = bench().await;
    let commit = bench.commit_of("main").parse().expect("an ID");
    let pool = |cone: Cone| Pool::new(&bench.mirror, bench.path("prepared"), cone);
    pool(cone()).create(&commit, 3, |_| 1, &CancellationToken::new()).await.expect("created").expect("complete");
    pool(cone()).delete_outdated().await.expect("deleted");
    assert_eq!(pool(cone()).list().expect("readable").len(), 1);
    pool(Cone::default()).delete_outdated().await.expect("deleted");
    assert_eq!(pool(cone()).list().expect("readable").len(), 0);
}

#[tokio::test]
async fn after_a_power_cut_files_outside_of_the_folders_are_not_missing() {
    let bench = bench().await;
    let worktree = bench.sparse_worktree("one", &cone()).await;
    write(&worktree, "services/api/main.c", "a longer line\n");
    committed(&worktree, "1").await;
    write(&worktree, "services/api/main.c", "");
    let compared = worktree.restore_torn_files(Work::Committed, bench.path("aside")).await.expect("compared");
    assert_eq!((compared.restored, compared.edited), (vec!["services/api/main.c".to_owned()], vec![]));
    let admin = bench.by_hand(worktree.path(), &["rev-parse", "--absolute-git-dir"]);
    std::fs::write(std::path::Path::new(&admin).join("index"), "").expect("written");
    let cone = Cone::default();
    let spec = WorktreeSpec { path: worktree.path(), branch: worktree.branch(), base: worktree.base(), cone: &cone };
    bench.mirror.find_or_rebuild_worktree(spec).await.expect("rebuilt").expect("it exists");
    assert_eq!(bench.by_hand(worktree.path(), &["status", "--porcelain"]), "");
}
