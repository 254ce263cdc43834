//! Patterns for hosts that a container can reach.
//! This module does not resolve names. Invariant: no pattern contains a comma, a space or a scheme.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Deserializer, Serialize};

use super::refused::refused;
use crate::names::shown;
use crate::problem::Problem;
use crate::schema::{SPACE, described, text, trimmed};

/// A host that a container can reach, e.g. `example.com`, `*.example.org`, `example.net:8443`, `10.0.0.5:4873` or `[fd00::5]:4873`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct HostPattern(String);

described!(HostPattern, {
    let description = "A host, e.g. `example.com`, `*.example.org`, `example.net:8443`, `10.0.0.5:4873` or `[fd00::5]:4873`.";
    text(description, host_pattern())
});

/// Returns the pattern of hosts that [`HostPattern::parse`] accepts.
fn host_pattern() -> String {
    let port = r"(?::(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?";
    let label = "[0-9A-Za-z_](?:[0-9A-Za-z_-]{0,61}[0-9A-Za-z_])?";
    // The last part of a name is not a number, neither decimal nor hexadecimal.
    let number = "(?:[0-9]+|0[xX][0-9A-Fa-f]*)";
    let name = format!(r"(?:\*\.)?(?=[^:]{{1,253}}(?:[:{SPACE}]|$))(?:{label}\.)*(?!{number}(?:[:{SPACE}]|$)){label}");
    let byte = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
    let ipv4 = format!(r"{byte}(?:\.{byte}){{3}}");
    let ipv6 = ipv6_pattern(&ipv4);
    trimmed(&format!(r"(?:{name}|{ipv4}|\[(?:{ipv6})\]|{ipv6}){port}"))
}

/// Returns the pattern of IPv6 addresses: eight groups, fewer around `::`, and possibly an IPv4 address instead of the last two.
fn ipv6_pattern(ipv4: &str) -> String {
    let group = "[0-9A-Fa-f]{1,4}";
    let mut forms = vec![format!("(?:{group}:){{7}}{group}"), format!("(?:{group}:){{6}}{ipv4}")];
    for before in 0..=7_usize {
        let head = if before == 0 { String::new() } else { format!("{group}(?::{group}){{{}}}", before - 1) };
        let after = 7 - before;
        let groups = if after == 0 { String::new() } else { format!("(?:{group}(?::{group}){{0,{}}})?", after - 1) };
        forms.push(format!("{head}::{groups}"));
        if after >= 2 {
            forms.push(format!("{head}::(?:{group}:){{0,{}}}{ipv4}", after - 2));
        }
    }
    forms.join("|")
}

impl HostPattern {
    /// Parses a host name, a domain after `*.`, or an IP address, each with an optional port.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let pattern = Self::read(text)?;
        // Reject other spellings of addresses, such as `127.1`, because they would be compared as names.
        let (host, port) = parts(&pattern.0);
        // The list of a container accepts a port in one spelling only.
        let is_port = port.is_none_or(|port| !port.starts_with(['+', '0']));
        if !is_port || (ends_like_address(host) && !is_address(host)) { Err(unusable(text)) } else { Ok(pattern) }
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

/// Returns whether a program could read a name as an address: its last label is a decimal or hexadecimal number.
pub(crate) fn ends_like_address(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit());
    is_number || last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
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
    use crate::schema::tests::agree;

    #[test]
    fn the_schema_describes_what_the_parser_accepts() {
        const PIECES: &[&str] = &[
            "*.", "a", "B", "_", "-", ".", ":", "::", "[", "]", "0", "1", "0x", "0X1f", "255", "256", "10.0.0.1", "fd00", "::1",
            ":80", ":65536", " ", "+",
        ];
        let samples = [
            "example.com",
            "*.example.org",
            "example.net:8443",
            "10.0.0.1",
            "10.0.0.1:65535",
            "10.0.0.1:65536",
            "[fd00::5]:4873",
            "::",
            "[::]",
            "::1",
            "1:2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7::",
            "::2:3:4:5:6:7:8",
            "::ffff:10.0.0.1",
            "1:2:3:4:5:6:10.0.0.1",
            "1.2.3",
            "a.1",
            "1.a",
            "*.1",
            "1:2:3:4:5:6:7:8:9",
            "1::2::3",
            "01.2.3.4",
            "a:0",
            "a:+080",
            "a:080",
            "a.0x1F",
            "a.0x",
            "0x1g",
            " A.b ",
            "1",
            "a..b",
            "a-",
            "::1:80",
        ];
        agree::<HostPattern>(|text| HostPattern::parse(text).is_ok(), &samples, PIECES);
        let labels = [62, 63, 64].map(|length| format!("{}.com", "a".repeat(length)));
        let names =
            [253, 254].map(|length| format!("{}b", "a.".repeat(126)).chars().chain(['b'; 9]).take(length).collect::<String>());
        let samples: Vec<&str> = labels.iter().chain(&names).map(String::as_str).collect();
        agree::<HostPattern>(|text| HostPattern::parse(text).is_ok(), &samples, PIECES);
    }

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
                "0x7f.0x1",
                "2130706433",
                "a.com:+80",
                "a.com:080",
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
