//! Git hosts: the Git host of a repository, the repository's name on it, and the web pages.
//!
//! These types never contain a token: a token is a [`Secret`](crate::secret::Secret) that is stored with the repository's other
//! secrets.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use crate::error_code::ErrorCode;
use crate::names::{BranchName, RepositoryUrl, shown};
use crate::problem::Problem;
use crate::schema::{CONTROL, SPACE, described, one_of, text, text_in_requests, trimmed};
use crate::settings::{Choice, Group, Input, settings, text_by_as_str};

/// A supported kind of Git host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ForgeKind {
    /// github.com, or GitHub Enterprise.
    GitHub,
    /// gitlab.com, or a self-hosted GitLab.
    GitLab,
    /// Forgejo or Gitea, such as codeberg.org.
    Forgejo,
}

impl ForgeKind {
    /// Returns the name in settings and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::Forgejo => "forgejo",
        }
    }

    /// Parses the name in settings and in the API.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        match text {
            "github" => Ok(Self::GitHub),
            "gitlab" => Ok(Self::GitLab),
            "forgejo" | "gitea" => Ok(Self::Forgejo),
            _ => Err(refused(format!("unknown Git host `{}`", shown(text))).hint("use `github`, `gitlab` or `forgejo`")),
        }
    }

    /// Returns the display name.
    pub fn name(self) -> &'static str {
        match self {
            Self::GitHub => "GitHub",
            Self::GitLab => "GitLab",
            Self::Forgejo => "Forgejo",
        }
    }

    /// Returns the term for a pull request on this Git host.
    pub fn request_name(self) -> &'static str {
        match self {
            Self::GitHub | Self::Forgejo => "pull request",
            Self::GitLab => "merge request",
        }
    }

    /// Guesses the kind from a host name.
    fn of_host(host: &str) -> Option<Self> {
        let has = |word: &str| host.split('.').any(|part| part == word);
        if host == "github.com" || has("github") {
            Some(Self::GitHub)
        } else if host == "gitlab.com" || has("gitlab") {
            Some(Self::GitLab)
        } else if host == "codeberg.org" || has("forgejo") || has("gitea") {
            Some(Self::Forgejo)
        } else {
            None
        }
    }

    fn default_api(self, host: &str) -> String {
        match self {
            Self::GitHub if host == "github.com" => "https://api.github.com".to_owned(),
            Self::GitHub => format!("https://{host}/api/v3"),
            Self::GitLab => format!("https://{host}/api/v4"),
            Self::Forgejo => format!("https://{host}/api/v1"),
        }
    }
}

fn refused(detail: String) -> Problem {
    Problem::new(ErrorCode::ForgeRefused, detail)
}

/// The name of a repository on its Git host: `owner/name`. On GitLab, the owner can be a group with any number of subgroups.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct ProjectPath(String);

described!(ProjectPath, {
    let part = r"[0-9A-Za-z_][0-9A-Za-z_.\-]*";
    let doubled = format!(r"[0-9A-Za-z_.\-/]*\.git\.git/*[{SPACE}]*$");
    let pattern = trimmed(&format!("(?!{doubled})/*{part}(?:/{part})+/*"));
    text("The name of a repository on its Git host: `owner/name`, or `group/subgroup/name` on GitLab.", pattern)
        .max_length(Some(255))
});

impl ProjectPath {
    /// Parses `owner/name`. Git hosts only use letters, digits and signs of ASCII.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        if text.trim().is_ascii() { Self::read(text) } else { Err(unusable_project(text)) }
    }

    /// Parses a path less strictly, because records of earlier versions may contain other letters.
    fn read(text: &str) -> Result<Self, Problem> {
        let path = text.trim().trim_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        let plain = |part: &str| {
            !part.is_empty()
                && !part.starts_with(['-', '.'])
                && part.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
        };
        // A path that is parsed again must stay the same.
        let is_stable = path.strip_suffix(".git").is_none();
        if is_stable && path.len() <= 255 && path.split('/').count() >= 2 && path.split('/').all(plain) {
            Ok(Self(path.to_owned()))
        } else {
            Err(unusable_project(text))
        }
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the part before the first slash.
    pub fn owner(&self) -> &str {
        self.0.split('/').next().unwrap_or(&self.0)
    }
}

