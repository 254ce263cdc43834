//! The list of hosts that a container may reach. Pure: it resolves no names.
//! Invariant: names are compared label by label, never as substrings, and an entry applies only to its ports.

use std::net::{IpAddr, Ipv6Addr};

use crate::container::ends_like_address;

/// The ports of an entry without a port.
const USUAL_PORTS: [u16; 2] = [80, 443];

/// The longest name of a host.
const NAME_BYTES: usize = 253;

/// A list of hosts and ports. An empty list allows nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllowList {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    host: HostEntry,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostEntry {
    /// Exactly this name.
    Name(String),
    /// Every subdomain of this name, but not the name itself.
    Below(String),
    /// Exactly this address.
    Address(IpAddr),
}

/// An invalid entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid host `{entry}`: {why}")]
pub struct ListError {
    entry: String,
    why: &'static str,
}

impl AllowList {
    /// Parses a list such as `example.com,*.example.org,example.net:8443,10.0.0.1,[::1]:80`.
    pub fn parse(text: &str) -> Result<Self, ListError> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let entries = entries.map(|entry| parse(entry).map_err(|why| ListError { entry: entry.escape_debug().to_string(), why }));
        Ok(Self { entries: entries.collect::<Result<_, _>>()? })
    }

    /// Returns whether the list allows this host, as it appears in a request.
    pub fn has(&self, host: &str, port: u16) -> bool {
        if let Ok(address) = host.parse::<IpAddr>() {
            return self.has_address(address, port);
        }
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        if check_name(&host).is_err() {
            return false;
        }
        self.entries.iter().any(|entry| {
            let fits = match &entry.host {
                HostEntry::Name(name) => *name == host,
                HostEntry::Below(domain) => {
                    host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
                }
                HostEntry::Address(_) => false,
            };
            fits && entry.has_port(port)
        })
    }

    /// Returns whether the list contains this exact address.
    pub fn has_address(&self, address: IpAddr, port: u16) -> bool {
        let address = address.to_canonical();
        let is_it = |entry: &Entry| matches!(entry.host, HostEntry::Address(listed) if listed == address);
        self.entries.iter().any(|entry| is_it(entry) && entry.has_port(port))
    }
}

impl Entry {
    fn has_port(&self, port: u16) -> bool {
        self.port.map_or(USUAL_PORTS.contains(&port), |listed| listed == port)
    }
}

fn parse(entry: &str) -> Result<Entry, &'static str> {
    let (host, port) = split_port(entry)?;
    let address = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse().ok(),
    };
    if let Some(address) = address {
        return Ok(Entry { host: HostEntry::Address(address.to_canonical()), port });
    }
    let below = host.strip_prefix("*.");
    let name = below.unwrap_or(host).to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name).to_owned();
    check_name(&name)?;
    let host = if below.is_some() { HostEntry::Below(name) } else { HostEntry::Name(name) };
    Ok(Entry { host, port })
}

