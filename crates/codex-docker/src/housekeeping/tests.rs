//! Tests which containers are listed, stopped and removed, with an engine that plays a script.
//! Invariant under test: nothing is stopped or deleted unless a marker or a mount proves that it is ours.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::*;
use crate::tests::{Answer, ScriptedEngine, about, container, done, found, labels, missing, orphan, refusal, supervised};

const STOP: &str = "POST /containers/id/stop?t=8";
const DELETE: &str = "DELETE /containers/id?v=true&force=true";

fn summary(name: &str) -> Value {
    json!({ "Id": format!("id-{name}"), "Names": [format!("/{name}")], "Image": "i:1", "State": "running", "Created": 7,
        "Labels": { "codex-docker.managed": "true", "codex-docker.label.task": "t" } })
}

fn state() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let root = fs_err::canonicalize(folder.path()).expect("the folder exists").join("state");
    fs_err::create_dir(&root).expect("a new folder");
    (folder, root)
}

#[tokio::test]
async fn a_container_is_ours_only_if_it_mounts_a_folder_that_is_marked_here() {
    let (_folder, root) = state();
    let held = supervised(&root, "held", &[]);
    let (held_path, orphaned) = (held.path().to_owned(), orphan(&root, "orphaned", &[]));
    let unmarked = root.join("unmarked");
    fs_err::create_dir(&unmarked).expect("a new folder");
    let engine = ScriptedEngine::start(move |asked| match asked.line.as_str() {
        line if line.starts_with("GET /containers/json") => {
            found(&["held", "orphaned", "unmarked", "elsewhere", "by-image", "gone"].map(summary).into())
        }
        "GET /containers/id-held/json" => found(&container("id-held", &held_path, "running")),
        "GET /containers/id-orphaned/json" => found(&container("id-orphaned", &orphaned, "exited")),
        "GET /containers/id-unmarked/json" => found(&container("id-unmarked", &unmarked, "running")),
        "GET /containers/id-elsewhere/json" => found(&container("id-elsewhere", Path::new("/other/state/run"), "running")),
        "GET /containers/id-by-image/json" => {
            found(&json!({ "Id": "id-by-image", "Config": { "Labels": { "codex-docker.managed": "true" } } }))
        }
        _ => missing(),
    });
    let listed = list(&engine.docker, &root, &labels(&[("task", "t")])).await.expect("the engine answers");
    let seen: Vec<_> = listed.iter().map(|one| (one.name.as_str(), one.ours, one.orphaned, one.holder())).collect();
    assert_eq!(
        seen,
        [
            ("held", true, false, "held"),
            ("orphaned", true, true, "orphaned"),
            ("unmarked", false, false, "elsewhere"),
            ("elsewhere", false, false, "elsewhere"),
            ("by-image", false, false, "elsewhere"),
            ("gone", false, false, "elsewhere"),
        ]
    );
    assert_eq!(listed[0].folder.as_deref(), Some(held.path()));
    assert_eq!(listed[3].folder, None, "the folder of another state folder is not shown");
    assert_eq!(listed[0].labels, labels(&[("task", "t")]), "our own labels are not the caller's");
    assert_eq!((listed[0].state.as_str(), listed[0].created), ("running", 7));
    let asked = &engine.asked("GET /containers/json")[0].line;
    assert!(asked.contains("all=true") && asked.contains(r#""codex-docker.label.task=t""#), "{asked}");
    assert!(asked.contains(r#""codex-docker.managed=true""#), "{asked}");
    assert_eq!(engine.changes(), [""; 0], "listing changes nothing");
}

#[tokio::test]
async fn a_list_that_cannot_be_complete_is_an_error() {
    let (_folder, root) = state();
    let engine = ScriptedEngine::start(|_| refusal(500, "out of order\n"));
    let failure = list(&engine.docker, &root, &BTreeMap::new()).await.expect_err("the engine refuses");
    assert_eq!(
        (failure.code, failure.message.as_str()),
        (ErrorCode::EngineFailed.into(), "could not list the containers: out of order")
    );
    let file = root.join("file");
    fs_err::write(&file, "").expect("writable");
    let failure = list(&engine.docker, &file, &BTreeMap::new()).await.expect_err("a file is not a state folder");
    assert!(failure.code == ErrorCode::StateFolder && !failure.hints.is_empty(), "{failure:?}");
}

#[tokio::test]
async fn only_a_container_of_ours_is_stopped_and_one_that_has_ended_is_fine() {
    let ours = container("id", Path::new("/state/run"), "running");
    let foreign = json!({ "Id": "id", "State": { "Running": true } });
    for (inspected, stopped, expected, changes) in [
        (missing(), missing(), Ok(false), vec![]),
        (found(&foreign), done(), Err(ErrorCode::NotOurs), vec![]),
        (refusal(500, "x"), done(), Err(ErrorCode::EngineFailed), vec![]),
        (Answer::Silence, done(), Err(ErrorCode::EngineFailed), vec![]),
        (found(&ours), done(), Ok(true), vec![STOP]),
        (found(&ours), Answer::Said(304, String::new()), Ok(true), vec![STOP]),
        (found(&ours), missing(), Ok(true), vec![STOP]),
        (found(&ours), refusal(500, "stuck"), Err(ErrorCode::EngineFailed), vec![STOP]),
    ] {
        let story = format!("{inspected:?} {stopped:?}");
        let engine =
            ScriptedEngine::start(move |asked| if asked.line.starts_with("GET ") { inspected.clone() } else { stopped.clone() });
        let ended = stop(&engine.docker, "id").await;
        assert_eq!(
            ended.as_ref().map_err(|failure| failure.code.clone()),
            expected.map_err(Into::into).as_ref().map_err(Clone::clone),
            "{story}"
        );
        assert_eq!(engine.changes(), changes, "{story}");
    }
}

#[tokio::test]
async fn a_container_of_another_program_is_removed_only_if_it_has_exactly_the_variable() {
    let kill = "POST /containers/id/kill?signal=SIGINT";
    let wait = "POST /containers/id/wait?condition=not-running";
    for (variable, killed, expected, changes) in [
        ("RUN=one", done(), Ok(true), vec![kill, wait, DELETE]),
        // It has ended already, so there is nothing to wait for.
        ("RUN=one", refusal(409, "is not running"), Ok(true), vec![kill, DELETE]),
        ("RUN=one", missing(), Ok(true), vec![kill, DELETE]),
        ("RUN=one", refusal(500, "x"), Ok(true), vec![kill, DELETE]),
        ("RUN=on", done(), Err(ErrorCode::NotOurs), vec![]),
        ("RUN=one2", done(), Err(ErrorCode::NotOurs), vec![]),
        ("run=one", done(), Err(ErrorCode::NotOurs), vec![]),
        ("", done(), Err(ErrorCode::NotOurs), vec![]),
    ] {
        let story = format!("{variable} {killed:?}");
        let engine = ScriptedEngine::start(move |asked| match asked.line.as_str() {
            // The name can move to another container, so the ID is used from here on.
            "GET /containers/name/json" => found(&container("id", Path::new("/elsewhere/run"), "running")),
            line if line == kill => killed.clone(),
            line if line == wait => found(&json!({ "StatusCode": 130 })),
            DELETE => done(),
            _ => refusal(501, "unexpected"),
        });
        let ended = end_by_variable(&engine.docker, "name", variable).await;
        assert_eq!(ended.map_err(|failure| failure.code.known()), expected.map_err(Some), "{story}");
        assert_eq!(engine.changes(), changes, "{story}");
    }
    let engine = ScriptedEngine::start(|_| missing());
    assert_eq!(end_by_variable(&engine.docker, "name", "RUN=one").await, Ok(false), "the container is gone");
    let engine = ScriptedEngine::start(|_| Answer::Silence);
    assert!(end_by_variable(&engine.docker, "name", "RUN=one").await.is_err(), "an engine that is away has confirmed nothing");
}

#[tokio::test]
async fn a_removal_is_tried_again_and_given_up_at_last() {
    for (refusals, expected) in [(0, Ok(())), (1, Ok(())), (3, Ok(())), (4, Err(Some(ErrorCode::EngineFailed)))] {
        let attempts = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&attempts);
        let engine = ScriptedEngine::start(move |asked| match asked.line.as_str() {
            DELETE if count.fetch_add(1, Ordering::SeqCst) < refusals => refusal(409, "removal is already in progress"),
            DELETE => missing(),
            _ => found(&json!({ "StatusCode": 0 })),
        });
        let removed = remove(&engine.docker, "id").await;
        assert_eq!(removed.map_err(|failure| failure.code.known()), expected, "{refusals}");
        assert_eq!(attempts.load(Ordering::SeqCst), (refusals + 1).min(4), "{refusals}");
        let waits = engine.asked("POST /containers/id/wait?condition=removed").len();
        assert_eq!(waits, refusals.min(3), "between two attempts, the engine is asked to report the end");
    }
}

/// Starts an engine that has these containers until they are removed.
fn engine_with(containers: Vec<(&'static str, Value)>) -> ScriptedEngine {
    let removed: Mutex<Vec<String>> = Mutex::default();
    ScriptedEngine::start(move |asked| {
        let line = asked.line.as_str();
        if let Some(answer) = about(line) {
            return answer;
        }
        let left = |name: &str| !removed.lock().expect("sound").iter().any(|gone| gone == name);
        if line.starts_with("GET /containers/json") {
            let left: Vec<Value> = containers.iter().map(|(name, _)| *name).filter(|name| left(name)).map(summary).collect();
            return found(&left.into());
        }
        // A container is found by its name and by its ID.
        let path = line.split(['?', ' ']).nth(1).unwrap_or_default();
        let of = path.trim_start_matches("/containers/").split('/').next().unwrap_or_default().trim_start_matches("id-");
        let Some((name, description)) = containers.iter().find(|(name, _)| *name == of && left(name)) else { return missing() };
        match line.split(' ').next() {
            Some("DELETE") => {
                removed.lock().expect("sound").push((*name).to_owned());
                done()
            }
            Some("GET") => found(description),
            _ => done(),
        }
    })
}

fn of(name: &'static str, folder: &Path, status: &str) -> (&'static str, Value) {
    (name, container(&format!("id-{name}"), folder, status))
}

#[tokio::test]
async fn every_orphan_with_the_labels_goes_with_its_container_and_nothing_else() {
    let (_folder, root) = state();
    let mine = [("home", "/h")];
    let held = supervised(&root, "held", &mine);
    let paths = ["running", "ended", "no-container", "stolen-name"].map(|name| orphan(&root, name, &mine));
    let other = orphan(&root, "other", &[("home", "/elsewhere")]);
    let engine = engine_with(vec![
        of("held", held.path(), "running"),
        of("running", &paths[0], "running"),
        of("ended", &paths[1], "exited"),
        // Another program has a container with the name of the run.
        of("stolen-name", Path::new("/elsewhere/run"), "running"),
        of("other", &other, "running"),
    ]);
    reap(&engine.docker, &engine.environment(&root), &labels(&mine)).await.expect("everything can be removed");
    let changes = engine.changes();
    let expected = [
        "DELETE /containers/id-ended?v=true&force=true",
        "POST /containers/id-running/stop?t=8",
        "DELETE /containers/id-running?v=true&force=true",
    ];
    assert_eq!(changes, expected, "only a running container gets time to stop");
    for path in &paths {
        assert!(!path.exists(), "{}", path.display());
    }
    assert!(held.path().exists() && other.exists());
    reap(&engine.docker, &engine.environment(&root), &labels(&mine)).await.expect("a second time is harmless");
    assert_eq!(engine.changes(), expected);
}

#[tokio::test]
async fn an_orphan_that_cannot_be_removed_keeps_its_marker_and_does_not_stop_the_others() {
    let (_folder, root) = state();
    let (first, second) = (orphan(&root, "a", &[]), orphan(&root, "b", &[]));
    let (a, b) = (container("a", &first, "exited"), container("b", &second, "exited"));
    let is_removed = AtomicBool::new(false);
    let engine = ScriptedEngine::start(move |asked| match asked.line.as_str() {
        "GET /containers/a/json" => found(&a),
        "GET /containers/b/json" if is_removed.load(Ordering::SeqCst) => missing(),
        "GET /containers/b/json" => found(&b),
        "DELETE /containers/b?v=true&force=true" => {
            is_removed.store(true, Ordering::SeqCst);
            done()
        }
        line if line.starts_with("DELETE ") => refusal(500, "device is busy"),
        line if line.starts_with("GET /containers/json") => found(&json!([])),
        line => about(line).unwrap_or_else(done),
    });
    let failure = reap(&engine.docker, &engine.environment(&root), &BTreeMap::new()).await.expect_err("the first one is stuck");
    assert_eq!(failure.message, "could not remove the container `a`: device is busy");
    assert!(Marker::read(&first).expect("readable").is_some(), "the next attempt finds it again");
    assert!(!second.exists());
}

#[tokio::test]
async fn files_stay_while_the_container_may_still_exist() {
    let own = |folder: &Path| found(&container("id", folder, "running"));
    for (story, inspected, is_removed) in [
        ("the container is still there", None, false),
        ("the engine does not answer", Some(Answer::Silence), false),
        ("the engine refuses", Some(refusal(500, "x")), false),
        ("the container is gone", Some(missing()), true),
        ("the name is another container's", Some(own(Path::new("/elsewhere/run"))), true),
        ("the name is a foreign container's", Some(found(&json!({ "Id": "id" }))), true),
    ] {
        let (_folder, root) = state();
        let folder = supervised(&root, "run", &[]);
        let path = folder.path().to_owned();
        let inspected = inspected.unwrap_or_else(|| own(&path));
        let engine = ScriptedEngine::start(move |asked| about(&asked.line).unwrap_or_else(|| inspected.clone()));
        let machine = machine(&engine.docker, &BTreeMap::new()).await.expect("the engine answers");
        clear(&engine.docker, &machine, &folder).await;
        assert_eq!(path.exists(), !is_removed, "{story}");
    }
}

#[tokio::test]
async fn a_container_of_a_version_without_markers_is_removed_and_its_folder_stays() {
    let (outer, root) = state();
    let tasks = fs_err::canonicalize(outer.path()).expect("the folder exists").join("tasks");
    let folders = ["here", "there", "elsewhere"].map(|name| match name {
        "here" => root.join("here"),
        "there" => tasks.join("t1/state/there"),
        _ => outer.path().join("other-home/elsewhere"),
    });
    for folder in &folders {
        fs_err::create_dir_all(folder).expect("a new folder");
    }
    // A marker that cannot be parsed was written by something, so the folder is not one of an old version.
    let torn = root.join("torn");
    fs_err::create_dir_all(&torn).expect("a new folder");
    fs_err::write(torn.join("run.json"), "{").expect("writable");
    let marked = supervised(&root, "marked", &[]);
    let containers = || {
        vec![
            of("here", &folders[0], "exited"),
            of("there", &folders[1], "running"),
            of("elsewhere", &folders[2], "running"),
            of("torn", &torn, "running"),
            of("marked", marked.path(), "running"),
        ]
    };
    let (here, there) = ("DELETE /containers/id-here?v=true&force=true", "DELETE /containers/id-there?v=true&force=true");
    let engine = engine_with(containers());
    reap(&engine.docker, &engine.environment(&root), &BTreeMap::new()).await.expect("everything can be removed");
    assert_eq!(engine.changes(), [here]);
    let engine = engine_with(containers());
    let mut environment = engine.environment(&root);
    environment.insert(FORMER_STATE.to_owned(), tasks.display().to_string());
    reap(&engine.docker, &environment, &BTreeMap::new()).await.expect("everything can be removed");
    assert_eq!(engine.changes(), [here, "POST /containers/id-there/stop?t=8", there]);
    assert!(folders.iter().all(|folder| folder.exists()), "the content of an old folder is unknown");
}

#[tokio::test]
async fn an_old_container_whose_worker_still_runs_is_left_alone() {
    let (_folder, root) = state();
    let folder = supervised(&root, "run", &[]);
    // The marker is missing, as with an old version, but a process holds the lock.
    fs_err::remove_file(folder.path().join("run.json")).expect("the marker exists");
    let engine = engine_with(vec![of("run", folder.path(), "running")]);
    reap(&engine.docker, &engine.environment(&root), &BTreeMap::new()).await.expect("there is nothing to do");
    assert_eq!(engine.changes(), [""; 0]);
    let path = folder.path().to_owned();
    drop(folder);
    reap(&engine.docker, &engine.environment(&root), &BTreeMap::new()).await.expect("the container can be removed");
    assert_eq!(engine.changes().len(), 2);
    assert!(path.exists());
}
