//! Tests reading, pulling and removing images: every answer of the engine has a meaning, and nothing in use is removed.

use std::sync::atomic::{AtomicUsize, Ordering};

use model::ErrorCode;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::image::{ImageCommand, Origin, exists, pull, remove_unused, run, status, usage};
use crate::tests::{Answer, ScriptedEngine, done, found, missing, refusal, stream};

fn code<T: std::fmt::Debug>(result: Result<T, Failure>) -> Option<ErrorCode> {
    result.expect_err("refused").code.known()
}

fn image(id: &str, names: &[&str]) -> Value {
    json!({ "Id": id, "RepoTags": names, "Size": 7_000_000 })
}

#[tokio::test]
async fn the_status_of_an_image_is_read_from_its_labels() {
    let engine = ScriptedEngine::start(|asked| match asked.line.as_str() {
        "GET /images/full:1/json" => found(&json!({ "Id": "sha256:1", "Size": 5, "Config": { "Labels": {
            "codex-docker.codex-version": "0.75.0", "codex-docker.dockerfile": "custom:00", "codex-docker.base": "debian:12" } } })),
        "GET /images/bare:1/json" => found(&json!({ "Id": "sha256:2", "Size": -1 })),
        _ => missing(),
    });
    let full = status(&engine.docker, "full:1").await.expect("the engine answers").expect("it exists");
    assert_eq!((full.id.as_str(), full.size, full.origin), ("sha256:1", 5, Origin::Custom));
    assert_eq!((full.codex_version.as_deref(), full.base.as_deref(), full.stale), (Some("0.75.0"), Some("debian:12"), true));
    let bare = status(&engine.docker, "bare:1").await.expect("the engine answers").expect("it exists");
    assert_eq!((bare.size, bare.origin, bare.codex_version), (0, Origin::Foreign, None), "an unknown size counts as 0");
    assert_eq!(status(&engine.docker, "gone:1").await, Ok(None));
    assert_eq!(exists(&engine.docker, "gone:1").await, Ok(false));
}

#[tokio::test]
async fn an_engine_that_cannot_look_is_explained_and_never_taken_for_a_missing_image() {
    for (answer, expected) in [
        (refusal(500, "write /var/lib/docker: no space left on device"), ErrorCode::DiskFull),
        (refusal(400, "invalid reference format: repository name must be lowercase"), ErrorCode::ImageName),
        (refusal(500, "something new"), ErrorCode::ImageFailed),
        (Answer::Silence, ErrorCode::ImageFailed),
        (Answer::Said(200, "not JSON".to_owned()), ErrorCode::ImageFailed),
    ] {
        let story = format!("{answer:?}");
        let engine = ScriptedEngine::start(move |_| answer.clone());
        assert_eq!(code(status(&engine.docker, "x:1").await), Some(expected), "{story}");
        assert_eq!(code(exists(&engine.docker, "x:1").await), Some(expected), "{story}");
    }
}

#[tokio::test]
async fn what_uses_images_is_reported_for_those_that_exist() {
    let engine = ScriptedEngine::start(|asked| match asked.line.as_str() {
        "GET /images/sha256:1/json" => found(&image("sha256:1", &["a:1", "<none>:<none>", "b:2"])),
        "GET /images/sha256:2/json" => found(&json!({ "Id": "sha256:2", "Size": -5 })),
        line if line.starts_with("GET /containers/json") => found(&json!([{ "ImageID": "sha256:2" }, { "Id": "no image" }])),
        _ => missing(),
    });
    let ids = ["sha256:1", "sha256:gone", "sha256:2"].map(str::to_owned);
    let found = usage(&engine.docker, &ids).await.expect("the engine answers");
    let seen: Vec<_> = found.iter().map(|one| (one.id.as_str(), one.size, one.names.join(" "), one.containers)).collect();
    assert_eq!(seen, [("sha256:1", 7_000_000, "a:1 b:2".to_owned(), false), ("sha256:2", 0, String::new(), true)]);
    assert!(engine.asked("GET /containers/json")[0].line.contains("all=true"), "containers that have ended count too");
    let engine = ScriptedEngine::start(|_| refusal(500, "x"));
    assert_eq!(code(usage(&engine.docker, &ids).await), Some(ErrorCode::EngineFailed));
}

