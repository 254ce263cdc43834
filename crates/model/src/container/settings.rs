//! Settings for the containers of a repository's runs: image, user, network access and limits.
//!
//! [`ContainerSettings::edited`] checks every value, so the worker can use [`ContainerSettings`] unchanged. Invariant: a record
//! lists hosts only if its network is `allow`.

use super::host::HostPattern;
use super::refused::refused;
use crate::names::{Title, shown};
use crate::problem::Problem;
use crate::schema::{CONTROL, text, text_in_requests, trimmed};
use crate::settings::{Choice, Group, Input, Stored, Text, settings, text_by_as_str};

/// The maximum number of allowed hosts.
const MAX_HOSTS: usize = 200;

/// The maximum number of other repositories that a run can read.
const MAX_CONTEXT: usize = 20;

/// The minimum limit of memory and of disk space. Codex itself needs 32 MiB of memory, and its tools also need some.
const MIN_LIMIT_BYTES: u64 = 64 << 20;

/// The valid values of `pids`. With fewer than 64 processes, Codex cannot start its tools.
const PIDS: std::ops::RangeInclusive<u32> = 64..=4_000_000;

/// The valid values of `cpus`. With less than a tenth of a CPU, commands reach their time limits.
const CPUS: std::ops::RangeInclusive<f64> = 0.1..=1024.0;

/// The user that Codex runs as in a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContainerUser {
    /// Root in the container, which can install packages.
    #[default]
    Root,
    /// The user that runs the server.
    Caller,
}

impl ContainerUser {
    /// Returns the value in JSON and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Caller => "caller",
        }
    }
}

/// The network access of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContainerNetwork {
    /// Any host, but no other container.
    #[default]
    Open,
    /// Only the model's API.
    None,
    /// Only the model's API and the allowed hosts.
    Allow,
}

impl ContainerNetwork {
    /// Returns the value in JSON and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::None => "none",
            Self::Allow => "allow",
        }
    }
}

/// Whether the model may use its provider's tools, such as web search, URL fetching, MCP servers and containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HostedTools {
    /// The model may use these tools. Requests are passed on unchanged.
    Allow,
    /// Codex does not offer these tools, and the broker removes them from requests.
    Deny,
}

impl HostedTools {
    /// Returns the value in JSON and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

impl Stored for ContainerUser {
    fn texts(&self) -> Vec<String> {
        if *self == Self::default() { vec![] } else { vec![self.text()] }
    }

    /// Returns `false`, because JSON always contains the user.
    fn is_omitted(&self) -> bool {
        false
    }
}

impl Stored for ContainerNetwork {
    fn texts(&self) -> Vec<String> {
        if *self == Self::default() { vec![] } else { vec![self.text()] }
    }

