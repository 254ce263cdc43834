//! The description of an environment. Its format on disk is TOML; see `docs/environment.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Deserializer, Serialize};

use super::image::ImageChoice;
use super::paths::{CachePath, FilePath, KeepPath, VolumePath};
use crate::container::{ContainerNetwork, HostPattern};
use crate::ids::ObjectId;
use crate::names::VariableName;
use crate::schema::{described, text, text_in_requests};

/// The description of an environment. Omitted parts have no effect.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Description {
    /// The image, or `None` for that of the repository's settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageChoice>,
    /// The versions of languages and tools.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<ToolName, ToolVersion>,
    /// The script that installs the dependencies. It runs once for each snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setup: Option<Setup>,
    /// The script that updates an older snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintain: Option<Maintain>,
    /// Folders outside of the worktree.
    #[serde(skip_serializing_if = "Cache::is_empty")]
    pub cache: Cache,
    /// Folders of the worktree that Git ignores.
    #[serde(skip_serializing_if = "Keep::is_empty")]
    pub keep: Keep,
    /// Services that run next to the agent.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<ServiceName, Service>,
    /// Files that are not in Git.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<FilePath, FileSource>,
}

/// A shell script of at most 64 KiB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Script(String);

impl Script {
    /// The maximum size of a script in bytes.
    pub const LIMIT_BYTES: usize = 64 * 1024;

    /// Returns the script, or `None` if it is empty, too large or contains NUL.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        (!text.trim().is_empty() && text.len() <= Self::LIMIT_BYTES && !text.contains('\0')).then_some(Self(text))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Script {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?)
            .ok_or_else(|| serde::de::Error::custom("a script must have between 1 byte and 64 KiB, without NUL"))
    }
}

/// How dependencies are installed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "the table `[setup]` with the key `run`")]
pub struct Setup {
    /// The script. It runs in the worktree of the default branch.
    pub run: Script,
    /// Files whose content is part of the snapshot's key, relative to the repository, such as lock files.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub keys: BTreeSet<KeepPath>,
    /// The names of the repository's secrets that only the setup gets.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub secrets: BTreeSet<VariableName>,
    /// The network of the setup. The default is `open`.
    #[serde(default)]
    pub network: ContainerNetwork,
    /// The hosts that the setup can reach with the network `allow`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "hosts")]
    pub allow_hosts: Vec<HostPattern>,
    /// The time limit in minutes. The default is 30.
    #[serde(default = "Setup::default_minutes")]
    pub minutes: NonZeroU32,
}

impl Setup {
    /// The default time limit in minutes.
    pub const DEFAULT_MINUTES: NonZeroU32 = NonZeroU32::new(30).expect("not zero");

    /// Creates a setup with the default network and time limit.
    pub fn new(run: Script) -> Self {
        let (keys, secrets, network, allow_hosts) = (BTreeSet::new(), BTreeSet::new(), ContainerNetwork::Open, vec![]);
        Self { run, keys, secrets, network, allow_hosts, minutes: Self::DEFAULT_MINUTES }
    }

    fn default_minutes() -> NonZeroU32 {
        Self::DEFAULT_MINUTES
    }
}

/// Reads hosts. Unlike a record, a description must spell them correctly.
fn hosts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<HostPattern>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| HostPattern::parse(text).map_err(serde::de::Error::custom)).collect()
}

/// How a snapshot of an older commit is updated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "the table `[maintain]` with the key `run`")]
pub struct Maintain {
    /// The script. It runs in the worktree of the default branch, with the folders of the older snapshot.
    pub run: Script,
    /// The time limit in minutes. The default is that of the setup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minutes: Option<NonZeroU32>,
}

/// Folders outside of the worktree that keep downloads and build results.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "the table `[cache]` with the key `paths`")]
pub struct Cache {
    /// The folders.
    pub paths: BTreeSet<CachePath>,
}

impl Cache {
    fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }
}