fn split_port(entry: &str) -> Result<(&str, Option<u16>), &'static str> {
    // IPv6 addresses contain colons.
    let is_bare_address = entry.parse::<IpAddr>().is_ok();
    match entry.rsplit_once(':').filter(|_| !is_bare_address && !entry.ends_with(']')) {
        None => Ok((entry, None)),
        Some((host, port)) => match port.parse::<u16>() {
            Ok(port @ 1..) if port.to_string() == entry[host.len() + 1..] => Ok((host, Some(port))),
            Ok(_) | Err(_) => Err("the colon must be followed by a port number"),
        },
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    let is_label = |label: &str| {
        let known = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        known && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    if !name.is_ascii() {
        return Err("write names in other scripts in the form xn--…");
    }
    if name.len() > NAME_BYTES || !name.split('.').all(is_label) {
        return Err("use a name, `*.` and a name, or an address, without a scheme, path or user name");
    }
    if ends_like_address(name) {
        return Err("it looks like an IP address but is not valid");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> AllowList {
        AllowList::parse(text).expect(text)
    }

    #[test]
    fn a_host_is_allowed_on_its_ports_and_nothing_like_it_is() {
        let list = list("example.com, *.npmjs.org ,git.example.net:8443,10.1.2.3,[fd00::1]:9000");
        for (host, port) in [
            ("example.com", 443),
            ("EXAMPLE.com.", 80),
            ("registry.npmjs.org", 443),
            ("a.b.npmjs.org", 443),
            ("git.example.net", 8443),
            ("10.1.2.3", 443),
            ("::ffff:10.1.2.3", 80),
            ("fd00::1", 9000),
        ] {
            assert!(list.has(host, port), "{host}:{port}");
        }
        for (host, port) in [
            ("example.com", 22),
            ("www.example.com", 443),
            ("notexample.com", 443),
            ("example.com.evil.net", 443),
            ("npmjs.org", 443),
            (".npmjs.org", 443),
            ("evilnpmjs.org", 443),
            ("git.example.net", 443),
            ("10.1.2.4", 443),
            ("fd00::1", 443),
            ("", 443),
            ("a..npmjs.org", 443),
            ("a/b.npmjs.org", 443),
            ("evil.net%00.npmjs.org", 443),
            ("user@a.npmjs.org", 443),
            ("a b.npmjs.org", 443),
            ("ünï.npmjs.org", 443),
            ("example.com..", 443),
        ] {
            assert!(!list.has(host, port), "{host}:{port}");
        }
    }

    /// Returns every text that differs from a host by one added, removed or replaced byte.
    fn neighbours(host: &str) -> impl Iterator<Item = String> {
        let host = host.as_bytes().to_vec();
        (0..=host.len()).flat_map(move |at| {
            let host = host.clone();
            (0..=127u8).flat_map(move |byte| {
                let (before, after) = host.split_at(at);
                let rest = after.get(1..).unwrap_or_default();
                let texts = [[before, &[byte], after].concat(), [before, &[byte], rest].concat(), [before, rest].concat()];
                texts.into_iter().filter_map(|text| String::from_utf8(text).ok()).collect::<Vec<_>>()
            })
        })
    }

    #[test]
    fn no_text_that_is_almost_a_listed_host_is_allowed() {
        let (exact, below) = (list("api.example.com"), list("*.example.com"));
        for text in neighbours("api.example.com") {
            let same = text.eq_ignore_ascii_case("api.example.com") || text.eq_ignore_ascii_case("api.example.com.");
            assert_eq!(exact.has(&text, 443), same, "{text:?}");
            let canonical = text.to_ascii_lowercase();
            let canonical = canonical.strip_suffix('.').unwrap_or(&canonical);
            let labels = canonical
                .strip_suffix(".example.com")
                .filter(|labels| check_name(labels).is_ok() || labels.parse::<u32>().is_ok());
            assert_eq!(below.has(&text, 443), labels.is_some(), "{text:?}");
        }
    }

    #[test]
    fn an_empty_list_allows_nothing() {
        assert!(!list("").has("example.com", 443) && list(" , ") == AllowList::default());
    }

    #[test]
    fn what_is_no_host_is_named() {
        let mut errors = Vec::new();
        for text in [
            "https://example.com",
            "example.com/x",
            "user@example.com",
            "exa mple.com",
            "example.com:0",
            "example.com:x",
            "example.com:99999",
            "example.com:+1",
            "*",
            "*.",
            "a..b",
            "-a.com",
            "*.*.com",
            "münchen.de",
            "127.1",
            "0x7f.0x1",
            "[[::1]]",
            "[10.0.0.1]:80",
            "1.2.3.4.5",
            "a.com:1:2",
            "\u{0}",
        ] {
            let error = AllowList::parse(&format!("fine.com,{text}")).expect_err(text);
            errors.push(error.to_string());
            assert_eq!(error.entry, text.escape_debug().to_string(), "{error}");
        }
        insta::assert_snapshot!(errors.join("\n"));
    }
}