fn unusable_project(text: &str) -> Problem {
    refused(format!("invalid repository name `{}`", shown(text))).hint("use the form `owner/name`")
}

impl fmt::Display for ProjectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ProjectPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// The URL of a Git host's API, without a trailing slash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct ApiUrl(String);

described!(ApiUrl, {
    let bad = format!("?#{CONTROL}{SPACE}");
    let host = format!(r"https://[^/@{bad}]+|http://(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]*)?");
    let pattern = trimmed(&format!("(?:{host})(?:/[^{bad}]*)?"));
    text("The URL of a Git host's API. Only https URLs are accepted, and http URLs on this machine.", pattern)
        .max_length(Some(500))
});

text_in_requests!(
    /// The kind of a Git host. `gitea` means `forgejo`.
    pub(crate) ForgeName,
    |description| one_of(description, &["github", "gitlab", "forgejo", "gitea"])
);

impl ApiUrl {
    /// Parses an https URL, or an http URL on this machine. Other http URLs are rejected because a token is sent to the URL.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let url = text.trim().trim_end_matches('/');
        let refused = |why: &str| refused(format!("invalid API URL `{}`: it {why}", shown(text)));
        let (scheme, rest) = url.split_once("://").ok_or_else(|| refused("is not a URL"))?;
        let authority = rest.split('/').next().unwrap_or(rest);
        if authority.is_empty() || url.len() > 500 || url.chars().any(|c| c.is_control() || c.is_whitespace() || "?#".contains(c))
        {
            return Err(refused("has no host or contains invalid characters"));
        }
        if authority.contains('@') {
            return Err(refused("contains a user name").hint("use the separate token setting instead"));
        }
        let host = host_of(authority);
        let is_here = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        match scheme {
            "https" => Ok(Self(url.to_owned())),
            "http" if is_here => Ok(Self(url.to_owned())),
            _ => Err(refused("does not use https, so the token would be sent unencrypted")),
        }
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the host without the port.
    pub fn host(&self) -> &str {
        host_of(authority_of(&self.0))
    }

    /// Returns the root of the web pages, following the layout of GitHub, GitLab and Forgejo.
    fn web(&self) -> String {
        if self.host() == "api.github.com" {
            return "https://github.com".to_owned();
        }
        let base = ["/api/v3", "/api/v4", "/api/v1"].iter().find_map(|end| self.0.strip_suffix(end));
        base.unwrap_or(&self.0).to_owned()
    }
}

impl<'de> Deserialize<'de> for ApiUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

fn authority_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// Removes the port. An IPv6 address has brackets and contains colons.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.chars().all(|c| c.is_ascii_digit()) => host,
        Some(_) | None => authority,
    }
}

settings! {
    /// The Git host settings of a repository. Omitted settings are detected from the repository URL.
    #[derive(Eq)]
    pub struct ForgeSettings;

    /// Changes to [`ForgeSettings`] and the token. Omitted settings keep their values, and null restores the default.
    #[derive(Eq)]
    pub struct EditForge {
        /// Token for the Git host, used to push branches and open pull requests. The token is never returned.
        #[serde(default, deserialize_with = "crate::settings::given", skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<crate::secret::Secret>, write_only)]
        pub token: Option<Option<crate::secret::Secret>>,
    }

    forge in Group::GitHost, or refused;

    /// Type of Git host
    kind: Option<ForgeKind> = String as ForgeName => |text| ForgeKind::parse(&text).map(Some), {
        key: "forge_kind",
        flag: "forge",
        label: "Git host",
        default: "detected from the URL",
        input: Input::Choice(&[
            Choice { value: "github", meaning: "GitHub" },
            Choice { value: "gitlab", meaning: "GitLab" },
            Choice { value: "forgejo", meaning: "Forgejo or Gitea" },
        ]),
    }

    /// Name of the repository on the Git host, as `owner/name`
    project: Option<ProjectPath> = String as ProjectPath => |text| ProjectPath::parse(&text).map(Some), {
        key: "forge_project",
        flag: "forge-project",
        label: "Repository",
        default: "detected from the URL",
        input: Input::Text("OWNER/NAME"),
    }

    /// Address of the Git host's API
    api_url: Option<ApiUrl> = String as ApiUrl => |text| ApiUrl::parse(&text).map(Some), {
        key: "forge_api",
        flag: "forge-api",
        label: "API URL",
        default: "the usual address for this type of Git host",
        input: Input::Text("URL"),
    }
}

