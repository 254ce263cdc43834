//! Tests what `codex-docker` gets for a run, and that no secret is among its arguments. These tests start no program.

use model::ErrorCode;
use model::container::ContainerSettings;
use model::environment::EnvironmentStatus;
use model::ids::{Attempt, RunNumber};
use model::names::{RepositoryUrl, Title, VariableName};
use model::secret::Secret;
use store::Layout;

use super::super::find::Worker;
use super::super::request::{ContainerFolders, WorkerCall};
use super::*;

const TASK: &str = "01a201f5-b7dd-79a1-8a6e-7e6639f5c650";

/// Server settings and a login.
struct Inputs {
    config: Config,
    settings: ContainerSettings,
    login: Option<Login>,
    secrets: BTreeMap<VariableName, Secret>,
    services: BTreeMap<ServiceName, Service>,
}

impl Inputs {
    fn new(server: &[(&str, &str)]) -> Self {
        let mut config = Config::for_home(Path::new("/h/o,x"));
        config.environment = server.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
        Self { config, settings: ContainerSettings::default(), login: None, secrets: BTreeMap::new(), services: BTreeMap::new() }
    }

    fn call(&self) -> WorkerCall {
        let task_id = TASK.parse().expect("an id");
        let layout = Layout::new(&self.config.home);
        let container = ContainerRun {
            settings: &self.settings,
            image: self.settings.image.as_deref(),
            login: self.login.as_ref(),
            broker: self.config.broker,
            model_url: self.config.model_url.as_deref(),
            codex_config: self.config.codex_config.as_deref(),
            home: &self.config.home,
            folders: ContainerFolders::new(&layout, task_id, Path::new("/m")),
            to_read: vec![],
            layers: vec![],
            files: vec![],
            keep_as: None,
            services: Some((&self.services, "/logs/run-002.services".into())).filter(|(services, _)| !services.is_empty()),
            caches: vec![],
            artifacts: Some("/logs/run-002.artifacts-open".into()),
            memory: self.settings.memory.as_deref().and_then(model::size::parse_size),
        };
        Worker::find(&self.config).expect("built in").call(&RunCall {
            task_id,
            run: RunNumber(2),
            attempt: Attempt(3),
            model: None,
            effort: None,
            app_server: None,
            resumes: None,
            worktree: Path::new("/w"),
            subdirectory: None,
            images: &[],
            images_folder: Some(layout.images(task_id)),
            variables: &BTreeMap::new(),
            secrets: &self.secrets,
            notes: vec![],
            container: Some(container),
        })
    }

    /// Returns the value of a variable of the call.
    fn value(&self, name: &str) -> Option<String> {
        let call = self.call();
        call.environment.into_iter().find(|(known, _)| known == name).and_then(|(_, value)| value.into_string().ok())
    }
}

fn key(value: &str) -> Login {
    Login::ApiKey(Secret::new(value))
}

fn account() -> Login {
    Login::Account { tokens: vec![Secret::new("access-token")] }
}

