//! Patterns for hosts that a container can reach.
//! This module does not resolve names. Invariant: no pattern contains a comma, a space or a scheme.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Deserializer, Serialize};

use super::settings::refused;
use crate::names::shown;
use crate::problem::Problem;

/// A host that a container can reach, e.g. `example.com`, `*.example.org`, `example.net:8443`, `10.0.0.5:4873` or `[fd00::5]:4873`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, utoipa::ToSchema)]
#[serde(transparent)]
pub struct HostPattern(String);

impl HostPattern {
    /// Parses a host name, a domain after `*.`, or an IP address, each with an optional port.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let pattern = Self::read(text)?;
        // Reject other spellings of addresses, such as `127.1`, because they would be compared as names.
        let (host, _) = parts(&pattern.0);
        let ends_like_address = host.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        if ends_like_address && !is_address(host) { Err(unusable(text)) } else { Ok(pattern) }
    }

    /// Parses a pattern less strictly, because records of earlier versions may contain other spellings of addresses.
    fn read(text: &str) -> Result<Self, Problem> {
        let lower = text.trim().to_ascii_lowercase();
        let (host, port) = parts(&lower);
        let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0));
        if (is_name(host) || is_address(host)) && is_port { Ok(Self(lower)) } else { Err(unusable(text)) }
    }

    /// Returns the pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Splits a pattern into host and port. An IPv6 address with a port is in brackets.
fn parts(pattern: &str) -> (&str, Option<&str>) {
    let is_bare = pattern.parse::<Ipv6Addr>().is_ok() || pattern.ends_with(']');
    match pattern.rsplit_once(':').filter(|_| !is_bare) {
        Some((host, port)) => (host, Some(port)),
        None => (pattern, None),
    }
}

fn is_address(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<IpAddr>().is_ok(),
    }
}

fn is_name(host: &str) -> bool {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let label = |label: &str| {
        let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        plain && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn unusable(text: &str) -> Problem {
    refused(format!("invalid host `{}`", shown(text)))
        .hint("use a host without a scheme, e.g. example.com, *.example.org or example.net:8443")
        .hint("or use an IP address, with a port unless it is 80 or 443, e.g. 10.0.0.5:4873 or [fd00::5]:4873")
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for HostPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::read(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_hosts_are_refused() {
        for host in
            ["example.com", "*.example.org", "10.0.0.1:8443", "10.0.0.1", "localhost:1", "[fd00::5]:4873", "[fd00::5]", "fd00::5"]
        {
            assert_eq!(HostPattern::parse(&host.to_uppercase()).expect(host).as_str(), host);
        }
        for host in ["", "*", "*.", "https://x", "a/b", "a..b", "-a.com", "a.com:0", "a.com:x", "a,b", "a b", "ex*mple.com"]
            .into_iter()
            .chain([
                "127.1",
                "2130706433",
                "1.2.3.4.5",
                "*.1",
                "[fd00::5",
                "[10.0.0.1]:80",
                "[fd00::5]:0",
                "[fd00::5]x:80",
                "::1%lo",
            ])
        {
            assert!(HostPattern::parse(host).is_err(), "{host:?} was accepted");
        }
        let old: HostPattern = serde_json::from_str("\"127.1\"").expect("records of earlier versions are accepted");
        assert_eq!(old.as_str(), "127.1");
    }
}