text_by_as_str!(ForgeKind, ProjectPath, ApiUrl);

impl ForgeSettings {
    /// Applies `edit` to these settings, except for the token.
    pub fn edited(self, edit: &EditForge) -> Result<Self, Problem> {
        self.with_each(edit)
    }
}

/// The server's GitHub settings, for repositories without their own settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GitHubDefaults {
    /// The value of `ORCH_GITHUB_REPO`.
    pub project: Option<ProjectPath>,
    /// The value of `ORCH_GITHUB_API_URL`.
    pub api_url: Option<ApiUrl>,
}

/// A repository on a Git host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ForgePlace {
    /// The kind of the Git host.
    pub kind: ForgeKind,
    /// The URL of the Git host's API.
    pub api_url: ApiUrl,
    /// The name of the repository.
    pub project: ProjectPath,
    /// Whether the server's GitHub token may be used for this repository.
    pub is_default_github: bool,
}

impl ForgePlace {
    /// Finds the Git host of a repository: from the repository's settings, then its URL, then the server's settings.
    pub fn find(url: &RepositoryUrl, settings: &ForgeSettings, defaults: &GitHubDefaults) -> Option<Self> {
        let host = url.host();
        let from_url = url.project_path().and_then(|path| ProjectPath::parse(path).ok());
        let github = defaults.api_url.clone().unwrap_or_else(|| ApiUrl("https://api.github.com".to_owned()));
        let github_host = if github.host() == "api.github.com" { "github.com" } else { github.host() };
        let known = host.filter(|host| *host == github_host).map(|_| ForgeKind::GitHub);
        let known = known.or_else(|| host.and_then(ForgeKind::of_host));
        // If the URL is a path or has an unknown host, the repository is on GitHub if the server's settings name it.
        let kind = settings.kind.or(known).or_else(|| defaults.project.as_ref().map(|_| ForgeKind::GitHub))?;
        let fits_default = kind == ForgeKind::GitHub && (host == Some(github_host) || known.is_none());
        let api_url = match &settings.api_url {
            Some(api_url) => api_url.clone(),
            None if fits_default => github.clone(),
            None => ApiUrl(kind.default_api(host?)),
        };
        let own = settings.project.clone().or_else(|| from_url.filter(|_| host.is_some() && known.is_some()));
        let project = own.or_else(|| defaults.project.clone().filter(|_| fits_default)).or_else(|| {
            // The settings specify the kind of Git host, so the path of the URL is the repository's name.
            url.project_path()
                .filter(|_| host.is_some() && settings.kind.is_some())
                .and_then(|path| ProjectPath::parse(path).ok())
        })?;
        let is_default_github = kind == ForgeKind::GitHub && api_url == github;
        Some(Self { kind, api_url, project, is_default_github })
    }