/// Removes an image with these names, of which `known` are listed by the caller.
async fn removed(
    names: &'static [&'static str],
    known: &[&str],
    used: bool,
    answer: Answer,
) -> (Result<bool, Failure>, Vec<String>) {
    let engine = ScriptedEngine::start(move |asked| match asked.line.as_str() {
        line if line.starts_with("DELETE ") => answer.clone(),
        line if line.starts_with("GET /images/moved:") => found(&image("sha256:other", &[])),
        line if line.starts_with("GET /images/") => found(&image("sha256:1", names)),
        _ if used => found(&json!([{ "ImageID": "sha256:1" }])),
        _ => found(&json!([])),
    });
    let known: Vec<String> = known.iter().map(|name| (*name).to_owned()).collect();
    (remove_unused(&engine.docker, "sha256:1", &known).await, engine.changes())
}

#[tokio::test]
async fn an_image_goes_only_if_nothing_and_nobody_needs_it() {
    let deleted = || found(&json!([{ "Deleted": "sha256:1" }]));
    let by_id = "DELETE /images/sha256:1";
    let (second, third) = ("DELETE /images/b:1?noprune=true", "DELETE /images/c:1?noprune=true");
    for (names, known, used, answer, expected, changes) in [
        (&["a:1"][..], &["a:1"][..], false, deleted(), Ok(true), vec![by_id]),
        (&[], &[], false, deleted(), Ok(true), vec![by_id]),
        (&["a:1"], &[], false, deleted(), Ok(false), vec![]),
        (&["a:1", "b:1"], &["a:1"], false, deleted(), Ok(false), vec![]),
        (&["a:1"], &["a:1"], true, deleted(), Ok(false), vec![]),
        (&["a:1", "b:1", "c:1"], &["c:1", "b:1", "a:1", "d:1"], false, deleted(), Ok(true), vec![second, third, by_id]),
        // The name has moved to another image since it was listed.
        (&["a:1", "moved:1"], &["a:1", "moved:1"], false, deleted(), Ok(false), vec![]),
        (&["a:1", "b:1", "moved:1"], &["a:1", "b:1", "moved:1"], false, deleted(), Ok(false), vec![second]),
        (&["a:1"], &["a:1"], false, missing(), Ok(true), vec![by_id]),
        (&["a:1"], &["a:1"], false, refusal(409, "in use"), Ok(false), vec![by_id]),
        (&["a:1", "b:1"], &["a:1", "b:1"], false, refusal(409, "in use"), Ok(false), vec![second]),
        (&["a:1"], &["a:1"], false, refusal(500, "x"), Err(Some(ErrorCode::EngineFailed)), vec![by_id]),
        (&["a:1"], &["a:1"], false, Answer::Silence, Err(Some(ErrorCode::EngineFailed)), vec![by_id]),
    ] {
        let story = format!("{names:?} {known:?} {used} {answer:?}");
        let (result, asked) = removed(names, known, used, answer).await;
        assert_eq!(result.map_err(|failure| failure.code.known()), expected, "{story}");
        assert_eq!(asked, changes, "without force, and in this order: {story}");
    }
    let engine = ScriptedEngine::start(|_| missing());
    assert_eq!(remove_unused(&engine.docker, "sha256:1", &[]).await, Ok(true), "removing it twice is harmless");
    assert_eq!(engine.changes(), [""; 0]);
}

