//! Tests with a real engine that used images are found, and that unused images are removed.
//! Each test uses its own images.

use bollard::Docker;
use codex_docker::connect::connect;
use codex_docker::image::{exists, remove_unused, usage};
use testkit::docker::{Sandbox, docker};

#[expect(clippy::disallowed_methods, reason = "tests find the engine in the same way as users")]
async fn engine() -> Docker {
    connect(&std::env::vars().collect()).await.expect("`cargo xtask test` starts an engine")
}

/// Creates an empty image with this name and a unique label. Returns its ID.
fn image(sandbox: &Sandbox, name: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("empty.tar");
    std::fs::write(&archive, [0; 1024]).expect("written");
    let archive = archive.display().to_string();
    docker(&[
        "import",
        "--change",
        &format!("LABEL made-for={}", sandbox.image("x")),
        "--change",
        "CMD [\"/x\"]",
        &archive,
        name,
    ]);
    docker(&["image", "inspect", "--format", "{{.Id}}", name]).trim().to_owned()
}

#[tokio::test]
async fn an_image_goes_with_all_its_names_when_each_of_them_is_known() {
    let (sandbox, engine) = (Sandbox::new(), engine().await);
    let names = [sandbox.image("first"), sandbox.image("second")];
    let id = image(&sandbox, &names[0]);
    docker(&["tag", &id, &names[1]]);
    let found = usage(&engine, &[id.clone(), "sha256:0".to_owned()]).await.expect("the engine answers");
    assert_eq!(found.len(), 1, "the other image does not exist");
    let mut given = found[0].names.clone();
    given.sort();
    assert_eq!((found[0].id.as_str(), given.as_slice(), found[0].containers), (id.as_str(), &names[..], false));
    assert!(!remove_unused(&engine, &id, &names[..1]).await.expect("the engine answers"), "the second name is not listed");
    assert!(
        exists(&engine, &names[0]).await.expect("the engine answers")
            && exists(&engine, &names[1]).await.expect("the engine answers")
    );
    for _ in 0..2 {
        assert!(remove_unused(&engine, &id, &names).await.expect("the engine answers"), "removing the image twice is harmless");
    }
    assert!(!exists(&engine, &id).await.expect("the engine answers"));
}

#[tokio::test]
async fn an_image_that_a_container_was_made_from_stays() {
    let (sandbox, engine) = (Sandbox::new(), engine().await);
    let name = sandbox.image("used");
    let id = image(&sandbox, &name);
    docker(&["create", "--name", &sandbox.container("one"), &name]);
    assert!(usage(&engine, std::slice::from_ref(&id)).await.expect("the engine answers")[0].containers);
    let names = [name];
    assert!(!remove_unused(&engine, &id, &names).await.expect("the engine answers"));
    assert!(exists(&engine, &id).await.expect("the engine answers"));
    docker(&["rm", &sandbox.container("one")]);
    assert!(remove_unused(&engine, &id, &names).await.expect("the engine answers"));
}
