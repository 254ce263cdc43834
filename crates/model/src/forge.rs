//! Forges: which one an environment's repository is on, under what name, and where people look at it.
//!
//! Pure. A token is never in here: it is a [`Secret`](crate::secret::Secret) that lies beside an environment's other ones.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::names::{BranchName, RepositoryUrl, shown};
use crate::policy::given;
use crate::problem::{Problem, ProblemKind};

/// The makes of forges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ForgeKind {
    /// github.com, or GitHub Enterprise.
    GitHub,
    /// gitlab.com, or a GitLab of one's own.
    GitLab,
    /// Forgejo or Gitea, such as codeberg.org.
    Forgejo,
}

impl ForgeKind {
    /// The word in settings and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::Forgejo => "forgejo",
        }
    }

    /// The word in settings and answers.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        match text {
            "github" => Ok(Self::GitHub),
            "gitlab" => Ok(Self::GitLab),
            "forgejo" | "gitea" => Ok(Self::Forgejo),
            _ => Err(refused(format!("`{}` is no forge that is known", shown(text))).hint("github, gitlab or forgejo")),
        }
    }

    /// Its name in a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Self::GitHub => "GitHub",
            Self::GitLab => "GitLab",
            Self::Forgejo => "Forgejo",
        }
    }

    /// What it calls a request to take changes in.
    pub fn request_name(self) -> &'static str {
        match self {
            Self::GitHub | Self::Forgejo => "pull request",
            Self::GitLab => "merge request",
        }
    }

    /// The make that a host is known to be, or says in its name.
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
    Problem::new(ProblemKind::Unusable, "forge_refused", detail)
}

/// A repository's name on its forge: `owner/name`, on GitLab with any number of groups.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
#[serde(transparent)]
pub struct ProjectPath(String);

impl ProjectPath {
    /// Takes `owner/name`.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let path = text.trim().trim_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        let plain = |part: &str| {
            !part.is_empty()
                && !part.starts_with(['-', '.'])
                && part.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
        };
        if path.len() <= 255 && path.split('/').count() >= 2 && path.split('/').all(plain) {
            Ok(Self(path.to_owned()))
        } else {
            Err(refused(format!("`{}` is no repository's name on a forge", shown(text))).hint("write owner/name"))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What comes before the first slash.
    pub fn owner(&self) -> &str {
        self.0.split('/').next().unwrap_or(&self.0)
    }
}

impl fmt::Display for ProjectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ProjectPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// The address of a forge's API, without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
#[serde(transparent)]
pub struct ApiUrl(String);

impl ApiUrl {
    /// Takes an https URL, or an http URL of this very machine: a token goes there.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let url = text.trim().trim_end_matches('/');
        let refused = |why: &str| refused(format!("`{}` cannot be a forge's API: it {why}", shown(text)));
        let (scheme, rest) = url.split_once("://").ok_or_else(|| refused("is no URL"))?;
        let authority = rest.split('/').next().unwrap_or(rest);
        if authority.is_empty() || url.len() > 500 || url.chars().any(|c| c.is_control() || c.is_whitespace() || "?#".contains(c))
        {
            return Err(refused("has no host, or characters that it must not have"));
        }
        if authority.contains('@') {
            return Err(refused("names a user").hint("a token has a setting of its own"));
        }
        let host = host_of(authority);
        let is_here = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        match scheme {
            "https" => Ok(Self(url.to_owned())),
            "http" if is_here => Ok(Self(url.to_owned())),
            _ => Err(refused("is not https, and a token would be sent to it in the open")),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host without its port.
    pub fn host(&self) -> &str {
        host_of(authority_of(&self.0))
    }

    /// Where people look at what is there, as GitHub, GitLab and Forgejo lay it out.
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

/// Without its port. An IPv6 address has brackets and colons of its own.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.chars().all(|c| c.is_ascii_digit()) => host,
        Some(_) | None => authority,
    }
}

/// How an environment's forge is reached, where its URL does not say it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct ForgeSettings {
    /// Its make.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<ForgeKind>,
    /// `owner/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectPath>,
    /// The address of its API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_url: Option<ApiUrl>,
}

/// What to change of a [`ForgeSettings`]: what is left out stays, and null is the default again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditForge {
    /// `github`, `gitlab` or `forgejo`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub kind: Option<Option<String>>,
    /// `owner/name`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub project: Option<Option<String>>,
    /// The address of its API.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub api_url: Option<Option<String>>,
    /// The token that opens pull requests and pushes. It is never answered.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, write_only)]
    pub token: Option<Option<crate::secret::Secret>>,
}

impl ForgeSettings {
    /// These settings with what a person wants to have changed. The token is not in here.
    pub fn edited(mut self, edit: &EditForge) -> Result<Self, Problem> {
        if let Some(kind) = &edit.kind {
            self.kind = kind.as_deref().map(ForgeKind::parse).transpose()?;
        }
        if let Some(project) = &edit.project {
            self.project = project.as_deref().map(ProjectPath::parse).transpose()?;
        }
        if let Some(api_url) = &edit.api_url {
            self.api_url = api_url.as_deref().map(ApiUrl::parse).transpose()?;
        }
        Ok(self)
    }
}

/// What the server is set to for GitHub, for every environment that says nothing itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GitHubDefaults {
    /// `ORCH_GITHUB_REPO`.
    pub project: Option<ProjectPath>,
    /// `ORCH_GITHUB_API_URL`.
    pub api_url: Option<ApiUrl>,
}

