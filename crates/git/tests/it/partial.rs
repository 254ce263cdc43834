//! Partial mirrors: all commits, but the contents of files only for the commits that are used. The host fetches them before they are
//! needed, and nothing else does.

use git::{Contents, Landing, ReplayRequest, Replayed, Signature, Worktree};
use model::ids::ObjectId;
use model::task::UpdateStrategy;
use testkit::upstream::Upstream;
use tokio_util::sync::CancellationToken;

use crate::support::agent::Agent;
use crate::support::{Bench, committed, write};

/// An upstream whose first version of a file is only in its history, and whose branch `other` has another file.
pub(crate) fn upstream() -> Upstream {
    let upstream = Upstream::new();
    for setting in ["uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"] {
        upstream.git(&["config", setting, "true"]);
    }
    upstream.commit("main", &[("file", "first\n"), ("same", "1\n")], "first");
    upstream.commit("main", &[("file", "second\n")], "second");
    upstream.commit("other", &[("own", "own\n")], "other");
    upstream
}

/// Whether the mirror has the content of a file. `name` is a commit and a path.
pub(crate) fn has(bench: &Bench, name: &str) -> bool {
    let id = bench.upstream.git(&["rev-parse", name]);
    let command = ["cat-file", "-e", id.trim()];
    let environment = ["-c", "protocol.allow=never"];
    let arguments: Vec<_> = environment.into_iter().chain(command).collect();
    bench.upstream.try_git_in(bench.mirror.path(), &arguments).status.success()
}

fn id(text: &str) -> ObjectId {
    text.parse().expect("an ID")
}

/// Makes the upstream unreachable, or reachable again.
pub(crate) fn toggle(bench: &Bench) {
    let (there, away) = (bench.upstream.path().to_owned(), bench.upstream.path().with_extension("away"));
    let (from, to) = if there.exists() { (there, away) } else { (away, there) };
    std::fs::rename(from, to).expect("renamed");
}

fn status(bench: &Bench, worktree: &Worktree) -> String {
    bench.by_hand(worktree.path(), &["status", "--porcelain"])
}

#[tokio::test]
async fn a_clone_has_all_commits_and_the_contents_of_the_default_branch() {
    let bench = Bench::partial(upstream()).await;
    assert!(bench.mirror.is_partial());
    assert_eq!(bench.by_hand(bench.mirror.path(), &["rev-list", "--count", "main"]), "3");
    assert_eq!(["main:file", "main:same", "main~1:file", "other:own"].map(|name| has(&bench, name)), [true, true, false, false]);
    bench.upstream.commit("main", &[("file", "third\n")], "third");
    bench.upstream.commit("other", &[("own", "more\n")], "more");
    bench.fetch().await;
    assert_eq!(["main:file", "other:own"].map(|name| has(&bench, name)), [true, false]);
}

#[tokio::test]
async fn a_task_from_another_branch_gets_its_contents_before_its_worktree_exists() {
    let bench = Bench::partial(upstream()).await;
    toggle(&bench);
    let worktree = bench.worktree("one").await;
    write(&worktree, "file", "changed\n");
    let made = committed(&worktree, "1").await;
    assert_eq!(bench.content_of(made.as_str(), "same"), "1");
    let base = bench.mirror.resolve_ref("other").await.expect("git answers").expect("it exists");
    let failed = bench.mirror.complete(&base, &CancellationToken::new()).await.expect_err("the upstream is away");
    assert!(failed.to_string().contains("could not") || failed.to_string().contains("not found"), "{failed}");
    toggle(&bench);
    let worktree = bench.worktree_from("two", "other").await;
    assert_eq!((status(&bench, &worktree), has(&bench, "other:own")), (String::new(), true));
    assert_eq!(std::fs::read_to_string(worktree.path().join("own")).expect("it exists"), "own\n");
}

#[tokio::test]
async fn the_files_of_any_commit_can_be_found() {
    let bench = Bench::partial(upstream()).await;
    let other = bench.mirror.resolve_ref("other").await.expect("git answers").expect("it exists");
    let expected = [Some(id(bench.upstream.git(&["rev-parse", "other:own"]).trim())), None];
    assert_eq!(bench.mirror.objects_at(&other, &["own", "gone"]).await.expect("git answers"), expected);
    bench.upstream.commit("other", &[("own", "more\n")], "more");
    bench.fetch().await;
    toggle(&bench);
    let other = bench.mirror.resolve_ref("other").await.expect("git answers").expect("it exists");
    let error = bench.mirror.objects_at(&other, &["own"]).await.expect_err("the upstream is away");
    assert!(error.to_string().contains("remote"), "{error}");
}

