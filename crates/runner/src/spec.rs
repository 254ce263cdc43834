//! The description of a run that a server gives to a runner: everything that the run needs, in a form that can be sent to another
//! machine.
//!
//! Invariant: a description contains no path of the server's machine and no secret. Both are references, which the runner resolves
//! through the `Supply` that it gets with the description.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use config::Config;
use model::container::ContainerSettings;
use model::environment::EnvironmentRecord;
use model::ids::{Attempt, EnvironmentId, ObjectId, RunNumber, TaskId, ThreadId};
use model::image::ImageFile;
use model::names::{Setting, VariableName};
use model::policy::DriverChoice;
use model::setup::{CachePath, FilePath, Service, ServiceName, SnapshotKey};
use model::subdirectory::Subdirectory;
use model::task::LayerGeneration;
use serde::{Deserialize, Deserializer, Serialize};

/// The version of [`RunSpec`].
pub const SPEC_SCHEMA: u32 = 1;

/// The maximum length of a reference in bytes.
const REFERENCE_LIMIT_BYTES: usize = 128;

/// Identifies an attempt of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunKey {
    /// The task.
    pub task: TaskId,
    /// The run of the task.
    pub run: RunNumber,
    /// The attempt.
    pub attempt: Attempt,
}

/// Formats the key as `<task>/<run>/<attempt>`.
impl fmt::Display for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.task, self.run.0, self.attempt.0)
    }
}

/// A run, as described to a runner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    /// The schema version: [`SPEC_SCHEMA`].
    pub schema: u32,
    /// The attempt.
    pub key: RunKey,
    /// How Codex is run.
    pub driver: Driver,
    /// What Codex runs in.
    pub sandbox: Sandbox,
    /// The code that Codex works on.
    pub source: Source,
    /// The time limits.
    pub limits: Limits,
    /// The repository's variables for the agent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<VariableName, String>,
    /// The repository's secret variables for the agent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<VariableName, SecretRef>,
    /// The account that Codex uses, or `None` for the server's login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<LoginRef>,
    /// The snapshot of the repository's environment to start from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotKey>,
    /// The layers of the task that the run uses.
    #[serde(default, skip_serializing_if = "LayerGeneration::is_first")]
    pub layers: LayerGeneration,
    /// Services that run next to the sandbox, such as a database.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<ServiceName, Service>,
    /// Folders of the container that the task keeps between its runs, if they are not in a snapshot.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub caches: BTreeSet<CachePath>,
    /// Other repositories whose files the agent can read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub context: Vec<ContextSource>,
    /// Files with secrets that the agent sees.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<FilePath, SecretRef>,
}

/// How Codex is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Driver {
    /// `codex exec`: one turn, with the prompt on stdin.
    Exec(Turn),
    /// Codex's app server: one turn, which people can follow and steer.
    AppServer(Turn),
    /// Codex's app server, or `codex exec` if the version of Codex has no usable one.
    Auto(Turn),
}

impl Driver {
    /// Returns the driver that a repository's settings choose, for a turn.
    pub fn new(choice: DriverChoice, turn: Turn) -> Self {
        match choice {
            DriverChoice::Exec => Self::Exec(turn),
            DriverChoice::AppServer => Self::AppServer(turn),
            DriverChoice::Auto => Self::Auto(turn),
        }
    }

    /// Returns the turn.
    pub fn turn(&self) -> &Turn {
        match self {
            Self::Exec(turn) | Self::AppServer(turn) | Self::Auto(turn) => turn,
        }
    }
}

/// A turn of a thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// The prompt.
    pub prompt: FileRef,
    /// The images of the prompt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageFile>,
    /// The images of all runs of the task. A thread may look at its images again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_images: Vec<ImageFile>,
    /// The model. If it is not set, Codex chooses.
    pub model: Option<Setting>,
    /// The reasoning effort. If it is not set, Codex chooses.
    pub effort: Option<Setting>,
    /// The thread to continue.
    pub resumes: Option<ThreadId>,
}

/// What Codex runs in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Sandbox {
    /// A container that the runner creates.
    Container(ContainerSandbox),
    /// A process of the runner's machine, in Codex's own sandbox.
    Host,
    /// A program that decides this itself. It may run containers with these settings.
    Program(ContainerSandbox),
}

/// A container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ContainerSandbox {
    /// The image.
    pub image: ImageRef,
    /// All other settings. The image and the Dockerfile in them are not set.
    pub settings: ContainerSettings,
}

/// The image of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "name", rename_all = "snake_case")]
pub enum ImageRef {
    /// The image that belongs to this version of the server.
    #[default]
    Pinned,
    /// The image with this name.
    Named(String),
    /// The image that is built from the repository's own Dockerfile.
    Built,
}

/// The code that Codex works on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The repository, whose mirror contains all commits.
    pub repository: EnvironmentId,
    /// The name of the repository, for messages.
    pub name: String,
    /// The URL that the agent sees as its remote repository.
    pub origin: String,
    /// The commit that the task started from.
    pub base: ObjectId,
    /// The tip of the branch when the run starts.
    pub start: ObjectId,
    /// The branch.
    pub branch: String,
    /// The folder that the agent starts in, or `None` for the top-level folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subdirectory: Option<Subdirectory>,
    /// The previous run of the task, and what happened to the branch since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousRun>,
}