    /// Returns the URL of the page where a person can open a pull request.
    pub fn compare_url(&self, base: &BranchName, head: &BranchName) -> String {
        let (web, project) = (self.api_url.web(), &self.project);
        let (base, head) = (escaped(base.as_str()), escaped(head.as_str()));
        match self.kind {
            ForgeKind::GitHub => format!("{web}/{project}/compare/{base}...{head}?expand=1"),
            ForgeKind::Forgejo => format!("{web}/{project}/compare/{base}...{head}"),
            ForgeKind::GitLab => format!(
                "{web}/{project}/-/merge_requests/new?merge_request%5Bsource_branch%5D={head}&merge_request%5Btarget_branch%5D={base}"
            ),
        }
    }

    /// Returns the root of https remotes that accept this host's token, such as `https://github.com`.
    pub fn web(&self) -> String {
        self.api_url.web()
    }
}

/// Percent-encodes a branch name for a path or query. Slashes are not encoded.
pub fn escaped(name: &str) -> String {
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
    utf8_percent_encode(name, ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::tests::{agree, allows};

    #[test]
    fn the_schemas_describe_what_the_parsers_accept() {
        const PIECES: &[&str] =
            &["/", ".", "-", "_", ".git", "a", "ü", "7", "@", ":", "#", " ", "\n", "http://", "https://", "localhost"];
        let projects = ["owner/name", "a/b/c.git", "/a/b/", "owner", "a/.git", "a/-b", "ü/七", "a/b.git.git", "a/b.git.git/ "];
        agree::<ProjectPath>(|text| ProjectPath::parse(text).is_ok(), &projects, PIECES);
        let urls =
            ["https://host/api/v3", "http://localhost:80/", "http://[::1]", "http://127.0.0.1:x", "https://", "https://a@b"];
        agree::<ApiUrl>(|text| ApiUrl::parse(text).is_ok(), &urls, PIECES);
        for name in ["github", "gitlab", "forgejo", "gitea", "GitHub", ""] {
            assert_eq!(allows::<ForgeName>()(name), ForgeKind::parse(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_branch_name_is_encoded_byte_by_byte_except_for_slashes() {
        assert_eq!(escaped("codex/A-z_0.9~ +%&#?=ü"), "codex/A-z_0.9~%20%2B%25%26%23%3F%3D%C3%BC");
        assert_eq!(escaped(""), "");
    }

    fn place(url: &str, settings: &ForgeSettings, defaults: &GitHubDefaults) -> Option<(ForgeKind, String, String)> {
        let found = ForgePlace::find(&RepositoryUrl::parse(url).expect("the URL is valid"), settings, defaults)?;
        Some((found.kind, found.api_url.0, found.project.0))
    }

    fn plain(url: &str) -> Option<(ForgeKind, String, String)> {
        place(url, &ForgeSettings::default(), &GitHubDefaults::default())
    }

    #[test]
    fn the_forge_is_read_from_the_url() {
        let text = |kind: ForgeKind, api: &str, project: &str| Some((kind, api.to_owned(), project.to_owned()));
        for url in ["https://github.com/me/repo.git", "git@github.com:me/repo.git", "ssh://git@github.com:22/me/repo"] {
            assert_eq!(plain(url), text(ForgeKind::GitHub, "https://api.github.com", "me/repo"), "{url}");
        }
        let gitlab = text(ForgeKind::GitLab, "https://gitlab.corp.example/api/v4", "group/sub/repo");
        assert_eq!(plain("https://gitlab.corp.example/group/sub/repo.git"), gitlab);
        let forgejo = text(ForgeKind::Forgejo, "https://codeberg.org/api/v1", "me/repo");
        assert_eq!(plain("git@codeberg.org:me/repo.git"), forgejo);
        for unknown in ["/srv/repo", "https://example.org/me/repo", "host:repo", "file:///srv/github.com/repo"] {
            assert_eq!(plain(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_project_path_that_is_read_again_stays_the_same() {
        assert_eq!(ProjectPath::parse("/me/repo.git/").expect("the path is valid").as_str(), "me/repo");
        assert!(ProjectPath::parse("me/repo.git.git").is_err());
    }

    #[test]
    fn the_server_and_the_environment_say_what_a_url_does_not() {
        let defaults = GitHubDefaults {
            project: ProjectPath::parse("me/other").ok(),
            api_url: ApiUrl::parse("https://ghe.example/api/v3/").ok(),
        };
        let of = |url: &str| place(url, &ForgeSettings::default(), &defaults).expect("the Git host is known");
        assert_eq!(of("/srv/repo"), (ForgeKind::GitHub, "https://ghe.example/api/v3".to_owned(), "me/other".to_owned()));
        assert_eq!(of("https://ghe.example/a/b").2, "a/b", "the URL takes precedence");
        assert_eq!(of("https://github.com/a/b").1, "https://api.github.com", "github.com has its own API");
        assert_eq!(of("https://gitlab.com/a/b").0, ForgeKind::GitLab);
        let settings = ForgeSettings {
            kind: Some(ForgeKind::Forgejo),
            project: ProjectPath::parse("x/y").ok(),
            api_url: ApiUrl::parse("https://git.example/api/v1").ok(),
        };
        let own = place("/srv/repo", &settings, &defaults).expect("the settings specify the Git host");
        assert_eq!(own, (ForgeKind::Forgejo, "https://git.example/api/v1".to_owned(), "x/y".to_owned()));
        let kind_only = ForgeSettings { kind: Some(ForgeKind::Forgejo), ..ForgeSettings::default() };
        let found = place("https://git.example/a/b.git", &kind_only, &defaults).expect("the settings specify the Git host");
        assert_eq!(found, (ForgeKind::Forgejo, "https://git.example/api/v1".to_owned(), "a/b".to_owned()));
    }

    #[test]
    fn the_servers_token_goes_only_where_it_belongs() {
        let find = |url: &str, settings: &ForgeSettings| {
            let url = RepositoryUrl::parse(url).expect("the URL is valid");
            ForgePlace::find(&url, settings, &GitHubDefaults::default()).expect("the Git host is known").is_default_github
        };
        assert!(find("https://github.com/a/b", &ForgeSettings::default()));
        assert!(!find("https://github.evil.example/a/b", &ForgeSettings::default()));
        let elsewhere = ForgeSettings { api_url: ApiUrl::parse("https://evil.example").ok(), ..ForgeSettings::default() };
        assert!(!find("https://github.com/a/b", &elsewhere));
    }

    #[test]
    fn a_place_to_compare_by_hand_is_known_without_a_token() {
        let base = BranchName::parse("main").expect("the name is valid");
        let head = BranchName::parse("codex/a#b").expect("the name is valid");
        let of = |url: &str| {
            let url = RepositoryUrl::parse(url).expect("the URL is valid");
            let place = ForgePlace::find(&url, &ForgeSettings::default(), &GitHubDefaults::default());
            place.expect("the Git host is known").compare_url(&base, &head)
        };
        assert_eq!(of("https://github.com/me/r"), "https://github.com/me/r/compare/main...codex/a%23b?expand=1");
        assert_eq!(of("https://codeberg.org/me/r"), "https://codeberg.org/me/r/compare/main...codex/a%23b");
        assert!(of("https://gitlab.com/g/s/r").ends_with("source_branch%5D=codex/a%23b&merge_request%5Btarget_branch%5D=main"));
    }

    #[test]
    fn a_token_is_not_sent_in_the_open() {
        for url in ["http://127.0.0.1:80/x", "http://localhost", "http://[::1]:9", "https://ghe.example/api/v3"] {
            assert!(ApiUrl::parse(url).is_ok(), "{url}");
        }
        for url in
            ["http://ghe.example", "https://me@ghe.example", "ftp://x", "ghe.example", "https://", "https://x/?a", "https://x y"]
        {
            assert!(ApiUrl::parse(url).is_err(), "{url}");
        }
        assert!(ProjectPath::parse("../x").is_err() && ProjectPath::parse("x").is_err() && ProjectPath::parse("a/b?c").is_err());
    }
}
