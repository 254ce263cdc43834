//! A server that cleans up must ignore a foreign container whose image has our labels.

use testkit::docker::{BASE_IMAGE, Sandbox, docker, try_docker};
use testkit::shell_agent::ShellAgent;
use testkit::until;

use crate::BINARY;

#[tokio::test]
async fn the_servers_own_sweep_does_nothing_that_an_image_says() {
    let mut stage = ShellAgent::new(BINARY).await;
    let sandbox = Sandbox::new();
    let precious = stage.home.scratch().join("precious");
    fs_err::create_dir(&precious).expect("made");
    fs_err::write(precious.join("file"), "kept").expect("written");
    let home = stage.home.path();
    let image = sandbox.build(
        "labels",
        &format!(
            "FROM {BASE_IMAGE}\nLABEL codex-docker.managed=true codex-docker.state={} codex-docker.label.home={}",
            precious.display(),
            home.display()
        ),
    );
    // The engine lists newer containers first, so the server has examined the foreign one before it removes the older one.
    let task = stage.attack("echo x > work").await.task;
    let older = stage.folder(&task).join("container");
    fs_err::create_dir_all(older.join("in")).expect("made");
    let mount = format!("type=bind,source={}/in,target=/codex-docker/in,readonly", older.display());
    let labels = ["--label", "codex-docker.managed=true", "--label", &format!("codex-docker.label.home={}", home.display())];
    let (known, foreign) = (sandbox.container("older"), sandbox.container("foreign"));
    docker(
        &[&["run", "-d", "--network=none", "--name", &known, "--mount", &mount], &labels[..], &[BASE_IMAGE, "sleep", "1000000"]]
            .concat(),
    );
    docker(&["run", "-d", "--network=none", "--name", &foreign, &image, "sleep", "1000000"]);
    stage.home.kill().await;
    stage.home.start().await;
    until(std::time::Duration::from_mins(1), "the sweep has ended the container of an older version", || {
        !try_docker(&["inspect", &known]).status.success()
    });
    assert_eq!(docker(&["inspect", "--format", "{{.State.Running}}", &foreign]).trim(), "true");
    assert_eq!(fs_err::read_to_string(precious.join("file")).expect("the file exists"), "kept");
}