/// Folders of the worktree that setup creates and Git ignores.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "the table `[keep]` with the key `paths`")]
pub struct Keep {
    /// The folders, relative to the worktree.
    pub paths: BTreeSet<KeepPath>,
}

impl Keep {
    fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }
}

/// A service that runs next to the agent, such as a database. The agent reaches it at `localhost` and at its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table such as `[services.db]` with the key `image`")]
pub struct Service {
    /// The image.
    #[serde(deserialize_with = "super::image::name")]
    pub image: String,
    /// The environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<VariableName, String>,
    /// A command in the service's container that succeeds once the service is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,
    /// How long the service may take to become ready, in seconds. The default is 60.
    #[serde(default = "Service::default_ready_seconds")]
    pub ready_seconds: NonZeroU32,
    /// The ports on which the service listens. No two services of an environment can have the same port.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub ports: BTreeSet<u16>,
    /// Folders of the service that are deleted with the run.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub volumes: BTreeSet<VolumePath>,
}

impl Service {
    /// How long a service may take to become ready by default, in seconds.
    pub const DEFAULT_READY_SECONDS: NonZeroU32 = NonZeroU32::new(60).expect("not zero");

    fn default_ready_seconds() -> NonZeroU32 {
        Self::DEFAULT_READY_SECONDS
    }
}

/// Where the content of a file comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table such as `{ secret = \"DOTENV\" }`")]
pub struct FileSource {
    /// The secret of the repository that contains the file.
    pub secret: VariableName,
    /// The only phase in which the file exists, or `None` for both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<FilePhase>,
}

/// A phase in which a file exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilePhase {
    /// The setup and its updates.
    Setup,
    /// Runs.
    Run,
}

impl FilePhase {
    /// Returns the phase as it is written in a description.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Run => "run",
        }
    }
}

/// Defines a text that consists of a few harmless characters.
macro_rules! plain_text {
    ($($(#[$doc:meta])* $name:ident, $limit:literal, $also:literal, $message:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Parses the text.
            pub fn parse(text: &str) -> Option<Self> {
                let is_plain = |c: char| c.is_ascii_alphanumeric() || $also.contains(c);
                let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
                (starts && text.len() <= $limit && text.chars().all(is_plain)).then(|| Self(text.to_owned()))
            }

            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!(concat!("`{}` is not ", $message), crate::names::shown(&text))))
            }
        }
    )*};
}

plain_text! {
    /// The name of a language or tool, such as `node`.
    ToolName, 40, "-_.", "the name of a tool, such as `node`";
    /// The version of a tool, such as `22` or `3.12.1`.
    ToolVersion, 60, "-_.+*", "a version, such as `22` or `3.12.1`";
    /// The name of a service, which is also its host name.
    ServiceName, 40, "-", "the name of a service, such as `db`";
}

described!(ServiceName, text("The name of a service, such as `db`.", "^[A-Za-z0-9][A-Za-z0-9-]{0,39}$"));

/// The hash of a description, which an approval refers to: 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DescriptionHash(String);

described!(DescriptionHash, text("The hash of a description: 64 hexadecimal digits.", "^[0-9a-f]{64}$"));

text_in_requests!(
    /// The description of an environment as TOML: at most 256 KiB.
    pub DescriptionText,
    |description| text(description, r"^[^\x00]*$").max_length(Some(256 * 1024))
);