    /// Returns `false`, because JSON always contains the network.
    fn is_omitted(&self) -> bool {
        false
    }
}

text_by_as_str!(ContainerUser, ContainerNetwork, HostedTools, HostPattern, Title);

settings! {
    /// How the containers of a repository's runs are created. Omitted settings have their default values.
    pub struct ContainerSettings;

    /// Changes to [`ContainerSettings`]. Omitted settings keep their values, and null restores the default.
    pub struct EditContainer {}

    container in Group::Container, or refused;

    /// Container image that Codex runs in, e.g. `registry/name:tag`
    image: Option<String> = String as ImageReference => |text| image_name(&text).map(Some), {
        flag: "image",
        label: "Container image",
        default: "the server's image",
        input: Input::Text("NAME"),
    }

    /// Dockerfile that the image is built from, as an absolute path on the server's machine
    ///
    /// An image and a Dockerfile cannot both be set.
    dockerfile: Option<String> = String as DockerfilePath => |text| dockerfile_path(&text).map(Some), {
        flag: "dockerfile",
        label: "Dockerfile",
        default: "none",
        input: Input::Path,
    }

    /// User that Codex runs as in the container
    user: ContainerUser = String as ContainerUser => |text| user_of(&text), {
        flag: "user",
        label: "User",
        default: "root",
        input: Input::Choice(&[
            Choice { value: "root", meaning: "root in the container, which can install packages" },
            Choice { value: "caller", meaning: "the user that runs the server" },
        ]),
    }

    /// Network access of the container
    network: ContainerNetwork = String as ContainerNetwork => |text| network_of(&text), {
        flag: "network",
        label: "Network",
        default: "open",
        input: Input::Choice(&[
            Choice { value: "open", meaning: "any host, but no other container" },
            Choice { value: "none", meaning: "only the model's API" },
            Choice { value: "allow", meaning: "only the model's API and the allowed hosts" },
        ]),
    }

    /// Hosts that a run can reach if the network is `allow`, e.g. `example.com`, `*.example.org` or `example.net:8443`
    ///
    /// For a host on the server's own network, also list its address and port, e.g. `10.0.0.5:4873`.
    #[schema(max_items = 200)]
    allow_hosts: Vec<HostPattern> = Vec<String> as Vec<HostPattern> => |texts| hosts_of(&texts), {
        flag: "allow-host",
        label: "Allowed hosts",
        default: "none",
        example: "example.com",
        input: Input::List("HOST"),
    }

    /// Other repositories whose files agents can read in `/context/<name>`, by name or ID
    ///
    /// Each run gets the newest commit of their default branches that the server has.
    #[schema(max_items = 20)]
    context: Vec<Title> = Vec<String> as Vec<Title> => |texts| context_of(&texts), {
        flag: "context",
        label: "Repositories to read",
        default: "none",
        example: "shared-library",
        input: Input::List("REPOSITORY"),
    }

    /// Whether the model may use its provider's tools, such as web search
    ///
    /// With an account login, the server cannot enforce `deny`.
    hosted_tools: Option<HostedTools> = String as HostedTools => |text| hosted_tools_of(&text).map(Some), {
        flag: "hosted-tools",
        label: "Hosted tools",
        default: "allowed only if the network is `open`",
        input: Input::Choice(&[
            Choice { value: "allow", meaning: "the model can use these tools" },
            Choice { value: "deny", meaning: "these tools are removed from requests" },
        ]),
    }

    /// Memory limit of the container, e.g. `512m` or `4g`
    memory: Option<String> = String as MemorySize => |text| size_limit(&text, "memory limit").map(Some), {
        flag: "memory",
        label: "Memory",
        default: "the memory for all runs, divided by the number of parallel runs",
        input: Input::Text("SIZE"),
    }

    /// Limit for the files that a run writes outside of its worktree, e.g. `10g`
    ///
    /// Not every container engine can limit disk space. If yours cannot, runs have no such limit, and a note says so.
    disk: Option<String> = String as MemorySize => |text| size_limit(&text, "disk limit").map(Some), {
        flag: "disk",
        label: "Disk",
        default: "no limit",
        example: "10g",
        input: Input::Text("SIZE"),
    }

    /// Number of CPUs that the container can use, e.g. 2 or 0.5
    #[schema(minimum = 0.1, maximum = 1024)]
    cpus: Option<f64> = f64 as f64 => |cpus| cpus_of(cpus).map(Some), {
        flag: "cpus",
        label: "CPUs",
        default: "all",
        input: Input::Text("NUMBER"),
    }

    /// Maximum number of processes and threads in the container, at least 64
    #[schema(minimum = 64, maximum = 4_000_000)]
    pids: Option<u32> = u64 as u64 => |pids| pids_of(pids).map(Some), {
        flag: "pids",
        label: "Processes",
        default: "4096",
    }

    /// Maximum number of tokens per run
    ///
    /// This limit requires an API key: with an account login, the server cannot count tokens.
    #[schema(minimum = 1)]
    token_budget: Option<u64> = u64 as u64 => |tokens| budget_of(tokens).map(Some), {
        flag: "token-budget",
        label: "Token budget",
        default: "no limit",
    }
}

impl ContainerSettings {
    /// Applies `edit` to these settings. Changing the network to anything but `allow` removes the allowed hosts.
    pub fn edited(self, edit: &EditContainer) -> Result<Self, Problem> {
        let edited = self.with_all(edit)?;
        edited.conflict().map_or(Ok(edited), |(_, problem)| Err(problem))
    }

