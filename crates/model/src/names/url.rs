//! The URL of a repository. It cannot be mistaken for an option, does not run a program, and contains no password.
//!
//! The patterns in the `OpenAPI` document follow the same rules as the parser. Invariant: no error repeats a secret.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{shown, unusable};
use crate::error_code::ErrorCode;
use crate::problem::Problem;
use crate::schema::{described, text, text_in_requests, trimmed};

/// The maximum size of a URL in bytes.
const URL_LIMIT_BYTES: usize = 2000;

text_type!(
    /// The URL of a repository: https, http, ssh, git, file, scp-like (`git@host:path`) or an absolute path. It never contains
    /// a password. At most 2,000 bytes.
    RepositoryUrl,
    url_pattern(""),
    max_length: URL_LIMIT_BYTES
);

text_in_requests!(
    /// The URL of a new repository: https, http, ssh, git, file, scp-like (`git@host:path`) or an absolute path. It cannot contain a
    /// password, and http URLs cannot contain a query or a fragment. At most 2,000 bytes.
    pub NewRepositoryUrl,
    |description| text(description, url_pattern("?#")).max_length(Some(URL_LIMIT_BYTES))
);

/// Returns the pattern of URLs that [`RepositoryUrl::parse`] accepts. `refused` contains characters that an http URL cannot contain.
fn url_pattern(refused: &str) -> String {
    let bad = r"\x00-\x1f\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000";
    let path = |refused: &str| format!(r"[^{bad}{refused}]*[^{bad}\x20{refused}]");
    let host = format!(r#"[^{bad}\x20@/%?#\\"<>\x60\-][^{bad}\x20@/%?#\\"<>\x60]*"#);
    let (user, rest) = (format!(r#"[^{bad}/:?#\\"<>\x60\-]"#), format!(r#"[^{bad}/:?#\\"<>\x60]"#));
    let tokens = "(?!ghp_|gho_|ghs_|glpat-|github_pat_)";
    let web = format!("https?://(?:{tokens}(?:{user}{rest}{{0,18}})?@)?{host}/{}", path(refused));
    let user = format!("(?:(?:{user}{rest}*)?@)?");
    let other = format!(r"(?:ssh|git|git\+ssh|ssh\+git)://{user}{host}/{}", path(""));
    let file = format!("file://{user}(?:{host})?/{}", path(""));
    let absolute = format!("/(?:{})?", path(""));
    let plain_web = if refused.is_empty() { String::new() } else { format!("(?!http[^{bad}]*[{refused}])") };
    let scp =
        format!(r"{plain_web}(?![^{bad}]*(?:://|::))(?![\x20\-])(?:[^{bad}/:]*@)?[^{bad}/:@\-][^{bad}/:@]*:(?!-){}", path(""));
    trimmed(&[absolute, web, other, file, scp].join("|"))
}

impl RepositoryUrl {
    /// Parses a URL.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let text = text.trim();
        let refused = |why: &str| {
            let shown = shown(&without_secrets(text));
            unusable(ErrorCode::RepositoryUrlRefused, format!("the repository URL `{shown}` {why}"))
                .hint("use https://host/owner/repo.git, git@host:owner/repo.git, ssh://…, file:///path or an absolute path")
        };
        if text.is_empty() {
            return Err(refused("is empty"));
        }
        if text.len() > URL_LIMIT_BYTES || text.chars().any(|c| c.is_control() || c.is_whitespace() && c != ' ') {
            return Err(refused("contains invalid characters or is too long"));
        }
        if text.starts_with('-') {
            return Err(refused("looks like a command-line option"));
        }
        if text.starts_with('/') {
            return Ok(Self(text.to_owned()));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return Self::with_scheme(text, scheme, rest, &refused);
        }
        if text.contains("::") {
            return Err(refused("uses a remote helper, which could run any program"));
        }
        Self::scp_like(text).ok_or_else(|| refused("cannot be cloned"))
    }

    fn with_scheme(text: &str, scheme: &str, rest: &str, refused: &dyn Fn(&str) -> Problem) -> Result<Self, Problem> {
        if !matches!(scheme, "https" | "http" | "ssh" | "git" | "file" | "git+ssh" | "ssh+git") {
            return Err(refused("has an unsupported scheme"));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if path.is_empty() {
            return Err(refused("has no repository path"));
        }
        let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        if host.starts_with('-') || user.is_some_and(|user| user.starts_with('-')) {
            return Err(refused("has a host or user that looks like a command-line option"));
        }
        if host.is_empty() && scheme != "file" {
            return Err(refused("has no host"));
        }
        // Programs disagree about whether the host ends at these characters, so a check here could apply to a different host
        // than the later request.
        if authority.contains(['?', '#', '\\', '"', '<', '>', '`']) || host.contains(['%', ' ']) {
            return Err(refused("has invalid characters in its host"));
        }
        let secret = user.is_some_and(|user| user.contains(':') || (scheme.starts_with("http") && looks_like_token(user)));
        if secret {
            // Do not repeat the URL: it contains the secret.
            return Err(unusable(
                ErrorCode::UrlHasCredentials,
                format!("the repository URL for `{host}` contains a password or token"),
            )
            .hint(
                "remove it from the URL, and let git get it from `git credential approve`, a credential helper or an ssh URL",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// Parses `[user@]host:path`, the usual form of ssh clone URLs.
    fn scp_like(text: &str) -> Option<Self> {
        let (authority, path) = text.split_once(':')?;
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let plain = !authority.contains('/') && !host.is_empty() && !host.starts_with('-') && !path.is_empty();
        (plain && !path.starts_with('-')).then(|| Self(text.to_owned()))
    }

    /// Parses the URL of a new repository. Rejects a query and a fragment, because a token in them would be stored and shown.
    pub fn parse_new(text: &str) -> Result<Self, Problem> {
        let url = Self::parse(text)?;
        if url.0.starts_with("http") && url.0.contains(['?', '#']) {
            // Do not repeat the URL: it may contain a secret.
            let host = url.host().unwrap_or_default();
            return Err(unusable(
                ErrorCode::UrlHasCredentials,
                format!("the repository URL for `{}` has a query or fragment, which could contain a token", shown(host)),
            )
            .hint("remove the `?` or `#` and everything after it, and let git get the token from a credential helper"));
        }
        Ok(url)
    }

    /// Returns the host without the user and the port, or `None` for a path on this machine.
    pub fn host(&self) -> Option<&str> {
        let (authority, _) = self.parts()?;
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let host = match host.rsplit_once(':') {
            Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) => name,
            Some(_) | None => host,
        };
        Some(host).filter(|host| !host.is_empty())
    }

    /// Returns the path on the host, such as `owner/name.git`.
    pub fn project_path(&self) -> Option<&str> {
        self.parts().map(|(_, path)| path.trim_matches('/'))
    }

    fn parts(&self) -> Option<(&str, &str)> {
        // A path can contain anything that a URL contains.
        if self.0.starts_with('/') {
            return None;
        }
        match self.0.split_once("://") {
            Some(("file", _)) => None,
            Some((_, rest)) => rest.split_once('/'),
            None => self.0.split_once(':'),
        }
    }

    /// Returns the last part of the path without `.git`, as a display name.
    pub fn repository_name(&self) -> &str {
        let path = self.0.trim_end_matches('/');
        let last = path.rsplit(['/', ':']).next().unwrap_or(path);
        let name = last.strip_suffix(".git").unwrap_or(last);
        if name.is_empty() { "repository" } else { name }
    }
}

/// Replaces the parts of an invalid URL that may contain a password or a token with `***`.
fn without_secrets(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (&text[..scheme.len() + 3], rest));
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) if !scheme.is_empty() || user.contains(':') => ("***@", rest),
        Some(_) | None => ("", rest),
    };
    let (path, query) = rest.find(['?', '#']).map_or((rest, ""), |start| (&rest[..=start], "***"));
    format!("{scheme}{user}{path}{query}")
}

/// Returns whether a user name looks like a token (`ghp_…`, `x-oauth…`). Account names are shorter than tokens.
fn looks_like_token(user: &str) -> bool {
    user.chars().count() >= 20 || ["ghp_", "gho_", "ghs_", "glpat-", "github_pat_"].iter().any(|prefix| user.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::tests::agree;

    #[test]
    fn every_kind_of_url_that_git_clones_is_taken() {
        for (url, name) in [
            ("https://github.com/owner/repo.git", "repo"),
            ("https://org@dev.azure.com/org/project/_git/repo", "repo"),
            ("ssh://git@host:2222/owner/repo", "repo"),
            ("git@github.com:owner/repo.git", "repo"),
            ("host:repo", "repo"),
            ("file:///srv/git/repo.git/", "repo"),
            ("/srv/git/a repo", "a repo"),
        ] {
            let parsed = RepositoryUrl::parse(url).unwrap_or_else(|problem| panic!("{url}: {problem}"));
            assert_eq!(parsed.repository_name(), name);
        }
    }

    #[test]
    fn a_path_has_no_host_whatever_it_contains() {
        for path in ["/srv/repo", "/https://-https://", "/ssh://git@host/owner/repo", "/a:b"] {
            let url = RepositoryUrl::parse(path).expect(path);
            assert_eq!((url.host(), url.project_path()), (None, None), "{path}");
        }
    }

    #[test]
    fn urls_that_run_programs_or_look_like_options_are_refused() {
        for url in [
            "",
            "-uploadpack=touch x",
            "--help",
            "ext::sh -c 'touch x'",
            "fd::17",
            "foo::bar",
            "ssh://-oProxyCommand=x/repo",
            "-oProxyCommand=x:repo",
            "git@-oProxyCommand=x:repo",
            "relative/path",
            "javascript://x/y",
            "https:///repo",
            "https://host",
            "https://host/a\nb",
            "https://evil.example?@host/repo",
            "https://evil.example#@host/repo",
            "https://evil.example\\@host/repo",
            "https://host%2eevil.example/repo",
        ] {
            assert!(RepositoryUrl::parse(url).is_err(), "{url} was accepted");
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_repeated() {
        for url in ["https://me:hunter2@host/repo", "https://ghp_hunter2hunter2@host/repo", "ssh://me:hunter2@host/repo"] {
            let problem = RepositoryUrl::parse(url).expect_err("the URL contains a password");
            assert_eq!(problem.report.code, ErrorCode::UrlHasCredentials);
            assert!(!format!("{problem:?}").contains("hunter2"), "{problem:?}");
        }
    }

    #[test]
    fn a_url_that_is_invalid_for_another_reason_is_named_without_its_secrets() {
        for (url, shown) in [
            ("https://me:hunter2@host", "https://***@host"),
            ("ftp://me:hunter2@host/repo", "ftp://***@host/repo"),
            ("https://me:hunt@er2@-host/repo", "https://***@-host/repo"),
            ("https://host?token=hunter2", "https://host?***"),
            ("https://me:hunter2@host/a\nb?x=hunter2", "https://***@host/ab?***"),
            ("x::me:hunter2@host/repo", "***@host/repo"),
            ("git@-host:repo?", "git@-host:repo?***"),
        ] {
            let problem = RepositoryUrl::parse(url).expect_err(url);
            assert!(problem.report.message.starts_with(&format!("the repository URL `{shown}` ")), "{problem:?}");
        }
    }

    #[test]
    fn a_token_in_a_query_is_refused_and_not_repeated() {
        for query in ["?private_token=hunter2", "?x=hunter2", "#access_token=hunter2", "/?%74oken=hunter2"] {
            let problem = RepositoryUrl::parse_new(&format!("https://host/repo.git{query}")).expect_err(query);
            assert_eq!(problem.report.code, ErrorCode::UrlHasCredentials);
            assert!(!format!("{problem:?}").contains("hunter2"), "{problem:?}");
        }
        for url in ["https://host/repo.git", "/srv/what?/repo", "git@host:a#b"] {
            assert_eq!(RepositoryUrl::parse_new(url), RepositoryUrl::parse(url), "{url}");
        }
    }

    #[test]
    fn the_schemas_describe_what_the_parsers_accept() {
        const PIECES: &[&str] = &[
            "https://",
            "http://",
            "ssh://",
            "git+ssh://",
            "file://",
            "git",
            "http",
            "ghp_",
            "@",
            ":",
            "::",
            "/",
            "//",
            "-",
            " ",
            "\n",
            "?",
            "#",
            "%",
            "\\",
            "\"",
            "a",
            "ä",
            "\u{a0}",
            "2222",
            "host",
            "owner/repo",
            ".git",
        ];
        let samples = [
            "https://github.com/owner/repo.git",
            "https://org@dev.azure.com/org/_git/repo",
            "ssh://git@host:2222/owner/repo",
            "git@github.com:owner/repo.git",
            "host:repo",
            "file:///srv/git/repo.git/",
            "/srv/git/a repo",
            "https://host/repo?token=x",
            "https://me:hunter2@host/repo",
            "https://ghp_hunter2@host/repo",
            "https://aaaaaaaaaaaaaaaaaaaa@host/repo",
            "http:repo#x",
            "ext::sh",
            "-x:y",
            "a:-x",
            "/",
            "file://user@/x",
            "@host:x",
            "https://@host/x",
            "ssh://-x@host/y",
            " https://host/a b ",
        ];
        agree::<RepositoryUrl>(|text| RepositoryUrl::parse(text).is_ok(), &samples, PIECES);
        agree::<NewRepositoryUrl>(|text| RepositoryUrl::parse_new(text).is_ok(), &samples, PIECES);
    }
}
