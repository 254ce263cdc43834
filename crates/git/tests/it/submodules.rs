//! Submodules are fetched only from trusted URLs, even if a branch names others. All repositories are real, and one of them is
//! private: its content must not appear.

use git::{Worktree, WorktreeSpec};
use model::names::RepositoryUrl;
use model::sources::{EditSources, SourceSettings};
use model::sparse::Cone;
use model::submodule::Sources;
use testkit::upstream::Upstream;
use tokio_util::sync::CancellationToken;

use crate::support::{Bench, branch, quiet};

/// An upstream whose `main` has a public library as a submodule, that library, and a private repository.
struct Repositories {
    bench: Bench,
    public: Upstream,
    private: Upstream,
}

fn gitmodules(modules: &[(&str, &str)]) -> String {
    let module = |(path, url): &(&str, &str)| format!("[submodule \"{path}\"]\n\tpath = {path}\n\turl = {url}\n");
    modules.iter().map(module).collect::<Vec<_>>().concat()
}

fn commit_of(module: &Upstream) -> String {
    module.commit_of("main").expect("the submodule has a `main` branch")
}

impl Repositories {
    async fn new() -> Self {
        let (upstream, public, private) = (Upstream::new(), Upstream::new(), Upstream::new());
        public.commit("main", &[("lib.txt", "public\n")], "a library");
        private.commit("main", &[("secret.txt", "PRIVATE-CONTENT\n")], "private");
        upstream.commit("main", &[(".gitmodules", &gitmodules(&[("libs/public", &public.url())]))], "a submodule");
        upstream.submodule("main", "libs/public", &commit_of(&public));
        Self { bench: Bench::of(upstream).await, public, private }
    }

    /// Creates a branch on top of `main` that has a submodule with this URL at `stolen`.
    async fn branch(&self, name: &str, url: &str) {
        let config = gitmodules(&[("libs/public", &self.public.url()), ("stolen", url)]);
        self.bench.upstream.commit(name, &[(".gitmodules", &config)], "another submodule");
        self.bench.upstream.submodule(name, "stolen", &commit_of(&self.private));
        self.bench.fetch().await;
    }

    async fn sources(&self, settings: &SourceSettings) -> Sources {
        self.bench.mirror.trusted_sources(settings).await.expect("git answers")
    }

    async fn worktree(&self, task: &str, start: &str, sources: &Sources) -> Worktree {
        let path = self.bench.tree(task);
        std::fs::create_dir_all(path.parent().expect("the path has a parent")).expect("a folder");
        let base = self.bench.mirror.resolve_ref(start).await.expect("git answers").expect("the branch exists");
        let branch = branch(task);
        let spec = WorktreeSpec { path: &path, branch: &branch, base: &base, cone: &Cone::default() };
        self.bench
            .mirror
            .ensure_worktree(spec, sources, &quiet, CancellationToken::new())
            .await
            .expect("the worktree can be created")
    }

    async fn asked(&self, start: &str, sources: &Sources) -> Vec<String> {
        let base = self.bench.mirror.resolve_ref(start).await.expect("git answers").expect("the branch exists");
        let urls = self.bench.mirror.untrusted_urls(&base, sources).await.expect("git answers");
        urls.iter().map(ToString::to_string).collect()
    }
}

fn content(worktree: &Worktree, path: &str) -> Option<String> {
    std::fs::read_to_string(worktree.path().join(path)).ok()
}

#[tokio::test]
async fn what_the_default_branch_names_is_fetched_and_what_another_branch_names_is_not() {
    let stage = Repositories::new().await;
    stage.branch("agent", &stage.private.url()).await;
    let sources = stage.sources(&SourceSettings::default()).await;
    assert_eq!(stage.asked("main", &sources).await, Vec::<String>::new());
    assert_eq!(stage.asked("agent", &sources).await, [stage.private.url()]);
    let worktree = stage.worktree("one", "agent", &sources).await;
    assert_eq!(content(&worktree, "libs/public/lib.txt").as_deref(), Some("public\n"));
    assert_eq!(content(&worktree, "stolen/secret.txt"), None);
    let notes = worktree.notes().expect("readable").join("; ");
    assert!(notes.contains("`stolen` is empty") && notes.contains("nobody has allowed it"), "{notes}");
}

#[tokio::test]
async fn other_spellings_and_relative_urls_are_seen_through() {
    let stage = Repositories::new().await;
    let path = stage.private.url();
    let detour = format!("{}/../../{}", stage.public.url(), path.trim_start_matches('/').split_once('/').expect("two parts").1);
    let up = "../".repeat(stage.bench.upstream.url().matches('/').count() - 1);
    let relative = format!("{up}{}", path.trim_start_matches('/').split_once('/').expect("two parts").1);
    let sources = stage.sources(&SourceSettings::default()).await;
    for (n, url) in [detour, relative, format!("{path}/"), format!("/.{path}"), format!("file://{path}")].iter().enumerate() {
        let branch = format!("agent-{n}");
        stage.branch(&branch, url).await;
        let worktree = stage.worktree(&branch, &branch, &sources).await;
        assert_eq!(content(&worktree, "stolen/secret.txt"), None, "{url}");
    }
    // A trusted URL is fetched in its trusted form, however a branch spells it.
    let public = format!("{}/", stage.public.url());
    stage.branch("same", &public).await;
    stage.bench.upstream.submodule("same", "stolen", &commit_of(&stage.public));
    stage.bench.fetch().await;
    assert_eq!(stage.asked("same", &sources).await, Vec::<String>::new());
    let worktree = stage.worktree("same", "same", &sources).await;
    assert_eq!(content(&worktree, "stolen/lib.txt").as_deref(), Some("public\n"));
}

#[tokio::test]
async fn an_owner_trusts_branches_by_their_names_and_urls_one_by_one() {
    let stage = Repositories::new().await;
    stage.branch("release/1", &stage.private.url()).await;
    stage.branch("agent", &stage.private.url()).await;
    let edit = EditSources { trusted_branches: Some(Some(vec!["release/*".to_owned()])), ..EditSources::default() };
    let settings = SourceSettings::default().edited(&edit).expect("sound");
    let sources = stage.sources(&settings).await;
    let worktree = stage.worktree("one", "agent", &sources).await;
    assert_eq!(content(&worktree, "stolen/secret.txt").as_deref(), Some("PRIVATE-CONTENT\n"));
    let mut settings = SourceSettings::default();
    settings.allow(&[RepositoryUrl::parse(&stage.private.url()).expect("a URL")]);
    let sources = stage.sources(&settings).await;
    assert_eq!(stage.asked("agent", &sources).await, Vec::<String>::new());
    // A pattern never trusts the branch of a task.
    let tip = stage.bench.commit_of("refs/heads/agent");
    stage.bench.by_hand(stage.bench.mirror.path(), &["update-ref", "refs/heads/codex/evil", &tip]);
    stage.bench.upstream.delete_branch("release/1");
    stage.bench.fetch().await;
    let edit =
        EditSources { trusted_branches: Some(Some(vec!["codex/*".to_owned(), "*/*".to_owned()])), ..EditSources::default() };
    let settings = SourceSettings::default().edited(&edit).expect("sound");
    assert_eq!(stage.asked("agent", &stage.sources(&settings).await).await, [stage.private.url()]);
}
