//! Builds the images in which the tests run Codex. The argument is the path of the `codex-orchestrator` program that builds them.
//!
//! `cargo xtask test` runs this example. It prints the name, size and build time of each image. With the cache of a container engine,
//! a build takes seconds.

use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use testkit::codex::TESTED_CODEX_VERSIONS;
use testkit::docker::{BASE_IMAGE, CERTIFICATES, codex_image_of, docker};

fn main() -> Result<(), Box<dyn Error>> {
    let program = std::env::args_os().nth(1).ok_or("usage: provision_images CODEX_ORCHESTRATOR")?;
    for version in TESTED_CODEX_VERSIONS {
        let began = Instant::now();
        let image = codex_image_of(version);
        let mut command = Command::new(&program);
        command.args(["codex-docker", "image", "build", "--base", BASE_IMAGE, "--codex-version", version, "--tag", &image]);
        if Path::new(CERTIFICATES).exists() {
            command.args(["--ca-file", CERTIFICATES]);
        }
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
        if !status.success() {
            return Err(format!(
                "`{} codex-docker image build` for Codex {version} failed: {status}",
                Path::new(&program).display()
            )
            .into());
        }
        let size: f64 = docker(&["image", "inspect", "--format", "{{.Size}}", &image]).trim().parse()?;
        writeln!(std::io::stdout(), "    {image}: {:.1} GB, {:.1} s", size / 1e9, began.elapsed().as_secs_f64())?;
    }
    Ok(())
}
