//! Which submodules of a commit the host fetches, and from where. Pure.
//!
//! Whoever wrote the commit chose the addresses, and the host fetches with its owner's credentials: so only what is on the host of
//! the environment's own repository is fetched, by the same transport. Everything else is left empty, with the reason.

use std::collections::BTreeMap;

use crate::names::RepositoryUrl;

/// More than repositories have. The rest is left empty.
const MOST: usize = 64;

/// A submodule of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submodule {
    /// Where it is, from the root of the worktree.
    pub path: String,
    /// Where it can be fetched from, or why it is not.
    pub source: Result<RepositoryUrl, String>,
}

/// Decides for each of the `paths` that a commit has submodules at. `config` is what `git config -z --list` says of the commit's
/// `.gitmodules`; `origin` is where the repository itself is from.
pub fn submodules<'p>(config: &str, origin: &RepositoryUrl, paths: impl IntoIterator<Item = &'p str>) -> Vec<Submodule> {
    let urls = urls_by_path(config);
    let decided = paths.into_iter().enumerate().map(|(n, path)| {
        let source = match urls.get(path) {
            _ if n >= MOST => Err(format!("only the first {MOST} submodules are fetched")),
            None => Err("`.gitmodules` does not say where it is from".to_owned()),
            Some(url) => resolve(origin, url),
        };
        Submodule { path: path.to_owned(), source }
    });
    decided.collect()
}

fn urls_by_path(config: &str) -> BTreeMap<&str, &str> {
    let mut paths = BTreeMap::new();
    let mut urls = BTreeMap::new();
    for record in config.split('\0') {
        let Some((key, value)) = record.split_once('\n') else { continue };
        let Some((name, variable)) = key.strip_prefix("submodule.").and_then(|rest| rest.rsplit_once('.')) else { continue };
        match variable {
            "path" => paths.insert(name, value.trim_end_matches('/')),
            "url" => urls.insert(name, value),
            _ => None,
        };
    }
    paths.into_iter().filter_map(|(name, path)| Some((path, *urls.get(name)?))).collect()
}

/// The address that a submodule's `url` means, as git resolves it, if it may be fetched.
fn resolve(origin: &RepositoryUrl, url: &str) -> Result<RepositoryUrl, String> {
    let absolute =
        if url.starts_with("./") || url.starts_with("../") { relative(origin.as_str(), url) } else { Some(url.to_owned()) };
    let absolute = absolute.ok_or_else(|| format!("`{}` leads out of the host", shown(url)))?;
    let found = RepositoryUrl::parse(&absolute).map_err(|problem| problem.detail)?;
    if place(found.as_str()) == place(origin.as_str()) {
        Ok(found)
    } else {
        Err(format!("`{}` is not on the host of the repository itself, in the same way", shown(url)))
    }
}

fn relative(origin: &str, url: &str) -> Option<String> {
    let (mut base, mut rest) = (origin.trim_end_matches('/'), url);
    loop {
        if let Some(after) = rest.strip_prefix("./") {
            rest = after;
        } else if let Some(after) = rest.strip_prefix("../") {
            rest = after;
            // As git does: up to the last slash, or to the colon of `host:path`.
            let (left, right) = base.split_at(base.rfind(['/', ':'])?);
            if right.starts_with(':') {
                return Some(format!("{left}:{}", after_dots(rest)?));
            }
            if left.ends_with('/') {
                return None;
            }
            base = left;
        } else {
            return Some(format!("{base}/{}", after_dots(rest)?));
        }
    }
}

fn after_dots(rest: &str) -> Option<&str> {
    (!rest.split('/').any(|part| part == "..")).then_some(rest)
}

/// Transport and host. Paths of this machine are one place.
fn place(url: &str) -> (&str, String) {
    if url.starts_with('/') {
        return ("file", String::new());
    }
    let (scheme, authority) = match url.split_once("://") {
        Some((scheme, rest)) => (scheme, rest.split('/').next().unwrap_or_default()),
        None => ("ssh", url.split(':').next().unwrap_or_default()),
    };
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    (scheme, host.to_ascii_lowercase())
}

