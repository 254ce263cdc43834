//! Builds the container image for `up` if it is missing, and shows the progress.
//!
//! If the build fails, `up` continues: the server can still show tasks and report what is missing.

use std::path::Path;
use std::process::Stdio;

use config::Config;
use model::container::ContainerCheck;
use runner::worker::{Worker, check, engine_environment};
use tokio::process::Command;

use crate::printer;

/// Builds the image if runs use containers and the image is missing. `ca_file` has additional certificates for the image.
pub(super) async fn ensure(config: &Config, ca_file: Option<&Path>) {
    if !Worker::find(config).is_ok_and(|worker| worker.needs_container_engine()) {
        return;
    }
    let found = check(config).await;
    if !wants_an_image(&found, config) {
        return;
    }
    printer::remark("Building the container image. This is done once and takes a few minutes.");
    let built = match build(config, ca_file) {
        Ok(mut command) => command.status().await,
        Err(error) => Err(error),
    };
    match built {
        Ok(status) if status.success() => {}
        Ok(status) => said(&format!("codex-docker failed ({status})")),
        Err(error) => said(&error.to_string()),
    }
}

/// Whether the container engine is available and the default image is missing. A custom image is never built here.
fn wants_an_image(found: &ContainerCheck, config: &Config) -> bool {
    found.status.engine.is_some() && found.status.image.is_none() && config.image.is_none()
}

fn build(config: &Config, ca_file: Option<&Path>) -> std::io::Result<Command> {
    let (program, prefix) = config.container_program.split_first().ok_or(std::io::ErrorKind::NotFound)?;
    let mut command = Command::new(program);
    command.args(prefix).args(["image", "build"]).env_clear().envs(engine_environment(config));
    if let Some(ca_file) = ca_file {
        command.arg("--ca-file").arg(ca_file);
    }
    // Stdout is for scripts, so progress goes to stderr.
    command.stdin(Stdio::null()).stdout(std::io::stderr());
    Ok(command)
}

fn said(why: &str) {
    printer::remark(format!("Could not build the container image: {why}"));
    printer::hint("try again: codex-orchestrator codex-docker image build");
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A fake codex-docker that prints `answer` for `check` and records all other calls.
    fn stage(answer: &str) -> (tempfile::TempDir, Config) {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("stand-in");
        let script = format!("#!/bin/sh\n[ $1 = check ] && echo '{answer}' || echo \"$@\" >> {}/told\n", folder.path().display());
        std::fs::write(&program, script).expect("written");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("ours");
        let mut config = Config::for_home(folder.path());
        config.container_program = vec![program.display().to_string()];
        config.base_environment = process::BaseEnvironment::default().with("PATH", "/usr/bin:/bin");
        (folder, config)
    }

    async fn told(answer: &str, change: impl Fn(&mut Config)) -> String {
        told_with(answer, None, change).await
    }

    async fn told_with(answer: &str, ca_file: Option<&Path>, change: impl Fn(&mut Config)) -> String {
        let (folder, mut config) = stage(answer);
        change(&mut config);
        ensure(&config, ca_file).await;
        std::fs::read_to_string(folder.path().join("told")).unwrap_or_default()
    }

    const ENGINE: &str = r#"{"usable":false,"engine":{"version":"20"},"image":null}"#;

    #[tokio::test]
    async fn a_missing_image_is_built_and_nothing_else_is() {
        assert_eq!(told(ENGINE, |_| {}).await, "image build\n");
        let with_certificates = told_with(ENGINE, Some(Path::new("ca.pem")), |_| {}).await;
        assert_eq!(with_certificates, "image build --ca-file ca.pem\n");
        assert_eq!(told(ENGINE, |config| config.image = Some("mine:1".to_owned())).await, "", "a custom image is not built");
        assert_eq!(told(ENGINE, |config| config.worker = Some("/bin/sh".to_owned())).await, "", "another worker needs no image");
        assert_eq!(told(r#"{"usable":false}"#, |_| {}).await, "", "no container engine is available");
        assert_eq!(told(r#"{"usable":true,"engine":{"version":"20"},"image":{"name":"x"}}"#, |_| {}).await, "");
    }
}
