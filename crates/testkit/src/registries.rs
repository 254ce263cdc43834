//! An image with private registries for npm and pip.
//!
//! The registries are Verdaccio and pypiserver. `fixtures/registries` has their files.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::docker::kept_image;
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
        let copied = |from: &Path, to: &str| {
            let done = Command::new("cp").arg("-r").arg(from).arg(folder.path().join(to)).status().expect("cp is installed");
            assert!(done.success(), "{} is copied", from.display());
        };
        copied(&npm::node().expect("npm has Node.js"), "node");
        copied(&npm::npm().expect("npm has itself"), "npm");
        copied(&npm::verdaccio().expect("npm has Verdaccio"), "verdaccio");
        copied(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/registries"), "registries");
        let wheels = Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--dest"])
            .arg(folder.path().join("wheels"))
            .args(["pypiserver==2.4.2", "passlib==1.7.4"])
            .output()
            .expect("python3 is installed");
        assert!(wheels.status.success(), "{}", String::from_utf8_lossy(&wheels.stderr));
        shell_agent::build_image();
        let built = Command::new("docker")
            .env("DOCKER_BUILDKIT", "0")
            .args(["build", "--quiet", "--tag", image, "--file"])
            .arg(folder.path().join("registries/Dockerfile"))
            .arg(folder.path())
            .stdin(Stdio::null())
            .output()
            .expect("docker is installed");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    })
}