#[tokio::test]
async fn a_pull_shows_its_progress_and_ends_with_the_image() {
    let engine = ScriptedEngine::start(|asked| match asked.line.as_str() {
        line if line.starts_with("POST /images/create") => stream(&[
            json!({ "status": "Pulling from team/codex", "id": "1" }),
            json!({ "status": "Downloading", "id": "0a1b", "progressDetail": { "current": 1_500_000_000, "total": 2_000_000_000 } }),
            json!({ "status": "Extracting", "progressDetail": { "current": -1 } }),
            json!({ "id": "no status" }),
            json!({ "status": "Digest: sha256:1" }),
        ]),
        _ => found(&image("sha256:1", &["host:5000/team/codex:1"])),
    });
    let mut lines = Vec::new();
    let name = "host:5000/team/codex:1";
    let pulled = pull(&engine.docker, name, |progress| lines.push(format!("{progress:?}"))).await.expect("the image is pulled");
    assert_eq!((pulled.name.as_str(), pulled.id.as_str()), (name, "sha256:1"));
    let expected = ["1 Pulling from team/codex", "0a1b Downloading 1.5 GB", "Extracting", "Digest: sha256:1"]
        .map(|line| format!("Line({line:?})"));
    assert_eq!(lines, expected);
    let asked = engine.asked("POST /images/create");
    assert_eq!(asked[0].line, "POST /images/create?fromImage=host:5000/team/codex&tag=1");
}

#[tokio::test]
async fn a_pull_that_fails_says_why() {
    let in_stream = |message: &str| {
        stream(&[json!({ "status": "Pulling" }), json!({ "errorDetail": { "message": message }, "error": message })])
    };
    for (answer, expected) in [
        (in_stream("unexpected EOF"), ErrorCode::ImageFailed),
        (in_stream("Get \"https://r/\": dial tcp: lookup r: no such host"), ErrorCode::ImageNoNetwork),
        (in_stream("failed to register layer: no space left on device"), ErrorCode::DiskFull),
        (refusal(404, "pull access denied for x"), ErrorCode::ImageNotFound),
        (refusal(400, "invalid tag"), ErrorCode::ImageName),
        (Answer::Silence, ErrorCode::ImageFailed),
        // The engine reports success, but does not have the image.
        (stream(&[json!({ "status": "done" })]), ErrorCode::ImageNotFound),
    ] {
        let story = format!("{answer:?}");
        let engine = ScriptedEngine::start(move |asked| if asked.line.starts_with("POST ") { answer.clone() } else { missing() });
        let failure = pull(&engine.docker, "team/codex:1", |_| {}).await.expect_err("the pull fails");
        assert_eq!(failure.code, expected, "{story}");
        assert!(failure.message.starts_with("could not pull `team/codex:1`: "), "{failure:?}");
    }
}

#[tokio::test]
async fn the_commands_about_existing_images_fail_if_there_is_none() {
    let engine = ScriptedEngine::start(|_| missing());
    for json in [true, false] {
        let failure =
            run(&engine.docker, ImageCommand::Status { name: "x:1".to_owned(), json }).await.expect_err("it does not exist");
        assert!(failure.code == ErrorCode::ImageMissing && failure.hints.len() == 2, "{failure:?}");
    }
    run(&engine.docker, ImageCommand::Remove { id: "sha256:1".to_owned(), names: vec![] })
        .await
        .expect("there is nothing to remove");
    let default = run(&engine.docker, ImageCommand::Pull { name: None }).await;
    assert_eq!(code(default), Some(ErrorCode::ImageNotPublished));
    assert_eq!(engine.changes(), [""; 0], "an image that is not published is not asked for");
}

#[tokio::test]
async fn a_name_whose_image_was_untagged_in_between_is_skipped() {
    // The image had two names when it was inspected. The second one was removed by somebody else before its turn.
    let inspections = AtomicUsize::new(0);
    let engine = ScriptedEngine::start(move |asked| match asked.line.as_str() {
        "GET /images/sha256:1/json" => found(&image("sha256:1", &["a:1", "b:1"])),
        "GET /images/b:1/json" if inspections.fetch_add(1, Ordering::SeqCst) == 0 => missing(),
        line if line.starts_with("DELETE ") => done(),
        _ => found(&json!([])),
    });
    let names = ["a:1", "b:1"].map(str::to_owned);
    assert_eq!(remove_unused(&engine.docker, "sha256:1", &names).await, Ok(false), "it may have moved, so the image stays");
    assert_eq!(engine.changes(), [""; 0]);
}
