//! Runs Schemathesis against a server: it sends requests that are generated from the `OpenAPI` document, valid and invalid ones, and compares
//! the answers with the document.
//!
//! `cargo xtask test` builds the program and runs this example with the path of the program, the path of Schemathesis, and the folder with
//! its settings. The server's home is temporary, its runs start no agent, and git contacts no other machine.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

use testkit::TestHome;
use testkit::upstream::Upstream;

/// A worker that ignores its prompt, because prompts are random text. It changes a file.
const WORKER: &str = r#"#!/bin/sh
cat > /dev/null
echo line >> notes.txt
echo '{"type":"thread.started","thread_id":"01a201f5-b7dd-79a1-8a6e-7e6639f5c650"}'
echo '{"type":"turn.started"}'
echo '{"type":"item.completed","item":{"id":"item_0","type":"agent_message","text":"done"}}'
echo '{"type":"turn.completed","usage":{"input_tokens":1,"cached_input_tokens":0,"output_tokens":1}}'
"#;

/// Git's settings: URLs of other machines refer to files that do not exist.
const GIT: &str = r#"[url "file:///nowhere/"]
insteadOf = git://
insteadOf = http://
insteadOf = https://
"#;

/// A proxy that does not exist, so that the server cannot send requests to a Git host.
const NO_PROXY: &str = "http://127.0.0.1:9";

/// How many tasks exist at the beginning. Requests remove some of them.
const TASKS: usize = 8;

/// How many requests are generated for each operation and phase.
const EXAMPLES: &str = "8";

fn print(text: &str) {
    std::io::stdout().write_all(text.as_bytes()).expect("the output can be written");
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let mut next = |what: &str| arguments.next().unwrap_or_else(|| panic!("{what} is an argument"));
    let path = |path: PathBuf| std::path::absolute(path).expect("the current folder exists");
    let (binary, schemathesis, settings) =
        (path(next("the program")), path(next("Schemathesis")), next("the folder with its settings"));

    let upstream = Upstream::new();
    let mut home = TestHome::new(binary.to_str().expect("the path is UTF-8"));
    let worker = home.scratch().join("worker");
    fs_err::write(&worker, WORKER).expect("a temporary folder can be written");
    fs_err::set_permissions(&worker, std::fs::Permissions::from_mode(0o755)).expect("the file is ours");
    fs_err::write(home.scratch().join("user/.gitconfig"), GIT).expect("a temporary folder can be written");
    home.set("ORCH_WORKER", worker);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        home.set(name, NO_PROXY);
    }
    home.set("GIT_SSH_COMMAND", "false");
    home.start().await;
    let repository = home.environment(&upstream.file_url()).await;
    let mut tasks = vec![];
    for _ in 0..TASKS {
        let task = home.task(&repository, "do it").await;
        home.settled(&task).await;
        tasks.push(format!("\"{task}\""));
    }

    let hooks = settings.join("hooks.py").canonicalize().expect("the hooks exist");
    let text = fs_err::read_to_string(settings.join("schemathesis.toml"))
        .expect("the settings exist")
        .replace("@HOOKS@", hooks.to_str().expect("the path is UTF-8"))
        .replace("@TOKEN@", &home.token())
        .replace("@REPOSITORIES@", &format!("\"{repository}\""))
        .replace("@TASKS@", &tasks.join(", "));
    let file = home.scratch().join("schemathesis.toml");
    fs_err::write(&file, text).expect("a temporary folder can be written");
    let server = format!("http://{}", home.tcp_address().await);
    let run = tokio::process::Command::new(schemathesis)
        .arg("--config-file")
        .arg(file)
        .args(["run", "--no-color", "--max-examples", EXAMPLES, "--url", &server, &format!("{server}/api/v1/openapi.json")])
        .current_dir(home.scratch())
        .output()
        .await
        .expect("Schemathesis can be started");
    let has_panicked = home.log().contains("request handler panicked");
    let output = String::from_utf8_lossy(&run.stdout);
    if run.status.success() && !has_panicked && !home.has_ended() {
        let count = output.lines().find(|line| line.contains(" generated")).unwrap_or_default();
        print(&format!("    {}\n", count.trim()));
        return ExitCode::SUCCESS;
    }
    print(&format!("{output}{}\nthe log of the server:\n{}\n", String::from_utf8_lossy(&run.stderr), home.log()));
    ExitCode::FAILURE
}
