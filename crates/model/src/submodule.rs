//! Decides which submodules of a commit the host fetches, and from where.
//!
//! The author of the commit chose the URLs, but the host fetches with its owner's credentials. Therefore, a submodule is fetched
//! only if it is on the repository's own host, uses the same transport, and has a URL that the owner trusts ([`Sources`]). All
//! other submodules stay empty, and a note gives the reason.

use std::collections::BTreeMap;

use crate::names::RepositoryUrl;

/// The maximum number of submodules that are fetched. The others stay empty.
const MOST: usize = 64;

/// URLs that the owner trusts: those in the `.gitmodules` of trusted branches, and those that somebody allowed.
///
/// URLs with different spellings match if they have the same meaning. The trusted spelling is fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources(BTreeMap<String, RepositoryUrl>);

impl Sources {
    /// Trusts every URL of a `.gitmodules` file. `config` and `origin` have the same meaning as in [`submodules`].
    pub fn trust_all(&mut self, config: &str, origin: &RepositoryUrl) {
        for url in urls_by_path(config).into_values() {
            if let Ok(url) = resolve(origin, url) {
                self.trust(url);
            }
        }
    }

    /// Trusts a URL.
    pub fn trust(&mut self, url: RepositoryUrl) {
        self.0.entry(canonical(&url)).or_insert(url);
    }

    /// Returns the trusted URL with the same meaning.
    pub fn get(&self, url: &RepositoryUrl) -> Option<&RepositoryUrl> {
        self.0.get(&canonical(url))
    }
}

/// Returns the canonical form of a URL, which is equal for URLs with the same meaning: scheme and host in lower case, no default
/// port, no `.` and `..`, and no slash or `.git` at the end.
pub fn canonical(url: &RepositoryUrl) -> String {
    let text = url.as_str();
    let (head, path) = match text.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            let (user, host) = authority.rsplit_once('@').map_or(("", authority), |(user, host)| (user, host));
            let scheme = scheme.to_ascii_lowercase();
            let host = host.to_ascii_lowercase();
            let port = match scheme.as_str() {
                "https" => ":443",
                "http" => ":80",
                "git" => ":9418",
                "ssh" | "git+ssh" | "ssh+git" => ":22",
                _ => "",
            };
            let host = if port.is_empty() { &host } else { host.strip_suffix(port).unwrap_or(&host) };
            if scheme == "file" { (String::new(), path) } else { (format!("{scheme}://{user}@{host}"), path) }
        }
        None if text.starts_with('/') => (String::new(), text),
        None => {
            let (authority, path) = text.split_once(':').unwrap_or((text, ""));
            let (user, host) = authority.rsplit_once('@').map_or(("", authority), |(user, host)| (user, host));
            // The path starts in the user's home folder unless it starts with a slash.
            let from = if path.starts_with('/') { "" } else { "~" };
            (format!("{user}@{}:{from}", host.to_ascii_lowercase()), path)
        }
    };
    let mut parts: Vec<&str> = vec![];
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let path = parts.join("/");
    format!("{head}/{}", path.strip_suffix(".git").filter(|name| !name.is_empty() && !name.ends_with('/')).unwrap_or(&path))
}

/// Formats an untrusted URL for display: every character that is not an ASCII letter, digit or punctuation mark is
/// replaced by its code.
pub fn visible(url: &RepositoryUrl) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || c.is_ascii_graphic() || c == ' ';
    let shown = url.as_str().chars().map(|c| if is_plain(c) { c.to_string() } else { format!("<U+{:04X}>", u32::from(c)) });
    shown.collect()
}

/// A submodule of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submodule {
    /// The path from the root of the worktree.
    pub path: String,
    /// The URL to fetch from, or why the submodule is not fetched.
    pub source: Result<RepositoryUrl, String>,
}

