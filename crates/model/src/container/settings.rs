//! How the container of an environment's runs is made: its image, its user, what it sees of the network, what it may use.
//!
//! Texts are parsed once at the door ([`ContainerSettings::edited`]); what is in a [`ContainerSettings`] can be handed to the
//! worker as it is. Invariant: hosts are listed only where the network is `allow`.

use serde::{Deserialize, Serialize};

use super::host::HostPattern;
use crate::error_code::ErrorCode;
use crate::names::shown;
use crate::policy::given;
use crate::problem::Problem;

/// The most hosts that one environment may allow.
const MAX_HOSTS: usize = 200;

/// Below this Codex does not start: it needs 32 MiB for itself, and its tools need some too.
const MIN_MEMORY_BYTES: u64 = 64 << 20;

/// With fewer processes Codex cannot start its tools.
const PIDS: std::ops::RangeInclusive<u32> = 64..=4_000_000;

/// With less than a tenth of a processor nothing ends in its time.
const CPUS: std::ops::RangeInclusive<f64> = 0.1..=1024.0;

/// The user that Codex runs as in the container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContainerUser {
    /// Root of the container, who can install packages.
    #[default]
    Root,
    /// The user that the server runs as.
    Caller,
}

impl ContainerUser {
    /// The word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Caller => "caller",
        }
    }
}

/// What of the network the container sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContainerNetwork {
    /// All of it, but no other container.
    #[default]
    Open,
    /// Nothing but the model.
    None,
    /// The model, and the hosts of a list.
    Allow,
}

impl ContainerNetwork {
    /// The word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::None => "none",
            Self::Allow => "allow",
        }
    }
}

/// Whether the model's API may act elsewhere for a run: search the web, fetch addresses, reach MCP servers, run containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HostedTools {
    /// Requests to the model pass unchanged.
    Allow,
    /// Codex does not offer such tools, and the broker removes them from requests.
    Deny,
}

impl HostedTools {
    /// The word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// How an environment's container is made. What is left out is the server's default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ContainerSettings {
    /// The image; the server's where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// A Dockerfile on the server's machine that the image is built from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dockerfile: Option<String>,
    /// The user that Codex runs as in it.
    #[serde(default)]
    pub user: ContainerUser,
    /// What it sees of the network.
    #[serde(default)]
    pub network: ContainerNetwork,
    /// The hosts that it may reach, where the network is `allow`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_hosts: Vec<HostPattern>,
    /// Whether the model's API may act elsewhere; if omitted, only where the network is `open`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosted_tools: Option<HostedTools>,
    /// The memory that it may use, such as `4g`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// The processors that it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<f64>,
    /// The processes and threads that it may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// The tokens that one run may use; none sets no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_budget: Option<u64>,
}

/// What to change of [`ContainerSettings`]: what is left out stays, null is the default again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditContainer {
    /// An image by its name.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub image: Option<Option<String>>,
    /// The absolute path of a Dockerfile on the server's machine.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub dockerfile: Option<Option<String>>,
    /// `root` or `caller`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub user: Option<Option<String>>,
    /// `open`, `none` or `allow`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub network: Option<Option<String>>,
    /// All hosts anew: `example.com`, `*.example.org`, `example.net:8443`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub allow_hosts: Option<Option<Vec<String>>>,
    /// `allow` or `deny`; if null, hosted tools are allowed only where the network is `open`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub hosted_tools: Option<Option<String>>,
    /// A size such as `512m` or `4g`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub memory: Option<Option<String>>,
    /// A number of processors, which need not be whole.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub cpus: Option<Option<f64>>,
    /// A number of processes, at least 64.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub pids: Option<Option<u64>>,
    /// A number of tokens.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub token_budget: Option<Option<u64>>,
}

pub(super) fn refused(detail: String) -> Problem {
    Problem::new(ErrorCode::ContainerRefused, detail)
}

