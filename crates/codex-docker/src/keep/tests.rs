//! Tests what is asked of the engine. The engine plays a script. The black-box tests keep real changes.

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::tests::{Answer, ScriptedEngine, container, done, found, missing, refusal, supervised};

const COMMIT: &str = "POST /commit?container=1&repo=kept&tag=t1";

/// Starts an engine with a container that added this file, whose image has this many layers.
fn engine(folder: &Path, changed: &str, layers: usize, commit: Answer) -> ScriptedEngine {
    let (folder, changed) = (folder.to_owned(), changed.to_owned());
    ScriptedEngine::start(move |asked| match asked.line.split('?').next().unwrap_or_default() {
        "GET /containers/run/json" => {
            let mut found_container = container("1", &folder, "exited");
            found_container["Image"] = "sha256:original".into();
            found_container["SizeRw"] = 0.into();
            found_container["Config"]["Labels"]["codex-docker.label.task"] = "t".into();
            found(&found_container)
        }
        "GET /containers/1/changes" => found(&json!([{ "Path": "/tmp/x", "Kind": 1 }, { "Path": changed, "Kind": 1 }])),
        "GET /images/sha256:original/json" => found(&json!({
            "Id": "sha256:original",
            "RepoTags": ["kept:t1"],
            "Config": {
                "Env": ["PATH=/bin"], "Cmd": ["bash"], "WorkingDir": "", "Labels": { "maintainer": "me", BASE: "sha256:first" },
            },
            "RootFS": { "Type": "layers", "Layers": vec!["sha256:0"; layers] },
        })),
        "GET /images/kept:t1/json" => found(&json!({ "Id": "sha256:before" })),
        "GET /images/sha256:before/json" => found(&json!({ "Id": "sha256:before", "RepoTags": [] })),
        "GET /containers/json" => found(&json!([])),
        "GET /containers/1/export" => found(&json!("an archive")),
        "POST /commit" => commit.clone(),
        "POST /images/create" => found(&json!({ "status": "sha256:flat" })),
        "POST /containers/create" => Answer::Said(201, json!({ "Id": "2", "Warnings": [] }).to_string()),
        line if line.starts_with("DELETE ") => done(),
        _ => missing(),
    })
}

fn order<'a>(folder: &'a RunFolder, container: &'a str) -> KeepOrder<'a> {
    KeepOrder { folder, container, name: "kept:t1", search: ChangeSearch::Complete }
}

fn committed() -> Answer {
    Answer::Said(201, json!({ "Id": "sha256:kept" }).to_string())
}

#[tokio::test]
async fn an_image_that_nothing_was_kept_in_is_the_base() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = supervised(root.path(), "run", &[]);
    let engine = engine(folder.path(), "/opt/x", 5, committed());
    keep(&engine.docker, KeepOrder { name: "other:t1", ..order(&folder, "run") }).await.expect("kept");
    // The label of the original image is that of another name, such as that of a setup.
    assert_eq!(engine.asked("POST /commit")[0].body["Labels"][BASE], "sha256:original");
}

#[tokio::test]
async fn a_kept_image_continues_only_its_own_base() {
    for (label, base, expected) in [
        (json!({ BASE: "sha256:base" }), "sha256:base", true),
        (json!({ BASE: "sha256:older" }), "sha256:base", false),
        (json!({}), "sha256:base", false),
    ] {
        let story = label.to_string();
        let engine = ScriptedEngine::start(move |asked| match asked.line.as_str() {
            "GET /images/kept:t1/json" => found(&json!({ "Id": "sha256:kept", "Config": { "Labels": label } })),
            "GET /images/base:1/json" => found(&json!({ "Id": base })),
            _ => missing(),
        });
        assert_eq!(continues(&engine.docker, "kept:t1", "base:1").await.ok(), Some(expected), "{story}");
        assert_eq!(continues(&engine.docker, "absent:t1", "base:1").await.ok(), Some(false), "{story}");
    }
}

