//! Values that people type: repository URLs, branch and ref names, prompts, titles, models and variables.
//!
//! Each value is parsed once, when it enters the program, and is safe afterwards: programs cannot mistake it for an option, and no
//! repository URL contains a password.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error_code::ErrorCode;
use crate::problem::Problem;

/// The maximum size of a prompt in bytes of UTF-8: 1 MiB, which is also Codex's own limit in characters.
pub const PROMPT_LIMIT_BYTES: usize = 1024 * 1024;

/// The maximum size of a title in bytes.
pub const TITLE_LIMIT_BYTES: usize = 200;

fn unusable(code: ErrorCode, detail: impl Into<String>) -> Problem {
    Problem::new(code, detail)
}

/// Makes a value printable and short enough for a message.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().filter(|c| !c.is_control()).take(100).collect();
    if text.chars().count() > 100 {
        shown.push('…');
    }
    shown
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, utoipa::ToSchema)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_type!(
    /// The URL of a repository: https, http, ssh, git, file, scp-like (`git@host:path`) or an absolute path. It never contains
    /// a password.
    RepositoryUrl
);

impl RepositoryUrl {
    /// Parses a URL.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let text = text.trim();
        let refused = |why: &str| {
            unusable(ErrorCode::RepositoryUrlRefused, format!("the repository URL `{}` {why}", shown(text)))
                .hint("use https://host/owner/repo.git, git@host:owner/repo.git, ssh://…, file:///path or an absolute path")
        };
        if text.is_empty() {
            return Err(refused("is empty"));
        }
        if text.len() > 2000 || text.chars().any(|c| c.is_control() || c.is_whitespace() && c != ' ') {
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
        match self.0.split_once("://") {
            Some(("file", _)) => None,
            Some((_, rest)) => rest.split_once('/'),
            None if self.0.starts_with('/') => None,
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

/// Returns whether a user name looks like a token (`ghp_…`, `x-oauth…`). Account names are shorter than tokens.
fn looks_like_token(user: &str) -> bool {
    user.len() >= 20 || ["ghp_", "gho_", "ghs_", "glpat-", "github_pat_"].iter().any(|prefix| user.starts_with(prefix))
}

/// Applies the rules of `git check-ref-format` to a name below `refs/heads/`.
fn is_ref_name(name: &str) -> bool {
    let forbidden = |c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\' | '\u{7f}');
    !name.is_empty()
        && name.len() <= 250
        && name != "@"
        && !name.starts_with(['-', '/'])
        && !name.ends_with(['/', '.'])
        && !name.contains("..")
        && !name.contains("//")
        && !name.contains("@{")
        && !name.chars().any(forbidden)
        && name.split('/').all(|part| {
            let lock = part.len() >= 5 && part.as_bytes()[part.len() - 5..].eq_ignore_ascii_case(b".lock");
            !part.starts_with('.') && !lock
        })
}

text_type!(
    /// The name of a branch, without `refs/heads/`.
    BranchName
);

impl BranchName {
    /// Parses a name that `git check-ref-format --branch` accepts.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let text = text.trim();
        let name = text.strip_prefix("refs/heads/").unwrap_or(text);
        if is_ref_name(name) && name != "HEAD" {
            Ok(Self(name.to_owned()))
        } else {
            Err(unusable(ErrorCode::BranchNameRefused, format!("invalid branch name `{}`", shown(text))))
        }
    }

    /// Returns the branch of a task: `codex/<task_id>`.
    pub fn of_task(id: crate::ids::TaskId) -> Self {
        Self(format!("codex/{id}"))
    }
}

text_type!(
    /// What a task starts from: a branch, a tag or a commit ID.
    RefName
);

impl RefName {
    /// Parses a ref name or a commit ID. Expressions such as `main~2` are rejected.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let text = text.trim();
        if is_ref_name(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(unusable(ErrorCode::RefRefused, format!("`{}` is not a branch, tag or commit ID", shown(text)))
                .hint("use a branch, a tag or a commit ID; expressions such as `main~2` are not supported"))
        }
    }
}

impl From<BranchName> for RefName {
    fn from(branch: BranchName) -> Self {
        Self(branch.0)
    }
}

text_type!(
    /// The instructions for the agent.
    Prompt
);

impl Prompt {
    /// Accepts any text that is not blank and has at most [`PROMPT_LIMIT_BYTES`] bytes.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        if text.trim().is_empty() {
            return Err(unusable(ErrorCode::PromptEmpty, "the prompt is empty").hint("describe what the agent should do"));
        }
        if text.len() > PROMPT_LIMIT_BYTES {
            return Err(Problem::new(
                ErrorCode::PromptTooLarge,
                format!("the prompt has {} bytes; the limit is {PROMPT_LIMIT_BYTES} (1 MiB)", text.len()),
            )
            .hint("put long text in a file in the repository, and refer to it in the prompt"));
        }
        if text.contains('\0') {
            return Err(unusable(ErrorCode::PromptRefused, "the prompt contains a NUL character"));
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the first line that is not blank, cut to `limit` characters, as a default title.
    pub fn first_line(&self, limit: usize) -> String {
        let line = self.0.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        let line: String = line.chars().filter(|c| !c.is_control()).collect();
        if line.chars().count() <= limit {
            return line;
        }
        let mut cut: String = line.chars().take(limit.saturating_sub(1)).collect();
        cut.push('…');
        cut
    }
}

text_type!(
    /// A single line for display: the title of a task or the name of a repository.
    Title
);

impl Title {
    /// Accepts one printable line of at most [`TITLE_LIMIT_BYTES`] bytes.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let text = text.trim();
        if text.is_empty() || text.len() > TITLE_LIMIT_BYTES || text.chars().any(char::is_control) {
            return Err(unusable(
                ErrorCode::TitleRefused,
                format!("invalid title `{}`: use one line of 1 to {TITLE_LIMIT_BYTES} bytes", shown(text)),
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the default title of a task.
    pub fn of_prompt(prompt: &Prompt) -> Self {
        let line = prompt.first_line(60);
        Self(if line.is_empty() { "untitled".to_owned() } else { line })
    }
}

text_type!(
    /// The name of a model or a reasoning effort, passed to Codex unchanged.
    Setting
);

impl Setting {
    /// Accepts letters, digits and `._:/-`, not starting with `-`.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "._:/-".contains(c));
        if plain && !text.is_empty() && text.len() <= 100 && !text.starts_with('-') {
            Ok(Self(text.to_owned()))
        } else {
            Err(unusable(ErrorCode::SettingRefused, format!("invalid model or effort `{}`", shown(text))))
        }
    }
}

text_type!(
    /// The name of a variable that is set for the agent's process.
    VariableName
);

impl VariableName {
    /// Accepts a POSIX name that does not interfere with how the worker runs.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let first = text.chars().next();
        let plain = first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && text.len() <= 100;
        if plain {
            Ok(Self(text.to_owned()))
        } else {
            Err(unusable(ErrorCode::VariableRefused, format!("invalid variable name `{}`", shown(text)))
                .hint("use letters, digits and underscores, not starting with a digit"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::ProblemKind;

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
    fn ref_names_follow_git_check_ref_format() {
        for name in ["main", "feature/x", "v1.0", "a@b", "ümlaut"] {
            assert!(RefName::parse(name).is_ok(), "{name}");
        }
        for name in [
            "", "-x", "--help", "a..b", "a b", "a~1", "a^", "a:b", "a?", "a*", "a[", "a\\b", "/a", "a/", "a//b", ".a", "a/.b",
            "a.", "a.lock", "a.lock/b", "@", "a@{1}", "a\u{7f}", "a\nb",
        ] {
            assert!(RefName::parse(name).is_err(), "{name:?} was accepted");
        }
        assert_eq!(BranchName::parse("refs/heads/main").map(|b| b.to_string()), Ok("main".to_owned()));
        assert!(BranchName::parse("HEAD").is_err());
    }

    #[test]
    fn a_prompt_is_any_text_up_to_one_mebibyte() {
        for text in ["help", "-x", "--json", "résumé 🦀\nsecond line", &"x".repeat(PROMPT_LIMIT_BYTES)] {
            assert!(Prompt::parse(text).is_ok());
        }
        assert_eq!(Prompt::parse(" \n ").expect_err("the prompt is blank").report.code, ErrorCode::PromptEmpty);
        let problem = Prompt::parse(&"x".repeat(PROMPT_LIMIT_BYTES + 1)).expect_err("the prompt is too long");
        assert_eq!((problem.report.code.known(), problem.kind), (Some(ErrorCode::PromptTooLarge), ProblemKind::TooLarge));
        assert!(Prompt::parse("a\0b").is_err());
    }

    #[test]
    fn a_title_comes_from_the_first_line_that_says_something() {
        let prompt = Prompt::parse("\n\n  Fix the \u{7}parser\nand more").expect("the prompt is valid");
        assert_eq!(Title::of_prompt(&prompt).as_str(), "Fix the parser");
        let long = Prompt::parse(&"ä".repeat(100)).expect("the prompt is valid");
        assert_eq!(Title::of_prompt(&long).as_str().chars().count(), 60);
    }

    #[test]
    fn settings_and_variables_are_plain_words() {
        assert!(Setting::parse("gpt-5.1-codex").is_ok() && Setting::parse("org/model:1").is_ok());
        assert!(Setting::parse("-m").is_err() && Setting::parse("a b").is_err() && Setting::parse("").is_err());
        assert!(VariableName::parse("RUST_LOG").is_ok());
        assert!(VariableName::parse("1A").is_err() && VariableName::parse("A=B").is_err() && VariableName::parse("").is_err());
    }
}