impl ContainerSettings {
    /// These settings with what a person wants to have changed.
    pub fn edited(mut self, edit: EditContainer) -> Result<Self, Problem> {
        if let Some(image) = edit.image {
            self.image = image.as_deref().map(image_name).transpose()?;
        }
        if let Some(dockerfile) = edit.dockerfile {
            self.dockerfile = dockerfile.as_deref().map(dockerfile_path).transpose()?;
        }
        if let Some(user) = edit.user {
            self.user = user.as_deref().map_or(Ok(ContainerUser::default()), user_of)?;
        }
        if let Some(network) = edit.network {
            self.network = network.as_deref().map_or(Ok(ContainerNetwork::default()), network_of)?;
            // Hosts that were allowed before mean nothing to another kind of network.
            if self.network != ContainerNetwork::Allow {
                self.allow_hosts.clear();
            }
        }
        if let Some(hosts) = edit.allow_hosts {
            self.allow_hosts = hosts_of(&hosts.unwrap_or_default())?;
        }
        if let Some(hosted_tools) = edit.hosted_tools {
            self.hosted_tools = hosted_tools.as_deref().map(hosted_tools_of).transpose()?;
        }
        if let Some(memory) = edit.memory {
            self.memory = memory.as_deref().map(memory_size).transpose()?;
        }
        if let Some(cpus) = edit.cpus {
            self.cpus = cpus.map(cpus_of).transpose()?;
        }
        if let Some(pids) = edit.pids {
            self.pids = pids.map(pids_of).transpose()?;
        }
        if let Some(budget) = edit.token_budget {
            self.token_budget = budget;
        }
        self.checked()
    }

    fn checked(self) -> Result<Self, Problem> {
        if self.network != ContainerNetwork::Allow && !self.allow_hosts.is_empty() {
            return Err(refused(format!("hosts are listed, but the network is `{}`", self.network.as_str()))
                .hint("set the network to `allow` as well, or leave the hosts out"));
        }
        if self.image.is_some() && self.dockerfile.is_some() {
            return Err(refused("there is an image and a Dockerfile as well".to_owned()).hint("set one of them to null"));
        }
        if self.token_budget == Some(0) {
            return Err(refused("a budget of 0 tokens lets no run begin".to_owned()).hint("leave it out for no limit"));
        }
        Ok(self)
    }
}

/// `[registry/]name[:tag][@digest]`; nothing that could be read as an option.
fn image_name(text: &str) -> Result<String, Problem> {
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let goes_on = text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/:@".contains(c));
    if starts && goes_on && text.len() <= 300 {
        Ok(text.to_owned())
    } else {
        Err(refused(format!("`{}` is not the name of an image", shown(text)))
            .hint(format!("use a form like `codex-docker:{}` or `registry/name:tag`", crate::CODEX_VERSION)))
    }
}

fn dockerfile_path(text: &str) -> Result<String, Problem> {
    if text.starts_with('/') && text.len() <= 4000 && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err(refused(format!("`{}` is not an absolute path", shown(text))).hint("it is read on the machine of the server"))
    }
}

fn user_of(text: &str) -> Result<ContainerUser, Problem> {
    match text {
        "root" => Ok(ContainerUser::Root),
        "caller" => Ok(ContainerUser::Caller),
        other => Err(refused(format!("`{}` is no user for a container", shown(other))).hint("it takes `root` or `caller`")),
    }
}

fn network_of(text: &str) -> Result<ContainerNetwork, Problem> {
    match text {
        "open" => Ok(ContainerNetwork::Open),
        "none" => Ok(ContainerNetwork::None),
        "allow" => Ok(ContainerNetwork::Allow),
        other => {
            Err(refused(format!("`{}` is no network for a container", shown(other))).hint("it takes `open`, `none` or `allow`"))
        }
    }
}

fn hosted_tools_of(text: &str) -> Result<HostedTools, Problem> {
    match text {
        "allow" => Ok(HostedTools::Allow),
        "deny" => Ok(HostedTools::Deny),
        other => Err(refused(format!("invalid value `{}` for hosted tools", shown(other))).hint("use `allow` or `deny`")),
    }
}

fn hosts_of(texts: &[String]) -> Result<Vec<HostPattern>, Problem> {
    if texts.len() > MAX_HOSTS {
        return Err(refused(format!("{} hosts are more than the {MAX_HOSTS} that are taken", texts.len())));
    }
    texts.iter().map(|text| HostPattern::parse(text)).collect()
}

