//! A host that a container may reach: a name, a name behind `*.`, or an address, each with a port or without.
//! Nothing in here resolves a name. Invariant: no pattern has a comma, a space or a scheme in it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use super::settings::refused;
use crate::names::shown;
use crate::problem::Problem;

/// A host that a container may reach: `example.com`, `*.example.org`, `example.net:8443`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, utoipa::ToSchema)]
#[serde(transparent)]
pub struct HostPattern(String);

impl HostPattern {
    /// Takes a name, a name behind `*.`, or an address, each with a port or without.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let lower = text.trim().to_ascii_lowercase();
        let (host, port) = match lower.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (lower.as_str(), None),
        };
        let name = host.strip_prefix("*.").unwrap_or(host);
        let label = |label: &str| {
            let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
            plain && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
        };
        let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0));
        if name.len() <= 253 && name.split('.').all(label) && is_port {
            Ok(Self(lower))
        } else {
            Err(refused(format!("`{}` is no host that could be allowed", shown(text)))
                .hint("write a host without a scheme: example.com, *.example.org or example.net:8443"))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for HostPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_host_is_refused() {
        for host in ["example.com", "*.example.org", "10.0.0.1:8443", "localhost:1"] {
            assert_eq!(HostPattern::parse(&host.to_uppercase()).expect(host).as_str(), host);
        }
        for host in ["", "*", "*.", "https://x", "a/b", "a..b", "-a.com", "a.com:0", "a.com:x", "a,b", "a b", "ex*mple.com"] {
            assert!(HostPattern::parse(host).is_err(), "{host:?} was taken");
        }
    }
}
