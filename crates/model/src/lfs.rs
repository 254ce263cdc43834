//! From where the host downloads large files (git-lfs). Pure.
//!
//! An address comes from the repository's default branch. It may name any server of the internet over https, and anything on the host
//! that the repository itself is on. Whether a name leads to the internet is for the caller to look up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::names::RepositoryUrl;

/// Where large files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// On the host of the repository itself.
    SameHost,
    /// On another host, which must be one of the internet.
    Elsewhere {
        /// Its name or address.
        host: String,
        /// The port.
        port: u16,
    },
}

/// Decides whether the host may use the address `asked` for the repository at `origin`, or says why not.
pub fn endpoint(origin: &RepositoryUrl, asked: &str) -> Result<Endpoint, String> {
    let shown = crate::codex::printable_line(asked, 120);
    let has_path = asked.split_once("://").is_none_or(|(_, rest)| rest.trim_end_matches('/').contains('/'));
    let with_path = if has_path { asked.to_owned() } else { format!("{}/lfs", asked.trim_end_matches('/')) };
    let url = RepositoryUrl::parse(&with_path).map_err(|problem| problem.detail)?;
    let is_local = |url: &RepositoryUrl| url.as_str().starts_with('/') || url.as_str().starts_with("file://");
    if url.host().is_some_and(|host| host.contains(':') && !host.starts_with('[')) {
        return Err(format!("`{shown}` has a port that is not a number"));
    }
    match (url.host(), origin.host()) {
        (Some(host), Some(own)) if host.eq_ignore_ascii_case(own) => Ok(Endpoint::SameHost),
        (None, _) if is_local(&url) && is_local(origin) => Ok(Endpoint::SameHost),
        (Some(host), _) if url.as_str().starts_with("https://") => {
            let authority = url.as_str()["https://".len()..].split('/').next().unwrap_or_default();
            let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(443);
            Ok(Endpoint::Elsewhere { host: host.trim_matches(['[', ']']).to_owned(), port })
        }
        (Some(_), _) => Err(format!("`{shown}` is neither https nor on the repository's own host")),
        (None, _) => Err(format!("`{shown}` is a path of this machine")),
    }
}

/// Whether an address can be a host of the internet. An address that is not known to be one is not.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_shared = a == 100 && (64..128).contains(&b);
    let is_special = (a, b, c) == (192, 0, 0) || (a == 198 && (b == 18 || b == 19)) || a == 0 || a >= 224;
    !(address.is_private() || address.is_loopback() || address.is_link_local() || is_shared || is_special)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, third, ..] = address.segments();
    let v4 = |high: u16, low: u16| {
        let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        // IPv4 addresses behind a translator, and in 6to4.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x2002, ..] => v4(second, third),
        // Only 2000::/3 is assigned to the internet; Teredo tunnels in it lead anywhere.
        _ => first & 0xe000 == 0x2000 && (first, second) != (0x2001, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(origin: &str, url: &str) -> Result<Endpoint, String> {
        endpoint(&RepositoryUrl::parse(origin).expect("a URL"), url)
    }

    #[test]
    fn the_repositorys_own_host_serves_large_files_in_any_way() {
        for (origin, url) in [
            ("https://x.org/o/r.git", "https://x.org/lfs"),
            ("https://x.org/o/r.git", "http://X.org:8080/lfs"),
            ("git@x.org:o/r.git", "ssh://git@x.org/o/r.git"),
            ("git@x.org:o/r.git", "https://x.org/o/r.git/info/lfs"),
            ("http://127.0.0.1:3000/r.git", "http://127.0.0.1:4000/lfs"),
            ("/srv/r.git", "/srv/lfs"),
            ("/srv/r.git", "file:///srv/lfs"),
        ] {
            assert_eq!(asked(origin, url), Ok(Endpoint::SameHost), "{origin} {url}");
        }
    }

    #[test]
    fn another_host_serves_them_over_https() {
        let elsewhere = |host: &str, port| Ok(Endpoint::Elsewhere { host: host.to_owned(), port });
        assert_eq!(asked("https://x.org/o/r.git", "https://lfs.org/a"), elsewhere("lfs.org", 443));
        assert_eq!(asked("https://x.org/o/r.git", "https://lfs.org:8443/"), elsewhere("lfs.org", 8443));
        assert_eq!(asked("/srv/r.git", "https://lfs.org"), elsewhere("lfs.org", 443));
        assert_eq!(asked("https://x.org/o/r.git", "https://[::1]:8443/a"), elsewhere("::1", 8443));
        for url in [
            "http://lfs.org/a",
            "ssh://git@lfs.org/a",
            "git@lfs.org:a",
            "file:///srv/lfs",
            "/srv/lfs",
            "git://lfs.org/a",
            "https://x.org@lfs.org:a/b@c:d",
            "ext::sh -c true",
            "https://me:password@lfs.org/a",
            "-x",
            "",
        ] {
            let answer = asked("https://x.org/o/r.git", url);
            assert!(answer.is_err(), "{url}: {answer:?}");
        }
    }

    #[test]
    fn addresses_of_a_machine_or_its_network_are_not_public() {
        for address in [
            "127.0.0.1",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001::1",
        ] {
            assert!(!is_public(address.parse().expect(address)), "{address}");
        }
        for address in ["1.1.1.1", "140.82.121.4", "2606:4700::1111", "64:ff9b::101:101", "2002:101:101::"] {
            assert!(is_public(address.parse().expect(address)), "{address}");
        }
    }
}
