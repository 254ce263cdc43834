//! Removes credentials from the output of programs before anybody reads it.
//!
//! Git repeats URLs in its errors, and a URL may contain a password, or a token as its user name. This module does not decide
//! whether a text is shown; it only ensures that shown text contains no secret of a known kind.

mod masks;

use std::borrow::Cow;
use std::fmt;

use masks::Masks;
use printable::printable;

/// The text that replaces a secret.
const MASK: &str = "***";

/// The minimum length of a secret. Shorter values appear in ordinary words.
const SHORTEST_SECRET: usize = 4;

/// Removes URL credentials and the given secret values.
#[derive(Clone, Default)]
pub struct Redactor {
    count: usize,
    masks: Masks,
}

impl Redactor {
    /// Creates a redactor for these values. Credentials in URLs are always removed.
    pub fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        let secrets: Vec<String> = secrets.into_iter().filter(|secret| secret.len() >= SHORTEST_SECRET).collect();
        Self { count: secrets.len(), masks: Masks::new(&secrets) }
    }

    /// Removes secrets, credentials in URLs, and terminal control sequences from the output of a program.
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let text = then(self.mask(text), redact_credentials);
        then(text, printable)
    }

    /// Removes only the given values. Use this for text of an agent, whose URLs contain none of the server's credentials.
    pub fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.masks.mask(text)
    }

    /// Returns the length of the start of a growing text that can be masked and shown now. The rest may be the start of a secret.
    pub fn settled(&self, text: &str) -> usize {
        self.masks.settled(text)
    }
}

/// Applies another change to a text, which stays borrowed if nothing changes.
fn then(text: Cow<'_, str>, change: impl Fn(&str) -> Cow<'_, str>) -> Cow<'_, str> {
    match change(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(changed) => Cow::Owned(changed),
    }
}

/// Prints the number of secrets, never the secrets.
impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} secrets)", self.count)
    }
}

/// Masks the user part of every http URL, and the password of every other URL.
///
/// The user name of an ssh URL is not a secret (`ssh://git@host`); the user name of an http URL often is a token.
pub fn redact_credentials(text: &str) -> Cow<'_, str> {
    let mut redacted = String::new();
    let mut rest = text;
    let mut changed = false;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        redacted.push_str(before);
        let url = &after[..after.find(is_url_end).unwrap_or(after.len())];
        let scheme = &before.as_bytes()[..start];
        let is_http = [&b"http"[..], b"https"].iter().any(|known| ends_in_any_case(scheme, known));
        rest = after;
        if let Some(at) = end_of_user(url) {
            let user = &url[..at];
            redacted.push_str(&if is_http { MASK.to_owned() } else { without_password(user) });
            rest = &after[at..];
            changed = true;
        }
    }
    if !changed {
        return Cow::Borrowed(text);
    }
    redacted.push_str(rest);
    Cow::Owned(redacted)
}

fn ends_in_any_case(text: &[u8], end: &[u8]) -> bool {
    text.len().checked_sub(end.len()).is_some_and(|start| text[start..].eq_ignore_ascii_case(end))
}

fn is_url_end(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\'' | '"' | '`' | '<' | '>')
}

/// Finds the `@` after the user part. If a password contains a raw `/`, it is after the first `/`.
fn end_of_user(url: &str) -> Option<usize> {
    let authority = &url[..url.find(['/', '?', '#']).unwrap_or(url.len())];
    if let Some(at) = authority.rfind('@') {
        return Some(at);
    }
    let (_, port) = authority.rsplit_once(':')?;
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
    if is_port { None } else { url.rfind('@') }
}

fn without_password(user: &str) -> String {
    match user.split_once(':') {
        Some((name, _)) => format!("{name}:{MASK}"),
        None => user.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        assert_eq!(redact_credentials(text), expect);
    }

    #[test]
    fn passwords_and_tokens_leave_a_url() {
        check(
            "fatal: unable to access 'https://me:hunter2@host/r.git/': 403",
            "fatal: unable to access 'https://***@host/r.git/': 403",
        );
        check("https://ghp_secret@github.com/a/b", "https://***@github.com/a/b");
        check("ssh://git:hunter2@host/r and http://u:p@h", "ssh://git:***@host/r and http://***@h");
        check("https://me:a@b@host/r", "https://***@host/r");
    }

    #[test]
    fn a_password_with_a_slash_leaves_too() {
        check("'https://me:hun/ter2@host/r'", "'https://***@host/r'");
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in [
            "ssh://git@host:2222/owner/repo",
            "git@github.com:owner/repo.git",
            "https://host:8443/@scope/package",
            "https://host/a@b",
            "no url at all: a@b",
            "://",
            "",
        ] {
            check(text, text);
        }
    }

    #[test]
    fn given_values_are_masked_wherever_they_stand() {
        let redactor = Redactor::new(["hunter2".to_owned(), "hunter2-and-more".to_owned(), "a".to_owned()]);
        assert_eq!(redactor.redact("x=hunter2-and-more y=hunter2 a"), "x=*** y=*** a");
        assert_eq!(redactor.redact("https://t:hunter2@h/"), "https://***@h/");
        assert_eq!(redactor.mask("https://t:x@h/ hunter2"), "https://t:x@h/ ***");
        assert_eq!(redactor.redact("remote: \u{1b}]0;title\u{7}\u{1b}[2Jno hunter2\r\n"), "remote: no ***\n");
        assert!(!format!("{redactor:?}").contains("hunter2"));
    }
}