    /// Returns the conflict that these settings would have after `edit`: the key of the setting to fix, and the problem.
    pub fn conflict_with(&self, edit: &EditContainer) -> Option<(&'static str, Problem)> {
        self.clone().with_all(edit).ok()?.conflict()
    }

    fn with_all(self, edit: &EditContainer) -> Result<Self, Problem> {
        let mut edited = self.with_each(edit)?;
        if edit.network.is_some() && edit.allow_hosts.is_none() && edited.network != ContainerNetwork::Allow {
            edited.allow_hosts.clear();
        }
        Ok(edited)
    }

    fn conflict(&self) -> Option<(&'static str, Problem)> {
        if self.network != ContainerNetwork::Allow && !self.allow_hosts.is_empty() {
            let problem = refused(format!("allowed hosts have no effect while the network is `{}`", self.network.as_str()))
                .hint("set the network to `allow`, or remove the allowed hosts");
            return Some(("allow_hosts", problem));
        }
        if self.image.is_some() && self.dockerfile.is_some() {
            let problem = refused("an image and a Dockerfile cannot both be set".to_owned()).hint("unset one of them");
            return Some(("dockerfile", problem));
        }
        None
    }
}

text_in_requests!(
    /// The name of a container image: `[registry/]name[:tag][@digest]`.
    pub(crate) ImageReference,
    |description| text(description, "^[0-9A-Za-z][0-9A-Za-z._/:@-]{0,299}$")
);

/// Parses `[registry/]name[:tag][@digest]`. The name cannot start with a dash, so no program can mistake it for an option.
pub fn image_name(text: &str) -> Result<String, Problem> {
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let continues = text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/:@".contains(c));
    if starts && continues && text.len() <= 300 {
        Ok(text.to_owned())
    } else {
        Err(refused(format!("invalid image name `{}`", shown(text)))
            .hint(format!("use a form like `codex-docker:{}` or `registry/name:tag`", crate::CODEX_VERSION)))
    }
}

text_in_requests!(
    /// An absolute path on the server's machine. At most 4,000 bytes.
    pub(crate) DockerfilePath,
    |description| text(description, format!("^/[^{CONTROL}]*$")).max_length(Some(4000))
);

fn dockerfile_path(text: &str) -> Result<String, Problem> {
    if text.starts_with('/') && text.len() <= 4000 && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err(refused(format!("invalid Dockerfile path `{}`", shown(text))).hint("use an absolute path on the server's machine"))
    }
}

fn user_of(text: &str) -> Result<ContainerUser, Problem> {
    match text {
        "root" => Ok(ContainerUser::Root),
        "caller" => Ok(ContainerUser::Caller),
        other => Err(refused(format!("invalid user `{}`", shown(other))).hint("use `root` or `caller`")),
    }
}

fn network_of(text: &str) -> Result<ContainerNetwork, Problem> {
    match text {
        "open" => Ok(ContainerNetwork::Open),
        "none" => Ok(ContainerNetwork::None),
        "allow" => Ok(ContainerNetwork::Allow),
        other => Err(refused(format!("invalid network `{}`", shown(other))).hint("use `open`, `none` or `allow`")),
    }
}

fn hosted_tools_of(text: &str) -> Result<HostedTools, Problem> {
    match text {
        "allow" => Ok(HostedTools::Allow),
        "deny" => Ok(HostedTools::Deny),
        other => Err(refused(format!("invalid value `{}` for `hosted_tools`", shown(other))).hint("use `allow` or `deny`")),
    }
}

fn context_of(texts: &[String]) -> Result<Vec<Title>, Problem> {
    if texts.len() > MAX_CONTEXT {
        return Err(refused(format!(
            "too many repositories to read: {} were given, at most {MAX_CONTEXT} are accepted",
            texts.len()
        )));
    }
    texts.iter().map(|text| Title::parse(text)).collect()
}

fn hosts_of(texts: &[String]) -> Result<Vec<HostPattern>, Problem> {
    if texts.len() > MAX_HOSTS {
        return Err(refused(format!("too many allowed hosts: {} were given, at most {MAX_HOSTS} are accepted", texts.len())));
    }
    texts.iter().map(|text| HostPattern::parse(text)).collect()
}

