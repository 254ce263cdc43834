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
use model::names::{RepositoryUrl, Title, VariableName};
use model::policy::RunPolicy;
use model::secret::Secret;
use model::setup::{SetupAttempt, SetupPhase, SetupSettings, SetupState, SnapshotKey};
use model::sources::SourceSettings;
use process::BaseEnvironment;
use protocol::DescriptionOrigin;
use runner::FoundImages;
use runner::spec::ContainerSandbox;
use setups::{PlanError, SetupPlan, approvable, effective, images, plan, spec, view};
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

    /// Returns the plan of a setup if this image exists, or `None` if there is no description.
    async fn planned(&self, commit: &ObjectId, image: &str) -> Result<Option<SetupPlan>, PlanError> {
        let Some(effective) = effective(&self.mirror, &self.record, commit).await? else { return Ok(None) };
        let description = effective.description;
        let images = images(&self.mirror, &self.record, commit, &description, ContainerSandbox::default()).await?;
        let name = images.is_described().then(|| "described:1".to_owned());
        let found = FoundImages { name, id: Some(image.to_owned()), missing: vec![] };
        plan(&self.mirror, &self.record, description, images, found).await.map(Some)
    }
}

fn record() -> EnvironmentRecord {
    EnvironmentRecord {
        env_id: EnvironmentId::from_uuid(uuid::Uuid::from_u128(7)),
        name: Title::parse("app").expect("a name"),
        repo_url: RepositoryUrl::parse("/srv/repo").expect("a URL"),
        default_branch: None,
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
    assert_eq!((seen.origin, seen.unused), (DescriptionOrigin::Settings, vec![]));
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
    let attempt = SetupAttempt {
        number: 3,
        key: planned.key.clone(),
        commit: commit.clone(),
        phase: SetupPhase::Running,
        started_at: Timestamp::UNIX_EPOCH,
        ended_at: None,
        error: None,
    };
    let described = spec(&planned, &attempt, &bench.record, ContainerSandbox::default());
    assert_eq!((described.secrets.len(), described.number, described.seconds), (0, 3, 120));
    assert_eq!(described.network, ContainerNetwork::Open);
    let wrong = approvable(&bench.mirror, &bench.record, &commit, &"0".repeat(64)).await.expect_err("another hash");
    assert_eq!(wrong.report.code, ErrorCode::DescriptionChanged);
    let hash = planned.description.hash();
    let approved = approvable(&bench.mirror, &bench.record, &commit, hash.as_str()).await.expect("it is in effect");
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
    let attempt = SetupAttempt {
        number: 1,
        key: planned.key.clone(),
        commit: commit.clone(),
        phase: SetupPhase::Running,
        started_at: Timestamp::UNIX_EPOCH,
        ended_at: None,
        error: None,
    };
    let described = spec(&planned, &attempt, &bench.record, ContainerSandbox::default());
    assert_eq!((described.script, described.image.as_deref()), (None, Some("described:1")));
    assert_eq!(described.services.len(), 1);
    assert_eq!(planned.images.services.iter().map(String::as_str).collect::<Vec<_>>(), ["b:1"]);
    let missing = FoundImages { id: None, missing: vec!["a:1".to_owned()], ..planned.found.clone() };
    let later = plan(&bench.mirror, &bench.record, planned.description, planned.images, missing).await.expect("planned");
    assert_ne!(later.key, planned.key, "without the image, its ID is unknown");
    let other = bench.commit(&[("src", "code\n")]).await;
    assert_eq!(bench.key(&other, "i").await, planned.key, "images depend on no other files");
}