/// A text of a stranger, as much as a note can take.
fn shown(text: &str) -> String {
    crate::codex::printable_line(text, 120)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(origin: &str, url: &str) -> Result<String, String> {
        let origin = RepositoryUrl::parse(origin).expect("a URL");
        let config = format!("submodule.a.path\nlibs/a\0submodule.a.url\n{url}\0");
        let [found] = submodules(&config, &origin, ["libs/a"]).try_into().expect("one");
        found.source.map(|url| url.as_str().to_owned())
    }

    #[test]
    fn what_is_on_the_same_host_is_fetched() {
        for (origin, url, expected) in [
            ("https://x.org/o/r.git", "https://x.org/p/s.git", "https://x.org/p/s.git"),
            ("https://x.org/o/r.git", "https://X.org/p/s.git", "https://X.org/p/s.git"),
            ("https://x.org/o/r.git", "../s.git", "https://x.org/o/s.git"),
            ("https://x.org/o/r.git/", "../../p/s", "https://x.org/p/s"),
            ("https://x.org/o/r.git", "./s", "https://x.org/o/r.git/s"),
            ("git@x.org:o/r.git", "../s.git", "git@x.org:o/s.git"),
            ("git@x.org:r.git", "../s.git", "git@x.org:s.git"),
            ("git@x.org:o/r.git", "git@x.org:p/s.git", "git@x.org:p/s.git"),
            ("/srv/r.git", "/srv/s.git", "/srv/s.git"),
            ("/srv/r.git", "../s.git", "/srv/s.git"),
            ("file:///srv/r.git", "../s.git", "file:///srv/s.git"),
        ] {
            assert_eq!(source(origin, url).as_deref(), Ok(expected), "{origin} {url}");
        }
    }

    #[test]
    fn what_is_elsewhere_or_means_a_program_is_not() {
        for (origin, url) in [
            ("https://x.org/o/r.git", "https://y.org/p/s.git"),
            ("https://x.org/o/r.git", "http://x.org/p/s.git"),
            ("https://x.org/o/r.git", "https://x.org:8443/p/s.git"),
            ("https://x.org/o/r.git", "https://x.org@evil.org/p/s.git"),
            ("https://x.org/o/r.git", "ssh://git@x.org/p/s.git"),
            ("https://x.org/o/r.git", "file:///etc"),
            ("https://x.org/o/r.git", "/etc"),
            ("https://x.org/o/r.git", "ext::sh -c touch% /tmp/x"),
            ("https://x.org/o/r.git", "-u./x"),
            ("https://x.org/o/r.git", "../../../../../etc"),
            ("https://x.org/o/r.git", "../../../y.org/s"),
            ("https://x.org/o/r.git", "../a/../../../../etc"),
            ("https://x.org/o/r.git", ""),
            ("/srv/r.git", "https://y.org/p/s.git"),
        ] {
            assert!(source(origin, url).is_err(), "{origin} {url}: {:?}", source(origin, url));
        }
    }

    #[test]
    fn one_without_an_address_and_one_too_many_are_named() {
        let origin = RepositoryUrl::parse("/srv/r.git").expect("a URL");
        let found = submodules("submodule.x.path\nx\0submodule.y.url\n/srv/y\0\0core.bare\ntrue\0junk", &origin, ["x", "y"]);
        assert!(found.iter().all(|one| one.source.is_err()) && found.len() == 2, "{found:?}");
        let names: Vec<_> = (0..=MOST).map(|n| format!("s{n}")).collect();
        let records = names.iter().map(|name| format!("submodule.{name}.path\n{name}/\0submodule.{name}.url\n../s"));
        let config = records.collect::<Vec<_>>().join("\0");
        let found = submodules(&config, &origin, names.iter().map(String::as_str));
        assert_eq!(found.iter().filter(|one| one.source.is_ok()).count(), MOST);
    }
}
