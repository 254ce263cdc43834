//! Updating a branch to its base: a rebase or merge without a worktree, and then an update of the worktree that keeps its changes.
//! The tests use the real git on temporary repositories, without the user's configuration.

use git::{LandError, Landing, ReplayError, ReplayRequest, Replayed, Signature, Worktree};
use model::ids::ObjectId;
use model::merge::FileConflict;
use model::task::UpdateStrategy;

use crate::support::{Bench, branch, committed, write};

fn id(text: &str) -> ObjectId {
    text.parse().expect("an id")
}

/// Updates a task's branch to the newest `main`.
async fn replay(bench: &Bench, task: &str, old_base: &ObjectId, strategy: UpdateStrategy) -> Result<Replayed, ReplayError> {
    bench.fetch().await;
    let (head, base) = (id(&bench.commit_of(&branch(task))), id(&bench.commit_of("main")));
    let (message, committer) = ("Merge main\n", &Signature::default());
    let request = ReplayRequest { head: &head, old_base, base: &base, strategy, message, committer, seconds: 1_700_000_000 };
    bench.mirror.replay(request).await
}

async fn moved(bench: &Bench, worktree: &Worktree, strategy: UpdateStrategy) -> (ObjectId, u32) {
    let task = worktree.branch().strip_prefix("codex/").expect("a task's");
    match replay(bench, task, worktree.base(), strategy).await.expect("git succeeds") {
        Replayed::Moved { head, dropped } => (head, dropped),
        other => panic!("{other:?}"),
    }
}

fn landing(bench: &Bench, worktree: &Worktree, to: &ObjectId) -> Landing {
    let from = id(&bench.commit_of(worktree.branch()));
    let note = serde_json::json!({ "why": "a test" });
    Landing { task: "one".to_owned(), from, to: to.clone(), base: id(&bench.commit_of("main")), committed: vec![], note }
}

fn read(worktree: &Worktree, path: &str) -> String {
    std::fs::read_to_string(worktree.path().join(path)).expect("it exists")
}

fn status(bench: &Bench, worktree: &Worktree) -> String {
    bench.by_hand(worktree.path(), &["status", "--porcelain"])
}

/// Lists all objects of the mirror.
fn objects(bench: &Bench) -> Vec<String> {
    let listed = bench.by_hand(bench.mirror.path(), &["cat-file", "--batch-all-objects", "--batch-check=%(objectname)"]);
    listed.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_rebase_keeps_authors_messages_and_trailers_and_leaves_out_what_became_empty() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    write(&worktree, "same.txt", "same\n");
    bench.by_hand(worktree.path(), &["add", "."]);
    bench.by_hand(worktree.path(), &["commit", "-qm", "what the base does too"]);
    write(&worktree, "own.txt", "own\n");
    bench.by_hand(worktree.path(), &["add", "."]);
    let by = ["-c", "user.name=x", "commit", "-q", "--author=Änne <a@b>", "--date=2020-02-03T04:05:06+0200"];
    bench.by_hand(worktree.path(), &[&by[..], &["-m", "Own work", "-m", "With a body.", "-m", "Reviewed-by: R <r@x>"]].concat());
    bench.by_hand(worktree.path(), &["commit", "-q", "--allow-empty", "-m", "nothing, on purpose"]);
    write(&worktree, "run.txt", "run\n");
    committed(&worktree, "1").await;
    bench.upstream.commit("main", &[("same.txt", "same\n"), ("README.md", "hello, base\n")], "base");
    let (head, dropped) = moved(&bench, &worktree, UpdateStrategy::Rebase).await;
    assert_eq!(dropped, 1);
    let told = |range: &str| bench.by_hand(bench.mirror.path(), &["log", "--format=%an|%ae|%ad|%B", range]);
    let before = told(&format!("{}..{}", worktree.base(), worktree.branch()));
    let after = told(&format!("main..{head}"));
    let expect: String = before.split_inclusive('\n').take_while(|line| !line.contains("what the base does too")).collect();
    assert_eq!(after.trim(), expect.trim());
    assert!(after.contains("Änne|a@b|") && after.contains("Reviewed-by: R <r@x>") && after.contains("Run: 1"), "{after}");
    assert_eq!(bench.by_hand(bench.mirror.path(), &["merge-base", "main", head.as_str()]), bench.commit_of("main"));
    assert_eq!(bench.files_of(head.as_str()), ["README.md", "own.txt", "run.txt", "same.txt"]);
    assert_eq!(bench.content_of(head.as_str(), "README.md"), "hello, base");
    bench.by_hand(bench.mirror.path(), &["fsck", "--strict", "--no-dangling"]);
    assert!(
        objects(&bench).iter().all(|object| !is_for_a_merge(&bench, object)),
        "the temporary commits of the merge are deleted"
    );
}

