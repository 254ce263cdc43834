//! Tests the request for a build, its progress, and what happens to the image that had the name before.
//!
//! The registry is an address that nothing listens on, so that no build depends on the network.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use clap::Parser;
use model::ErrorCode;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::image::build::build_until;
use crate::image::context::{CHECK, DOCKERFILE, DOCKERFILE_PATH};
use crate::image::{Build, DEFAULT_IMAGE, ImageCommand, RepositoryFiles, build, run};
use crate::tests::{Answer, Asked, ScriptedEngine, found, missing, refusal, stream};

fn wanted() -> Build {
    Build { tag: "mine:1".to_owned(), registry: "http://127.0.0.1:1".to_owned(), ..Build::default() }
}

fn image(id: &str, names: &[&str]) -> Value {
    json!({ "Id": id, "RepoTags": names, "Size": 7_000_000 })
}

/// Starts an engine that builds with this answer. The name refers to `before` until then, and to `after` from then on.
fn engine(built: Answer, before: Option<Value>, after: Option<Value>) -> ScriptedEngine {
    let is_built = AtomicBool::new(false);
    ScriptedEngine::start(move |asked| match asked.line.as_str() {
        line if line.starts_with("POST /build?") => {
            is_built.store(true, Ordering::SeqCst);
            built.clone()
        }
        "GET /images/mine:1/json" => {
            let image = if is_built.load(Ordering::SeqCst) { &after } else { &before };
            image.as_ref().map_or_else(missing, found)
        }
        "GET /images/sha256:named/json" => found(&image("sha256:named", &["other:1"])),
        "GET /images/sha256:old/json" => found(&image("sha256:old", &[])),
        line if line.starts_with("DELETE ") => found(&json!([])),
        _ => missing(),
    })
}

fn finished() -> Answer {
    stream(&[json!({ "stream": "Step 1/1 : FROM x\n" }), json!({ "stream": "Successfully built 1\n" })])
}

/// Returns the text of a file in the build context.
fn file(context: &Bytes, name: &str) -> Option<String> {
    let mut archive = tar::Archive::new(&context[..]);
    archive.entries().expect("an archive").find_map(|entry| {
        let mut entry = entry.expect("an entry");
        let is_it = entry.path().expect("a path").to_str() == Some(name);
        let mut text = String::new();
        is_it.then(|| std::io::Read::read_to_string(&mut entry, &mut text).map(|_| text).expect("text"))
    })
}

fn option(asked: &Asked, name: &str) -> Option<String> {
    let (_, query) = asked.line.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
}

