//! Tests whose files are given back, to whom, and in which container. The engine plays a script.
//!
//! A real container changes owners in the black-box tests.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::*;
use crate::seccomp::{EngineKind, Seccomp};
use crate::tests::{Answer, Asked, ScriptedEngine, about, done, found, missing, refusal, supervised};

const MACHINE: Machine = Machine {
    memory: 1 << 30,
    open_files: 1024,
    processes: None,
    rootless: false,
    kind: EngineKind::Docker,
    seccomp: Seccomp::Engine,
};

/// Starts an engine whose containers exit with this code, and which no longer knows a container after its removal.
fn engine(code: i64) -> ScriptedEngine {
    let is_removed: Arc<Mutex<bool>> = Arc::default();
    ScriptedEngine::start(move |asked: &Asked| {
        let mut is_removed = is_removed.lock().expect("sound");
        match asked.line.split('?').next().unwrap_or_default() {
            "POST /containers/create" => Answer::Said(201, json!({ "Id": "1", "Warnings": [] }).to_string()),
            line if line.starts_with("DELETE ") => {
                *is_removed = true;
                done()
            }
            line if line.starts_with("GET /containers/") && *is_removed => missing(),
            line if line.starts_with("GET /containers/") => found(&json!({ "State": { "Status": "exited", "ExitCode": code } })),
            line if line.starts_with("GET /images/") => found(&json!({ "Id": "sha256:1" })),
            line => about(line).unwrap_or_else(done),
        }
    })
}

fn settings(root: &Path, pairs: &[(&str, &str)], uid: u32) -> Settings {
    let state = root.display().to_string();
    let fixed =
        [("HOME", "/nowhere"), ("CONTAINER_NAME", "run"), ("CODEX_DOCKER_STATE", state.as_str()), ("IMAGE_NAME", "mine:1")];
    let environment = fixed.iter().chain(pairs).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Settings::read(&environment, Caller { folder: PathBuf::from("/home/me/app"), uid, gid: 100 }).expect("the settings are valid")
}

/// Returns the mounts of the only container that was created: source, target, and whether it is read-only.
fn mounts(engine: &ScriptedEngine) -> Vec<(String, String, bool)> {
    let created = engine.asked("POST /containers/create");
    assert_eq!(created.len(), 1, "one container changes all owners");
    let mounts = created[0].body["HostConfig"]["Mounts"].as_array().expect("a list").clone();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    mounts.iter().map(|mount| (text(&mount["Source"]), text(&mount["Target"]), mount["ReadOnly"] == json!(true))).collect()
}

#[tokio::test]
async fn after_a_run_as_root_the_caller_gets_the_folders_that_the_run_wrote_to() {
    for (pairs, folders) in [
        (vec![], vec!["/home/me/app"]),
        (vec![("CODEX_HOME", "/home/me/.codex")], vec!["/home/me/app", "/home/me/.codex"]),
        (vec![("CODEX_DOCKER_SESSIONS", "/t/sessions")], vec!["/home/me/app", "/t/sessions"]),
        (
            vec![("CODEX_DOCKER_SESSIONS", "/t/sessions"), ("CODEX_DOCKER_AUTH", "/t/auth")],
            vec!["/home/me/app", "/t/sessions", "/t/auth"],
        ),
        // Nothing of the caller is mounted, and mounts that the caller chose keep their owners.
        (vec![("CODEX_WORKSPACE_DIR", "/srv"), ("CODEX_MOUNT_PATHS", "/data")], vec![]),
    ] {
        let root = tempfile::tempdir().expect("a folder");
        let engine = engine(0);
        after_run(&engine.docker, &settings(root.path(), &pairs, 1000), &MACHINE).await.expect("the owners change");
        let mounts = mounts(&engine);
        let given: Vec<_> = mounts.iter().skip(1).map(|(source, _, _)| source.as_str()).collect();
        assert_eq!(given, folders, "{pairs:?}");
        assert!(mounts[0].2 && mounts[0].1 == "/codex-docker/in", "the script is read-only: {mounts:?}");
        assert!(mounts[1..].iter().enumerate().all(|(n, (_, target, fixed))| *target == format!("/given/{n}") && !fixed));
        let body = &engine.asked("POST /containers/create")[0].body;
        assert_eq!(body["Entrypoint"], json!(["/bin/sh", "/codex-docker/in/script", "1000:100", "root"]));
        assert_eq!((&body["Image"], &body["HostConfig"]["NetworkMode"]), (&json!("mine:1"), &json!("none")));
        assert_eq!(fs_err::read_dir(root.path()).expect("a folder").count(), 0, "its own files are removed");
    }
}