fn is_for_a_merge(bench: &Bench, object: &str) -> bool {
    let kind = bench.by_hand(bench.mirror.path(), &["cat-file", "-t", object]);
    kind == "commit" && bench.by_hand(bench.mirror.path(), &["cat-file", "commit", object]).ends_with("for a merge")
}

#[tokio::test]
async fn a_merge_has_both_sides_and_what_is_current_stays() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    let current = replay(&bench, "one", worktree.base(), UpdateStrategy::Rebase).await.expect("git succeeds");
    assert_eq!(current, Replayed::Current { base: worktree.base().clone() });
    bench.upstream.commit("main", &[("first.txt", "1\n")], "base");
    let (head, _) = moved(&bench, &worktree, UpdateStrategy::Rebase).await;
    assert_eq!(head.to_string(), bench.commit_of("main"), "a branch without its own commits is fast-forwarded");
    write(&worktree, "own.txt", "own\n");
    let own = committed(&worktree, "1").await;
    let (head, _) = moved(&bench, &worktree, UpdateStrategy::Merge).await;
    let parents = bench.by_hand(bench.mirror.path(), &["log", "-1", "--format=%P", head.as_str()]);
    assert_eq!(parents, format!("{own} {}", bench.commit_of("main")));
    assert_eq!(bench.files_of(head.as_str()), ["README.md", "first.txt", "own.txt"]);
}

#[tokio::test]
async fn a_base_that_was_made_anew_does_not_leave_its_old_commits_in_the_branch() {
    let bench = Bench::new().await;
    bench.upstream.commit("main", &[("secret.txt", "oops\n")], "a mistake");
    bench.fetch().await;
    let worktree = bench.worktree("one").await;
    write(&worktree, "own.txt", "own\n");
    committed(&worktree, "1").await;
    bench.upstream.rewrite("main", &[("README.md", "hello\n")], "without it");
    let (head, _) = moved(&bench, &worktree, UpdateStrategy::Rebase).await;
    assert_eq!(bench.files_of(head.as_str()), ["README.md", "own.txt"]);
    assert_eq!(bench.by_hand(bench.mirror.path(), &["rev-list", "--count", &format!("main..{head}")]), "1");
}

#[tokio::test]
async fn a_conflict_changes_nothing_and_names_the_files() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    write(&worktree, "README.md", "mine\n");
    write(&worktree, "new.txt", "mine\n");
    committed(&worktree, "1").await;
    bench.upstream.commit("main", &[("README.md", "theirs\n"), ("new.txt", "theirs\n"), ("fine.txt", "1\n")], "base");
    bench.fetch().await;
    let (before, refs) = (objects(&bench), bench.by_hand(bench.mirror.path(), &["for-each-ref"]));
    for strategy in [UpdateStrategy::Rebase, UpdateStrategy::Merge] {
        let found = replay(&bench, "one", worktree.base(), strategy).await.expect("git succeeds");
        let Replayed::Conflicts(files) = found else { panic!("{found:?}") };
        let told: Vec<_> = files.iter().map(|FileConflict { path, kind }| (path.as_str(), kind.as_str())).collect();
        assert_eq!(told, [("README.md", "content"), ("new.txt", "add/add")]);
    }
    let head = id(&bench.commit_of(worktree.branch()));
    assert_eq!(bench.mirror.conflicts_of(&head, &id(&bench.commit_of("main"))).await.expect("git succeeds").len(), 2);
    assert_eq!((objects(&bench), bench.by_hand(bench.mirror.path(), &["for-each-ref"])), (before, refs));
}

