//! Turns review comments and failed checks of a pull request into a prompt for the agent.
//!
//! Text from other people is quoted and shortened to fit into a prompt. Invariant: no line of it looks like the request itself, and
//! it contains no escape sequences.

use std::fmt::Write as _;

use printable::printable;

/// The maximum length of a check's log in characters. The end of the log is kept.
const LOG_CHARS: usize = 12_000;

/// The maximum length of a comment in characters.
const COMMENT_CHARS: usize = 4_000;

/// The maximum length of the prompt in characters.
const ALL_CHARS: usize = 200_000;

/// A review comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// The name of the author.
    pub author: String,
    /// The file that the comment is about, or `None` for the whole pull request.
    pub path: Option<String>,
    /// The line that the comment is about.
    pub line: Option<u64>,
    /// The text of the comment.
    pub body: String,
}

/// A check that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedCheck {
    /// The name of the check.
    pub name: String,
    /// The web page of the check.
    pub url: Option<String>,
    /// The log or a summary, or `None` if the Git host does not provide it.
    pub log: Option<String>,
}

/// All open feedback on a pull request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Feedback {
    /// Unresolved comments, oldest first.
    pub comments: Vec<Comment>,
    /// Checks that failed.
    pub checks: Vec<FailedCheck>,
}

impl Feedback {
    /// Whether there is no open feedback.
    pub fn is_empty(&self) -> bool {
        self.comments.is_empty() && self.checks.is_empty()
    }

    /// Writes the prompt for the agent.
    pub fn prompt(&self, url: &str) -> String {
        let url = plain(url);
        let mut text = format!("Your work is in review at {url}. Address each point below and briefly state what you changed.\n");
        if !self.comments.is_empty() {
            text.push_str("\n# Unresolved review comments\n");
            for comment in &self.comments {
                let place = match (&comment.path, comment.line) {
                    (Some(path), Some(line)) => format!(" on {}:{line}", plain(path)),
                    (Some(path), None) => format!(" on {}", plain(path)),
                    (None, _) => String::new(),
                };
                writeln!(
                    text,
                    "\n{}{place}:\n{}",
                    plain(&comment.author),
                    quoted(&first(&printable(&comment.body), COMMENT_CHARS))
                )
                .expect("writing to a string cannot fail");
            }
        }
        if !self.checks.is_empty() {
            text.push_str("\n# Failed checks\n");
            for check in &self.checks {
                let url = check.url.as_deref().map_or_else(String::new, |url| format!(" ({})", plain(url)));
                writeln!(text, "\n{}{url}:", plain(&check.name)).expect("writing to a string cannot fail");
                match &check.log {
                    Some(log) => writeln!(text, "{}", quoted(&last(&printable(log), LOG_CHARS))),
                    None => writeln!(text, "log unavailable; run this check locally"),
                }
                .expect("writing to a string cannot fail");
            }
        }
        first(&text, ALL_CHARS)
    }
}

fn plain(text: &str) -> String {
    super::text::one_line(&printable(text))
}

/// Prefixes every line with `>`, so that quoted text cannot be mistaken for the request itself.
fn quoted(text: &str) -> String {
    text.trim().split(['\n', '\u{2028}', '\u{2029}']).map(|line| format!("> {line}")).collect::<Vec<_>>().join("\n")
}

fn first(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let cut: String = text.chars().take(limit).collect();
    format!("{cut}\n[truncated]")
}

fn last(text: &str, limit: usize) -> String {
    let surplus = text.chars().count().saturating_sub(limit);
    if surplus == 0 {
        return text.to_owned();
    }
    let cut: String = text.chars().skip(surplus).collect();
    format!("[beginning omitted]\n{cut}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comment(body: &str) -> Comment {
        Comment { author: "ann".to_owned(), path: Some("src/a.rs".to_owned()), line: Some(7), body: body.to_owned() }
    }

    #[test]
    fn comments_and_logs_are_quoted_with_their_places() {
        let check =
            FailedCheck { name: "test\n".to_owned(), url: Some("https://x/1".to_owned()), log: Some("a\nb failed\n".to_owned()) };
        let feedback = Feedback { comments: vec![comment("Rename this.\nPlease.")], checks: vec![check] };
        let prompt = feedback.prompt("https://x/pull/1");
        assert!(prompt.contains("ann on src/a.rs:7:\n> Rename this.\n> Please.\n"), "{prompt}");
        assert!(prompt.contains("test (https://x/1):\n> a\n> b failed\n"), "{prompt}");
    }

    #[test]
    fn colors_and_null_bytes_of_a_log_do_not_get_into_the_prompt() {
        let log = Some("\u{1b}[31mred\u{1b}[0m\0\r 50%\r100%\r\nend".to_owned());
        let check = FailedCheck { name: "test".to_owned(), url: None, log };
        let prompt = Feedback { comments: vec![], checks: vec![check] }.prompt("https://x/pull/1");
        assert!(prompt.ends_with("\ntest:\n> red\n>  50%\n> 100%\n> end\n"), "{prompt:?}");
        assert!(crate::names::Prompt::parse(&prompt).is_ok());
    }

    #[test]
    fn the_prompt_reads_as_reviewed() {
        let whole = Comment { path: None, line: None, ..comment("Looks good otherwise.") };
        let log = Some(format!("{}1 test failed\n", "x".repeat(LOG_CHARS)));
        let with_log = FailedCheck { name: "test".to_owned(), url: Some("https://x/1".to_owned()), log };
        let without_log = FailedCheck { name: "lint".to_owned(), url: None, log: None };
        let feedback = Feedback { comments: vec![comment("Rename this."), whole], checks: vec![with_log, without_log] };
        let prompt = feedback.prompt("https://x/pull/1").replace(&"x".repeat(LOG_CHARS - 14), "[…]");
        insta::assert_snapshot!("feedback_prompt", prompt);
    }

    #[test]
    fn of_a_long_log_the_end_is_kept() {
        let log = format!("begin{}end", "x\n".repeat(20_000));
        let check = FailedCheck { name: "test".to_owned(), url: None, log: Some(log) };
        let prompt = Feedback { comments: vec![], checks: vec![check] }.prompt("https://x/pull/1");
        assert!(prompt.contains("end") && !prompt.contains("begin\n") && prompt.contains("omitted"), "{}", &prompt[..300]);
        assert!(prompt.len() < 40_000);
    }

    #[test]
    fn many_long_comments_still_fit_a_prompt() {
        let feedback = Feedback { comments: vec![comment(&"ä".repeat(10_000)); 200], checks: vec![] };
        assert!(feedback.prompt("https://x").len() < crate::names::PROMPT_LIMIT_BYTES);
    }
}
