//! Tests what an export mounts and says, and the limits that its script shares with the host. The engine plays a script.
//!
//! A real container runs the script in the black-box tests.

use std::path::Path;
use std::sync::{Arc, Mutex};

use clap::Parser;
use model::{commit, untrusted};
use serde_json::{Value, json};

use super::*;
use crate::tests::{Answer, Asked, ScriptedEngine, about, done, found, missing};

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    arguments: HarvestArguments,
}

/// A folder with everything that an export needs.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs_err::write(folder.path().join("message"), "What was done\n").expect("writable");
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn arguments(&self, more: &[&str]) -> HarvestArguments {
        let of = |name: &str| self.path(name).display().to_string();
        let (out, message) = (of("out"), of("message"));
        let needed = ["harvest", "--worktree", "/t/work", "--git-dir", "/t/agent.git", "--objects", "/m/objects", "--out", &out];
        let rest = ["--branch", "codex/x", "--since", "abc", "--message", &message, "--image", "mine:1"];
        Line::try_parse_from(needed.iter().chain(&rest).chain(more)).expect("well-formed").arguments
    }
}

/// Starts an engine whose container exits with this code. `look` sees the request for it and the folder that it mounts.
fn engine(code: i64, look: impl Fn(&Value, &Path) + Send + Sync + 'static) -> ScriptedEngine {
    let is_removed: Arc<Mutex<bool>> = Arc::default();
    ScriptedEngine::start(move |asked: &Asked| {
        let mut is_removed = is_removed.lock().expect("sound");
        match asked.line.split('?').next().unwrap_or_default() {
            "POST /containers/create" => {
                let mounts = asked.body["HostConfig"]["Mounts"].as_array().expect("a list");
                let input = mounts.iter().find(|mount| mount["Target"] == inside::IN).expect("the input is mounted");
                look(&asked.body, Path::new(input["Source"].as_str().expect("a path")));
                Answer::Said(201, json!({ "Id": "1", "Warnings": [] }).to_string())
            }
            line if line.starts_with("DELETE ") => {
                *is_removed = true;
                done()
            }
            line if line.starts_with("GET /containers/") && *is_removed => missing(),
            line if line.starts_with("GET /containers/") => found(&json!({ "State": { "Status": "exited", "ExitCode": code } })),
            "GET /images/mine:1/json" => found(&json!({ "Id": "sha256:1" })),
            line if line.starts_with("GET /images/") => missing(),
            line => about(line).unwrap_or_else(done),
        }
    })
}

#[tokio::test]
async fn an_export_gets_its_input_in_files_and_leaves_nothing_behind() {
    let place = Place::new();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let files = Arc::clone(&seen);
    let engine = engine(4, move |_, input| {
        let read = |name: &str| fs_err::read_to_string(input.join(name)).expect("the file was written");
        assert_eq!(read("script"), HARVEST_SCRIPT);
        files.lock().expect("sound").extend(["message", "submodules", "git-file", "leave-out"].map(read));
    });
    fs_err::write(place.path("paths"), "a b\0.venv\0").expect("writable");
    let paths = place.path("paths").display().to_string();
    let arguments = place.arguments(&[
        "--submodule",
        "lib/a",
        "--submodule",
        "with space\nand break",
        "--label",
        "task=t",
        "--leave-out",
        &paths,
    ]);
    let code = harvest(&engine.environment(&place.path("state")), &arguments).await.expect("the container ends");
    assert_eq!(code, 4, "the exit code of the script is passed on");
    let expected = ["What was done\n", "lib/a\0with space\nand break\0", "gitdir: /git/agent.git\n", "a b\0.venv\0"];
    assert_eq!(*seen.lock().expect("sound"), expected);
    assert_eq!(fs_err::read_dir(place.path("state")).expect("a folder").count(), 0, "the folder of the export is removed");
    let body = &engine.asked("POST /containers/create")[0].body;
    assert_eq!((&body["Image"], &body["Labels"]["codex-docker.label.task"]), (&json!("mine:1"), &json!("t")));
    assert_eq!((&body["HostConfig"]["NetworkMode"], &body["User"]), (&json!("none"), &json!("0:0")));
    let left = engine.changes();
    assert!(left.last().is_some_and(|line| line.starts_with("DELETE /containers/codex-harvest-")), "{left:?}");
}

#[test]
fn the_agent_can_change_its_own_files_and_the_result_and_nothing_else() {
    let place = Place::new();
    let folder = crate::tests::supervised(&place.path("state"), "run", &[]);
    let arguments = place.arguments(&["--objects", "/n/objects", "--sessions", "/t/sessions"]);
    let mounts = arguments.mounts(&folder);
    let of = |read_only: bool| {
        let these = mounts.iter().filter(|mount| mount.read_only == Some(read_only));
        these.map(|mount| mount.target.clone().expect("a target")).collect::<Vec<_>>()
    };
    assert_eq!(of(false), ["/workspace/worktree", "/git/agent.git", "/codex-docker/out", "/sessions"]);
    assert_eq!(of(true), ["/workspace/worktree/.git", "/codex-docker/in", "/git/objects", "/git/objects-1"]);
}

