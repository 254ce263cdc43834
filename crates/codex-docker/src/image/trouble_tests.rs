//! Tests for the explanations of real error messages.
//!
//! The messages come from Docker 20.10 and 28, and from programs in the Dockerfile.

use super::*;
use model::ErrorCode;

fn heard(step: &str, lines: &[&str]) -> BuildOutput {
    let mut heard = BuildOutput::default();
    heard.step(step);
    for line in lines {
        heard.line(line);
    }
    heard
}

#[track_caller]
fn check(words: &str, lines: &[&str], code: ErrorCode) {
    let failure = explain("build `x:1`", words, &heard("RUN something", lines));
    assert_eq!(failure.code, code, "{failure:?}");
    assert!(failure.message.starts_with("could not build `x:1`: "), "{failure:?}");
    assert!(code == ErrorCode::ImageFailed || !failure.hints.is_empty(), "{failure:?}");
}

const EXITED: &str = "The command '/bin/sh -c set -eu; codex-docker no space left' returned a non-zero code: 100";

#[test]
fn the_engines_own_words_are_told_apart() {
    check("write /var/lib/docker/tmp/x: no space left on device", &[], ErrorCode::DiskFull);
    check(
        "Get \"https://registry-1.docker.io/v2/\": dial tcp: lookup registry-1.docker.io: no such host",
        &[],
        ErrorCode::ImageNoNetwork,
    );
    check("Get \"https://registry-1.docker.io/v2/\": x509: certificate signed by unknown authority", &[], ErrorCode::ImageTls);
    check(
        "pull access denied for nosuch, repository does not exist or may require 'docker login'",
        &[],
        ErrorCode::ImageNotFound,
    );
    check("manifest for debian:nosuch not found: manifest unknown: manifest unknown", &[], ErrorCode::ImageNotFound);
    check("invalid reference format: repository name must be lowercase", &[], ErrorCode::ImageName);
    check("no such image: Foo: invalid reference format: repository name must be lowercase", &[], ErrorCode::ImageName);
    check("dockerfile parse error line 1: unknown instruction: FORM", &[], ErrorCode::DockerfileInvalid);
    check(
        "the --mount option requires BuildKit. Refer to https://docs.docker.com/go/buildkit/",
        &[],
        ErrorCode::DockerfileBuildkit,
    );
    check("no matching manifest for linux/arm64/v8 in the manifest list entries", &[], ErrorCode::ImageOtherMachine);
    check("something new", &[], ErrorCode::ImageFailed);
}

#[test]
fn of_a_step_that_failed_its_last_lines_count_and_not_its_text() {
    check(EXITED, &["dd: error writing '/x': No space left on device"], ErrorCode::DiskFull);
    check(
        EXITED,
        &["W: Temporary failure resolving 'deb.debian.org'", "E: Unable to locate package x"],
        ErrorCode::ImageNoNetwork,
    );
    check(EXITED, &["curl: (60) SSL certificate problem: unable to get local issuer certificate"], ErrorCode::ImageTls);
    check(EXITED, &["/bin/sh: apt-get: not found"], ErrorCode::BaseUnsuitable);
    check(
        EXITED,
        &["codex-docker: https://registry.npmjs.org has no Codex 9.9.9, or does not answer"],
        ErrorCode::CodexVersionUnknown,
    );
    check(
        EXITED,
        &["curl: (6) Could not resolve host: registry", "codex-docker: https://registry has no Codex 1, or does not answer"],
        ErrorCode::ImageNoNetwork,
    );
    check(EXITED, &["make: *** [all] Error 2"], ErrorCode::ImageFailed);
}

#[test]
fn what_is_not_known_is_passed_on_with_step_and_lines() {
    let lines: Vec<String> = (0..20).map(|n| format!("line {n}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let failure = explain("build `x:1`", EXITED, &heard("RUN make   all", &lines));
    assert!(failure.message.contains(" 100 (at `RUN make all`)\n  | line 12\n"), "{failure:?}");
    assert!(failure.message.ends_with("\n  | line 19"), "{failure:?}");
}

#[test]
fn an_image_without_codex_is_told_by_our_own_check() {
    let words = format!("The command '/bin/sh -c {}' returned a non-zero code: 127", &CHECK["RUN ".len()..]);
    let failure = explain("build `x:1`", &words, &heard(CHECK, &["/bin/sh: 1: codex: not found"]));
    assert_eq!(failure.code, ErrorCode::ImageIncomplete);
    assert!(
        failure.message.contains("codex: not found") && failure.hints[0].contains("FROM ${CODEX_DOCKER_IMAGE}"),
        "{failure:?}"
    );
}

#[test]
fn every_explanation_is_readable() {
    let known = TROUBLES.iter().map(|trouble| explain("build `x:1`", trouble.said[0], &BuildOutput::default()));
    let missing = explain("build `x:1`", CHECK, &heard(CHECK, &["/bin/sh: 1: codex: not found"]));
    let failed = explain("build `x:1`", EXITED, &heard("RUN make", &["make: *** [all] Error 2"]));
    let unknown = explain("pull `x:1`", "something new", &BuildOutput::default());
    let reports: Vec<String> = known.chain([missing, failed, unknown]).map(|failure| crate::report(&failure)).collect();
    insta::assert_snapshot!(reports.join("\n"));
}
