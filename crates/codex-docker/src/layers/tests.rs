//! Tests what the engine is asked for, and what its refusals mean. The engine plays a script.
//!
//! The black-box tests mount layers in real containers.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::run::machine;
use crate::settings::Caller;
use crate::tests::{Answer, ScriptedEngine, about, done, found, missing};

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs_err::create_dir(folder.path().join("lower")).expect("a new folder");
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn settings(&self, layers: &serde_json::Value) -> Settings {
        let (layers, state) = (layers.to_string(), self.path("state").display().to_string());
        let pairs = [("HOME", "/nowhere"), ("CODEX_DOCKER_LAYERS", layers.as_str()), ("CODEX_DOCKER_STATE", state.as_str())];
        let environment: BTreeMap<String, String> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Settings::read(&environment, Caller { folder: "/app".into(), uid: 1000, gid: 100 }).expect("valid settings")
    }

    fn one(&self) -> Settings {
        self.settings(&json!([{ "target": "/opt/x", "lower": self.path("lower"), "upper": self.path("upper") }]))
    }
}

/// Starts an engine whose containers exit with this code.
fn engine(code: i64) -> ScriptedEngine {
    ScriptedEngine::start(move |asked| match asked.line.split('?').next().unwrap_or_default() {
        "POST /containers/create" => Answer::Said(201, json!({ "Id": "1", "Warnings": [] }).to_string()),
        line if line.starts_with("GET /containers/codex-layer-") && asked.line.ends_with("/json") => {
            found(&json!({ "State": { "Status": "exited", "ExitCode": code } }))
        }
        line if line.starts_with("GET /containers/") => missing(),
        line => about(line).unwrap_or_else(done),
    })
}

async fn prepared(settings: &Settings, engine: &ScriptedEngine, method: LayerMethod) -> Result<Vec<Layer>, Failure> {
    let machine = machine(&engine.docker, &BTreeMap::new()).await.expect("the engine answers");
    prepare(&engine.docker, settings, &machine, method).await
}

#[tokio::test]
async fn an_overlay_is_an_anonymous_volume_with_escaped_paths() {
    let place = Place::new();
    fs_err::set_permissions(place.path("lower"), std::fs::Permissions::from_mode(0o750)).expect("ours");
    fs_err::rename(place.path("lower"), place.path("a,b:c\\d")).expect("ours");
    let layers = json!([{ "target": "/opt/x", "lower": place.path("a,b:c\\d"), "upper": place.path("upper") }]);
    let engine = engine(0);
    let made = prepared(&place.settings(&layers), &engine, LayerMethod::Volumes).await.expect("prepared");
    let options = made[0].mount.volume_options.clone().expect("set");
    assert_eq!((made[0].mount.source.as_deref(), options.no_copy), (None, Some(true)));
    let options = options.driver_config.and_then(|driver| driver.options).expect("set");
    let root = place.folder.path().display();
    assert_eq!(options["o"], format!("lowerdir={root}/a\\,b\\:c\\\\d,upperdir={root}/upper/data,workdir={root}/upper/work"));
    assert_eq!((options["type"].as_str(), options["device"].as_str()), ("overlay", "overlay"));
    let data = fs_err::metadata(place.path("upper/data")).expect("the folder was created");
    assert_eq!(data.mode() & 0o777, 0o750, "the folder looks like its lower folder");
    assert_eq!(engine.changes(), [""; 0]);
}

#[tokio::test]
async fn a_layer_that_starts_empty_is_a_folder_into_which_the_engine_copies_the_image() {
    let place = Place::new();
    let settings = place.settings(&json!([{ "target": "~/.cache", "upper": place.path("upper") }]));
    let made = prepared(&settings, &engine(0), LayerMethod::Volumes).await.expect("prepared");
    let options = made[0].mount.volume_options.clone().expect("set");
    assert_eq!((made[0].target.as_str(), options.no_copy), ("/root/.cache", Some(false)));
    let device = options.driver_config.and_then(|driver| driver.options).expect("set")["device"].clone();
    assert_eq!(device, place.path("upper/data").display().to_string());
    let made = prepared(&settings, &engine(0), LayerMethod::Folders).await.expect("prepared");
    assert_eq!(made[0].mount, bind(&place.path("upper/data"), "/root/.cache"));
}

