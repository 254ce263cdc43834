//! Explains in plain terms why a remote could not be read, based on what git printed.
//!
//! No command is started here. Invariant: an error contains git's own message without credentials.

use std::io;
use std::time::Duration;

use process::RunProgramError;

/// The maximum number of git's last lines in an error.
const WORDS_LIMIT_LINES: usize = 6;

/// Markers of lines that describe the failure, as opposed to advice and progress.
const TELLING: [&str; 7] = ["fatal: ", "error: ", "remote: ", "ssh: ", "denied", "verification failed", "IDENTIFICATION"];

/// Prefixes of lines that only report progress.
const NOISE: [&str; 4] = ["Cloning into", "hint:", "remote: Enumerating objects", "remote: Total "];

/// Why a remote could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FetchError {
    /// Git has no login for the remote, or the remote rejects it.
    #[error("the remote requires a login, but git does not have a valid one: {words}")]
    AuthenticationNeeded {
        /// Git's message.
        words: String,
    },
    /// ssh does not know the host's key, and nobody can confirm it.
    #[error("ssh does not trust the remote's host key: {words}")]
    HostKeyUnknown {
        /// Git's message.
        words: String,
    },
    /// The repository does not exist, or the login has no access to it.
    #[error("repository not found: {words}")]
    NotFound {
        /// Git's message.
        words: String,
    },
    /// The host does not answer.
    #[error("cannot reach the remote's host: {words}")]
    HostUnreachable {
        /// Git's message.
        words: String,
    },
    /// The time limit was reached.
    #[error("the remote did not finish within {} s", after.as_secs_f32())]
    TimedOut {
        /// The time limit.
        after: Duration,
    },
    /// The fetch was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// Any other failure.
    #[error("could not read the remote: {words}")]
    Other {
        /// Git's message.
        words: String,
    },
    /// Git could not be started, or the mirror could not be read.
    #[error("could not fetch: {words}")]
    Unusable {
        /// The error.
        words: String,
    },
}

/// A kind of failure, and git's messages for it in lower case.
type Sign = (fn(String) -> FetchError, &'static [&'static str]);

/// Git's messages for each kind of failure. A rejected login is also reported as a missing repository, so the more specific
/// messages come first.
const SIGNS: &[Sign] = &[
    (|words| FetchError::HostKeyUnknown { words }, &["host key verification failed", "remote host identification has changed"]),
    (
        |words| FetchError::AuthenticationNeeded { words },
        &[
            "could not read username",
            "could not read password",
            "terminal prompts disabled",
            "unable to get password from user",
            "authentication failed",
            "permission denied (",
            "returned error: 401",
            "returned error: 403",
            "invalid username or",
            "access denied",
            "too many authentication failures",
        ],
    ),
    (
        |words| FetchError::HostUnreachable { words },
        &[
            "could not resolve host",
            "name or service not known",
            "temporary failure in name resolution",
            "failed to connect",
            "connection refused",
            "connection timed out",
            "connection reset",
            "operation timed out",
            "no route to host",
            "network is unreachable",
            "unable to connect",
            "unable to look up",
        ],
    ),
    (
        |words| FetchError::NotFound { words },
        &[
            "repository not found",
            "does not appear to be a git repository",
            "not a git repository",
            "returned error: 404",
            "does not exist",
            "' not found",
            "could not be found",
            "not valid: is this a git repository",
            "access denied or repository not exported",
        ],
    ),
];

impl FetchError {
    /// Finds the kind of failure from git's message.
    pub(super) fn from_words(stderr: &str) -> Self {
        let words = telling_lines(stderr);
        let lower = words.to_lowercase();
        let sign = SIGNS.iter().find(|(_, signs)| signs.iter().any(|sign| lower.contains(sign)));
        sign.map_or(Self::Other { words: words.clone() }, |(kind, _)| kind(words))
    }

    /// Whether a lock file that no process holds may have caused the failure.
    pub(super) fn is_about_a_lock(&self) -> bool {
        matches!(self, Self::Other { words } if words.contains(".lock': File exists"))
    }
}

