//! Determines the error code of a failure from the words that Codex and workers use, and the hints for the code.
//!
//! The words come from the recorded versions. A message without known words keeps its text and gets a general code.
//! Codes are stable because scripts rely on them.

use printable::printable_line;

use crate::error_code::ErrorCode;

/// The maximum length of a quoted message, in characters.
const MESSAGE_LIMIT: usize = 1000;

/// Error codes by the words in a message, in lower case. The first matching row wins, so specific rows come before general ones.
const BY_WORDS: &[(ErrorCode, &[&str])] = &[
    (ErrorCode::ServiceNotReady, &["` was not ready after "]),
    (ErrorCode::ServiceFailed, &["the service `", "could not start the services: "]),
    (ErrorCode::UnknownThread, &["no rollout found"]),
    (ErrorCode::ThreadBusy, &["already has an active writer"]),
    (ErrorCode::NotTrustedDirectory, &["not inside a trusted directory"]),
    (ErrorCode::PromptRefused, &["input_too_large", "no prompt provided", "is not valid utf-8"]),
    (
        ErrorCode::Config,
        &[
            "error loading config",
            "model provider `",
            "missing environment variable",
            "config.toml",
            "unknown configuration field",
        ],
    ),
    (ErrorCode::UsageLimit, &["usage limit", "insufficient_quota", "current quota", "purchase more credits"]),
    (ErrorCode::ContextWindow, &["context window", "context_length_exceeded"]),
    (
        ErrorCode::Unauthorized,
        &[
            "401 unauthorized",
            "status: 401",
            "invalid api key",
            "incorrect api key",
            "invalid_api_key",
            "sign in again",
            "not logged in",
        ],
    ),
    (ErrorCode::Forbidden, &["403 forbidden", "status: 403"]),
    (ErrorCode::ModelNotFound, &["model_not_found", "model is not supported"]),
    (ErrorCode::RateLimited, &["rate limit", "rate_limit", "429 too many requests", "status: 429"]),
    (
        ErrorCode::Overloaded,
        &[
            "high demand",
            "at capacity",
            "overloaded",
            "500 internal server error",
            "502 bad gateway",
            "503 service unavailable",
            "504 gateway timeout",
        ],
    ),
    (
        ErrorCode::Network,
        &[
            "stream disconnected",
            "connection failed",
            "error sending request",
            "network error",
            "waiting for network",
            "timed out",
            "reconnecting...",
        ],
    ),
    (
        ErrorCode::ContainerEngine,
        &["cannot connect to the docker daemon", "permission denied while trying to connect to the docker"],
    ),
];

/// Returns the error code for a message, if it contains known words.
pub(super) fn code_of(message: &str) -> Option<ErrorCode> {
    let message = message.to_lowercase();
    // OpenAI's "The model `x` does not exist" names the model in the middle.
    if message.contains("model `") && message.contains("does not exist") {
        return Some(ErrorCode::ModelNotFound);
    }
    BY_WORDS.iter().find(|(_, words)| words.iter().any(|word| message.contains(word))).map(|(code, _)| *code)
}

/// Returns what to do next, the most useful hint first.
pub(super) fn hints_for(code: ErrorCode) -> Vec<String> {
    code.advice().iter().map(|hint| (*hint).to_owned()).collect()
}

/// Makes a message from another program safe to show: printable, on one line, and of limited length.
pub(super) fn quoted(message: &str) -> String {
    printable_line(message, MESSAGE_LIMIT)
}

/// Returns the reason of a failure from stderr: the last `Error: …` with its causes, otherwise the last line that is not a log
/// line, otherwise the last log line. Returns `None` if stderr contains only noise.
pub(super) fn reason_in(stderr: &str) -> Option<String> {
    let told = stderr.rsplit_once("\nStack backtrace:").map_or(stderr, |(told, _backtrace)| told);
    let lines: Vec<&str> = told.lines().map(str::trim).filter(|line| !is_noise(line)).collect();
    let error = lines.iter().rposition(|line| starts_with_error(line));
    if let Some(at) = error {
        let causes = lines[at + 1..].iter().skip_while(|line| **line != "Caused by:").skip(1).take(3);
        let parts: Vec<&str> = std::iter::once(after_error(lines[at])).chain(causes.map(|line| without_number(line))).collect();
        return Some(quoted(&parts.join(": ")));
    }
    let line = lines.iter().rev().find(|line| !is_log_line(line)).or(lines.last())?;
    Some(quoted(line))
}

fn is_noise(line: &str) -> bool {
    line.is_empty()
        || line == "Reading additional input from stdin..."
        || line.starts_with("note: run with `RUST_BACKTRACE")
        || line.starts_with("For more information, try '--help'")
        || line.starts_with("Usage: ")
}

