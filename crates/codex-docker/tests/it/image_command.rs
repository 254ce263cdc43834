//! Runs the `image` commands with a real engine, and checks the images.
//!
//! The tests of the command line check the output.

use bollard::Docker;
use clap::Parser;
use codex_docker::connect::connect;
use codex_docker::failure::Failure;
use codex_docker::image::{DEFAULT_IMAGE, ImageCommand, Origin, exists, run, status};
use model::ErrorCode;
use testkit::codex::OLDEST_CODEX_VERSION;
use testkit::docker::{BASE_IMAGE, CERTIFICATES, Sandbox, base_image, codex_image, docker, oldest_codex_image, try_docker};

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    command: ImageCommand,
}

#[expect(clippy::disallowed_methods, reason = "tests find the engine in the same way as users")]
async fn engine() -> Docker {
    connect(&std::env::vars().collect()).await.expect("`cargo xtask test` starts an engine")
}

async fn typed(words: &[&str]) -> Result<(), Failure> {
    let line = Line::try_parse_from([&["image"], words].concat()).expect("well-formed");
    run(&engine().await, line.command).await
}

fn file(folder: &tempfile::TempDir, text: &str) -> String {
    let path = folder.path().join("Dockerfile");
    std::fs::write(&path, text).expect("written");
    path.display().to_string()
}

#[tokio::test]
async fn our_image_is_built_first_where_a_dockerfile_begins_with_it() {
    oldest_codex_image();
    let (engine, sandbox, folder) = (engine().await, Sandbox::new(), tempfile::tempdir().expect("a folder"));
    let ours = DEFAULT_IMAGE.replace(model::CODEX_VERSION, OLDEST_CODEX_VERSION);
    let was_there = exists(&engine, &ours).await.expect("the engine answers");
    let dockerfile = file(&folder, "ARG CODEX_DOCKER_IMAGE\nFROM ${CODEX_DOCKER_IMAGE}\nRUN echo mine > /etc/mine\n");
    let tag = sandbox.image("mine");
    let mut words = vec!["build", "--tag", &tag, "--dockerfile", &dockerfile, "--codex-version", OLDEST_CODEX_VERSION];
    words.extend(["--base", BASE_IMAGE]);
    if std::path::Path::new(CERTIFICATES).exists() {
        words.extend(["--ca-file", CERTIFICATES]);
    }
    // `--base` sets the base of our image. The custom Dockerfile has its own base.
    typed(&words).await.expect("both images can be built");
    let mine = status(&engine, &tag).await.expect("the engine answers").expect("the image exists");
    assert_eq!((mine.origin, mine.codex_version.as_deref()), (Origin::Custom, Some(OLDEST_CODEX_VERSION)));
    assert_eq!(exists(&engine, &ours).await, Ok(true));
    if !was_there {
        docker(&["rmi", "--no-prune", &ours]);
    }
}

#[tokio::test]
async fn an_image_without_codex_is_extended_with_it() {
    base_image();
    let (engine, sandbox) = (engine().await, Sandbox::new());
    let tag = sandbox.image("extended");
    let mut words = vec!["build", "--tag", &tag, "--from", BASE_IMAGE];
    if std::path::Path::new(CERTIFICATES).exists() {
        words.extend(["--ca-file", CERTIFICATES]);
    }
    typed(&words).await.expect("the image can be built");
    let built = status(&engine, &tag).await.expect("the engine answers").expect("the image exists");
    assert_eq!((built.codex_version.as_deref(), built.base.as_deref()), (Some(model::CODEX_VERSION), Some(BASE_IMAGE)));
    // An image with Codex stays as it is.
    let again = sandbox.image("again");
    typed(&["build", "--tag", &again, "--from", &tag]).await.expect("the image can be built");
    let built = status(&engine, &again).await.expect("the engine answers").expect("the image exists");
    assert_eq!(built.origin, Origin::Custom);
}

#[tokio::test]
async fn whoever_asks_for_an_image_that_is_not_there_hears_how_to_get_it() {
    let sandbox = Sandbox::new();
    for words in [&["status"][..], &["status", "--json"]] {
        let name = sandbox.image("1");
        let failure = typed(&[words, &[&name]].concat()).await.expect_err("the image does not exist");
        assert_eq!(failure.code, ErrorCode::ImageMissing);
        assert!(failure.hints.iter().any(|hint| hint.contains(&format!("image build --tag {name}"))), "{failure:?}");
    }
    typed(&["status", &codex_image()]).await.expect("the image exists");
    typed(&["status", "--json", &base_image()]).await.expect("the image exists");
}

#[tokio::test]
async fn files_and_addresses_that_make_no_sense_are_refused_before_anything_is_built() {
    let sandbox = Sandbox::new();
    let tag = sandbox.image("1");
    for (words, code) in [
        (["--ca-file", "/nowhere/ca.pem"], ErrorCode::CaFile),
        (["--dockerfile", "/nowhere/Dockerfile"], ErrorCode::DockerfileUnreadable),
        (["--npm-registry", "https://me:secret@mirror.local"], ErrorCode::RegistryAddress),
        (["--codex-version", "latest"], ErrorCode::CodexVersionUnknown),
        (["--tag", "Capital"], ErrorCode::ImageName),
    ] {
        let mut all = vec!["build", "--base", BASE_IMAGE];
        if words[0] != "--tag" {
            all.extend(["--tag", &tag]);
        }
        all.extend(words);
        let failure = typed(&all).await.expect_err(code.as_str());
        assert!(failure.code == code && !failure.hints.is_empty(), "{failure:?}");
    }
    assert!(!try_docker(&["image", "inspect", &tag]).status.success());
}
