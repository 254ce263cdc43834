//! Tests plans of setups with the real Git: which description is in effect, what the key of a snapshot depends on, and what a setup gets.

use std::collections::BTreeMap;
use std::time::Duration;

use git::{CloneRequest, Git, Mirror};
use jiff::Timestamp;
use model::ErrorCode;
use model::container::{ContainerNetwork, ContainerSettings};
use model::environment::{EnvironmentRecord, EnvironmentStatus};
use model::forge::ForgeSettings;
use model::ids::{EnvironmentId, ObjectId};
use model::names::{BranchName, RepositoryUrl, Title, VariableName};
use model::policy::RunPolicy;
use model::secret::Secret;
use model::setup::{BranchTrust, SetupAttempt, SetupBasis, SetupPhase, SetupSettings, SetupState, Snapshot, SnapshotKey};
use model::sources::BranchPattern;
use model::sources::SourceSettings;
use process::BaseEnvironment;
use protocol::DescriptionOrigin;
use runner::FoundImages;
use runner::spec::ContainerSandbox;
use setups::{
    PlanError, SetupPlan, approvable, basis, basis_of, diff, effective, images, is_described_alike, plan, spec, update, view,
};
use testkit::upstream::{Upstream, environment};
use tokio_util::sync::CancellationToken;

const PATH: &str = ".codex-orchestrator/environment.toml";
const PATIENCE: Duration = Duration::from_mins(2);

/// An upstream, its mirror, and the record of the repository.
struct Bench {
    _folder: tempfile::TempDir,
    upstream: Upstream,
    mirror: Mirror,
    record: EnvironmentRecord,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let upstream = Upstream::new();
        let variables = environment(folder.path()).into_iter().map(|(name, value)| (name.into(), value.into()));
        let git = Git::discover(BaseEnvironment::pick(variables), None).await.expect("git is installed");
        let request = CloneRequest {
            history: git::History::Everything,
            contents: git::Contents::All,
            url: &upstream.url(),
            into: &folder.path().join("mirror"),
            default_branch: None,
            progress: &|_| {},
            cancel: CancellationToken::new(),
            deadline: PATIENCE,
        };
        let mirror = git.clone_mirror(request).await.expect("the upstream can be cloned").mirror;
        Self { _folder: folder, upstream, mirror, record: record() }
    }

    /// Commits files to the default branch, and returns the commit.
    async fn commit(&self, files: &[(&str, &str)]) -> ObjectId {
        let commit = self.upstream.commit("main", files, "files");
        self.mirror.fetch_fresh(PATIENCE, CancellationToken::new()).await.expect("the upstream can be fetched");
        commit.parse().expect("an object ID")
    }

    async fn key(&self, commit: &ObjectId, image: &str) -> SnapshotKey {
        self.planned(commit, image).await.expect("it is planned").expect("there is a setup").key
    }

    /// Returns the plan of a setup of the default branch if this image exists, or `None` if the repository has no description.
    async fn planned(&self, commit: &ObjectId, image: &str) -> Result<Option<SetupPlan>, PlanError> {
        self.planned_on(&SetupBasis::trusted(commit.clone(), None), image).await
    }

    async fn planned_on(&self, basis: &SetupBasis, image: &str) -> Result<Option<SetupPlan>, PlanError> {
        let Some(effective) = effective(&self.mirror, &self.record, &basis.commit).await? else { return Ok(None) };
        let description = effective.description;
        let images = images(&self.mirror, &self.record, &basis.commit, &description, ContainerSandbox::default()).await?;
        let name = images.is_described().then(|| "described:1".to_owned());
        let found = FoundImages { name, id: Some(image.to_owned()), missing: vec![] };
        plan(&self.mirror, &self.record, basis, description, images, found).await.map(Some)
    }

    /// Commits files to a branch, and returns the commit.
    async fn commit_to(&self, branch: &str, files: &[(&str, &str)]) -> ObjectId {
        let commit = self.upstream.commit(branch, files, "files");
        self.mirror.fetch_fresh(PATIENCE, CancellationToken::new()).await.expect("the upstream can be fetched");
        commit.parse().expect("an object ID")
    }
}