fn starts_with_error(line: &str) -> bool {
    line.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("error:"))
}

fn after_error(line: &str) -> &str {
    line.get(6..).unwrap_or(line).trim_start()
}

/// Removes the number of a cause: `0: because` becomes `because`.
fn without_number(line: &str) -> &str {
    line.split_once(": ").filter(|(number, _)| number.bytes().all(|byte| byte.is_ascii_digit())).map_or(line, |(_, cause)| cause)
}

/// Returns whether a line is from Codex's own log, e.g. `2026-11-22T06:44:46.122150Z ERROR codex_core::session: …`.
fn is_log_line(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let stamped = words.next().is_some_and(|time| time.ends_with('Z') && time.starts_with("20") && time.contains('T'));
    stamped && words.next().is_some_and(|level| matches!(level, "ERROR" | "WARN" | "INFO" | "DEBUG" | "TRACE"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_known_by_their_words() {
        for (message, code) in [
            ("unexpected status 401 Unauthorized: Incorrect API key provided: sk-xxx", ErrorCode::Unauthorized),
            (
                "Your access token could not be refreshed because your refresh token was already used. Please log out and sign in again.",
                ErrorCode::Unauthorized,
            ),
            ("unexpected status 403 Forbidden: forbidden", ErrorCode::Forbidden),
            (
                "You’ve hit your usage limit. Visit https://chatgpt.com/settings/usage to purchase more credits",
                ErrorCode::UsageLimit,
            ),
            ("Quota exceeded. Check your plan: You exceeded your current quota", ErrorCode::UsageLimit),
            (
                "stream disconnected before completion: Rate limit reached for gpt. Please try again in 0.2s.",
                ErrorCode::RateLimited,
            ),
            ("exceeded retry limit, last status: 429 Too Many Requests", ErrorCode::RateLimited),
            ("Codex ran out of room in the model's context window.", ErrorCode::ContextWindow),
            ("unexpected status 404 Not Found: The model `x` does not exist", ErrorCode::ModelNotFound),
            ("The 'x' model is not supported when using Codex with a ChatGPT account.", ErrorCode::ModelNotFound),
            ("We’re currently experiencing high demand, which may cause temporary errors.", ErrorCode::Overloaded),
            ("Selected model is at capacity. Please try a different model.", ErrorCode::Overloaded),
            ("stream disconnected before completion: idle timeout waiting for SSE", ErrorCode::Network),
            ("Reconnecting... waiting for network (Connection failed: error sending request)", ErrorCode::Network),
            ("Missing environment variable: `MOCK_KEY`.", ErrorCode::Config),
            ("thread 01a2 already has an active writer", ErrorCode::ThreadBusy),
            ("could not start the service `db`: image `postgres:16` not found", ErrorCode::ServiceFailed),
            ("could not start the services: no space left on device", ErrorCode::ServiceFailed),
            ("the service `db` ended with exit code 1", ErrorCode::ServiceFailed),
            ("the service `db` was not ready after 60 seconds", ErrorCode::ServiceNotReady),
        ] {
            assert_eq!(code_of(message), Some(code), "{message}");
        }
        assert_eq!(code_of("request id req_401abc: something new"), None);
    }

    #[test]
    fn every_code_says_what_to_do_next() {
        for code in BY_WORDS.iter().map(|(code, _)| *code) {
            assert_ne!(hints_for(code), hints_for(ErrorCode::TurnFailed), "{code}");
        }
    }

    #[test]
    fn the_reason_is_found_between_noise() {
        for (stderr, reason) in [
            ("", None),
            ("Reading additional input from stdin...\n", None),
            ("Error: a\n\nStack backtrace:\n   0: <unknown>\n", Some("a")),
            ("Error: a\n\nCaused by:\n    0: b\n    1: c\n\nStack backtrace:\n   0: x", Some("a: b: c")),
            (
                "error: unexpected argument '-S' found\n\nUsage: codex exec\n\nFor more information, try '--help'.\n",
                Some("unexpected argument '-S' found"),
            ),
            ("2026-11-22T06:44:46.1Z ERROR codex_core: gone\n", Some("2026-11-22T06:44:46.1Z ERROR codex_core: gone")),
            ("plain\n2026-11-22T06:44:46.1Z ERROR codex_core: gone\n", Some("plain")),
            ("\u{1b}[31mred\u{1b}[0m alert\r\n", Some("red alert")),
            ("Error: é", Some("é")),
        ] {
            assert_eq!(reason_in(stderr).as_deref(), reason, "{stderr:?}");
        }
    }

    #[test]
    fn a_long_message_is_cut() {
        assert_eq!(quoted(&"x".repeat(5000)).chars().count(), MESSAGE_LIMIT);
    }
}