#[test]
fn services_have_the_form_that_codex_docker_reads() {
    let mut inputs = Inputs::new(&[]);
    assert_eq!((inputs.value("CODEX_DOCKER_SERVICES"), inputs.value("CODEX_DOCKER_SERVICE_LOGS")), (None, None));
    let service =
        r#"{"image":"postgres:16","env":{"A":"b"},"ready":"pg_isready","ready_seconds":5,"ports":[5432],"volumes":["/data"]}"#;
    let name = ServiceName::parse("db").expect("a name");
    inputs.services.insert(name, serde_json::from_str(service).expect("a service"));
    let expected = format!(r#"[{{"name":"db",{}]"#, &service[1..]);
    assert_eq!(inputs.value("CODEX_DOCKER_SERVICES"), Some(expected));
    assert_eq!(inputs.value("CODEX_DOCKER_SERVICE_LOGS").as_deref(), Some("/logs/run-002.services"));
}

#[test]
fn the_folder_for_artifacts_is_writable() {
    let maps = Inputs::new(&[]).value("CODEX_MOUNT_MAPS");
    assert_eq!(maps.as_deref(), Some("/logs/run-002.artifacts-open=/artifacts"));
}

#[test]
fn the_label_of_a_home_never_changes() {
    let label = |home: &str| home_label(Path::new(home));
    assert_eq!(label("/home/a-b_c.d~/é=x+y"), "home=/home/a-b_c.d~/é=x+y");
    assert_eq!(label("/a,b/50% c\td\ne"), "home=/a%2Cb/50%25%20c%09d%0Ae");
    // Only white space and control characters are encoded outside ASCII.
    assert_eq!(label("/a\u{a0}b\u{85}c\u{2003}d\u{7f}"), "home=/a%C2%A0b%C2%85c%E2%80%83d%7F");
}

#[test]
fn this_program_is_called_as_codex_docker_and_the_container_is_the_sandbox() {
    let call = Inputs::new(&[]).call();
    assert_eq!(call.program, Path::new("/proc/self/exe"));
    assert_eq!(call.args, ["codex-docker", "exec", "--json", "--dangerously-bypass-approvals-and-sandbox", "-"]);
    let cleanup = call.cleanup.expect("a container may be left behind");
    assert_eq!(cleanup.program, call.program);
    let expected = format!("codex-docker reap --if-reachable --label home=/h/o%2Cx --label task={TASK} --label run=2/3");
    assert_eq!(cleanup.args.join(" "), expected);
}

#[test]
fn the_tasks_folders_and_the_environments_limits_are_said_by_variables() {
    let mut stage = Inputs::new(&[("CODEX_DOCKER_MEMORY", "8g"), ("CODEX_DOCKER_PIDS", "300"), ("DOCKER_HOST", "unix:///d")]);
    stage.settings.memory = Some("4g".to_owned());
    stage.settings.cpus = Some(1.5);
    stage.settings.token_budget = Some(1000);
    stage.settings.hosted_tools = Some(model::container::HostedTools::Deny);
    stage.settings.image = Some("mine:1".to_owned());
    for (name, expected) in [
        ("CODEX_DOCKER_LABELS", format!("home=/h/o%2Cx,task={TASK},run=2/3")),
        ("CODEX_DOCKER_STATE", "/h/o,x/containers".to_owned()),
        ("CODEX_DOCKER_SESSIONS", format!("/h/o,x/tasks/{TASK}/sessions")),
        ("CODEX_DOCKER_GIT_DIR", format!("/h/o,x/tasks/{TASK}/agent.git")),
        ("CODEX_DOCKER_GIT_OBJECTS", "/m/objects".to_owned()),
        ("CODEX_DOCKER_IMAGES", format!("/h/o,x/tasks/{TASK}/images")),
        ("CODEX_DOCKER_USER", "root".to_owned()),
        ("CODEX_DOCKER_NETWORK", "open".to_owned()),
        ("CODEX_DOCKER_MEMORY", (4_u64 << 30).to_string()),
        ("CODEX_DOCKER_CPUS", "1.5".to_owned()),
        ("CODEX_DOCKER_PIDS", "300".to_owned()),
        ("CODEX_DOCKER_TOKEN_BUDGET", "1000".to_owned()),
        ("CODEX_DOCKER_HOSTED_TOOLS", "deny".to_owned()),
        ("IMAGE_NAME", "mine:1".to_owned()),
        ("DOCKER_HOST", "unix:///d".to_owned()),
    ] {
        assert_eq!(stage.value(name), Some(expected), "{name}");
    }
    for absent in ["CODEX_HOME", "CODEX_DOCKER_ALLOW_HOSTS", "CODEX_DOCKER_AUTH", "CODEX_WORKSPACE_DIR"] {
        assert_eq!(stage.value(absent), None, "{absent}");
    }
}

#[test]
fn behind_the_broker_the_key_is_for_codex_docker_alone() {
    let server = Inputs::new(&[("CODEX_API_KEY", "k-server")]);
    assert_eq!(server.value("CODEX_API_KEY").as_deref(), Some("k-server"));
    assert_eq!(server.value("CODEX_DOCKER_BROKER").as_deref(), Some("on"));
    assert_eq!(server.value("CODEX_PASSTHROUGH_ENV").as_deref(), Some("ORCH_RUN"));
    let mut off = server;
    off.config.broker = Broker::Off;
    assert_eq!(off.value("CODEX_DOCKER_BROKER").as_deref(), Some("off"));
    assert_eq!(off.value("CODEX_PASSTHROUGH_ENV").as_deref(), Some("CODEX_API_KEY,ORCH_RUN"));
}

#[test]
fn a_key_goes_before_an_account_and_the_nearest_key_wins() {
    let mut stage = Inputs::new(&[]);
    stage.login = Some(account());
    assert_eq!(
        (stage.value("CODEX_API_KEY"), stage.value("CODEX_DOCKER_AUTH")),
        (None, Some(format!("/h/o,x/tasks/{TASK}/auth")))
    );
    assert_eq!(stage.value("CODEX_DOCKER_BROKER").as_deref(), Some("off"), "there is no key to keep outside the container");
    stage.login = Some(key("k-stored"));
    assert_eq!((stage.value("CODEX_API_KEY").as_deref(), stage.value("CODEX_DOCKER_AUTH")), (Some("k-stored"), None));
    stage.config.environment.insert(API_KEY.into(), "k-server".into());
    stage.login = Some(account());
    assert_eq!((stage.value("CODEX_API_KEY").as_deref(), stage.value("CODEX_DOCKER_AUTH")), (Some("k-server"), None));
    stage.secrets.insert(VariableName::parse(API_KEY).expect("a name"), Secret::new("k-environment"));
    assert_eq!(stage.value("CODEX_API_KEY").as_deref(), Some("k-environment"));
    assert_eq!(stage.value("CODEX_CONTAINER_ENV_CODEX_API_KEY"), None, "the container still does not get the key");
}

#[test]
fn no_secret_is_an_argument() {
    let mut stage = Inputs::new(&[("CODEX_API_KEY", "k-server")]);
    stage.secrets.insert(VariableName::parse("TOKEN").expect("a name"), Secret::new("hunter2"));
    let call = stage.call();
    let said = format!("{:?} {:?}", call.args, call.cleanup);
    assert!(!said.contains("hunter2") && !said.contains("k-server"), "{said}");
    assert_eq!(stage.value("CODEX_CONTAINER_ENV_TOKEN").as_deref(), Some("hunter2"));
    assert_eq!(stage.value("TOKEN"), None, "the token is for the container, not for codex-docker");
}

#[test]
fn an_allowed_list_has_the_hosts_of_an_account_where_codex_must_reach_them_itself() {
    let mut stage = Inputs::new(&[]);
    stage.settings.network = ContainerNetwork::Allow;
    stage.settings.allow_hosts = vec![HostPattern::parse("*.example.com").expect("a host")];
    stage.login = Some(account());
    assert_eq!(stage.value("CODEX_DOCKER_ALLOW_HOSTS").as_deref(), Some("*.example.com,chatgpt.com,auth.openai.com"));
    stage.login = Some(key("k-stored"));
    assert_eq!(stage.value("CODEX_DOCKER_ALLOW_HOSTS").as_deref(), Some("*.example.com"));
}

fn environment(secret: Option<&str>) -> EnvironmentRecord {
    let secrets = secret.map(|name| (VariableName::parse(name).expect("a name"), Secret::new("k-environment")));
    EnvironmentRecord {
        env_id: TASK.parse().expect("an id"),
        name: Title::parse("app").expect("a name"),
        repo_url: RepositoryUrl::parse("/srv/repo").expect("a URL"),
        default_branch: None,
        status: EnvironmentStatus::Ready,
        error: None,
        variables: BTreeMap::new(),
        secrets: secrets.into_iter().collect(),
        former_secrets: vec![],
        container: ContainerSettings::default(),
        runs: model::policy::RunPolicy::default(),
        forge: model::forge::ForgeSettings::default(),
        commits: model::commit::CommitSettings::default(),
        sources: model::sources::SourceSettings::default(),
        setup: model::setup::SetupSettings::default(),
        setup_state: model::setup::SetupState::default(),
        forge_token: None,
        created_at: jiff::Timestamp::UNIX_EPOCH,
        updated_at: jiff::Timestamp::UNIX_EPOCH,
        extra: serde_json::Map::new(),
    }
}

#[test]
fn without_a_network_a_key_and_the_broker_are_needed() {
    let mut config = Config::for_home(Path::new("/h"));
    let mut closed = environment(None);
    assert_eq!(unreachable_model(&NetworkNeeds::of_repository(&closed), &config, None), None, "an open network needs no key");
    closed.container.network = ContainerNetwork::None;
    let refused =
        unreachable_model(&NetworkNeeds::of_repository(&closed), &config, Some(&account())).expect("an account needs a network");
    assert!(refused.report.code == ErrorCode::NetworkNeedsKey && refused.report.message.contains("`app`"), "{refused:?}");
    assert_eq!(unreachable_model(&NetworkNeeds::of_repository(&closed), &config, Some(&key("k-stored"))), None);
    let own = EnvironmentRecord { container: closed.container.clone(), ..environment(Some(API_KEY)) };
    assert_eq!(unreachable_model(&NetworkNeeds::of_repository(&own), &config, None), None, "the repository has its own key");
    config.broker = Broker::Off;
    assert!(unreachable_model(&NetworkNeeds::of_repository(&closed), &config, Some(&key("k-stored"))).is_some());
}