impl From<RunProgramError> for FetchError {
    fn from(error: RunProgramError) -> Self {
        match error {
            RunProgramError::TimedOut { after, .. } => Self::TimedOut { after },
            RunProgramError::Cancelled { .. } => Self::Cancelled,
            RunProgramError::Failed { stderr_tail, .. } => Self::from_words(&stderr_tail),
            RunProgramError::NotFound { .. }
            | RunProgramError::DirectoryMissing { .. }
            | RunProgramError::Spawn { .. }
            | RunProgramError::Io { .. }
            | RunProgramError::OutputTooLarge { .. } => Self::Unusable { words: error.to_string() },
        }
    }
}

impl From<io::Error> for FetchError {
    fn from(error: io::Error) -> Self {
        Self::Unusable { words: error.to_string() }
    }
}

/// Returns the last lines of stderr that describe the failure: the errors of git and the remote, or else all lines that are not
/// progress.
pub(super) fn telling_lines(stderr: &str) -> String {
    let noise = |line: &&str| line.is_empty() || line.contains('%') || NOISE.iter().any(|beginning| line.starts_with(beginning));
    let mut lines: Vec<&str> = stderr.split(['\n', '\r']).map(str::trim).filter(|line| !noise(line)).collect();
    let is_error = |line: &str| TELLING.iter().any(|sign| line.contains(sign));
    if lines.iter().any(|line| is_error(line)) {
        lines.retain(|line| is_error(line));
    }
    let last = &lines[lines.len().saturating_sub(WORDS_LIMIT_LINES)..];
    if last.is_empty() { "git printed no message".to_owned() } else { last.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(stderr: &str) -> &'static str {
        match FetchError::from_words(stderr) {
            FetchError::AuthenticationNeeded { .. } => "authentication",
            FetchError::HostKeyUnknown { .. } => "host key",
            FetchError::NotFound { .. } => "not found",
            FetchError::HostUnreachable { .. } => "unreachable",
            FetchError::TimedOut { .. } => "timed out",
            FetchError::Cancelled => "cancelled",
            FetchError::Other { .. } => "other",
            FetchError::Unusable { .. } => "unusable",
        }
    }

    #[test]
    fn gits_words_are_told_apart() {
        let check = |stderr: &str, expect: &str| assert_eq!(kind(stderr), expect, "{stderr}");
        check("fatal: could not read Username for 'https://github.com': terminal prompts disabled", "authentication");
        check("remote: Invalid username or token.\nfatal: Authentication failed for 'https://h/r/'", "authentication");
        check("git@github.com: Permission denied (publickey).\nfatal: Could not read from remote repository.", "authentication");
        check("fatal: unable to access 'https://h/r/': The requested URL returned error: 403", "authentication");
        check("Host key verification failed.\nfatal: Could not read from remote repository.", "host key");
        check("remote: Repository not found.\nfatal: repository 'https://github.com/a/b/' not found", "not found");
        check("fatal: '/x' does not appear to be a git repository", "not found");
        check("fatal: repository '/x' does not exist", "not found");
        check("fatal: unable to access 'https://x/': Could not resolve host: x", "unreachable");
        check("ssh: connect to host x port 22: Connection refused", "unreachable");
        check("fatal: bad object deadbeef", "other");
        check("", "other");
    }

    #[test]
    fn an_error_repeats_what_tells_and_not_the_progress() {
        let stderr = "Cloning into 'x'...\nReceiving objects:  10% (1/10)\rReceiving objects: 20% (2/10)\rfatal: early EOF\n";
        assert_eq!(telling_lines(stderr), "fatal: early EOF");
        let broken_off = "remote: Enumerating objects: 5, done.\nremote: Total 5 (delta 0), reused 0\nfatal: early EOF\n";
        assert_eq!(telling_lines(broken_off), "fatal: early EOF");
        let many = "line\n".repeat(20);
        assert_eq!(telling_lines(&many).matches("line").count(), WORDS_LIMIT_LINES);
        let advice =
            "error: Unable to create '/m/x.lock': File exists.\n\nAnother git process seems to be running.\nRemove it.\n";
        assert_eq!(telling_lines(advice), "error: Unable to create '/m/x.lock': File exists.");
    }

    #[test]
    fn only_a_lock_that_is_there_is_about_a_lock() {
        let locked = "error: could not lock config file: Unable to create '/m/packed-refs.lock': File exists.";
        assert!(FetchError::from_words(locked).is_about_a_lock());
        assert!(!FetchError::from_words("fatal: '/x.lock' does not exist").is_about_a_lock());
    }
}