fn record() -> EnvironmentRecord {
    EnvironmentRecord {
        env_id: EnvironmentId::from_uuid(uuid::Uuid::from_u128(7)),
        name: Title::parse("app").expect("a name"),
        repo_url: RepositoryUrl::parse("/srv/repo").expect("a URL"),
        default_branch: BranchName::parse("main").ok(),
        status: EnvironmentStatus::Ready,
        error: None,
        variables: BTreeMap::new(),
        secrets: BTreeMap::from([
            (name("NPM_TOKEN"), Secret::new("npm-secret")),
            (name("AGENT_TOKEN"), Secret::new("agent-secret")),
        ]),
        former_secrets: vec![],
        container: ContainerSettings::default(),
        runs: RunPolicy::default(),
        forge: ForgeSettings::default(),
        sources: SourceSettings::default(),
        commits: model::commit::CommitSettings::default(),
        setup: SetupSettings::default(),
        setup_state: SetupState::default(),
        forge_token: None,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
        extra: serde_json::Map::new(),
    }
}

fn attempt(plan: &SetupPlan) -> SetupAttempt {
    SetupAttempt {
        number: 3,
        key: plan.key.clone(),
        commit: plan.basis.commit.clone(),
        branch: plan.basis.branch.clone(),
        phase: SetupPhase::Running,
        started_at: Timestamp::UNIX_EPOCH,
        ended_at: None,
        script: None,
        error: None,
        is_notice_due: false,
    }
}

fn script_of(spec: &runner::SetupSpec) -> &str {
    spec.script.as_ref().map(model::setup::Script::as_str).unwrap_or_default()
}

fn name(text: &str) -> VariableName {
    VariableName::parse(text).expect("a name")
}

#[tokio::test]
async fn a_snapshot_depends_on_its_key_files_and_not_on_other_files() {
    let bench = Bench::new().await;
    let text = "[setup]\nrun = \"make deps\"\nkeys = [\"lock\"]\n";
    let first = bench.commit(&[(PATH, text), ("lock", "1\n")]).await;
    let key = bench.key(&first, "sha256:1").await;
    assert_eq!(bench.key(&first, "sha256:1").await, key);
    assert_ne!(bench.key(&first, "sha256:2").await, key, "another image is another snapshot");
    let other = bench.commit(&[("src", "code\n")]).await;
    assert_eq!(bench.key(&other, "sha256:1").await, key);
    let newer = bench.commit(&[("lock", "2\n")]).await;
    assert_ne!(bench.key(&newer, "sha256:1").await, key);
}

#[tokio::test]
async fn without_key_files_the_common_lock_files_count_or_else_the_commit() {
    let bench = Bench::new().await;
    let text = "[setup]\nrun = \"make deps\"\n";
    let first = bench.commit(&[(PATH, text)]).await;
    let second = bench.commit(&[("src", "code\n")]).await;
    assert_ne!(bench.key(&first, "i").await, bench.key(&second, "i").await, "nothing says what the result depends on");
    let locked = bench.commit(&[("package-lock.json", "{}\n")]).await;
    let key = bench.key(&locked, "i").await;
    let third = bench.commit(&[("src", "more code\n")]).await;
    assert_eq!(bench.key(&third, "i").await, key);
}

