//! The image of runs, as far as `up` needs it: built once when it is missing, with its progress shown.
//!
//! Whatever is missing is said and passed over: a server without containers still shows tasks, and says what it needs.

use std::process::Stdio;

use engine::Config;
use engine::worker::{Worker, WorkerKind, check, engine_environment};
use model::container::ContainerCheck;
use tokio::process::Command;

use crate::printer;

/// Makes sure that there is an image, where runs are made in containers.
pub(super) async fn ensure(config: &Config) {
    if !Worker::find(config).is_ok_and(|worker| worker.kind() == WorkerKind::Container) {
        return;
    }
    let found = check(config).await;
    if !wants_an_image(&found, config) {
        return;
    }
    printer::remark("There is no image for runs yet. It is built now, once; that takes a few minutes.");
    let built = match build(config) {
        Ok(mut command) => command.status().await,
        Err(error) => Err(error),
    };
    match built {
        Ok(status) if status.success() => {}
        Ok(status) => said(&format!("codex-docker ended with {status}")),
        Err(error) => said(&error.to_string()),
    }
}

/// An engine that answers, and none of our images. Somebody's own image is theirs to make.
fn wants_an_image(found: &ContainerCheck, config: &Config) -> bool {
    found.status.engine.is_some() && found.status.image.is_none() && config.image.is_none()
}

fn build(config: &Config) -> std::io::Result<Command> {
    let (program, prefix) = config.container_program.split_first().ok_or(std::io::ErrorKind::NotFound)?;
    let mut command = Command::new(program);
    command.args(prefix).args(["image", "build"]).env_clear().envs(engine_environment(config));
    // Progress is no answer: what is on stdout is for scripts.
    command.stdin(Stdio::null()).stdout(std::io::stderr());
    Ok(command)
}

fn said(why: &str) {
    printer::remark(format!("The image could not be built: {why}"));
    printer::hint("to try again: codex-orchestrator codex-docker image build");
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A stand-in for codex-docker that answers `check` with this, and writes down what else it was told.
    fn stage(answer: &str) -> (tempfile::TempDir, Config) {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("stand-in");
        let script = format!("#!/bin/sh\n[ $1 = check ] && echo '{answer}' || echo \"$@\" >> {}/told\n", folder.path().display());
        std::fs::write(&program, script).expect("written");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("ours");
        let mut config = Config::for_home(folder.path());
        config.container_program = vec![program.display().to_string()];
        config.base_environment = engine::exec::BaseEnvironment::default().with("PATH", "/usr/bin:/bin");
        (folder, config)
    }

    async fn told(answer: &str, change: impl Fn(&mut Config)) -> String {
        let (folder, mut config) = stage(answer);
        change(&mut config);
        ensure(&config).await;
        std::fs::read_to_string(folder.path().join("told")).unwrap_or_default()
    }

    const ENGINE: &str = r#"{"usable":false,"engine":{"version":"20"},"image":null}"#;

    #[tokio::test]
    async fn a_missing_image_is_built_and_nothing_else_is() {
        assert_eq!(told(ENGINE, |_| {}).await, "image build\n");
        assert_eq!(told(ENGINE, |config| config.image = Some("mine:1".to_owned())).await, "", "somebody's own");
        assert_eq!(told(ENGINE, |config| config.worker = Some("/bin/sh".to_owned())).await, "", "another worker");
        assert_eq!(told(r#"{"usable":false}"#, |_| {}).await, "", "no engine");
        assert_eq!(told(r#"{"usable":true,"engine":{"version":"20"},"image":{"name":"x"}}"#, |_| {}).await, "");
    }
}