text_in_requests!(
    /// A size of at least 64 MiB, such as `512m`, `4g` or a number of bytes. Case is ignored.
    pub(crate) MemorySize,
    |description| {
        let bytes = "6710886[4-9]|671088[7-9][0-9]|67108[9][0-9]{2}|67109[0-9]{3}|671[1-9][0-9]{4}|67[2-9][0-9]{5}|6[89][0-9]{6}\
                     |[7-9][0-9]{7}|[1-9][0-9]{8,18}";
        let mebibytes = "(?:6[4-9]|[7-9][0-9]|[1-9][0-9]{2,12})[mM](?:[iI]?[bB])?";
        let larger = "[1-9][0-9]{0,9}[gG](?:[iI]?[bB])?|[1-9][0-9]{0,6}[tT](?:[iI]?[bB])?";
        text(description, trimmed(&format!(r"\+?0*(?:{bytes}|{mebibytes}|{larger})")))
    }
);

/// Parses a limit such as `512m` or `4g`.
fn size_limit(text: &str, what: &str) -> Result<String, Problem> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match &lower[digits.len()..] {
        "" => Some(0),
        "m" | "mb" | "mib" => Some(20),
        "g" | "gb" | "gib" => Some(30),
        "t" | "tb" | "tib" => Some(40),
        _ => None,
    };
    let bytes = shift.and_then(|shift| digits.parse::<u64>().ok()?.checked_mul(1 << shift));
    if bytes.is_some_and(|bytes| bytes >= MIN_LIMIT_BYTES) {
        Ok(lower)
    } else {
        Err(refused(format!("invalid {what} `{}`", shown(text))).hint("use a size of at least 64m, e.g. 512m or 4g"))
    }
}

fn cpus_of(cpus: f64) -> Result<f64, Problem> {
    if CPUS.contains(&cpus) {
        Ok(cpus)
    } else {
        Err(refused(format!("invalid number of CPUs: {cpus}")).hint("use a number from 0.1 to 1024, e.g. 2 or 0.5"))
    }
}

fn pids_of(pids: u64) -> Result<u32, Problem> {
    let known = u32::try_from(pids).ok().filter(|pids| PIDS.contains(pids));
    known.ok_or_else(|| {
        refused(format!("invalid number of processes: {pids}")).hint("use at least 64, which Codex and its tools need")
    })
}