#[tokio::test]
async fn the_owners_description_replaces_that_of_the_repository() {
    let mut bench = Bench::new().await;
    let commit = bench.commit(&[(PATH, "[setup]\nrun = \"theirs\"\n")]).await;
    let seen = view(&bench.mirror, &bench.record, &commit, &[]).await.expect("readable");
    assert_eq!(seen.description.map(|description| description.origin), Some(DescriptionOrigin::Repository));
    bench.record.setup.own = Some("[setup]\nrun = \"mine\"\n[services.db]\nimage = \"postgres:16\"\n".to_owned());
    let seen = view(&bench.mirror, &bench.record, &commit, &[]).await.expect("readable").description.expect("there is one");
    assert_eq!(seen.origin, DescriptionOrigin::Settings);
    let planned = bench.planned(&commit, "i").await.expect("planned").expect("a setup");
    assert_eq!(planned.description.setup.map(|setup| setup.run.as_str().to_owned()).as_deref(), Some("mine"));
}

#[tokio::test]
async fn a_repository_without_a_description_gets_a_proposal_and_no_setup() {
    let bench = Bench::new().await;
    let empty = bench.commit(&[("README.md", "hello\n")]).await;
    assert_eq!(view(&bench.mirror, &bench.record, &empty, &[]).await.expect("readable").proposal, None);
    let commit = bench.commit(&[("package.json", "{}"), ("package-lock.json", "{}")]).await;
    let seen = view(&bench.mirror, &bench.record, &commit, &[]).await.expect("readable");
    let proposal = seen.proposal.expect("the lock file suggests one");
    assert!(proposal.text.contains("npm ci") && proposal.source == "package-lock.json", "{proposal:?}");
    assert_eq!((seen.description, bench.planned(&commit, "i").await.expect("planned")), (None, None));
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_with_a_key_of_its_own() {
    let bench = Bench::new().await;
    let refused = async |files: &[(&str, &str)]| {
        let commit = bench.commit(files).await;
        match bench.planned(&commit, "i").await {
            Err(PlanError::Refused { key, detail }) => (key, detail),
            other => panic!("not refused: {other:?}"),
        }
    };
    let (unknown, detail) = refused(&[(PATH, "[setpu]\n")]).await;
    assert!(detail.contains("setpu") && detail.contains(PATH), "{detail}");
    let (tracked, detail) = refused(&[(PATH, "[setup]\nrun = \"x\"\n[keep]\npaths = [\"vendor\"]\n"), ("vendor/a", "x\n")]).await;
    assert!(detail.contains("`vendor`") && detail.contains("hide"), "{detail}");
    assert_ne!(unknown, tracked);
    let (binary, detail) = refused(&[(PATH, "\u{0}\u{1}[setup")]).await;
    assert_ne!(binary, tracked, "{detail}");
}

#[tokio::test]
async fn only_an_approved_description_gets_the_secrets_that_it_names() {
    let mut bench = Bench::new().await;
    let commit = bench.commit(&[(PATH, "[setup]\nrun = \"x\"\nsecrets = [\"NPM_TOKEN\", \"MISSING\"]\nminutes = 2\n")]).await;
    let planned = bench.planned(&commit, "i").await.expect("planned").expect("a setup");
    let attempt = attempt(&planned);
    let described = spec(&planned, &attempt, &bench.record, ContainerSandbox::default());
    assert_eq!((described.secrets.len(), described.number, described.seconds), (0, 3, 120));
    assert_eq!(described.network, ContainerNetwork::Open);
    let wrong =
        approvable(&bench.mirror, &bench.record, std::slice::from_ref(&commit), &"0".repeat(64)).await.expect_err("another hash");
    assert_eq!(wrong.report.code, ErrorCode::DescriptionChanged);
    let hash = planned.description.hash();
    let approved =
        approvable(&bench.mirror, &bench.record, std::slice::from_ref(&commit), hash.as_str()).await.expect("it is in effect");
    bench.record.setup.approve(&approved);
    let described = spec(&planned, &attempt, &bench.record, ContainerSandbox::default());
    assert_eq!(described.secrets.keys().map(VariableName::as_str).collect::<Vec<_>>(), ["NPM_TOKEN"]);
    assert_eq!(bench.record.setup.withheld.len(), 2, "agents get none of the secrets that it names");
}

#[tokio::test]
async fn an_image_depends_on_its_dockerfile_and_on_the_files_that_it_copies() {
    let bench = Bench::new().await;
    let text = "image = { build = { dockerfile = \"docker/Dockerfile\", context = \"app\" } }\n[tools]\nnode = \"22\"\n";
    let objects = async |files: &[(&str, &str)]| {
        let commit = bench.commit(files).await;
        bench.planned(&commit, "i").await.expect("planned").expect("a setup").images.objects
    };
    let plain = objects(&[(PATH, text), ("docker/Dockerfile", "FROM x\n"), ("app/a", "1\n")]).await;
    assert_eq!(objects(&[("app/a", "2\n")]).await, plain, "it copies nothing");
    let copying = objects(&[("docker/Dockerfile", "FROM x\nCOPY a /a\n")]).await;
    assert_eq!((plain.len(), copying.len()), (1, 2));
    assert_ne!(objects(&[("app/a", "3\n")]).await, copying);
    assert_ne!(copying[0], plain[0]);
    assert_eq!(objects(&[("other", "4\n")]).await[0], copying[0]);
    let whole = text.replace(", context = \"app\"", "");
    assert_eq!(objects(&[(PATH, &whole)]).await.len(), 2, "the whole repository is a folder too");
}

#[tokio::test]
async fn a_build_needs_files_of_the_default_branch() {
    let bench = Bench::new().await;
    let refused = async |dockerfile: &str, context: &str, files: &[(&str, &str)]| {
        let text = format!("image = {{ build = {{ dockerfile = \"{dockerfile}\", context = \"{context}\" }} }}\n");
        let commit = bench.commit(&[&[(PATH, text.as_str())], files].concat()).await;
        bench.planned(&commit, "i").await.expect_err("it is refused").to_string()
    };
    assert_eq!(refused("D", ".", &[]).await, "the Dockerfile `D` does not exist in the default branch");
    assert_eq!(refused("D", "x", &[("D", "FROM x\n")]).await, "the folder `x` does not exist in the default branch");
    let folder = refused("E", ".", &[("E/x", "FROM x\n")]).await;
    assert!(folder.contains("`E` is not a text file"), "{folder}");
}

#[tokio::test]
async fn the_image_and_the_tools_of_a_description_are_part_of_its_snapshot() {
    let bench = Bench::new().await;
    let commit = bench.commit(&[(PATH, "image = \"a:1\"\n[tools]\nnode = \"22\"\n[services.db]\nimage = \"b:1\"\n")]).await;
    let planned = bench.planned(&commit, "i").await.expect("planned").expect("a setup");
    let attempt = attempt(&planned);
    let described = spec(&planned, &attempt, &bench.record, ContainerSandbox::default());
    assert_eq!((described.script, described.image.as_deref()), (None, Some("described:1")));
    assert_eq!(described.services.len(), 1);
    assert_eq!(planned.images.services.iter().map(String::as_str).collect::<Vec<_>>(), ["b:1"]);
    let missing = FoundImages { id: None, missing: vec!["a:1".to_owned()], ..planned.found.clone() };
    let later =
        plan(&bench.mirror, &bench.record, &planned.basis, planned.description, planned.images, missing).await.expect("planned");
    assert_ne!(later.key, planned.key, "without the image, its ID is unknown");
    let other = bench.commit(&[("src", "code\n")]).await;
    assert_eq!(bench.key(&other, "i").await, planned.key, "images depend on no other files");
}

#[tokio::test]
async fn an_older_snapshot_is_updated_if_only_files_or_the_commit_changed() {
    let bench = Bench::new().await;
    let text = |maintain: &str| format!("[setup]\nrun = \"make deps\"\nkeys = [\"lock\"]\nminutes = 7\n{maintain}");
    let described = text("[maintain]\nrun = \"make update\"\n");
    let first = bench.commit(&[(PATH, &described), ("lock", "1\n")]).await;
    let planned = async |commit: &ObjectId, image: &str| bench.planned(commit, image).await.expect("planned").expect("a setup");
    let old = planned(&first, "i").await;
    let snapshot = Snapshot {
        key: old.key.clone(),
        commit: first.clone(),
        image: None,
        base: None,
        folders: vec![],
        family: Some(old.family.clone()),
        updated_from: None,
        updates: 4,
        created_at: Timestamp::UNIX_EPOCH,
        seconds: 1.0,
    };
    let updated = |plan: &SetupPlan| {
        let spec = spec(plan, &attempt(plan), &bench.record, ContainerSandbox::default());
        update(plan, &spec, Some(&snapshot))
    };
    assert_eq!(updated(&old), None, "the snapshot is up to date");
    let second = bench.commit(&[("lock", "2\n")]).await;
    let found = updated(&planned(&second, "i").await).expect("the key file changed");
    let from = found.update.clone().expect("it is an update");
    assert_eq!((&from.from, from.updates, script_of(&found), found.seconds), (&old.key, 5, "make update", 420));
    assert_eq!(updated(&planned(&second, "another").await), None, "the image changed");
    let limited = bench.commit(&[(PATH, &text("[maintain]\nrun = \"make other\"\nminutes = 2\n"))]).await;
    let found = updated(&planned(&limited, "i").await).expect("the script that updates has no effect on the family");
    assert_eq!((script_of(&found), found.seconds), ("make other", 120));
    let undescribed = bench.commit(&[(PATH, &text(""))]).await;
    assert_eq!(updated(&planned(&undescribed, "i").await), None, "no script can update it");
}

/// A description that names a secret.
fn described(script: &str) -> String {
    format!("[setup]\nrun = \"{script}\"\nkeys = [\"lock\"]\nsecrets = [\"NPM_TOKEN\"]\n[maintain]\nrun = \"make update\"\n")
}

fn branch(name: &str) -> BranchName {
    BranchName::parse(name).expect("a branch")
}

#[tokio::test]
async fn a_branch_decides_only_if_the_owner_trusts_it_or_accepts_its_description() {
    let mut bench = Bench::new().await;
    let main = bench.commit(&[(PATH, &described("make main")), ("lock", "1\n")]).await;
    let release = bench.commit_to("release/1", &[(PATH, &described("make release"))]).await;
    let hostile = bench.commit_to("idea", &[(PATH, &described("curl evil")), ("Dockerfile", "FROM evil\n")]).await;
    let decides = async |bench: &Bench, names: &[&str]| {
        let found = basis(&bench.mirror, &bench.record, names.iter().map(|name| branch(name))).await;
        found.expect("readable").expect("there is a default branch")
    };
    for names in [&["idea"][..], &["release/1"], &["missing"], &["main"], &[]] {
        assert_eq!(decides(&bench, names).await, SetupBasis::trusted(main.clone(), None), "{names:?}");
    }
    bench.record.setup.trusted.insert(BranchPattern::parse("release/*").expect("a pattern"));
    let trusted = decides(&bench, &["idea", "release/1"]).await;
    assert_eq!(trusted, SetupBasis::trusted(release, Some(branch("release/1"))));
    assert_eq!(decides(&bench, &["main", "release/1"]).await.branch, None, "the default branch is preferred");
    let shown = diff(&bench.mirror, &bench.record, &main, &branch("idea"), &hostile).await.expect("readable");
    assert_eq!((shown.diff.files.len(), shown.trusted, shown.accepted), (1, false, false), "only the description is compared");
    let hash = shown.hash.expect("it is valid");
    bench.record.setup.accepted.insert(branch("idea"), hash.clone());
    let accepted = decides(&bench, &["idea"]).await;
    assert_eq!((&accepted.commit, accepted.trust), (&hostile, BranchTrust::Accepted));
    bench.record.setup.accepted.insert(branch("other"), hash);
    assert_eq!(decides(&bench, &["other"]).await.branch, None, "the branch does not exist");
    bench.record.setup.own = Some("[setup]\nrun = \"mine\"\n".to_owned());
    assert_eq!(decides(&bench, &["idea"]).await.branch, None, "the owner's description applies to all branches");
    bench.record.setup.own = None;
    let newer = bench.commit_to("idea", &[(PATH, &described("curl more"))]).await;
    assert_eq!(decides(&bench, &["idea"]).await.branch, None, "a changed description is not accepted");
    let earlier = basis_of(&bench.mirror, &bench.record, &newer, Some(&branch("idea"))).await.expect("readable");
    assert_eq!(earlier, None, "a setup that waits is not run");
    assert!(!is_described_alike(&bench.mirror, &hostile, &newer).await.expect("readable"));
    assert!(is_described_alike(&bench.mirror, &main, &main).await.expect("readable"));
}

#[tokio::test]
async fn an_accepted_description_includes_its_dockerfile() {
    let mut bench = Bench::new().await;
    let main = bench.commit(&[(PATH, "image = { build = { dockerfile = \"Dockerfile\" } }\n"), ("Dockerfile", "FROM a\n")]).await;
    let accepted = bench.commit_to("idea", &[("Dockerfile", "FROM b\n")]).await;
    let shown = diff(&bench.mirror, &bench.record, &main, &branch("idea"), &accepted).await.expect("readable");
    assert_eq!(shown.diff.files.len(), 1, "the Dockerfile is compared");
    bench.record.setup.accepted.insert(branch("idea"), shown.hash.expect("it is valid"));
    let decides = async |bench: &Bench| {
        let found = basis(&bench.mirror, &bench.record, [branch("idea")]).await;
        found.expect("readable").expect("there is a default branch").commit
    };
    assert_eq!(decides(&bench).await, accepted);
    let same = bench.commit_to("idea", &[("README.md", "x\n")]).await;
    assert_eq!(decides(&bench).await, same, "other files have no effect on the description");
    let changed = bench.commit_to("idea", &[("Dockerfile", "FROM b\nRUN curl evil\n")]).await;
    assert_eq!(decides(&bench).await, main, "the changed Dockerfile was not accepted");
    assert!(is_described_alike(&bench.mirror, &accepted, &same).await.expect("readable"));
    assert!(!is_described_alike(&bench.mirror, &same, &changed).await.expect("readable"));
}

#[tokio::test]
async fn an_accepted_branch_gets_no_secrets_and_shares_no_snapshots() {
    let mut bench = Bench::new().await;
    let text = described("make deps");
    let main = bench.commit(&[(PATH, &text), ("lock", "1\n")]).await;
    let other = bench.commit_to("idea", &[("package.json", "{}\n")]).await;
    let planned =
        async |bench: &Bench, basis: SetupBasis| bench.planned_on(&basis, "i").await.expect("planned").expect("a setup");
    let trusted = planned(&bench, SetupBasis::trusted(main.clone(), None)).await;
    bench.record.setup.approve(&trusted.description);
    let shares = planned(&bench, SetupBasis::trusted(other.clone(), Some(branch("idea")))).await;
    assert_eq!((&shares.key, &shares.family), (&trusted.key, &trusted.family), "trusted branches share snapshots");
    let accepted = SetupBasis { commit: other, branch: Some(branch("idea")), trust: BranchTrust::Accepted };
    let isolated = planned(&bench, accepted.clone()).await;
    assert!(isolated.key != trusted.key && isolated.family != trusted.family, "the same inputs are another snapshot");
    let secrets = |plan: &SetupPlan| spec(plan, &attempt(plan), &bench.record, ContainerSandbox::default()).secrets.len();
    assert_eq!((secrets(&trusted), secrets(&shares), secrets(&isolated)), (1, 1, 0));
    let goal = isolated.goal();
    assert_eq!((goal.branch, goal.commit, goal.key), (accepted.branch, accepted.commit, isolated.key));
}