#[tokio::test]
async fn an_agent_works_and_its_work_is_imported_although_its_history_has_no_contents() {
    let bench = Bench::partial(upstream()).await;
    let agent = Agent::new(&bench, "one").await;
    toggle(&bench);
    assert_eq!(agent.status(), (String::new(), String::new()));
    agent.commit("own.txt", "1\n");
    agent.write("file", "changed\n");
    let ended = agent.end_run("1").await;
    assert_eq!(bench.content_of(ended.head.as_str(), "own.txt"), "1");
    agent.renew_twin().await;
    assert_eq!(agent.status(), (String::new(), String::new()));
    let twin = format!("--git-dir={}", agent.twin.display());
    let history = |arguments: &[&str]| {
        let arguments: Vec<_> = std::iter::once(twin.as_str()).chain(arguments.iter().copied()).collect();
        bench.upstream.try_git_in(agent.tree(), &arguments)
    };
    assert!(history(&["log", "--oneline", "--stat", "-1"]).status.success());
    assert!(history(&["fsck", "--connectivity-only"]).status.success(), "the repository is not broken");
    let missing = history(&["show", "HEAD~3:file"]);
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(!missing.status.success() && said.contains("only-the-server-can-fetch"), "{said}");
}

#[tokio::test]
async fn a_branch_is_updated_and_pushed() {
    let bench = Bench::partial(upstream()).await;
    let worktree = bench.worktree("one").await;
    write(&worktree, "new", "own\n");
    let own = committed(&worktree, "1").await;
    bench.upstream.commit("main", &[("file", "third\n"), ("added", "1\n")], "third");
    bench.fetch().await;
    let base = id(&bench.commit_of("main"));
    let (message, committer, old_base) = ("Merge\n", &Signature::default(), worktree.base());
    let strategy = UpdateStrategy::Rebase;
    let request = ReplayRequest { head: &own, old_base, base: &base, strategy, message, committer, seconds: 1_700_000_000 };
    let Replayed::Moved { head, .. } = bench.mirror.replay(request).await.expect("git answers") else { panic!("it is moved") };
    let (task, note) = ("one".to_owned(), serde_json::Value::Null);
    worktree.land(&Landing { task, from: own, to: head.clone(), base, committed: vec![], note }).await.expect("landed");
    assert_eq!(std::fs::read_to_string(worktree.path().join("file")).expect("it exists"), "third\n");
    assert_eq!(status(&bench, &worktree), "");
    bench.by_hand(bench.mirror.path(), &["push", "--quiet", &bench.upstream.url(), "codex/one:codex/one"]);
    assert_eq!(bench.upstream.commit_of("codex/one").as_deref(), Some(head.as_str()));
}

#[tokio::test]
async fn all_contents_are_fetched_once_they_are_wanted() {
    let bench = Bench::partial(upstream()).await;
    bench.mirror.want_contents(Contents::OfUsedCommits);
    bench.fetch().await;
    assert!(bench.mirror.is_partial());
    bench.mirror.want_contents(Contents::All);
    bench.fetch().await;
    assert!(!bench.mirror.is_partial());
    assert_eq!(["main~1:file", "other:own"].map(|name| has(&bench, name)), [true, true]);
    toggle(&bench);
    bench.by_hand(bench.mirror.path(), &["fsck", "--strict"]);
    bench.worktree_from("two", "other").await;
    // A mirror with all contents keeps them.
    bench.mirror.want_contents(Contents::OfUsedCommits);
    toggle(&bench);
    bench.fetch().await;
    assert!(!bench.mirror.is_partial());
}

#[tokio::test]
async fn a_remote_without_partial_clones_sends_everything() {
    let upstream = upstream();
    upstream.git(&["config", "uploadpack.allowFilter", "false"]);
    let bench = Bench::partial(upstream).await;
    assert_eq!(["main~1:file", "other:own"].map(|name| has(&bench, name)), [true, true]);
    bench.worktree_from("two", "other").await;
}