#[tokio::test]
async fn the_image_has_the_configuration_of_the_original_one() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = supervised(root.path(), "run", &[]);
    let engine = engine(folder.path(), "/opt/x", 5, committed());
    let kept = keep(&engine.docker, order(&folder, "run")).await.expect("kept");
    assert_eq!(kept.as_deref(), Some("sha256:kept"));
    let asked = engine.asked("POST /commit");
    assert!(asked.len() == 1 && asked[0].line == COMMIT, "{asked:?}");
    let config = &asked[0].body;
    let expected: [(&str, Value); 6] = [
        ("Env", json!(["PATH=/bin"])),
        ("Cmd", json!(["bash"])),
        ("Entrypoint", json!([])),
        ("WorkingDir", json!("/")),
        ("User", json!("0")),
        (
            "Labels",
            json!({
                "maintainer": "me", BASE: "sha256:first", "codex-docker.label.task": "t", "codex-docker.managed": "true",
                "codex-docker.state": "",
            }),
        ),
    ];
    for (name, value) in expected {
        assert_eq!(config[name], value, "{name}");
    }
    assert_eq!(
        engine.changes().last().map(String::as_str),
        Some("DELETE /images/sha256:before"),
        "the previous image is removed"
    );
}

#[tokio::test]
async fn nothing_is_committed_if_nothing_changed() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = supervised(root.path(), "run", &[]);
    let engine = engine(folder.path(), "/workspace", 5, committed());
    assert_eq!(keep(&engine.docker, order(&folder, "run")).await.expect("looked"), None);
    assert_eq!(keep(&engine.docker, order(&folder, "gone")).await.expect("looked"), None);
    assert_eq!(engine.changes(), [""; 0]);
}

#[tokio::test]
async fn an_image_with_many_layers_is_flattened() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = supervised(root.path(), "run", &[]);
    let engine = engine(folder.path(), "/opt/x", MANY_LAYERS + 1, committed());
    keep(&engine.docker, order(&folder, "run")).await.expect("kept");
    let lines = engine.changes();
    assert_eq!(
        lines[..3],
        [
            "POST /images/create?fromSrc=-",
            "POST /containers/create?name=run-flat",
            "POST /commit?container=run-flat&repo=kept&tag=t1"
        ]
    );
    assert_eq!(engine.asked("POST /containers/create")[0].body["Image"], "sha256:flat");
}

#[tokio::test]
async fn a_refusal_is_final_and_the_previous_image_stays() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = supervised(root.path(), "run", &[]);
    let engine = engine(folder.path(), "/opt/x", 5, refusal(500, "no space left on device\n"));
    let error = keep(&engine.docker, order(&folder, "run")).await.expect_err("refused");
    assert_eq!(error.to_string(), "no space left on device");
    assert_eq!(engine.changes(), [COMMIT]);
}

#[tokio::test]
async fn an_engine_that_does_not_answer_is_asked_again_for_a_while() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = supervised(root.path(), "run", &[]);
    let engine = ScriptedEngine::start(|_| Answer::Silence);
    let patience = AGAIN * 3;
    let error = keep_within(patience, &engine.docker, order(&folder, "run")).await.expect_err("it never answers");
    assert!(matches!(error, KeepError::Silent(_)), "{error}");
    assert!(engine.asked("GET /containers/run/json").len() > 1);
}

#[tokio::test]
async fn after_a_short_run_only_changes_that_add_bytes_are_looked_for() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = supervised(root.path(), "run", &[]);
    let engine = engine(folder.path(), "/opt/x", 5, committed());
    let search = ChangeSearch::after(Duration::from_secs(1));
    assert_eq!(keep(&engine.docker, KeepOrder { search, ..order(&folder, "run") }).await.expect("looked"), None);
    assert!(engine.asked("GET /containers/1/changes").is_empty(), "the slow request is not made");
    let search = ChangeSearch::after(Duration::from_mins(1));
    assert!(keep(&engine.docker, KeepOrder { search, ..order(&folder, "run") }).await.expect("kept").is_some());
}