#[tokio::test]
async fn no_program_that_a_configuration_or_the_agent_names_is_run() {
    let bench = Bench::new().await;
    let trap = bench.path("trapped");
    let worktree = bench.worktree("one").await;
    let command = format!("touch {}", trap.display());
    for key in ["merge.evil.driver", "filter.evil.smudge", "filter.evil.clean", "core.editor", "sequence.editor", "gpg.program"] {
        bench.by_hand(bench.mirror.path(), &["config", key, &command]);
    }
    for (key, value) in
        [("commit.gpgSign", "true"), ("merge.default", "evil"), ("rerere.enabled", "true"), ("core.hooksPath", "hooks")]
    {
        bench.by_hand(bench.mirror.path(), &["config", key, value]);
    }
    for hook in ["post-rewrite", "pre-rebase", "post-checkout", "post-commit", "reference-transaction", "post-merge"] {
        let path = bench.mirror.path().join("hooks").join(hook);
        std::fs::create_dir_all(path.parent().expect("the path has a parent")).expect("a folder");
        std::fs::write(&path, format!("#!/bin/sh\n{command}\n")).expect("a hook");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("the file becomes executable");
    }
    bench.upstream.commit("main", &[("README.md", "1\n2\n3\n4\n5\n6\n7\n")], "lines");
    bench.fetch().await;
    drop(worktree);
    let worktree = bench.worktree("two").await;
    write(&worktree, ".gitattributes", "* merge=evil filter=evil\n");
    write(&worktree, "README.md", "1\n2\n3\n4\n5\n6\nmine\n");
    committed(&worktree, "1").await;
    bench.upstream.commit("main", &[("README.md", "theirs\n2\n3\n4\n5\n6\n7\n")], "base");
    let (head, _) = moved(&bench, &worktree, UpdateStrategy::Rebase).await;
    worktree.land(&landing(&bench, &worktree, &head)).await.expect("the worktree can be updated");
    assert_eq!(read(&worktree, "README.md"), "theirs\n2\n3\n4\n5\n6\nmine\n");
    assert!(!trap.exists(), "no program was run");
}

#[tokio::test]
async fn a_worktree_follows_its_branch_and_keeps_what_is_not_committed() {
    let bench = Bench::new().await;
    bench.upstream.commit("main", &[("gone.txt", "1\n"), ("dir/deep.txt", "1\n"), (".gitignore", "junk\n")], "more");
    bench.fetch().await;
    let worktree = bench.worktree("one").await;
    write(&worktree, "own.txt", "own\n");
    let own = committed(&worktree, "1").await;
    write(&worktree, "own.txt", "edited by hand\n");
    write(&worktree, "untracked.txt", "untracked\n");
    write(&worktree, "junk", "ignored\n");
    bench.upstream.commit("main", &[("README.md", "hello, base\n"), ("added/new.txt", "new\n")], "base");
    let (head, _) = moved(&bench, &worktree, UpdateStrategy::Rebase).await;
    worktree.land(&landing(&bench, &worktree, &head)).await.expect("the worktree can be updated");
    worktree.landed().expect("the update can be recorded as finished");
    assert_eq!(bench.commit_of(worktree.branch()), head.to_string());
    assert_eq!(
        (read(&worktree, "README.md"), read(&worktree, "added/new.txt")),
        ("hello, base\n".to_owned(), "new\n".to_owned())
    );
    assert_eq!((read(&worktree, "own.txt"), read(&worktree, "junk")), ("edited by hand\n".to_owned(), "ignored\n".to_owned()));
    assert_eq!(status(&bench, &worktree), " M own.txt\n?? untracked.txt");
    let kept = bench.by_hand(bench.mirror.path(), &["rev-parse", &format!("refs/orchestrator/kept/one/{own}")]);
    assert_eq!(kept, own.to_string(), "the old commits remain reachable");
    let again = bench.worktree("one").await;
    assert_eq!(again.base().to_string(), bench.commit_of("main"));
    let next = committed(&again, "2").await;
    assert_eq!(bench.by_hand(bench.mirror.path(), &["rev-parse", &format!("{next}^")]), head.to_string());
    bench.mirror.forget("one").await.expect("the kept commits can be released");
    assert_eq!(bench.by_hand(bench.mirror.path(), &["for-each-ref", "refs/orchestrator/kept"]), "");
}

