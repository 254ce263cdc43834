//! Tests that `docs/errors.md` matches the catalogue of error codes.
//!
//! The test fails if the document is out of date. With `cargo xtask docs`, the test writes the document instead.

#![expect(clippy::disallowed_methods, reason = "the tests read and write documents")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use model::ErrorCode;
use model::error_code::{Retry, Topic};

/// The environment variable with which `cargo xtask docs` tells the test to write the document.
const UPDATE: &str = "UPDATE_DOCS";

const INTRODUCTION: &str = "\
<!-- Generated from crates/model/src/error_code by `cargo xtask docs`. Do not edit. -->

# Error codes

Every error has a stable code, a message and, usually, hints. The code is for scripts: its meaning never changes, but messages and
hints may change in any release.

* The HTTP API answers with `application/problem+json`. The code is in `code`, the message in `detail`, and the hints in `hints`.
* A run, a clone or a push that fails has the code in `error.code`, the message in `error.message`, and the hints in `error.hints`.
* `codex-orchestrator` prints `error: MESSAGE` and `hint: HINT` to stderr. It exits with 2 if the command was called incorrectly, and
  with 1 for all other errors.
* `codex-docker` exits with 125 for its own errors, and with the exit code of Codex otherwise.

New versions may add codes. Treat an unknown code like other codes with the same HTTP status.
";

fn heading(topic: Topic) -> (&'static str, &'static str) {
    match topic {
        Topic::Request => ("Requests and sign-in", "The server rejected a request, or a browser could not sign in."),
        Topic::Value => ("Invalid values", "A value in a request, a form or a command is invalid. The message names the value."),
        Topic::Repository => ("Repositories", "Problems with adding, cloning and fetching repositories."),
        Topic::Task => ("Tasks", "A task, run or follow-up does not exist, or is in a state that does not allow the request."),
        Topic::Branch => ("Branches and diffs", "Problems with diffs, updates from the base branch, and exports."),
        Topic::PullRequest => ("Pushes and pull requests", "Problems with the remote or the Git host."),
        Topic::Run => ("Failed runs", "Why a run failed or was interrupted. The code is in the run's `error`."),
        Topic::Server => ("Server", "Problems with the server, its home directory, the Codex login or notifications."),
        Topic::CommandLine => ("Command line", "These codes appear only in the output of `codex-orchestrator`."),
        Topic::Container => ("Containers", "Errors of `codex-docker`, which runs Codex in containers."),
        Topic::Broker => ("Broker", "Codex gets these answers inside a container, in the format of the model provider's API."),
    }
}

fn retry(code: ErrorCode) -> Option<&'static str> {
    match code.retry() {
        Retry::Never => None,
        Retry::Backoff | Retry::SlowBackoff => Some("retried automatically, if the repository allows retries"),
        Retry::AtReset => {
            Some("retried automatically at the reset time, if the message names it and the repository allows retries")
        }
    }
}

fn entry(text: &mut String, code: ErrorCode) {
    let statuses: Vec<_> = code.statuses().iter().map(|status| format!("**{status}**")).collect();
    let status = if statuses.is_empty() || code.topic() == Topic::CommandLine {
        String::new()
    } else {
        format!("HTTP {} · ", statuses.join(" or "))
    };
    let retry = retry(code).map_or_else(String::new, |retry| format!(" Such a run is {retry}."));
    let _infallible = write!(text, "\n### {code}\n\n{status}{}{retry}\n\n", code.meaning());
    let _infallible = writeln!(text, "* Example: {}", code.example());
    for advice in code.advice() {
        let _infallible = writeln!(text, "* What to do: {advice}");
    }
}

fn document() -> String {
    let mut text = INTRODUCTION.to_owned();
    let mut topic = None;
    for code in ErrorCode::ALL {
        if topic != Some(code.topic()) {
            topic = Some(code.topic());
            let (title, about) = heading(code.topic());
            let _infallible = write!(text, "\n## {title}\n\n{about}\n");
        }
        entry(&mut text, *code);
    }
    text
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors.md")
}

#[test]
fn the_committed_reference_is_up_to_date() {
    if std::env::var_os(UPDATE).is_some() {
        return std::fs::write(path(), document()).expect("docs/errors.md can be written");
    }
    let committed = std::fs::read_to_string(path()).expect("docs/errors.md is part of the repository");
    assert!(committed == document(), "docs/errors.md is out of date: run `cargo xtask docs`");
}
