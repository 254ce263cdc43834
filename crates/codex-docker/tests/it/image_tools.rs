//! Tests the scripts that install language tools: with stand-ins for their publishers, and with a real registry.
//!
//! The stand-ins (`tool_mirror.py`) are in the same container, which has no network. So every checksum is checked without a download.

use std::path::Path;
use std::process::Output;

use codex_docker::image::{Build, Origin, Sources, Tool, ToolVersion, build};
use testkit::docker::{Sandbox, base_image, codex_image, try_docker};

use crate::image_support::{engine, nobody};

/// Runs a script with arguments next to the stand-ins, then another script.
fn install(sandbox: &Sandbox, damaged: &str, script: &str, then: &str) -> Output {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (scripts, mirror) = (folder.join("src/image/tools"), folder.join("tests/it/tool_mirror.py"));
    let command = format!("sh /tools/{script} && {then}");
    let mounts = [format!("{}:/tools:ro", scripts.display()), format!("{}:/mirror.py:ro", mirror.display())];
    try_docker(&[
        "run",
        "--rm",
        "--network=none",
        "--name",
        &sandbox.container(&script.replace(|c: char| !c.is_ascii_alphanumeric(), "-")),
        "--volume",
        &mounts[0],
        "--volume",
        &mounts[1],
        "--env",
        &format!("DAMAGED={damaged}"),
        &codex_image(),
        "python3",
        "/mirror.py",
        "sh",
        "-c",
        &command,
    ])
}

const NODE: &str = "node.sh 24 http://127.0.0.1:8000/dist http://127.0.0.1:8000/npm";
const NODE_OF_NPM: &str = "node.sh 22 npm+http://127.0.0.1:8000/npm http://127.0.0.1:8000/npm";
const GO: &str = "go.sh 1.23 http://127.0.0.1:8000/go";

#[test]
fn the_newest_version_is_installed_from_every_kind_of_source() {
    let sandbox = Sandbox::new();
    for (script, then, expected) in [
        (NODE, "node; npm; yarn; pnpm", "v24.1.0\n11.0.0\n1.22.22\n10.10.0\n"),
        (NODE_OF_NPM, "node; npm; yarn; pnpm; ls /usr/local/package.json", "v22.10.0\n11.1.0\n1.22.22\n10.10.0\n"),
        (GO, "go; cat /usr/local/go/src/go.mod; tail -n 1 /etc/codex-docker/installed", "go version go1.23.10\nmodule std\n"),
    ] {
        let done = install(&sandbox, "", script, then);
        let (stdout, stderr) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(stdout.contains(expected), "{script}: {stdout}{stderr}");
    }
}

#[test]
fn a_damaged_download_installs_nothing() {
    let sandbox = Sandbox::new();
    for script in [NODE, NODE_OF_NPM, GO] {
        let done = install(&sandbox, "1", script, "true");
        let stderr = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success() && stderr.contains("codex-docker: the download of "), "{script}: {stderr}");
        assert!(stderr.contains("is damaged"), "{script}: {stderr}");
    }
}

#[test]
fn a_version_that_its_source_does_not_have_is_named() {
    let sandbox = Sandbox::new();
    for (script, expected) in [
        ("node.sh 23 http://127.0.0.1:8000/dist http://127.0.0.1:8000/npm", "has no Node.js 23"),
        ("go.sh 1.2 http://127.0.0.1:8000/go", "has no Go 1.2"),
        ("go.sh 1 http://127.0.0.1:8000/nothing", "does not answer"),
        ("rust.sh 1 http://127.0.0.1:8000/nothing", "has no rustup"),
    ] {
        let done = install(&sandbox, "", script, "true");
        let stderr = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success() && stderr.contains(expected), "{script}: {stderr}");
    }
}

#[tokio::test]
async fn tools_are_added_to_an_image_and_its_label_names_them() {
    let (engine, sandbox) = (engine().await, Sandbox::new());
    let mut wanted = Build {
        tag: sandbox.image("tools"),
        base: base_image(),
        dockerfile: Some(format!("FROM {}\nUSER 7:7\n", codex_image())),
        sources: Sources::default().with(["node=npm+https://registry.npmjs.org"]).expect("a valid source"),
        ..Build::default()
    };
    wanted.tools.insert(Tool::Node, ToolVersion::parse(Tool::Node, "22").expect("a valid version"));
    let built = build(&engine, &wanted, nobody).await.expect("the build succeeds");
    assert_eq!((built.origin, built.tools.as_deref()), (Origin::Custom, Some("node=22")));
    let said = sandbox.run(&wanted.tag, "12345:12345", "node --version; npm --version; yarn --version; pnpm --version");
    assert!(said.starts_with("v22.") && said.lines().count() == 4, "{said}");
}

#[test]
fn what_can_be_trusted_is_in_the_environment_of_every_program() {
    let said =
        Sandbox::new().run(&codex_image(), "12345:12345", "env; uv --version; pip --version; cmake --version; sqlite3 --version");
    for name in ["NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"] {
        assert!(said.contains(&format!("{name}=/etc/ssl/certs/ca-certificates.crt\n")), "{name}: {said}");
    }
}