#[tokio::test]
async fn files_that_are_not_committed_are_never_written_over() {
    let bench = Bench::new().await;
    bench.upstream.commit("main", &[(".gitignore", "*.log\nout\n")], "ignores");
    bench.fetch().await;
    let worktree = bench.worktree("one").await;
    write(&worktree, "own.txt", "own\n");
    let own = committed(&worktree, "1").await;
    write(&worktree, "README.md", "edited\n");
    write(&worktree, "untracked.txt", "untracked\n");
    write(&worktree, "a.log", "ignored\n");
    write(&worktree, "out/put", "ignored\n");
    let files = [("README.md", "base\n"), ("untracked.txt", "base\n"), ("a.log", "base\n"), ("out", "base\n"), ("ok.txt", "1\n")];
    bench.upstream.commit("main", &files, "base");
    let (head, _) = moved(&bench, &worktree, UpdateStrategy::Rebase).await;
    let before = status(&bench, &worktree);
    let refused =
        worktree.land(&landing(&bench, &worktree, &head)).await.expect_err("the update would overwrite uncommitted changes");
    let LandError::InTheWay { files } = &refused else { panic!("{refused}") };
    assert_eq!(files, &["README.md", "a.log", "out/put", "untracked.txt"]);
    assert_eq!((bench.commit_of(worktree.branch()), status(&bench, &worktree)), (own.to_string(), before));
    assert!(!worktree.path().join("ok.txt").exists() && bench.mirror.landings().expect("readable").is_empty());
}

#[tokio::test]
async fn a_worktree_with_something_under_way_is_left_alone() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    bench.upstream.commit("main", &[("base.txt", "1\n")], "base");
    let (head, _) = moved(&bench, &worktree, UpdateStrategy::Rebase).await;
    let landing = landing(&bench, &worktree, &head);
    bench.by_hand(worktree.path(), &["checkout", "-q", "--detach"]);
    let refused = worktree.land(&landing).await.expect_err("the worktree is not on its branch");
    assert!(matches!(refused, LandError::Unsettled { .. }), "{refused}");
    bench.by_hand(worktree.path(), &["checkout", "-q", worktree.branch()]);
    bench.by_hand(worktree.path(), &["commit", "-q", "--allow-empty", "-m", "meanwhile"]);
    let refused = worktree.land(&landing).await.expect_err("the branch has moved");
    assert!(matches!(refused, LandError::Moved), "{refused}");
    assert!(bench.mirror.landings().expect("readable").is_empty());
}