#[tokio::test]
async fn there_is_nothing_to_give_back_if_root_in_the_container_is_the_caller() {
    let root = tempfile::tempdir().expect("a folder");
    for (pairs, uid, rootless) in [(vec![("CODEX_DOCKER_USER", "caller")], 1000, false), (vec![], 0, false), (vec![], 1000, true)]
    {
        let engine = engine(0);
        let settings = settings(root.path(), &pairs, uid);
        after_run(&engine.docker, &settings, &Machine { rootless, ..MACHINE }).await.expect("there is nothing to do");
        assert_eq!(engine.changes(), [""; 0], "{pairs:?} {uid} {rootless}");
    }
}

#[tokio::test]
async fn a_container_that_fails_is_an_error_and_its_files_are_removed_once_it_is_gone() {
    let root = tempfile::tempdir().expect("a folder");
    let engine = engine(3);
    let failure = after_run(&engine.docker, &settings(root.path(), &[], 1000), &MACHINE).await.expect_err("the script failed");
    assert_eq!(
        (failure.code.known(), failure.message.as_str()),
        (Some(ErrorCode::GiveBack), "could not change the owner of files: the container exited with code 3")
    );
    assert_eq!(fs_err::read_dir(root.path()).expect("a folder").count(), 0);
    let refusing = ScriptedEngine::start(|_| refusal(500, "x"));
    assert!(after_run(&refusing.docker, &settings(root.path(), &[], 1000), &MACHINE).await.is_err());
    let left = crate::ledger::marked(root.path()).expect("readable");
    assert_eq!(left.len(), 1, "the container may exist, so `reap` must find it: {left:?}");
    assert!(left[0].1.container.starts_with("codex-give-back-") && left[0].1.image == "mine:1", "{left:?}");
}

#[tokio::test]
async fn of_a_runs_own_output_everything_is_given_back_by_its_own_image() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = supervised(root.path(), "run", &[("task", "t")]);
    let engine = engine(0);
    outputs(&engine.docker, &MACHINE, &folder).await.expect("the owners change");
    let mounts = mounts(&engine);
    assert_eq!(mounts[1].0, folder.path().join("out").display().to_string());
    let body = &engine.asked("POST /containers/create")[0].body;
    assert_eq!((&body["Image"], &body["Entrypoint"][3]), (&json!("i:1"), &json!("anyone")));
    assert_eq!(body["Labels"]["codex-docker.label.task"], "t", "`reap` finds it by the labels of the run");
    fs_err::remove_file(folder.path().join("run.json")).expect("the marker exists");
    let engine = self::engine(0);
    outputs(&engine.docker, &MACHINE, &folder).await.expect("a folder without a marker is not a run's");
    assert_eq!(engine.changes(), [""; 0]);
}

#[tokio::test]
async fn only_a_real_folder_by_its_real_path_is_given_back() {
    let place = tempfile::tempdir().expect("a folder");
    let real = fs_err::canonicalize(place.path()).expect("it exists");
    let (folder, link, file) = (real.join("folder"), real.join("link"), real.join("file"));
    fs_err::create_dir(&folder).expect("a new folder");
    fs_err::write(&file, "").expect("writable");
    std::os::unix::fs::symlink(&folder, &link).expect("a new link");
    let caller = Caller { folder: real.clone(), uid: 1000, gid: 100 };
    let state = real.join("state");
    let arguments = |folder: &Path| GiveBackArguments {
        folder: folder.to_owned(),
        image: "mine:1".to_owned(),
        labels: vec![("task".to_owned(), "t".to_owned())],
    };
    for path in [link.clone(), link.join("."), file, folder.join("../folder"), real.join("gone"), PathBuf::from("folder")] {
        let engine = engine(0);
        let given = self::folder(&engine.environment(&state), &caller, &arguments(&path)).await;
        assert_eq!(given.expect_err("refused").code, ErrorCode::GiveBack, "{}", path.display());
        assert_eq!(engine.changes(), [""; 0], "{}", path.display());
    }
    let engine = engine(0);
    self::folder(&engine.environment(&state), &caller, &arguments(&folder)).await.expect("the owners change");
    assert_eq!(mounts(&engine)[1].0, folder.display().to_string());
    let body = &engine.asked("POST /containers/create")[0].body;
    assert_eq!((&body["Entrypoint"][2], &body["Entrypoint"][3]), (&json!("1000:100"), &json!("anyone")));
}
