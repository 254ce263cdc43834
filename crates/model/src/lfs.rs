//! Decides where the host downloads large files (Git LFS) from.
//!
//! The address comes from the repository's default branch. It can be an https URL of any server on the internet, or any URL on the
//! repository's own host. The caller checks that a host name resolves to a public address.

use crate::names::RepositoryUrl;

/// The server that stores large files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// The repository's own host.
    SameHost,
    /// Another host, which must be on the internet.
    Elsewhere {
        /// The host's name or address.
        host: String,
        /// The host's port.
        port: u16,
    },
}

/// Decides whether the host may use the address `asked` for the repository at `origin`. The error is the reason why not.
pub fn endpoint(origin: &RepositoryUrl, asked: &str) -> Result<Endpoint, String> {
    let shown = printable::printable_line(asked, 120);
    let has_path = asked.split_once("://").is_none_or(|(_, rest)| rest.trim_end_matches('/').contains('/'));
    let with_path = if has_path { asked.to_owned() } else { format!("{}/lfs", asked.trim_end_matches('/')) };
    let url = RepositoryUrl::parse(&with_path).map_err(|problem| problem.report.message)?;
    let is_local = |url: &RepositoryUrl| url.as_str().starts_with('/') || url.as_str().starts_with("file://");
    if url.host().is_some_and(|host| host.contains(':') && !host.starts_with('[')) {
        return Err(format!("`{shown}` has an invalid port"));
    }
    match (url.host(), origin.host()) {
        (Some(host), Some(own)) if host.eq_ignore_ascii_case(own) => Ok(Endpoint::SameHost),
        (None, _) if is_local(&url) && is_local(origin) => Ok(Endpoint::SameHost),
        (Some(host), _) if url.as_str().starts_with("https://") => {
            let authority = url.as_str()["https://".len()..].split('/').next().unwrap_or_default();
            let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(443);
            Ok(Endpoint::Elsewhere { host: host.trim_matches(['[', ']']).to_owned(), port })
        }
        (Some(_), _) => Err(format!("`{shown}` does not use https and is not on the repository's own host")),
        (None, _) => Err(format!("`{shown}` is a path on this machine")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(origin: &str, url: &str) -> Result<Endpoint, String> {
        endpoint(&RepositoryUrl::parse(origin).expect("the URL is valid"), url)
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
}