/// Decides whether to fetch each of the submodules at `paths`. `config` is the output of `git config -z --list` for the
/// commit's `.gitmodules`; `origin` is the URL of the repository itself.
pub fn submodules<'p>(config: &str, origin: &RepositoryUrl, paths: impl IntoIterator<Item = &'p str>) -> Vec<Submodule> {
    let urls = urls_by_path(config);
    let decided = paths.into_iter().enumerate().map(|(n, path)| {
        let source = match urls.get(path) {
            _ if n >= MOST => Err(format!("only the first {MOST} submodules are fetched")),
            None => Err("`.gitmodules` has no URL for this submodule".to_owned()),
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

/// Resolves a submodule's `url` like git does, and returns it if it may be fetched.
fn resolve(origin: &RepositoryUrl, url: &str) -> Result<RepositoryUrl, String> {
    let absolute =
        if url.starts_with("./") || url.starts_with("../") { relative(origin.as_str(), url) } else { Some(url.to_owned()) };
    let absolute = absolute.ok_or_else(|| format!("`{}` points outside the repository's host", shown(url)))?;
    let found = RepositoryUrl::parse(&absolute).map_err(|problem| problem.report.message)?;
    if place(found.as_str()) == place(origin.as_str()) {
        Ok(found)
    } else {
        Err(format!("`{}` is not on the repository's own host, or uses a different transport", shown(url)))
    }
}

fn relative(origin: &str, url: &str) -> Option<String> {
    let (mut base, mut rest) = (origin.trim_end_matches('/'), url);
    loop {
        if let Some(after) = rest.strip_prefix("./") {
            rest = after;
        } else if let Some(after) = rest.strip_prefix("../") {
            rest = after;
            // As in git, cut at the last slash, or at the colon of `host:path`.
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

/// Returns the transport and the host. All paths on this machine have the same host.
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

/// Shortens untrusted text for a note.
fn shown(text: &str) -> String {
    printable::printable_line(text, 120)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(origin: &str, url: &str) -> Result<String, String> {
        let origin = RepositoryUrl::parse(origin).expect("the URL is valid");
        let config = format!("submodule.a.path\nlibs/a\0submodule.a.url\n{url}\0");
        let [found] = submodules(&config, &origin, ["libs/a"]).try_into().expect("there is one submodule");
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
    fn urls_that_mean_the_same_are_the_same() {
        let canonical = |text: &str| canonical(&RepositoryUrl::parse(text).expect(text));
        for (one, other) in [
            ("https://x.org/o/r.git", "https://X.ORG:443/o/./r/"),
            ("https://x.org/o/r", "https://x.org/o/p/../r.git"),
            ("http://x.org/r", "http://x.org:80//r"),
            ("ssh://git@x.org/r", "ssh://git@x.org:22/r.git"),
            ("git@x.org:o/r", "git@X.org:o/r.git/"),
            ("/srv/r", "/srv/x/../r.git/"),
            ("/srv/r", "file:///srv/r"),
        ] {
            assert_eq!(canonical(one), canonical(other), "{one} {other}");
        }
        for (one, other) in [
            ("https://x.org/o/r", "https://x.org/o/R"),
            ("https://x.org/o/r", "https://x.org:8443/o/r"),
            ("https://x.org/o/r", "http://x.org/o/r"),
            ("https://x.org/o/r", "https://me@x.org/o/r"),
            ("https://x.org/o/r", "https://x.org/o/%72"),
            ("https://x.org/o/r", "https://x.org/o/r2"),
            ("https://x.org/o/r", "https://x.org/o/../r"),
            ("git@x.org:o/r", "git@x.org:/o/r"),
            ("git@x.org:o/r", "ssh://git@x.org/o/r"),
            ("/srv/r", "/srv/r/.git"),
        ] {
            assert_ne!(canonical(one), canonical(other), "{one} {other}");
        }
    }

    #[test]
    fn what_is_fetched_is_spelled_as_it_was_trusted() {
        let url = |text: &str| RepositoryUrl::parse(text).expect("the URL is valid");
        let mut sources = Sources::default();
        sources.trust_all(
            "submodule.a.path\nlibs/a\0submodule.a.url\n../s.git\0submodule.b.path\nb\0submodule.b.url\nhttps://y.org/x\0",
            &url("/srv/r"),
        );
        assert_eq!(sources.get(&url("/srv/link/../s")), Some(&url("/srv/s.git")));
        assert_eq!((sources.get(&url("/srv/t")), sources.get(&url("https://y.org/x"))), (None, None));
    }

    #[test]
    fn a_url_of_a_stranger_hides_nothing() {
        let url = RepositoryUrl::parse("/srv/a\u{202e}b\u{200b} \u{e4}").expect("the URL is valid");
        assert_eq!(visible(&url), "/srv/a<U+202E>b<U+200B> \u{e4}");
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
        let origin = RepositoryUrl::parse("/srv/r.git").expect("the URL is valid");
        let found = submodules("submodule.x.path\nx\0submodule.y.url\n/srv/y\0\0core.bare\ntrue\0junk", &origin, ["x", "y"]);
        assert!(found.iter().all(|one| one.source.is_err()) && found.len() == 2, "{found:?}");
        let names: Vec<_> = (0..=MOST).map(|n| format!("s{n}")).collect();
        let records = names.iter().map(|name| format!("submodule.{name}.path\n{name}/\0submodule.{name}.url\n../s"));
        let config = records.collect::<Vec<_>>().join("\0");
        let found = submodules(&config, &origin, names.iter().map(String::as_str));
        assert_eq!(found.iter().filter(|one| one.source.is_ok()).count(), MOST);
    }
}
