//! Tests for the requests to the builder and for reading its output, without an engine.
//!
//! `tests/it/image_build.rs` builds with a real engine.

use super::*;

fn said(stream: &str) -> BuildInfo {
    BuildInfo { stream: Some(stream.to_owned()), ..BuildInfo::default() }
}

#[test]
fn our_image_says_what_it_is() {
    let labels = Build::default().labels();
    assert_eq!(labels[CODEX], CODEX_VERSION);
    assert_eq!(labels[BASE], DEFAULT_BASE);
    assert_eq!(labels[DOCKERFILE_HASH], fingerprint(DOCKERFILE));
    assert_eq!(labels[BUILT_FOR], env!("CARGO_PKG_VERSION"));
}

#[test]
fn of_somebodys_own_dockerfile_nothing_is_claimed() {
    let own = Build { dockerfile: Some("FROM x".to_owned()), ..Build::default() };
    let labels = own.labels();
    assert!(
        labels[DOCKERFILE_HASH].starts_with(CUSTOM) && !labels.contains_key(CODEX) && !labels.contains_key(BASE),
        "{labels:?}"
    );
    assert_eq!(own.text(), format!("FROM x\n{CHECK}\n"));
    assert_eq!(own.arguments()["CODEX_DOCKER_IMAGE"], DEFAULT_IMAGE);
    assert!(!own.arguments().contains_key("BASE"), "the Dockerfile's own default is used");
    let based = Build { base: "y:1".to_owned(), ..own };
    assert_eq!(based.arguments()["BASE"], "y:1");
}

#[test]
fn our_image_comes_first_where_a_dockerfile_begins_with_it() {
    let own = |text: &str| Build { dockerfile: Some(text.to_owned()), tag: "mine:1".to_owned(), ..Build::default() };
    assert_eq!(own("ARG CODEX_DOCKER_IMAGE\nFROM ${CODEX_DOCKER_IMAGE}\n").needs_first(), Some(Build::default()));
    assert_eq!(own("FROM x\n").needs_first(), None);
    assert_eq!(Build::default().needs_first(), None);
}

#[test]
fn what_goes_in_can_be_chosen() {
    let build = Build { base: "ubuntu:24.04".to_owned(), codex_version: "0.75.0".to_owned(), ..Build::default() };
    let arguments = build.arguments();
    assert_eq!((arguments["BASE"].as_str(), arguments["CODEX_VERSION"].as_str()), ("ubuntu:24.04", "0.75.0"));
    assert_eq!(build.labels()[CODEX], "0.75.0");
}

#[test]
fn steps_and_lines_are_heard_however_they_are_cut() {
    let mut listener = Listener::default();
    let mut seen = Vec::new();
    let mut show = |progress: Progress<'_>| seen.push(format!("{progress:?}"));
    for piece in
        ["Step 1/2 : FROM x", "\n", " ---> 0123\n", "STEP 2/2: RUN y\nha", "lf\n\u{1b}[91mred\n\u{1b}[0m", "10%\r20%\r", "\n"]
    {
        listener.hear(said(piece), &mut show);
    }
    listener
        .hear(BuildInfo { status: Some("Downloading".to_owned()), id: Some("0a".to_owned()), ..BuildInfo::default() }, &mut show);
    assert_eq!(
        seen,
        [
            r#"Step { number: 1, total: 2, instruction: "FROM x" }"#,
            r#"Step { number: 2, total: 2, instruction: "RUN y" }"#,
            r#"Line("half")"#,
            r#"Line("red")"#,
            r#"Line("10%")"#,
            r#"Line("20%")"#,
            r#"Line("0a Downloading")"#,
        ]
    );
}

#[test]
fn colours_are_taken_out() {
    assert_eq!(plain("\u{1b}[91mred\u{1b}[0m, plain"), "red, plain");
    assert_eq!(plain("cut\u{1b}["), "cut");
    assert_eq!(plain("äöü \u{1b}[1;31mü"), "äöü ü");
}
