//! Reads the status of images from a real engine, and pulls one.
//!
//! The images come from `cargo xtask test`. These tests start no containers.

use codex_docker::image::{CODEX_VERSION, Origin, exists, pull, status};
use model::ErrorCode;
use testkit::docker::{BASE_IMAGE, Sandbox, base_image, codex_image, oldest_codex_image, try_docker};

use crate::image_support::{engine, nobody, registry};

#[tokio::test]
async fn the_image_of_this_program_is_fresh() {
    let image = codex_image();
    let status = status(&engine().await, &image).await.expect("the engine answers").expect("the image exists");
    assert_eq!((status.name.as_str(), status.origin, status.stale), (image.as_str(), Origin::Shipped, false), "{status:?}");
    assert_eq!((status.codex_version.as_deref(), status.base.as_deref()), (Some(CODEX_VERSION), Some(BASE_IMAGE)));
    assert_eq!(status.built_for.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    assert!(status.id.starts_with("sha256:") && status.size > 300_000_000, "{status:?}");
}

#[tokio::test]
async fn an_image_with_another_codex_is_stale() {
    let status = status(&engine().await, &oldest_codex_image()).await.expect("the engine answers").expect("the image exists");
    assert_eq!((status.origin, status.stale, status.codex_version.as_deref()), (Origin::Shipped, true, Some("0.75.0")));
}

#[tokio::test]
async fn an_image_that_somebody_else_made_is_foreign() {
    let status = status(&engine().await, &base_image()).await.expect("the engine answers").expect("the image exists");
    assert_eq!((status.origin, status.stale, status.codex_version), (Origin::Foreign, false, None));
}

#[tokio::test]
async fn an_image_that_is_not_there_is_no_failure() {
    let (docker, sandbox) = (engine().await, Sandbox::new());
    assert_eq!(status(&docker, &sandbox.image("1")).await, Ok(None));
    assert_eq!(exists(&docker, &sandbox.image("1")).await, Ok(false));
    assert_eq!(exists(&docker, &base_image()).await, Ok(true));
}

#[tokio::test]
async fn what_is_no_name_of_an_image_is_said_so() {
    let failure = status(&engine().await, "Capital").await.expect_err("image names must be in lower case");
    assert!(
        failure.code == ErrorCode::ImageName && failure.message.contains("Capital") && !failure.hints.is_empty(),
        "{failure:?}"
    );
}

#[tokio::test]
async fn an_image_is_fetched_from_a_registry() {
    let (docker, name) = (engine().await, format!("{}/one:1", registry()));
    let mut lines = Vec::new();
    let fetched = pull(&docker, &name, |progress| lines.push(format!("{progress:?}"))).await.expect("the registry has the image");
    assert_eq!((fetched.name.as_str(), fetched.origin), (name.as_str(), Origin::Foreign));
    assert!(lines.iter().any(|line| line.contains("Pulling from one")), "{lines:?}");
    try_docker(&["rmi", "--force", &name]);
}

#[tokio::test]
async fn an_image_that_no_registry_has_says_what_to_do() {
    let (docker, registry) = (engine().await, registry());
    for name in [format!("{registry}/one:2"), format!("{registry}/two:1")] {
        let failure = pull(&docker, &name, nobody).await.expect_err("the registry has no such image");
        assert_eq!(failure.code, ErrorCode::ImageNotFound, "{failure:?}");
        assert!(failure.message.contains(&name) && failure.hints.iter().any(|hint| hint.contains("docker login")), "{failure:?}");
    }
}

#[tokio::test]
async fn a_registry_that_is_not_reached_says_what_to_do() {
    let failure = pull(&engine().await, "127.0.0.1:1/one:1", nobody).await.expect_err("nothing listens on this port");
    assert_eq!(failure.code, ErrorCode::ImageNoNetwork, "{failure:?}");
    assert!(failure.hints.iter().any(|hint| hint.contains("proxy")), "{failure:?}");
}