#[tokio::test]
async fn a_copy_is_made_once_and_one_that_was_interrupted_starts_again() {
    let place = Place::new();
    let settings = place.one();
    let broken = engine(3);
    let failure = prepared(&settings, &broken, LayerMethod::Folders).await.expect_err("the copy fails");
    assert!(failure.code == ErrorCode::LayerFailed && failure.message.contains("exited with code 3"), "{failure:?}");
    // The copy is repeated even if the engine could mount an overlay by now.
    let working = engine(0);
    let made = prepared(&settings, &working, LayerMethod::Volumes).await.expect("prepared");
    assert_eq!(made[0].mount, bind(&place.path("upper/data"), "/opt/x"));
    let created = working.asked("POST /containers/create?name=codex-layer-");
    assert_eq!(created.len(), 1);
    let mounts = &created[0].body["HostConfig"]["Mounts"];
    assert_eq!((mounts[2]["Target"].as_str(), mounts[2]["ReadOnly"].as_bool()), (Some("/lower"), Some(true)));
    for method in [LayerMethod::Volumes, LayerMethod::Folders] {
        prepared(&settings, &working, method).await.expect("prepared");
    }
    assert_eq!(working.asked("POST /containers/create").len(), 1, "a complete copy is used again");
}

#[tokio::test]
async fn the_files_of_an_overlay_are_kept_when_it_becomes_a_copy() {
    let place = Place::new();
    let settings = place.one();
    prepared(&settings, &engine(0), LayerMethod::Volumes).await.expect("prepared");
    fs_err::write(place.path("upper/data/mine"), "x").expect("writable");
    prepared(&settings, &engine(0), LayerMethod::Folders).await.expect("prepared");
    let names = fs_err::read_dir(place.path("upper")).expect("there").map(|entry| entry.expect("there").path());
    let aside = names.filter(|path| path.display().to_string().contains("data.aside-")).collect::<Vec<_>>();
    assert!(aside.len() == 1 && aside[0].join("mine").exists(), "{aside:?}");
}

#[tokio::test]
async fn a_layer_without_its_lower_folder_is_refused() {
    let place = Place::new();
    let settings = place.one();
    fs_err::remove_dir(place.path("lower")).expect("ours");
    for method in [LayerMethod::Volumes, LayerMethod::Folders] {
        let failure = prepared(&settings, &engine(0), method).await.expect_err("nothing to mount");
        assert_eq!(failure.code, ErrorCode::LayerFailed);
    }
    std::os::unix::fs::symlink("/etc", place.path("lower")).expect("writable");
    prepared(&settings, &engine(0), LayerMethod::Volumes).await.expect_err("a link is not followed");
}

#[test]
fn only_a_refusal_about_mounts_changes_the_layers() {
    let layer = |target: &str, mount| Layer { target: target.to_owned(), mount };
    let folder = |target: &str| layer(target, bind(Path::new("/u/data"), target));
    let volumes = [layer("/opt/x", folder_volume(Path::new("/u/data"), "/opt/x", Path::new("/state/run"))), folder("/root/y")];
    let folders = [folder("/opt/x"), folder("/root/y")];
    let overlay = "could not start the container `run`: error while mounting volume '/v': failed to mount local volume: \
                   mount overlay:/v, data: lowerdir=/s: invalid argument";
    let file = "error mounting \"/u/data\" to rootfs at \"/root/y\": mount /u/data:/root/y, flags: 0x5000: not a directory";
    let some = |targets: &[&str]| Remedy::LeaveOut(targets.iter().map(|target| (*target).to_owned()).collect());
    for (layers, message, expected) in [
        (&volumes[..], overlay, Remedy::UseFolders),
        (&folders, overlay, Remedy::None),
        (&volumes, file, some(&["/root/y"])),
        (&volumes, "mkdir /var/lib/docker/x/merged/root: not a directory", some(&["/opt/x", "/root/y"])),
        (&volumes, "exec: \"/bin/sh\": no such file", Remedy::None),
        (&[], overlay, Remedy::None),
    ] {
        assert_eq!(remedy(layers, message), expected, "{message}");
    }
}