/// `512m`, `4g` and the like.
fn memory_size(text: &str) -> Result<String, Problem> {
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
    if bytes.is_some_and(|bytes| bytes >= MIN_MEMORY_BYTES) {
        Ok(lower)
    } else {
        Err(refused(format!("`{}` is no size of memory that Codex could work with", shown(text)))
            .hint("write a size of at least 64m, as in 512m or 4g"))
    }
}

fn cpus_of(cpus: f64) -> Result<f64, Problem> {
    if CPUS.contains(&cpus) {
        Ok(cpus)
    } else {
        Err(refused(format!("{cpus} processors cannot be given")).hint("as in 2 or 0.5"))
    }
}

fn pids_of(pids: u64) -> Result<u32, Problem> {
    let known = u32::try_from(pids).ok().filter(|pids| PIDS.contains(pids));
    known.ok_or_else(|| refused(format!("{pids} processes cannot be given")).hint("at least 64: Codex and its tools need them"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn edited(settings: &ContainerSettings, edit: Value) -> Result<ContainerSettings, Problem> {
        settings.clone().edited(serde_json::from_value(edit).expect("an edit"))
    }

    #[test]
    fn what_is_left_out_stays_and_null_is_the_default_again() {
        let first = edited(
            &ContainerSettings::default(),
            json!({ "image": "mine:1", "user": "caller", "memory": "4G", "cpus": 1.5, "pids": 256, "token_budget": 1000 }),
        )
        .expect("sound");
        assert_eq!((first.user, first.memory.as_deref(), first.pids), (ContainerUser::Caller, Some("4g"), Some(256)));
        let second = edited(&first, json!({ "memory": null, "user": null })).expect("sound");
        assert_eq!(second, ContainerSettings { memory: None, user: ContainerUser::Root, ..first });
    }

    #[test]
    fn hosts_belong_to_the_network_allow() {
        let hosts = json!(["Example.com", "*.example.org", "10.0.0.1:8443"]);
        let alone = edited(&ContainerSettings::default(), json!({ "allow_hosts": hosts })).expect_err("which is it?");
        assert!(alone.report.message.contains("`open`") && !alone.report.hints.is_empty(), "{alone:?}");
        let allowed = edited(&ContainerSettings::default(), json!({ "network": "allow", "allow_hosts": hosts })).expect("sound");
        let texts: Vec<_> = allowed.allow_hosts.iter().map(HostPattern::as_str).collect();
        assert_eq!(texts, ["example.com", "*.example.org", "10.0.0.1:8443"]);
        let open = edited(&allowed, json!({ "network": "open" })).expect("sound");
        assert!(open.allow_hosts.is_empty());
    }

    #[test]
    fn hosted_tools_depend_on_the_network_unless_they_are_set() {
        let unset = edited(&ContainerSettings::default(), json!({ "network": "none" })).expect("sound");
        assert_eq!(unset.hosted_tools, None);
        let allowed = edited(&unset, json!({ "hosted_tools": "allow" })).expect("sound");
        assert_eq!(allowed.hosted_tools, Some(HostedTools::Allow));
        assert_eq!(edited(&allowed, json!({ "hosted_tools": null })).expect("sound"), unset);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_form_it_should_have() {
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
            let problem = edited(&ContainerSettings::default(), edit.clone()).expect_err("senseless");
            assert!(
                problem.report.code == ErrorCode::ContainerRefused && !problem.report.hints.is_empty(),
                "{edit}: {problem:?}"
            );
        }
        assert!(serde_json::from_value::<EditContainer>(json!({ "memroy": "4g" })).is_err(), "a misspelt field");
    }

    #[test]
    fn settings_are_read_as_they_were_written_and_a_bad_host_is_no_host() {
        let written =
            edited(&ContainerSettings::default(), json!({ "network": "allow", "allow_hosts": ["a.com"] })).expect("sound");
        let text = serde_json::to_string(&written).expect("JSON");
        assert_eq!(text, r#"{"user":"root","network":"allow","allow_hosts":["a.com"]}"#);
        assert_eq!(serde_json::from_str::<ContainerSettings>(&text).expect("read"), written);
        assert_eq!(serde_json::from_str::<ContainerSettings>("{}").expect("read"), ContainerSettings::default());
        assert!(serde_json::from_str::<ContainerSettings>(r#"{"allow_hosts":["a,b"]}"#).is_err());
    }
}