#[test]
fn the_script_is_told_what_was_asked() {
    let place = Place::new();
    let environment = |more: &[&str]| place.arguments(more).environment();
    let usual = environment(&[]);
    for expected in [
        "HARVEST_MODE=harvest",
        "HARVEST_ASK=beyond-limits",
        "HARVEST_RUN_FILES=500000",
        "HARVEST_BRANCH=codex/x",
        "HARVEST_SINCE=abc",
        "GIT_AUTHOR_NAME=Codex",
        "GIT_COMMITTER_EMAIL=codex@localhost",
    ] {
        assert!(usual.iter().any(|one| one == expected), "{expected}: {usual:?}");
    }
    assert!(!usual.iter().any(|one| one.contains("OWNER") || one.contains("SESSIONS")), "{usual:?}");
    let other = environment(&["--committer-name", "C", "--committer-email", "c@d"]);
    for expected in ["GIT_AUTHOR_NAME=Codex", "GIT_COMMITTER_NAME=C", "GIT_COMMITTER_EMAIL=c@d"] {
        assert!(other.iter().any(|one| one == expected), "{expected}: {other:?}");
    }
    let limits = ["--ask", "always", "--max-new-files", "7", "--max-bytes", "8", "--max-file-bytes", "9"];
    let limited = environment(&limits);
    for expected in ["HARVEST_ASK=always", "HARVEST_RUN_FILES=7", "HARVEST_RUN_BYTES=8", "HARVEST_RUN_FILE_BYTES=9"] {
        assert!(limited.iter().any(|one| one == expected), "{expected}: {limited:?}");
    }
    let all = environment(&[
        "--mode",
        "sync",
        "--owner",
        "1000:100",
        "--sessions",
        "/t/s",
        "--author-name",
        "A B",
        "--author-email",
        "a@b",
    ]);
    for expected in [
        "HARVEST_MODE=sync",
        "HARVEST_OWNER=1000:100",
        "HARVEST_SESSIONS=/sessions",
        "GIT_AUTHOR_NAME=A B",
        "GIT_COMMITTER_NAME=A B",
        "GIT_AUTHOR_EMAIL=a@b",
    ] {
        assert!(all.iter().any(|one| one == expected), "{expected}: {all:?}");
    }
}

#[tokio::test]
async fn an_export_that_cannot_begin_starts_no_container() {
    let place = Place::new();
    let state = place.path("state");
    let check = async |arguments: HarvestArguments, code: ErrorCode| {
        let engine = engine(0, |_, _| {});
        let failure = harvest(&engine.environment(&state), &arguments).await.expect_err("refused");
        assert_eq!(failure.code, code, "{failure:?}");
        assert_eq!(engine.changes(), [""; 0], "{failure:?}");
    };
    check(HarvestArguments { image: "other:1".to_owned(), ..place.arguments(&[]) }, ErrorCode::ImageMissing).await;
    check(HarvestArguments { message: place.path("gone"), ..place.arguments(&[]) }, ErrorCode::MessageUnreadable).await;
    check(HarvestArguments { out: place.path("message"), ..place.arguments(&[]) }, ErrorCode::OutFolder).await;
}

#[test]
fn the_script_has_the_limits_of_the_host() {
    for (name, value) in [
        ("opened_limit=${HARVEST_OPENED_LIMIT:-", untrusted::OPENED_LIMIT_BYTES),
        ("file_limit=${HARVEST_FILE_LIMIT:-", untrusted::FILE_LIMIT_BYTES),
        ("commit_limit=${HARVEST_COMMIT_LIMIT:-", untrusted::COMMIT_LIMIT_BYTES),
        ("lfs_file_limit=${HARVEST_LFS_FILE_LIMIT:-", untrusted::LFS_FILE_LIMIT_BYTES),
        ("lfs_limit=${HARVEST_LFS_LIMIT:-", untrusted::LFS_LIMIT_BYTES),
        ("new_files_limit=${HARVEST_NEW_FILES_LIMIT:-", untrusted::NEW_FILES_LIMIT),
    ] {
        assert!(HARVEST_SCRIPT.contains(&format!("\n{name}{value}}}\n")), "{name}{value}}}");
    }
    assert!(HARVEST_SCRIPT.contains(&format!("\nopened='{}'\n", untrusted::OPENED_BY_NAME.join(" "))));
    assert!(HARVEST_SCRIPT.contains(&format!("\nopened_inside='{}'\n", untrusted::OPENED_IN_REPOSITORIES.join(" "))));
    assert!(HARVEST_SCRIPT.contains(&format!("\nleft_out_limit={}\n", untrusted::LEFT_OUT_LIMIT)));
    assert!(HARVEST_SCRIPT.contains(&format!("\nmarkers='{}'\n", commit::MARKER_NAMES.join(" "))));
    assert!(HARVEST_SCRIPT.contains(&format!("\nmarker_start={}\n", commit::MARKER_START_BYTES)));
    assert!(HARVEST_SCRIPT.contains(&format!("\nstored_file='{}'\n", commit::STORED_FILE_PATTERN)));
    assert!(HARVEST_SCRIPT.contains(&format!("\ncompiled_file='{}'\n", commit::COMPILED_FILE_PATTERN)));
    assert!(HARVEST_SCRIPT.contains(&format!("\nindex_limit={}\n", untrusted::INDEX_LIMIT_BYTES)));
}
