//! Tests how a run finds its container again, and what the failures of the engine mean. The engine plays a script.
//!
//! The black-box tests kill the program at each of its steps and let it continue with a real container.

use std::path::{Path, PathBuf};

use bollard::query_parameters::CreateContainerOptionsBuilder;
use serde_json::{Value, json};

use super::hold::Stopping;
use super::launch::not_created;
use super::*;
use crate::run::end::StopReason;
use crate::tests::{Answer, ScriptedEngine, container, done, found, missing, refusal};

fn settings(root: &Path, pairs: &[(&str, &str)]) -> Settings {
    let state = root.display().to_string();
    let fixed = [("HOME", "/nowhere"), ("CONTAINER_NAME", "run"), ("CODEX_DOCKER_STATE", state.as_str())];
    let environment = fixed.iter().chain(pairs).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Settings::read(&environment, Caller { folder: PathBuf::from("/app"), uid: 1000, gid: 100 }).expect("valid settings")
}

#[tokio::test]
async fn a_run_continues_only_with_its_own_container() {
    let settings = settings(Path::new("/state"), &[("CODEX_DOCKER_LABELS", "task=t")]);
    let own = |labels: Value| {
        let mut own = container("1", Path::new("/state/run"), "running");
        own["Config"]["Labels"] = labels;
        found(&own)
    };
    let ours = json!({ "codex-docker.managed": "true", "codex-docker.state": "/state/run", "codex-docker.label.task": "t" });
    let with = |key: &str, value: &str| {
        let mut labels = ours.clone();
        labels[key] = value.into();
        labels
    };
    let mut elsewhere = container("1", Path::new("/other/run"), "running");
    elsewhere["Config"]["Labels"] = ours.clone();
    for (answer, expected) in [
        (missing(), Ok(false)),
        (own(ours.clone()), Ok(true)),
        (own(with("maintainer", "the image")), Ok(true)),
        (own(with("codex-docker.label.task", "other")), Err(ErrorCode::NameTaken)),
        (own(json!({ "codex-docker.managed": "true", "codex-docker.state": "/state/run" })), Err(ErrorCode::NameTaken)),
        (own(Value::Null), Err(ErrorCode::NameTaken)),
        // Labels prove nothing, because an image can set them.
        (found(&elsewhere), Err(ErrorCode::NameTaken)),
        (found(&json!({ "Config": { "Labels": ours } })), Err(ErrorCode::NameTaken)),
        (refusal(500, "x"), Err(ErrorCode::EngineFailed)),
        (Answer::Silence, Err(ErrorCode::EngineFailed)),
    ] {
        let story = format!("{answer:?}");
        let engine = ScriptedEngine::start(move |_| answer.clone());
        let seen = find(&engine.docker, &settings).await.map(|found| found.is_some());
        assert_eq!(seen.map_err(|failure| failure.code.known()), expected.map_err(Some), "{story}");
    }
}

#[tokio::test]
async fn a_container_that_cannot_be_created_or_started_is_explained() {
    let root = tempfile::tempdir().expect("a folder");
    let settings = settings(root.path(), &[]);
    for (status, hint) in
        [(409, "another program has just created a container"), (500, "check `docker info`"), (400, "check `docker info`")]
    {
        let engine = ScriptedEngine::start(move |_| refusal(status, "no"));
        let options = CreateContainerOptionsBuilder::new().name("run").build();
        let body = bollard::models::ContainerCreateBody::default();
        let error = engine.docker.create_container(Some(options), body).await.expect_err("refused");
        let failure = not_created(&settings, &error);
        assert_eq!(
            (failure.code.known(), failure.message.as_str()),
            (Some(ErrorCode::ContainerNotCreated), "could not create the container `run`: no")
        );
        assert!(failure.hints[0].contains(hint), "{status}: {failure:?}");
    }
    let engine = ScriptedEngine::start(|_| refusal(400, "exec: \"/bin/sh\": no such file\n"));
    let failure = start(&engine.docker, &settings, &BTreeMap::new()).await.expect_err("refused");
    assert_eq!(failure.message, "could not start the container `run`: exec: \"/bin/sh\": no such file");
    let engine = ScriptedEngine::start(|_| done());
    start(&engine.docker, &settings, &BTreeMap::new()).await.expect("it starts");
    assert_eq!(engine.changes(), ["POST /containers/run/start"]);
    // A folder that cannot be created must not start the container without its turn.
    let file = tempfile::NamedTempFile::new().expect("a file");
    let home = BTreeMap::from([("HOME".to_owned(), file.path().display().to_string())]);
    let failure = start(&engine.docker, &settings, &home).await.expect_err("a file contains no locks");
    assert_eq!((failure.code.known(), engine.changes().len()), (Some(ErrorCode::StateFolder), 1));
}

#[tokio::test]
async fn with_files_nothing_is_attached_and_with_a_stream_only_stdin() {
    let engine = ScriptedEngine::start(|_| refusal(409, "not running"));
    assert!(attach(&engine.docker, "run", Talk::Files).await.expect("nothing to do").is_none());
    assert_eq!(engine.changes(), [""; 0]);
    for (talk, outputs) in [(Talk::Stream, false), (Talk::Terminal(24, 80), true), (Talk::Output, true)] {
        let engine = ScriptedEngine::start(|_| refusal(409, "not running"));
        let failure = attach(&engine.docker, "run", talk).await.map(drop).expect_err("refused");
        assert_eq!(failure.message, "could not attach to the container: not running");
        let line = &engine.changes()[0];
        assert!(line.contains("stdin=true") == (talk != Talk::Output) && line.contains("stream=true"), "{line}");
        assert_eq!((line.contains("stdout=true"), line.contains("stderr=true")), (outputs, outputs), "{line}");
    }
}

#[test]
fn the_kind_of_stdin_decides_how_input_reaches_codex() {
    let file = tempfile::tempfile().expect("a file");
    let (reader, _writer) = std::io::pipe().expect("a pipe");
    let (socket, _other) = std::os::unix::net::UnixStream::pair().expect("a socket");
    let nothing = File::open("/dev/null").expect("it exists");
    let folder = File::open("/").expect("it exists");
    assert_eq!(kind_of(file.as_fd()), Some(Stdin::File));
    assert_eq!(kind_of(reader.as_fd()), Some(Stdin::Stream));
    assert_eq!(kind_of(socket.as_fd()), Some(Stdin::Stream));
    assert_eq!(kind_of(nothing.as_fd()), Some(Stdin::Nothing));
    assert_eq!(kind_of(folder.as_fd()), Some(Stdin::Nothing));
}

#[tokio::test]
async fn a_stop_asks_first_and_a_second_one_kills() {
    let kill = "POST /containers/run/kill?signal=SIGKILL";
    for (answer, signal) in [
        (done(), "SIGINT"),
        (refusal(409, "not running"), "SIGTERM"),
        (missing(), "SIGINT"),
        (refusal(500, "x"), "SIGINT"),
        (Answer::Silence, "SIGINT"),
    ] {
        let interrupt = format!("POST /containers/run/kill?signal={signal}");
        let engine = ScriptedEngine::start(move |_| answer.clone());
        let mut stopping = Stopping::new(&engine.docker, "run", signal);
        stopping.end(StopReason::Asked(15)).await;
        assert_eq!(engine.changes(), [interrupt.as_str()]);
        stopping.end(StopReason::DiskFull).await;
        assert_eq!(stopping.reason, Some(StopReason::Asked(15)), "the first reason counts");
        stopping.patience().await;
        assert_eq!(engine.changes(), [interrupt.as_str(), kill], "nobody waits after the second stop");
    }
}