/// Another repository whose files the agent can read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextSource {
    /// The repository, whose mirror contains the commit.
    pub repository: EnvironmentId,
    /// The name of its folder: letters, digits, `.`, `-` and `_`. It is different for each repository of a run.
    pub folder: String,
    /// The branch.
    pub branch: String,
}

/// The previous run of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousRun {
    /// The number of the run.
    pub run: RunNumber,
    /// What happened to the branch after the run.
    pub since: BranchChange,
}

/// What happened to a branch between two runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BranchChange {
    /// Nothing.
    Unchanged,
    /// It has new commits.
    Moved,
    /// Its commits were replaced.
    Rewritten,
}

/// The time limits of a run, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The time limit of the run.
    pub run_ms: u64,
    /// How long Codex may linger after its turn has ended.
    pub turn_end_grace_ms: u64,
    /// How long a stopped Codex gets after SIGINT, and again after SIGTERM.
    pub stop_grace_ms: u64,
}

impl Limits {
    /// Returns the limits in the settings of a server.
    pub fn of(config: &Config) -> Self {
        let milliseconds = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            run_ms: milliseconds(config.run_time_limit),
            turn_end_grace_ms: milliseconds(config.turn_end_grace),
            stop_grace_ms: milliseconds(config.stop_grace),
        }
    }
}

impl Sandbox {
    /// Returns the settings for containers, if there may be any.
    pub fn container(&self) -> Option<&ContainerSandbox> {
        match self {
            Self::Container(container) | Self::Program(container) => Some(container),
            Self::Host => None,
        }
    }
}

impl ContainerSandbox {
    /// Returns the container of a repository's runs. `default_image` is used if the repository names no image.
    pub fn of(repository: Option<&EnvironmentRecord>, default_image: Option<&str>) -> Self {
        let settings = repository.map(|repository| repository.container.clone()).unwrap_or_default();
        let image = match (&settings.dockerfile, settings.image.as_deref().or(default_image)) {
            (Some(_), _) => ImageRef::Built,
            (None, Some(name)) => ImageRef::Named(name.to_owned()),
            (None, None) => ImageRef::Pinned,
        };
        Self { image, settings: ContainerSettings { image: None, dockerfile: None, ..settings } }
    }
}

/// Refers to a secret variable of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRef {
    /// The repository.
    pub repository: EnvironmentId,
    /// The name of the variable.
    pub name: VariableName,
}

/// An error for text that is not a valid reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a reference consists of 1 to {REFERENCE_LIMIT_BYTES} letters, digits and `-`, `_`, `.` or `:`, starting with a letter or a digit"
)]
pub struct InvalidReference;

fn is_reference(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && text.len() <= REFERENCE_LIMIT_BYTES
        && text.bytes().all(is_plain)
}

