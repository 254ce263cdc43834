//! An image with private registries for npm and pip.
//!
//! The registries are Verdaccio and pypiserver. `fixtures/registries` has their files.

use std::path::Path;
use std::process::Command;

use crate::docker::{build_image_from, kept_image};
use crate::{npm, shell_agent};

/// Returns an image with Node.js, npm and pip that serves a private registry for each of them, at ports 4873 and 8080. Each has one package
/// (`@private/thing` and `private-thing`), and one user (`reader`, password `registry-secret-4711`).
///
/// # Panics
/// If the packages cannot be downloaded or the image cannot be built.
pub fn registries_image() -> String {
    let image = "codex-docker-test/registries:1";
    kept_image(image, || {
        let folder = tempfile::tempdir().expect("a folder");
        npm::copy_to(folder.path());
        npm::copy(&npm::verdaccio().expect("npm has Verdaccio"), &folder.path().join("verdaccio"));
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/registries");
        npm::copy(&own, &folder.path().join("registries"));
        let wheels = Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--dest"])
            .arg(folder.path().join("wheels"))
            .args(["pypiserver==2.4.2", "passlib==1.7.4"])
            .output()
            .expect("python3 is installed");
        assert!(wheels.status.success(), "{}", String::from_utf8_lossy(&wheels.stderr));
        shell_agent::build_image();
        build_image_from(folder.path(), &folder.path().join("registries/Dockerfile"), image);
    })
}
