//! Values that people type: repository URLs, branch and ref names, prompts, titles, models and variables.
//!
//! Each value is parsed once, when it enters the program, and is safe afterwards: programs cannot mistake it for an option, and no
//! repository URL contains a password.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error_code::ErrorCode;
use crate::problem::Problem;
use crate::schema::{CONTROL, SPACE, described, line, text, trimmed};

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

/// Defines a text that is parsed by `parse`. `pattern` is the pattern of the texts that `parse` accepts.
macro_rules! text_type {
    ($(#[doc = $doc:literal])+ $name:ident, $pattern:expr $(, max_length: $most:expr)?) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        described!($name, text(concat!($($doc, "\n"),+), $pattern)$(.max_length(Some($most)))?);

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

mod url;

pub use url::{NewRepositoryUrl, RepositoryUrl};

/// The maximum size of a ref name in bytes.
const REF_LIMIT_BYTES: usize = 250;

/// Applies the rules of `git check-ref-format` to a name below `refs/heads/`.
fn is_ref_name(name: &str) -> bool {
    let forbidden = |c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\' | '\u{7f}');
    !name.is_empty()
        && name.len() <= REF_LIMIT_BYTES
        && name.trim() == name
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

/// Returns whether a name without `refs/heads/` is the name of a branch. A second `refs/heads/` would be lost when a record is read.
pub(crate) fn is_branch_name(name: &str) -> bool {
    is_ref_name(name) && name != "HEAD" && !name.starts_with("refs/heads/")
}

/// Returns the pattern of names that [`is_ref_name`] accepts. `before` is a part of the pattern in front of the name, and `also`
/// contains other characters that the name may contain.
fn ref_pattern(before: &str, also: &str) -> String {
    let forbidden: String = ["~", r"\^", ":", r"\?", r"\*", r"\[", r"\\"].into_iter().filter(|&letter| letter != also).collect();
    let letter = format!("[^{CONTROL}\\x20{forbidden}]");
    let (first, last) = (format!("[^{CONTROL}{SPACE}{forbidden}./\\-]"), format!("[^{CONTROL}{SPACE}{forbidden}./]"));
    let never = format!(r"(?!@[{SPACE}]*$)(?!{letter}*(?:\.\.|//|/\.|@\{{|\.[lL][oO][cC][kK](?:/|[{SPACE}]*$)))");
    trimmed(&format!("{before}{never}{first}(?:{letter}{{0,{}}}{last})?", REF_LIMIT_BYTES - 2))
}

/// Returns the pattern of names that [`is_branch_name`] accepts, with or without `refs/heads/`.
pub(crate) fn branch_pattern(also: &str) -> String {
    branch_pattern_except("", also)
}

/// Like [`branch_pattern`], without names that match `except` after `refs/heads/`.
pub(crate) fn branch_pattern_except(except: &str, also: &str) -> String {
    ref_pattern(&format!("(?:refs/heads/)?(?!refs/heads/)(?!HEAD[{SPACE}]*$){except}"), also)
}

text_type!(
    /// The name of a branch, without `refs/heads/`. At most 250 bytes.
    BranchName,
    branch_pattern("")
);

impl BranchName {
    /// Parses a name that `git check-ref-format --branch` accepts.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let text = text.trim();
        let name = text.strip_prefix("refs/heads/").unwrap_or(text);
        if is_branch_name(name) {
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
    /// What a task starts from: a branch, a tag or a commit ID. At most 250 bytes.
    RefName,
    ref_pattern("", "")
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
    /// The instructions for the agent: 1 byte to 1 MiB of UTF-8, not only white space, without NUL characters.
    Prompt,
    // A longer prompt is too large instead of invalid, like a body or an image.
    format!(r"^[{SPACE}]*[^{SPACE}\x00][^\x00]*$")
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
        let printable = |line: &str| line.chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned();
        let line = self.0.lines().map(printable).find(|line| !line.is_empty()).unwrap_or_default();
        if line.chars().count() <= limit {
            return line;
        }
        let mut cut: String = line.chars().take(limit.saturating_sub(1)).collect();
        cut.push('…');
        cut
    }
}

text_type!(
    /// A single line for display: the title of a task or the name of a repository. 1 to 200 bytes.
    Title,
    line(TITLE_LIMIT_BYTES)
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

    /// Returns the default name of a repository.
    pub fn of_repository(url: &RepositoryUrl) -> Self {
        let mut name = url.repository_name().trim();
        while name.len() > TITLE_LIMIT_BYTES {
            name = name.char_indices().next_back().map_or("", |(end, _)| &name[..end]);
        }
        Self(if name.trim().is_empty() { "repository".to_owned() } else { name.trim().to_owned() })
    }

    /// Returns the default title of a task.
    pub fn of_prompt(prompt: &Prompt) -> Self {
        let mut line = prompt.first_line(60);
        if line.is_empty() {
            return Self("untitled".to_owned());
        }
        if line.len() > TITLE_LIMIT_BYTES {
            line.truncate(line.floor_char_boundary(TITLE_LIMIT_BYTES - '…'.len_utf8()));
            line.push('…');
        }
        Self(line)
    }
}

text_type!(
    /// The name of a model or a reasoning effort, passed to Codex unchanged.
    Setting,
    "^[0-9A-Za-z._:/][0-9A-Za-z._:/-]{0,99}$"
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
    VariableName,
    "^[A-Za-z_][0-9A-Za-z_]{0,99}$"
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
    use crate::schema::tests::agree;

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
        for name in ["HEAD", "refs/heads/refs/heads/x", "refs/heads/\u{a0}x"] {
            assert!(BranchName::parse(name).is_err(), "{name:?} was accepted");
        }
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
    fn a_default_title_can_be_read_from_a_record() {
        let check = |prompt: &str, expect: &str| {
            let title = Title::of_prompt(&Prompt::parse(prompt).expect("the prompt is valid"));
            assert_eq!(title.as_str(), expect);
            assert_eq!(Title::parse(title.as_str()), Ok(title));
        };
        check(&"🦀".repeat(60), &format!("{}…", "🦀".repeat(49)));
        check("\u{1} \u{1}\nFix it", "Fix it");
        check("~ \u{1}", "~");
        check("\u{1}", "untitled");
    }

    #[test]
    fn settings_and_variables_are_plain_words() {
        assert!(Setting::parse("gpt-5.1-codex").is_ok() && Setting::parse("org/model:1").is_ok());
        assert!(Setting::parse("-m").is_err() && Setting::parse("a b").is_err() && Setting::parse("").is_err());
        assert!(VariableName::parse("RUST_LOG").is_ok());
        assert!(VariableName::parse("1A").is_err() && VariableName::parse("A=B").is_err() && VariableName::parse("").is_err());
    }

    #[test]
    fn schemas_describe_what_the_parsers_accept() {
        const WORDS: &[&str] = &["a", "Z", "_", "0", "-", ".", "/", ":", " ", "\0", "\n", "\u{85}", "\u{3000}", "ü"];
        const REFS: &[&str] = &[
            "refs/heads/",
            "HEAD",
            "@",
            "{",
            "/",
            ".",
            ".lock",
            ".LOCK",
            "-",
            "a",
            "ü",
            "\u{a0}",
            "\u{2028}",
            " ",
            "\n",
            "~",
            "*",
            "[",
        ];
        let samples = ["main", "a/b.c", "refs/heads/main", "HEAD", "@", "x.lock/y", " a\u{a0}", "refs/heads/refs/heads/x"];
        let long = ["a".repeat(REF_LIMIT_BYTES), "a".repeat(REF_LIMIT_BYTES + 1)];
        let samples: Vec<&str> = samples.into_iter().chain(long.iter().map(String::as_str)).collect();
        agree::<BranchName>(|text| BranchName::parse(text).is_ok(), &samples, REFS);
        agree::<RefName>(|text| RefName::parse(text).is_ok(), &samples, REFS);
        agree::<Prompt>(|text| Prompt::parse(text).is_ok(), &["do it", " \n ", "a\nb"], WORDS);
        let long = ["a".repeat(TITLE_LIMIT_BYTES), "a".repeat(TITLE_LIMIT_BYTES + 1)];
        agree::<Title>(|text| Title::parse(text).is_ok(), &["a", "Fix it", &long[0], &long[1]], WORDS);
        let long = ["a".repeat(100), "a".repeat(101)];
        agree::<Setting>(|text| Setting::parse(text).is_ok(), &["gpt-5.5", &long[0], &long[1]], WORDS);
        agree::<VariableName>(|text| VariableName::parse(text).is_ok(), &["RUST_LOG", &long[0], &long[1]], WORDS);
    }

    #[test]
    fn a_branch_keeps_its_name_when_a_record_is_read() {
        for text in ["main", "refs/heads/main", " refs/heads/a/b "] {
            let branch = BranchName::parse(text).expect(text);
            assert_eq!(BranchName::parse(branch.as_str()), Ok(branch));
        }
        assert!(BranchName::parse("refs/heads/refs/heads/main").is_err());
        assert!(BranchName::parse("refs/heads/\u{a0}main").is_err());
    }

    #[test]
    fn every_url_results_in_a_name() {
        for (url, expect) in [("https://host/owner/repo.git", "repo"), ("/a/ /", "repository"), ("/ x", "x")] {
            let url = RepositoryUrl::parse(url).expect(url);
            assert_eq!(Title::of_repository(&url).as_str(), expect);
        }
        let url = RepositoryUrl::parse(&format!("/a/{}", "ä".repeat(300))).expect("the URL is valid");
        assert_eq!(Title::of_repository(&url).as_str(), "ä".repeat(100));
    }
}
