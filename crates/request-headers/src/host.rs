//! Hosts of `Host` and `Origin` headers.
//!
//! Invariant: a host is accepted only in the form that browsers send, so that each host has exactly one spelling.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::uri::Authority;

/// A host name or address with an optional port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName {
    /// The name in lower case. An IPv6 address keeps its brackets.
    pub name: String,
    /// The port, if it is not the default one.
    pub port: Option<u16>,
}

impl HostName {
    /// Parses a name or an address with an optional port. Anything else is invalid, such as a user, an empty port or leading zeros.
    pub fn parse(text: &str) -> Option<Self> {
        let authority: Authority = text.parse().ok()?;
        let parsed = Self { name: authority.host().to_ascii_lowercase(), port: authority.port_u16() };
        let is_name = match parsed.name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(address) => address.parse::<Ipv6Addr>().is_ok_and(|parsed| parsed.to_string() == address),
            None => {
                !parsed.name.is_empty() && parsed.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
            }
        };
        (is_name && parsed.to_string().eq_ignore_ascii_case(text)).then_some(parsed)
    }

    /// Returns whether an `Origin` header names this host. Only pages from http and https have such an origin.
    pub fn is_origin(&self, origin: &str) -> bool {
        let Some((scheme, origin)) = origin.split_once("://") else { return false };
        let default_port = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return false,
        };
        Self::parse(origin).is_some_and(|origin| origin.is_same(self, default_port))
    }

    fn is_same(&self, other: &Self, default_port: u16) -> bool {
        self.name == other.name && self.port.unwrap_or(default_port) == other.port.unwrap_or(default_port)
    }

    /// Returns whether the host is the browser's own machine.
    pub fn is_loopback(&self) -> bool {
        let address = match self.name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(address) => address.parse::<Ipv6Addr>().ok().map(|address| IpAddr::V6(address).to_canonical()),
            None => self.name.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        };
        self.name == "localhost" || self.name.ends_with(".localhost") || address.is_some_and(|address| address.is_loopback())
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_read_only_in_the_form_that_browsers_send() {
        for fine in
            ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "[::1]", "[::1]:8080", "[2001:db8::7]:1", "a-b.example:65535"]
        {
            let host = HostName::parse(fine).unwrap_or_else(|| panic!("{fine}"));
            assert_eq!(host.to_string(), fine.to_ascii_lowercase());
        }
        for bad in [
            "",
            ":8080",
            "localhost:",
            "localhost:08080",
            "localhost:+8080",
            "localhost:-1",
            "localhost:99999",
            "localhost: 8080",
            "localhost:8080:8080",
            "127.0.0.1:00080",
            "[::1]x:8080",
            "[::1]x",
            "[::1]8080",
            "x[::1]:8080",
            "[::1",
            "::1",
            "[]",
            "[::1]:",
            "[::1]:08080",
            "[0:0:0:0:0:0:0:1]:8080",
            "[::0001]:8080",
            "[::1%25lo]:8080",
            "[127.0.0.1]:8080",
            "me@localhost:8080",
            "@localhost:8080",
            "localhost%2e:8080",
            "local host",
            "localhost/",
            "localhost?x",
            "localhost#x",
            "localhost\\x",
            "loc\u{e4}lhost",
            "local,host",
            "a;b",
        ] {
            assert_eq!(HostName::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_way_to_write_this_machine_is_a_loopback() {
        let check = |host: &str, expect: bool| {
            assert_eq!(HostName::parse(host).expect("a host").is_loopback(), expect, "{host}");
        };
        for loopback in ["localhost", "localhost:80", "a.localhost", "127.0.0.1", "127.9.9.9:1", "[::1]:80", "[::ffff:127.0.0.1]"]
        {
            check(loopback, true);
        }
        for other in ["localhost.example", "notlocalhost", "128.0.0.1", "10.0.0.7:8080", "[::2]", "0.0.0.0", "box"] {
            check(other, false);
        }
    }
}