fn budget_of(tokens: u64) -> Result<u64, Problem> {
    if tokens > 0 {
        Ok(tokens)
    } else {
        Err(refused("with a token budget of 0, no run can start".to_owned()).hint("for no limit, unset the budget"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::error_code::ErrorCode;
    use crate::schema::tests::{agree, allows};

    #[test]
    fn the_schemas_describe_what_the_parsers_accept() {
        const PIECES: &[&str] = &["a", "Z", "0", "64", "6", "7108864", "-", ".", "/", ":", "@", "m", "GiB", "tb", "+", " ", "\n"];
        agree::<ImageReference>(|text| image_name(text).is_ok(), &["a", "registry:5000/name:tag@sha256:0a", "-v"], PIECES);
        agree::<DockerfilePath>(|text| dockerfile_path(text).is_ok(), &["/srv/Dockerfile", "/", "Dockerfile"], PIECES);
        let sizes = ["64m", "63m", "67108864", "67108863", "67108900", "99999999", " 4G ", "0", "1 g", "1TiB", "0064mb", "+1g"];
        agree::<MemorySize>(|text| size_limit(text, "limit").is_ok(), &sizes, PIECES);
        for text in ["root", "caller", "open", "none", "allow", "deny", "Root", ""] {
            assert_eq!(allows::<ContainerUser>()(text), user_of(text).is_ok(), "{text}");
            assert_eq!(allows::<ContainerNetwork>()(text), network_of(text).is_ok(), "{text}");
            assert_eq!(allows::<HostedTools>()(text), hosted_tools_of(text).is_ok(), "{text}");
        }
    }

    fn edited(settings: &ContainerSettings, edit: Value) -> Result<ContainerSettings, Problem> {
        settings.clone().edited(&serde_json::from_value(edit).expect("the edit is valid"))
    }

    #[test]
    fn omitted_settings_stay_and_null_restores_the_default() {
        let first = edited(
            &ContainerSettings::default(),
            json!({ "image": "mine:1", "user": "caller", "memory": "4G", "cpus": 1.5, "pids": 256, "token_budget": 1000 }),
        )
        .expect("the settings are valid");
        assert_eq!((first.user, first.memory.as_deref(), first.pids), (ContainerUser::Caller, Some("4g"), Some(256)));
        let second = edited(&first, json!({ "memory": null, "user": null })).expect("the settings are valid");
        assert_eq!(second, ContainerSettings { memory: None, user: ContainerUser::Root, ..first });
    }

    #[test]
    fn hosts_need_the_network_allow() {
        let hosts = json!(["Example.com", "*.example.org", "10.0.0.1:8443"]);
        let alone = edited(&ContainerSettings::default(), json!({ "allow_hosts": hosts })).expect_err("the network is open");
        assert!(alone.report.code == ErrorCode::ContainerRefused && alone.report.hints.len() == 1, "{alone:?}");
        let allowed = edited(&ContainerSettings::default(), json!({ "network": "allow", "allow_hosts": hosts }))
            .expect("the settings are valid");
        let texts: Vec<_> = allowed.allow_hosts.iter().map(HostPattern::as_str).collect();
        assert_eq!(texts, ["example.com", "*.example.org", "10.0.0.1:8443"]);
        let open = edited(&allowed, json!({ "network": "open" })).expect("the settings are valid");
        assert!(open.allow_hosts.is_empty());
    }

    #[test]
    fn hosted_tools_stay_unset_until_they_are_set() {
        let unset = edited(&ContainerSettings::default(), json!({ "network": "none" })).expect("the settings are valid");
        assert_eq!(unset.hosted_tools, None);
        let allowed = edited(&unset, json!({ "hosted_tools": "allow" })).expect("the settings are valid");
        assert_eq!(allowed.hosted_tools, Some(HostedTools::Allow));
        assert_eq!(edited(&allowed, json!({ "hosted_tools": null })).expect("the settings are valid"), unset);
    }

    #[test]
    fn invalid_values_are_refused_with_a_hint() {
        for edit in [
            json!({ "image": "-v" }),
            json!({ "image": "a b" }),
            json!({ "dockerfile": "Dockerfile" }),
            json!({ "image": "a", "dockerfile": "/d" }),
            json!({ "user": "somebody" }),
            json!({ "network": "some" }),
            json!({ "hosted_tools": "some" }),
            json!({ "memory": "lots" }),
            json!({ "memory": "16m" }),
            json!({ "memory": "99999999999t" }),
            json!({ "cpus": 0 }),
            json!({ "pids": 2 }),
            json!({ "token_budget": 0 }),
        ] {
            let problem = edited(&ContainerSettings::default(), edit.clone()).expect_err("the setting is invalid");
            assert!(
                problem.report.code == ErrorCode::ContainerRefused && !problem.report.hints.is_empty(),
                "{edit}: {problem:?}"
            );
        }
        assert!(serde_json::from_value::<EditContainer>(json!({ "memroy": "4g" })).is_err(), "misspelled fields are rejected");
    }

    #[test]
    fn settings_survive_json_and_invalid_hosts_are_refused() {
        let written = edited(&ContainerSettings::default(), json!({ "network": "allow", "allow_hosts": ["a.com"] }))
            .expect("the settings are valid");
        let text = serde_json::to_string(&written).expect("the settings can be serialized");
        assert_eq!(text, r#"{"user":"root","network":"allow","allow_hosts":["a.com"]}"#);
        assert_eq!(serde_json::from_str::<ContainerSettings>(&text).expect("the JSON is valid"), written);
        assert_eq!(serde_json::from_str::<ContainerSettings>("{}").expect("the JSON is valid"), ContainerSettings::default());
        assert!(serde_json::from_str::<ContainerSettings>(r#"{"allow_hosts":["a,b"]}"#).is_err());
    }
}