#[tokio::test]
async fn a_move_that_was_cut_off_is_finished_and_what_was_half_written_is_kept() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    write(&worktree, "own.txt", "own\n");
    committed(&worktree, "1").await;
    write(&worktree, "untracked.txt", "untracked\n");
    bench.upstream.commit("main", &[("README.md", "hello, base\n"), ("new.txt", "new\n"), ("other.txt", "other\n")], "base");
    let (head, _) = moved(&bench, &worktree, UpdateStrategy::Rebase).await;
    let landing = landing(&bench, &worktree, &head);
    let admin = read(&worktree, ".git");
    let admin = std::path::Path::new(admin.trim_start_matches("gitdir: ").trim_end());
    std::fs::write(admin.join("codex-orchestrator-landing"), serde_json::to_vec(&landing).expect("JSON")).expect("a file");
    // The server was killed before the branch moved.
    let landings = bench.mirror.landings().expect("readable");
    assert_eq!(landings.iter().map(|landing| landing.task.as_str()).collect::<Vec<_>>(), ["one"]);
    assert_eq!(worktree.finish_landing().await.expect("no update is left to finish"), None);
    assert!(bench.mirror.landings().expect("readable").is_empty());
    // The server was killed after the branch moved. One file is written, and another one is incomplete.
    std::fs::write(admin.join("codex-orchestrator-landing"), serde_json::to_vec(&landing).expect("JSON")).expect("a file");
    bench.by_hand(bench.mirror.path(), &["update-ref", &format!("refs/heads/{}", worktree.branch()), head.as_str()]);
    write(&worktree, "new.txt", "new\n");
    write(&worktree, "README.md", "hello, b");
    for _ in 0..2 {
        let note = worktree.finish_landing().await.expect("the update can be finished");
        assert_eq!(
            note,
            Some(serde_json::json!({ "why": "a test" })),
            "the note is returned until the update is recorded as finished"
        );
    }
    worktree.landed().expect("the update can be recorded as finished");
    assert_eq!(worktree.finish_landing().await.expect("no update is left to finish"), None);
    assert_eq!((read(&worktree, "README.md"), read(&worktree, "other.txt")), ("hello, base\n".to_owned(), "other\n".to_owned()));
    assert_eq!(status(&bench, &worktree), "?? untracked.txt");
    let kept = bench.by_hand(bench.mirror.path(), &["for-each-ref", "--format=%(objectname)", "refs/orchestrator/kept/one"]);
    assert_eq!(bench.content_of(kept.lines().next().expect("a commit is kept"), "README.md"), "hello, b");
}

#[tokio::test]
async fn an_edit_that_the_index_hides_is_seen() {
    let bench = Bench::new().await;
    bench.upstream.commit("main", &[("a.txt", "1\n"), ("b.txt", "1\n")], "more");
    bench.fetch().await;
    let worktree = bench.worktree("one").await;
    bench.by_hand(worktree.path(), &["update-index", "--assume-unchanged", "a.txt"]);
    bench.by_hand(worktree.path(), &["update-index", "--skip-worktree", "b.txt"]);
    write(&worktree, "a.txt", "edited\n");
    write(&worktree, "b.txt", "edited\n");
    bench.upstream.commit("main", &[("a.txt", "base\n"), ("b.txt", "base\n")], "base");
    let (head, _) = moved(&bench, &worktree, UpdateStrategy::Rebase).await;
    let refused =
        worktree.land(&landing(&bench, &worktree, &head)).await.expect_err("the update would overwrite uncommitted changes");
    assert!(matches!(&refused, LandError::InTheWay { files } if files == &["a.txt", "b.txt"]), "{refused}");
    assert_eq!((read(&worktree, "a.txt"), read(&worktree, "b.txt")), ("edited\n".to_owned(), "edited\n".to_owned()));
}

#[tokio::test]
async fn files_and_folders_change_places_and_an_ignored_file_that_the_base_has_is_finished() {
    let bench = Bench::new().await;
    bench.upstream.commit("main", &[("place", "a file\n"), ("dir/a", "1\n"), (".gitignore", "*.log\n")], "more");
    bench.fetch().await;
    let worktree = bench.worktree("one").await;
    write(&worktree, "own.txt", "own\n");
    committed(&worktree, "1").await;
    let other = bench.worktree("other").await;
    for path in ["place", "dir"] {
        bench.by_hand(other.path(), &["rm", "-rq", path]);
    }
    write(&other, "place/inside", "in a folder\n");
    write(&other, "dir", "a file\n");
    write(&other, "kept.log", "of the base\n");
    bench.by_hand(other.path(), &["add", "--force", "."]);
    bench.by_hand(other.path(), &["commit", "-qm", "base"]);
    let commit = bench.commit_of(other.branch());
    bench.by_hand(bench.mirror.path(), &["push", "-q", &bench.upstream.url(), &format!("{commit}:refs/heads/main")]);
    let (head, _) = moved(&bench, &worktree, UpdateStrategy::Rebase).await;
    let landing = landing(&bench, &worktree, &head);
    // The update is interrupted after all files are written.
    let admin = read(&worktree, ".git");
    let admin = std::path::Path::new(admin.trim_start_matches("gitdir: ").trim_end());
    std::fs::copy(admin.join("index"), bench.path("old-index")).expect("copied");
    worktree.land(&landing).await.expect("the worktree can be updated");
    std::fs::copy(bench.path("old-index"), admin.join("index")).expect("copied");
    assert!(worktree.finish_landing().await.expect("the update can be finished").is_some());
    worktree.landed().expect("the update can be recorded as finished");
    assert_eq!(status(&bench, &worktree), "");
    assert_eq!((read(&worktree, "place/inside"), read(&worktree, "dir")), ("in a folder\n".to_owned(), "a file\n".to_owned()));
    assert_eq!(read(&worktree, "kept.log"), "of the base\n");
}