/// A repository on a forge.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ForgePlace {
    /// The make.
    pub kind: ForgeKind,
    /// Where its API is.
    pub api_url: ApiUrl,
    /// The repository's name there.
    pub project: ProjectPath,
    /// Whether the server's own GitHub token is for this place.
    pub is_default_github: bool,
}

impl ForgePlace {
    /// Where an environment's repository is: as the environment says, else as its URL says, else as the server is set.
    pub fn find(url: &RepositoryUrl, settings: &ForgeSettings, defaults: &GitHubDefaults) -> Option<Self> {
        let host = url.host();
        let from_url = url.project_path().and_then(|path| ProjectPath::parse(path).ok());
        let github = defaults.api_url.clone().unwrap_or_else(|| ApiUrl("https://api.github.com".to_owned()));
        let github_host = if github.host() == "api.github.com" { "github.com" } else { github.host() };
        let known = host.filter(|host| *host == github_host).map(|_| ForgeKind::GitHub);
        let known = known.or_else(|| host.and_then(ForgeKind::of_host));
        // A path, or a host that says nothing, is on GitHub where the server has a repository's name for it.
        let kind = settings.kind.or(known).or_else(|| defaults.project.as_ref().map(|_| ForgeKind::GitHub))?;
        let fits_default = kind == ForgeKind::GitHub && (host == Some(github_host) || known.is_none());
        let api_url = match &settings.api_url {
            Some(api_url) => api_url.clone(),
            None if fits_default => github.clone(),
            None => ApiUrl(kind.default_api(host?)),
        };
        let own = settings.project.clone().or_else(|| from_url.filter(|_| host.is_some() && known.is_some()));
        let project = own.or_else(|| defaults.project.clone().filter(|_| fits_default)).or_else(|| {
            // The make was said, so the path of the URL means what it means there.
            url.project_path()
                .filter(|_| host.is_some() && settings.kind.is_some())
                .and_then(|path| ProjectPath::parse(path).ok())
        })?;
        let is_default_github = kind == ForgeKind::GitHub && api_url == github;
        Some(Self { kind, api_url, project, is_default_github })
    }

    /// Where a person opens a pull request by hand.
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

    /// The root of an https remote that takes this place's token, such as `https://github.com`.
    pub fn web(&self) -> String {
        self.api_url.web()
    }
}

/// A branch's name as a part of a path or query; slashes stay.
pub fn escaped(name: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02X}").expect("a string takes all");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str, settings: &ForgeSettings, defaults: &GitHubDefaults) -> Option<(ForgeKind, String, String)> {
        let found = ForgePlace::find(&RepositoryUrl::parse(url).expect("a URL"), settings, defaults)?;
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
    fn the_server_and_the_environment_say_what_a_url_does_not() {
        let defaults = GitHubDefaults {
            project: ProjectPath::parse("me/other").ok(),
            api_url: ApiUrl::parse("https://ghe.example/api/v3/").ok(),
        };
        let of = |url: &str| place(url, &ForgeSettings::default(), &defaults).expect("known");
        assert_eq!(of("/srv/repo"), (ForgeKind::GitHub, "https://ghe.example/api/v3".to_owned(), "me/other".to_owned()));
        assert_eq!(of("https://ghe.example/a/b").2, "a/b", "the URL says it better");
        assert_eq!(of("https://github.com/a/b").1, "https://api.github.com", "another GitHub");
        assert_eq!(of("https://gitlab.com/a/b").0, ForgeKind::GitLab);
        let settings = ForgeSettings {
            kind: Some(ForgeKind::Forgejo),
            project: ProjectPath::parse("x/y").ok(),
            api_url: ApiUrl::parse("https://git.example/api/v1").ok(),
        };
        let own = place("/srv/repo", &settings, &defaults).expect("said");
        assert_eq!(own, (ForgeKind::Forgejo, "https://git.example/api/v1".to_owned(), "x/y".to_owned()));
        let kind_only = ForgeSettings { kind: Some(ForgeKind::Forgejo), ..ForgeSettings::default() };
        let found = place("https://git.example/a/b.git", &kind_only, &defaults).expect("said");
        assert_eq!(found, (ForgeKind::Forgejo, "https://git.example/api/v1".to_owned(), "a/b".to_owned()));
    }

    #[test]
    fn the_servers_token_goes_only_where_it_belongs() {
        let find = |url: &str, settings: &ForgeSettings| {
            let url = RepositoryUrl::parse(url).expect("a URL");
            ForgePlace::find(&url, settings, &GitHubDefaults::default()).expect("known").is_default_github
        };
        assert!(find("https://github.com/a/b", &ForgeSettings::default()));
        assert!(!find("https://github.evil.example/a/b", &ForgeSettings::default()));
        let elsewhere = ForgeSettings { api_url: ApiUrl::parse("https://evil.example").ok(), ..ForgeSettings::default() };
        assert!(!find("https://github.com/a/b", &elsewhere));
    }

    #[test]
    fn a_place_to_compare_by_hand_is_known_without_a_token() {
        let base = BranchName::parse("main").expect("a branch");
        let head = BranchName::parse("codex/a#b").expect("a branch");
        let of = |url: &str| {
            let url = RepositoryUrl::parse(url).expect("a URL");
            let place = ForgePlace::find(&url, &ForgeSettings::default(), &GitHubDefaults::default());
            place.expect("known").compare_url(&base, &head)
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