#[tokio::test]
async fn the_engine_gets_the_dockerfile_its_arguments_and_the_labels() {
    let engine = engine(finished(), None, Some(image("sha256:new", &["mine:1"])));
    let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
    let wanted = Build { certificates: vec![certificate.clone()], base: "ubuntu:24.04".to_owned(), no_cache: true, ..wanted() };
    // A certificate that cannot be parsed keeps this machine from asking the registry, and the build continues.
    let mut seen = Vec::new();
    let built = build(&engine.docker, &wanted, |progress| seen.push(format!("{progress:?}"))).await.expect("it is built");
    assert_eq!((built.id.as_str(), built.size), ("sha256:new", 7_000_000));
    assert_eq!(seen, [r#"Step { number: 1, total: 1, instruction: "FROM x" }"#]);
    let asked = &engine.asked("POST /build")[0];
    let json = |name: &str| serde_json::from_str::<Value>(&option(asked, name).expect("an option")).expect("JSON");
    assert_eq!(
        json("buildargs"),
        json!({
            "BASE": "ubuntu:24.04", "CODEX_VERSION": model::CODEX_VERSION, "NPM_REGISTRY": "http://127.0.0.1:1",
            "PYPI_INDEX": "https://pypi.org/simple",
        })
    );
    assert_eq!(json("labels")["codex-docker.base"], "ubuntu:24.04");
    for (name, expected) in
        [("t", "mine:1"), ("dockerfile", DOCKERFILE_PATH), ("nocache", "true"), ("rm", "true"), ("forcerm", "true")]
    {
        assert_eq!(option(asked, name).as_deref(), Some(expected), "{name}");
    }
    assert_eq!(file(&asked.bytes, DOCKERFILE_PATH).as_deref(), Some(DOCKERFILE));
    assert_eq!(file(&asked.bytes, ".codex-docker/certificates/0000.crt"), Some(certificate));
}

#[tokio::test]
async fn a_custom_dockerfile_is_checked_at_its_end_and_needs_no_registry() {
    let engine = engine(finished(), None, Some(image("sha256:new", &["mine:1"])));
    let wanted = Build { dockerfile: Some("FROM x\nRUN y\n\n".to_owned()), codex_version: "whatever".to_owned(), ..wanted() };
    build(&engine.docker, &wanted, |_| {}).await.expect("the version is not asked for");
    let asked = &engine.asked("POST /build")[0];
    assert_eq!(file(&asked.bytes, DOCKERFILE_PATH), Some(format!("FROM x\nRUN y\n{CHECK}\n")));
    let failure =
        build(&engine.docker, &Build { codex_version: "whatever".to_owned(), dockerfile: None, ..wanted }, |_| {}).await;
    assert_eq!(failure.expect_err("not a version").code, ErrorCode::CodexVersionUnknown);
    assert_eq!(engine.asked("POST /build").len(), 1);
}

#[tokio::test]
async fn the_previous_image_goes_unless_it_has_a_name_or_is_the_same() {
    let new = || Some(image("sha256:new", &["mine:1"]));
    let before = |id: &str| Some(image(id, &["mine:1"]));
    for (before, expected) in [
        (None, vec![]),
        (before("sha256:old"), vec!["DELETE /images/sha256:old"]),
        (before("sha256:named"), vec![]),
        (before("sha256:new"), vec![]),
        // It was removed by something else in the meantime.
        (before("sha256:gone"), vec![]),
    ] {
        let engine = engine(finished(), before.clone(), new());
        build(&engine.docker, &wanted(), |_| {}).await.expect("it is built");
        let removed: Vec<_> = engine.changes().into_iter().filter(|line| line.starts_with("DELETE /images/")).collect();
        assert_eq!(removed, expected, "{before:?}");
    }
}

#[tokio::test]
async fn a_build_that_fails_keeps_the_previous_image_and_shows_the_last_lines() {
    let failed = |lines: &[&str], message: &str| {
        let step = json!({ "stream": "Step 2/3 : RUN make   all\n" });
        let lines = lines.iter().map(|line| json!({ "stream": format!("{line}\n") }));
        let end = json!({ "errorDetail": { "message": message }, "error": message });
        stream(&[step].into_iter().chain(lines).chain([end]).collect::<Vec<_>>())
    };
    let exited = "The command '/bin/sh -c make   all' returned a non-zero code: 2";
    for (answer, expected, shown) in [
        (
            failed(&["\u{1b}[91mmake: *** Error 2\u{1b}[0m"], exited),
            ErrorCode::ImageFailed,
            "code 2 (at `RUN make all`)\n  | make: *** Error 2",
        ),
        (failed(&["E: You don't have enough free space in /var"], exited), ErrorCode::DiskFull, "\n  | E: You don't"),
        (
            failed(&[], "dockerfile parse error line 1: unknown instruction: X"),
            ErrorCode::DockerfileInvalid,
            "unknown instruction",
        ),
        (refusal(500, "something new"), ErrorCode::ImageFailed, "something new"),
        (Answer::Silence, ErrorCode::ImageFailed, "could not build `mine:1`: "),
    ] {
        let story = format!("{answer:?}");
        let engine = engine(answer, Some(image("sha256:old", &["mine:1"])), Some(image("sha256:old", &["mine:1"])));
        let failure = build(&engine.docker, &wanted(), |_| {}).await.expect_err("it fails");
        assert_eq!(failure.code, expected, "{story}");
        assert!(failure.message.starts_with("could not build `mine:1`: ") && failure.message.contains(shown), "{failure:?}");
        assert!(engine.asked("DELETE ").is_empty(), "{story}");
    }
    let engine = engine(finished(), None, None);
    let failure = build(&engine.docker, &wanted(), |_| {}).await.expect_err("there is no image");
    assert!(failure.message.contains("the engine finished without an image"), "{failure:?}");
}

/// Starts an engine whose build fails in its third step, and whose images have these names.
fn failing(names: &'static [(&'static str, &'static str)]) -> ScriptedEngine {
    let steps = ["Step 1/4 : FROM x", " ---> aaaaaaaaaaaa", "Step 2/4 : RUN a", " ---> Running in 000000000000"];
    let steps = steps.into_iter().chain([" ---> bbbbbbbbbbbb", "Step 3/4 : RUN b", " ---> Using cache", " ---> cccccccccccc"]);
    let steps = steps.chain(["Step 4/4 : RUN c", " ---> Running in 111111111111"]);
    let lines: Vec<_> = steps.map(|line| json!({ "stream": format!("{line}\n") })).collect();
    let message = "The command '/bin/sh -c c' returned a non-zero code: 1";
    let end = json!({ "errorDetail": { "message": message }, "error": message });
    let answer = stream(&lines.into_iter().chain([end]).collect::<Vec<_>>());
    ScriptedEngine::start(move |asked| match asked.line.as_str() {
        line if line.starts_with("POST /build?") => answer.clone(),
        line if line.starts_with("DELETE ") => found(&json!([])),
        "GET /images/mine:1/json" => missing(),
        line => {
            let id = line.trim_start_matches("GET /images/").trim_end_matches("/json");
            let names: Vec<&str> = names.iter().filter(|(of, _)| *of == id).map(|(_, name)| *name).collect();
            found(&image(id, &names))
        }
    })
}

#[tokio::test]
async fn a_build_that_fails_leaves_no_image_without_a_name() {
    let (last, first) = ("DELETE /images/cccccccccccc?noprune=true", "DELETE /images/bbbbbbbbbbbb?noprune=true");
    for (names, expected) in [
        (&[][..], vec![last, first]),
        (&[("bbbbbbbbbbbb", "somebodys:1")], vec![last]),
        (&[("cccccccccccc", "somebodys:1")], vec![]),
    ] {
        let engine = failing(names);
        build(&engine.docker, &wanted(), |_| {}).await.expect_err("it fails");
        let removed: Vec<_> = engine.changes().into_iter().filter(|line| line.starts_with("DELETE ")).collect();
        assert_eq!(removed, expected, "the base image is somebody else's: {names:?}");
    }
}

#[tokio::test]
async fn a_build_that_is_stopped_ends_at_once() {
    let engine = engine(finished(), None, None);
    let stop = async { Failure::new(ErrorCode::ImageFailed, "stopped") };
    let stopped = build_until(&engine.docker, &wanted(), stop, |_| {}).await.expect_err("there is no image");
    assert_eq!(stopped.code, ErrorCode::ImageFailed);
}

#[tokio::test]
async fn a_container_starts_once_from_each_new_image_and_is_removed_by_the_engine() {
    for (before, expected) in [(None, 1), (Some("sha256:old"), 1), (Some("sha256:new"), 0)] {
        let before = before.map(|id| image(id, &["mine:1"]));
        let engine = engine(finished(), before, Some(image("sha256:new", &["mine:1"])));
        build(&engine.docker, &wanted(), |_| {}).await.expect("a container that cannot start is only reported");
        let created = engine.asked("POST /containers/create");
        assert_eq!(created.len(), expected);
        for asked in created {
            assert_eq!(
                (asked.body["Image"].as_str(), asked.body["HostConfig"]["AutoRemove"].as_bool()),
                (Some("sha256:new"), Some(true))
            );
            assert_eq!(asked.body["HostConfig"]["NetworkMode"], "none");
        }
    }
}

#[tokio::test]
async fn a_custom_dockerfile_gets_the_files_of_the_repository() {
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("files.tar");
    let mut out = tar::Builder::new(std::fs::File::create(&archive).expect("writable"));
    for (path, text) in [("Dockerfile.dev", "FROM x\nCOPY a /a\n"), ("a", "content"), ("b", "left out"), (".dockerignore", "b\n")]
    {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        out.append_data(&mut header, path, text.as_bytes()).expect("written");
    }
    out.finish().expect("written");
    let engine = engine(finished(), None, Some(image("sha256:new", &["mine:1"])));
    let files = RepositoryFiles::new(archive, ".").expect("a folder");
    let dockerfile = Some(files.dockerfile("Dockerfile.dev").expect("it exists"));
    let wanted = Build { dockerfile, files: Some(files), ..wanted() };
    build(&engine.docker, &wanted, |_| {}).await.expect("it is built");
    let asked = &engine.asked("POST /build")[0];
    assert_eq!(file(&asked.bytes, "a").as_deref(), Some("content"));
    assert_eq!(file(&asked.bytes, "b"), None);
    assert_eq!(
        file(&asked.bytes, ".dockerignore"),
        Some(format!(".dockerignore\n{DOCKERFILE_PATH}\n")),
        "it is not that of the repository"
    );
    assert_eq!(file(&asked.bytes, DOCKERFILE_PATH), Some(format!("FROM x\nCOPY a /a\n{CHECK}\n")));
}

#[tokio::test]
async fn a_registry_address_with_a_password_never_reaches_the_engine() {
    let engine = engine(finished(), None, None);
    let wanted = Build { registry: "https://me:secret@mirror.local".to_owned(), ..wanted() };
    let failure: Failure = build(&engine.docker, &wanted, |_| {}).await.expect_err("refused");
    assert!(failure.code == ErrorCode::RegistryAddress && !failure.message.contains("secret"), "{failure:?}");
    assert!(engine.asked("").is_empty());
}

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    command: ImageCommand,
}

#[tokio::test]
async fn our_own_image_is_built_first_if_a_dockerfile_extends_it_and_it_is_missing() {
    for (text, has_ours, expected) in [
        ("ARG CODEX_DOCKER_IMAGE\nFROM ${CODEX_DOCKER_IMAGE}\n", false, vec![DEFAULT_IMAGE, "mine:1"]),
        ("ARG CODEX_DOCKER_IMAGE\nFROM ${CODEX_DOCKER_IMAGE}\n", true, vec!["mine:1"]),
        ("FROM debian\n", false, vec!["mine:1"]),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let dockerfile = folder.path().join("Dockerfile");
        fs_err::write(&dockerfile, text).expect("writable");
        let known: Arc<Mutex<Vec<String>>> = Arc::default();
        if has_ours {
            known.lock().expect("sound").push(DEFAULT_IMAGE.to_owned());
        }
        let count = AtomicUsize::new(0);
        let engine = ScriptedEngine::start(move |asked| {
            let mut known = known.lock().expect("sound");
            if asked.line.starts_with("POST /build") {
                known.push(option(asked, "t").expect("a name"));
                return finished();
            }
            let name = asked.line.trim_start_matches("GET /images/").trim_end_matches("/json");
            let id = format!("sha256:{}", count.fetch_add(1, Ordering::SeqCst));
            if known.iter().any(|one| one == name) { found(&image(&id, &[name])) } else { missing() }
        });
        let dockerfile = dockerfile.display().to_string();
        let words = ["image", "build", "--tag", "mine:1", "--dockerfile", &dockerfile, "--npm-registry", "http://127.0.0.1:1"];
        let line = Line::try_parse_from(words).expect("well-formed");
        run(&engine.docker, line.command).await.expect("the images are built");
        let built: Vec<_> = engine.asked("POST /build").iter().filter_map(|asked| option(asked, "t")).collect();
        assert_eq!(built, expected, "{text}");
    }
}

#[tokio::test]
async fn an_image_without_codex_gets_it_before_the_tools() {
    let from = |name: &str| format!("FROM {name}\n{CHECK}\n");
    for (is_complete, with_tools, expected) in [
        (true, false, vec![from("theirs:1")]),
        (false, false, vec![from("theirs:1"), DOCKERFILE.to_owned()]),
        (false, true, vec![from("theirs:1"), DOCKERFILE.to_owned(), "FROM mine:1\n".to_owned()]),
    ] {
        let count = AtomicUsize::new(0);
        let engine = ScriptedEngine::start(move |asked| match asked.line.as_str() {
            line if line.starts_with("POST /build") => {
                let is_first = count.fetch_add(1, Ordering::SeqCst) == 0;
                let step = json!({ "stream": format!("Step 2/2 : {CHECK}\n") });
                let error = json!({ "error": "exit code 127", "errorDetail": { "message": "exit code 127" } });
                if is_first && !is_complete { stream(&[step, error]) } else { finished() }
            }
            "GET /images/mine:1/json" => found(&image("sha256:new", &["mine:1"])),
            _ => found(&image("sha256:other", &["other:1"])),
        });
        let tool: &[&str] = if with_tools { &["--tool", "node=22"] } else { &[] };
        let words = ["image", "build", "--tag", "mine:1", "--from", "theirs:1", "--npm-registry", "http://127.0.0.1:1"];
        let line = Line::try_parse_from(words.iter().chain(tool)).expect("well-formed");
        run(&engine.docker, line.command).await.expect("the image is built");
        let built = engine.asked("POST /build");
        let texts: Vec<_> = built.iter().filter_map(|asked| file(&asked.bytes, DOCKERFILE_PATH)).collect();
        assert_eq!(texts.len(), expected.len(), "{texts:?}");
        for (text, expected) in texts.iter().zip(&expected) {
            assert!(text.starts_with(expected), "{text}");
        }
        if !is_complete {
            let arguments: Value = serde_json::from_str(&option(&built[1], "buildargs").expect("arguments")).expect("JSON");
            assert_eq!(arguments["BASE"], "theirs:1");
        }
        assert_eq!(texts.last().is_some_and(|text| text.contains("node.sh 22")), with_tools);
    }
}

#[tokio::test]
async fn ids_of_missing_images_are_null() {
    let engine = ScriptedEngine::start(|asked| match asked.line.as_str() {
        "GET /images/a:1/json" => found(&image("sha256:1", &["a:1"])),
        _ => missing(),
    });
    let line = Line::try_parse_from(["image", "ids", "a:1", "b:1"]).expect("well-formed");
    run(&engine.docker, line.command).await.expect("the engine answers");
    assert_eq!(engine.changes(), [""; 0]);
}