macro_rules! references {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Returns the reference as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidReference;

            fn from_str(text: &str) -> Result<Self, InvalidReference> {
                if is_reference(text) { Ok(Self(text.to_owned())) } else { Err(InvalidReference) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

references! {
    /// Refers to a login of Codex. A reference is never a path.
    LoginRef;
    /// Refers to a file that the server has for a run. A reference is never a path.
    FileRef;
}

impl FileRef {
    /// Refers to the prompt of a run.
    pub fn prompt() -> Self {
        Self("prompt".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use model::environment::EnvironmentStatus;
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "01a201f5-b7dd-79a1-8a6e-7e6639f5c650";

    /// Returns a description with every optional part.
    fn full(value: &str) -> RunSpec {
        let image = ImageFile { file: "ba7816bf8f01cfea.png".parse().expect("a name"), name: "a.png".to_owned(), bytes: 7 };
        let name = |text| VariableName::parse(text).expect("a name");
        let repository: EnvironmentId = ID.parse().expect("an ID");
        RunSpec {
            schema: SPEC_SCHEMA,
            key: RunKey { task: ID.parse().expect("an ID"), run: RunNumber(2), attempt: Attempt(3) },
            driver: Driver::Exec(Turn {
                prompt: FileRef::prompt(),
                images: vec![image.clone()],
                earlier_images: vec![image],
                model: Some(Setting::parse("gpt-5.5").expect("a model")),
                effort: None,
                resumes: Some(ID.parse().expect("an ID")),
            }),
            sandbox: Sandbox::Container(ContainerSandbox::default()),
            source: Source {
                repository,
                name: "example".to_owned(),
                origin: "https://example.org/a.git".to_owned(),
                base: "1".repeat(40).parse().expect("an ID"),
                start: "2".repeat(40).parse().expect("an ID"),
                branch: format!("codex/{ID}"),
                subdirectory: None,
                previous: Some(PreviousRun { run: RunNumber(1), since: BranchChange::Rewritten }),
            },
            limits: Limits { run_ms: 1, turn_end_grace_ms: 2, stop_grace_ms: 3 },
            variables: BTreeMap::from([(name("PLAIN"), value.to_owned())]),
            secrets: BTreeMap::from([(name("TOKEN"), SecretRef { repository, name: name("TOKEN") })]),
            account: Some("work".parse().expect("a reference")),
            snapshot: SnapshotKey::parse(&"a".repeat(64)),
            layers: LayerGeneration(2),
            services: BTreeMap::from([(
                ServiceName::parse("db").expect("a name"),
                serde_json::from_str(r#"{"image": "postgres:16", "ports": [5432]}"#).expect("a service"),
            )]),
            caches: BTreeSet::from([CachePath::parse("~/.npm").expect("a path")]),
            context: vec![ContextSource { repository, folder: "library".to_owned(), branch: "main".to_owned() }],
            files: BTreeMap::from([(
                FilePath::parse("~/.netrc").expect("a path"),
                SecretRef { repository, name: name("NETRC") },
            )]),
        }
    }

    proptest! {
        #[test]
        fn a_description_is_read_as_it_was_written(value in ".*") {
            let spec = full(&value);
            let text = serde_json::to_string(&spec).expect("the description can be serialized");
            prop_assert_eq!(serde_json::from_str::<RunSpec>(&text).expect("the description can be parsed"), spec);
        }

        #[test]
        fn a_reference_is_never_a_path(text in ".*") {
            if let Ok(reference) = text.parse::<FileRef>() {
                prop_assert!(!reference.as_str().contains(['/', '\\', '\0']) && !reference.as_str().starts_with('.'));
            }
        }
    }

    /// Returns every text in a JSON value, including the keys.
    fn texts(value: &serde_json::Value) -> Vec<String> {
        match value {
            serde_json::Value::String(text) => vec![text.clone()],
            serde_json::Value::Array(values) => values.iter().flat_map(texts).collect(),
            serde_json::Value::Object(fields) => {
                fields.iter().flat_map(|(name, value)| [vec![name.clone()], texts(value)].concat()).collect()
            }
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => vec![],
        }
    }

    /// A repository whose settings contain a secret and a path of the server's machine.
    fn repository() -> EnvironmentRecord {
        let secret = model::secret::Secret::new("s3cret-value");
        let mut record: EnvironmentRecord = EnvironmentRecord {
            env_id: ID.parse().expect("an ID"),
            name: model::names::Title::parse("example").expect("a name"),
            repo_url: model::names::RepositoryUrl::parse("https://example.org/a.git").expect("a URL"),
            default_branch: None,
            status: EnvironmentStatus::Ready,
            error: None,
            variables: BTreeMap::new(),
            secrets: BTreeMap::from([(VariableName::parse("TOKEN").expect("a name"), secret)]),
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
        };
        record.container.dockerfile = Some("/srv/images/Dockerfile".to_owned());
        record
    }

    #[test]
    fn a_description_contains_no_secret_and_no_path_of_the_server() {
        let container = ContainerSandbox::of(Some(&repository()), Some("/never/used"));
        assert_eq!(container.image, ImageRef::Built);
        for sandbox in [Sandbox::Container(container.clone()), Sandbox::Program(container), Sandbox::Host] {
            let spec = RunSpec { sandbox, ..full("value") };
            let value = serde_json::to_value(&spec).expect("the description can be serialized");
            for text in texts(&value) {
                assert!(!text.starts_with('/') && !text.contains("s3cret-value") && !text.contains("/srv"), "{text}");
            }
            assert!(value.to_string().contains("TOKEN"), "the secret is a reference");
        }
    }

    #[test]
    fn the_image_of_a_repository_comes_before_the_default_one() {
        let check = |image: Option<&str>, default: Option<&str>, expect: ImageRef| {
            let mut repository = repository();
            repository.container.dockerfile = None;
            repository.container.image = image.map(str::to_owned);
            let found = ContainerSandbox::of(Some(&repository), default);
            assert_eq!((found.image, found.settings.image), (expect, None));
        };
        check(Some("own:1"), Some("default:1"), ImageRef::Named("own:1".to_owned()));
        check(None, Some("default:1"), ImageRef::Named("default:1".to_owned()));
        check(None, None, ImageRef::Pinned);
        assert_eq!(ContainerSandbox::of(None, None), ContainerSandbox::default());
    }

    #[test]
    fn text_that_could_be_a_path_or_an_option_is_not_a_reference() {
        for text in ["", "/etc/passwd", "a/b", "..", ".a", "-x", "a b", "é", &"a".repeat(REFERENCE_LIMIT_BYTES + 1)] {
            assert_eq!(text.parse::<LoginRef>(), Err(InvalidReference), "{text}");
            assert!(serde_json::from_value::<LoginRef>(text.into()).is_err(), "{text}");
        }
        assert_eq!("a".repeat(REFERENCE_LIMIT_BYTES).parse::<LoginRef>().map(|login| login.as_str().len()), Ok(128));
    }
}