impl DescriptionHash {
    /// Parses 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hash = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_hash.then(|| Self(text.to_owned()))
    }

    /// Returns the digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DescriptionHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Description {
    /// Returns the hash of everything that has an effect. Comments and the order of keys have none.
    pub fn hash(&self) -> DescriptionHash {
        DescriptionHash(super::digest::hash(self))
    }

    /// Returns the hash of the description together with the Dockerfile that it names.
    pub fn hash_with(&self, dockerfile: &ObjectId) -> DescriptionHash {
        DescriptionHash(super::digest::hash(&(self, dockerfile)))
    }

    /// Returns the path of the Dockerfile from which the image is built, relative to the repository.
    pub fn dockerfile(&self) -> Option<&str> {
        match &self.image {
            Some(ImageChoice::Build { build }) => Some(&build.dockerfile),
            Some(ImageChoice::Named(_)) | None => None,
        }
    }

    /// Returns the names of all secrets that the description uses.
    pub fn secrets(&self) -> impl Iterator<Item = &VariableName> {
        let of_setup = self.setup.iter().flat_map(|setup| &setup.secrets);
        of_setup.chain(self.files.values().map(|file| &file.secret))
    }

    /// Returns the files of a phase, with the names of their secrets.
    pub fn files_of(&self, phase: FilePhase) -> impl Iterator<Item = (&FilePath, &VariableName)> {
        let is_in = move |source: &FileSource| source.only.is_none_or(|only| only == phase);
        self.files.iter().filter(move |(_, source)| is_in(source)).map(|(path, source)| (path, &source.secret))
    }

    /// Whether there is nothing to set up before a run, except for images of services.
    pub fn needs_no_setup(&self) -> bool {
        self.setup.is_none() && self.image.is_none() && self.tools.is_empty()
    }

    /// Whether runs with this description are no different from runs without any.
    pub fn has_no_effect(&self) -> bool {
        self.needs_no_setup() && self.services.is_empty() && self.files_of(FilePhase::Run).next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Description {
        let mut setup = Setup::new(Script::new("npm ci").expect("a script"));
        setup.keys.insert(KeepPath::parse("package-lock.json").expect("a path"));
        Description { setup: Some(setup), ..Description::default() }
    }

    #[test]
    fn a_description_is_read_as_it_was_written() {
        let text = serde_json::to_string(&example()).expect("it can be serialized");
        assert_eq!(serde_json::from_str::<Description>(&text).expect("it can be parsed"), example());
    }

    #[test]
    fn whatever_has_an_effect_changes_the_hash() {
        let hash = example().hash();
        assert_eq!(DescriptionHash::parse(hash.as_str()), Some(hash.clone()));
        let mut changed = example();
        if let Some(setup) = &mut changed.setup {
            setup.network = ContainerNetwork::None;
        }
        assert_ne!(changed.hash(), hash);
        assert_ne!(Description::default().hash(), hash);
        assert!(Description::default().needs_no_setup() && !example().needs_no_setup());
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        let error = serde_json::from_str::<Description>(r#"{"setpu": {}}"#).expect_err("a typing error");
        assert!(error.to_string().contains("setpu"), "{error}");
    }

    #[test]
    fn a_service_has_an_image_and_hosts_are_spelled_correctly() {
        assert!(serde_json::from_str::<Service>(r#"{"image": "postgres:16"}"#).is_ok());
        let error = serde_json::from_str::<Service>(r#"{"image": "-v"}"#).expect_err("an option").to_string();
        assert!(error.contains("invalid image name"), "{error}");
        let setup = |host: &str| serde_json::from_value::<Setup>(serde_json::json!({"run": "make", "allow_hosts": [host]}));
        assert!(setup("*.example.com").is_ok() && setup("127.1").is_err());
    }

    #[test]
    fn names_are_harmless_in_scripts_and_host_names() {
        for text in ["node", "python3.12", "a_b-c"] {
            assert!(ToolName::parse(text).is_some(), "{text}");
        }
        for text in ["", "-x", "a b", "a;b", "a/b", "é", "$(x)"] {
            assert!(ToolName::parse(text).is_none() && ServiceName::parse(text).is_none(), "{text}");
            assert!(ToolVersion::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_script_has_a_size() {
        assert!(Script::new(" \n").is_none() && Script::new("a\0b").is_none());
        assert!(Script::new("x".repeat(Script::LIMIT_BYTES)).is_some());
        assert!(Script::new("x".repeat(Script::LIMIT_BYTES + 1)).is_none());
    }
}