#[tokio::test]
async fn a_submodule_that_the_base_moves_stays_where_it_is_on_disk() {
    let module = testkit::upstream::Upstream::new();
    let first = module.commit("main", &[("lib.txt", "1\n")], "a module");
    let second = module.commit("main", &[("lib.txt", "2\n")], "newer");
    let bench = Bench::new().await;
    let config = format!("[submodule \"near\"]\n\tpath = libs/near\n\turl = {}\n", module.file_url());
    bench.upstream.commit("main", &[(".gitmodules", &config)], "a start");
    bench.upstream.submodule("main", "libs/near", &first);
    bench.fetch().await;
    let worktree = bench.worktree("one").await;
    write(&worktree, "own.txt", "own\n");
    committed(&worktree, "1").await;
    bench.upstream.submodule("main", "libs/near", &second);
    let (head, _) = moved(&bench, &worktree, UpdateStrategy::Rebase).await;
    worktree.land(&landing(&bench, &worktree, &head)).await.expect("the worktree can be updated");
    worktree.landed().expect("the update can be recorded as finished");
    write(&worktree, "more.txt", "more\n");
    let next = committed(&bench.worktree("one").await, "2").await;
    assert_eq!(
        bench.by_hand(bench.mirror.path(), &["rev-parse", &format!("{next}:libs/near")]),
        second,
        "the new commit of the submodule is not reverted"
    );
}

#[tokio::test]
async fn a_base_that_git_would_not_check_out_moves_nothing() {
    let bench = Bench::new().await;
    let worktree = bench.worktree("one").await;
    write(&worktree, "own.txt", "own\n");
    let own = committed(&worktree, "1").await;
    // A folder of the commit contains a file named `.git`.
    let tree_of = |entry: &str, id: &str| {
        let raw = (0..id.len()).step_by(2).map(|at| u8::from_str_radix(&id[at..at + 2], 16).expect("hex"));
        let content: Vec<u8> = entry.bytes().chain([0]).chain(raw).collect();
        let file = bench.path("tree");
        std::fs::write(&file, content).expect("a file");
        bench.upstream.git(&["hash-object", "-t", "tree", "-w", "--literally", file.to_str().expect("text")])
    };
    let blob = bench.upstream.git(&["rev-parse", "main:README.md"]);
    let tree = tree_of("40000 sub", &tree_of("100644 .git", &blob));
    let commit = bench.upstream.git(&["commit-tree", &tree, "-p", "main", "-m", "harmful"]);
    bench.upstream.point("refs/heads/main", &commit);
    bench.fetch().await;
    let request = replay(&bench, "one", worktree.base(), UpdateStrategy::Rebase).await;
    if let Ok(Replayed::Moved { head, .. }) = request {
        let refused = worktree.land(&landing(&bench, &worktree, &head)).await.expect_err("git would not write this tree");
        assert!(matches!(refused, LandError::Refused(_) | LandError::Program(_)), "{refused}");
    }
    assert_eq!(bench.commit_of(worktree.branch()), own.to_string());
    assert!(bench.mirror.landings().expect("readable").is_empty());
    assert_eq!(status(&bench, &worktree), "");
}
