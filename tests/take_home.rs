//! Exporting a task's commits without a Git host: a bundle, mails, and a fetch from the mirror.
//!
//! Real servers, real git on both sides, and a worker that runs its prompt as a script.

use testkit::TestHome;
use testkit::upstream::Upstream;

use crate::BINARY;

const WORK: &str = "begin; printf 'a\\000b' > pic.bin; git add pic.bin; \
    git -c user.name='Änne A.' -c user.email=a@b commit -qm \"$(printf 'Grüße\\n\\nBody line\\n\\nSigned-off-by: Änne A. <a@b>')\"; \
    echo two > two.txt; printf 'dos\\r\\nfile\\r\\n' > dos.txt; end done";

async fn stage() -> (Upstream, TestHome, String) {
    let upstream = Upstream::new();
    let home = TestHome::started(BINARY).await;
    let env = home.environment(&upstream.url()).await;
    (upstream, home, env)
}

async fn done(home: &TestHome, env: &str, prompt: &str) -> String {
    let task = home.task(env, prompt).await;
    let view = home.settled(&task).await;
    assert_eq!(view["status"], "completed", "{view}");
    task
}

/// Creates a clone like that of a user.
fn clone(upstream: &Upstream, home: &TestHome, name: &str) -> std::path::PathBuf {
    let folder = home.scratch().join(name);
    upstream.git_in(home.scratch(), &["clone", "-q", &upstream.url(), name]);
    for (key, value) in [("user.name", "Me"), ("user.email", "me@home")] {
        upstream.git_in(&folder, &["config", key, value]);
    }
    folder
}

/// Runs `codex-orchestrator` with these arguments, and returns its stdout.
async fn ran(home: &TestHome, arguments: &[&str]) -> Vec<u8> {
    let output = home.command(arguments).output().await.expect("the command can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[tokio::test]
async fn a_bundle_brings_the_branch_and_nothing_of_its_base() {
    let (upstream, home, env) = stage().await;
    let task = done(&home, &env, WORK).await;
    let mine = clone(&upstream, &home, "mine");
    let file = mine.join("task.bundle");
    let file = file.to_str().expect("text");
    ran(&home, &["task", "bundle", &task, "-o", file]).await;
    upstream.git_in(&mine, &["bundle", "verify", "-q", file]);
    upstream.git_in(&mine, &["fetch", "-q", file, &format!("codex/{task}:taken")]);
    let mirror = home.path().join("envs").join(&env).join("mirror");
    let tip = |folder: &std::path::Path, name: &str| upstream.git_in(folder, &["rev-parse", name]);
    assert_eq!(tip(&mine, "taken"), tip(&mirror, &format!("codex/{task}")));
    // Without `-o`, the bundle is written to stdout.
    let piped = ran(&home, &["task", "bundle", &task]).await;
    assert!(piped.starts_with(b"# v2 git bundle\n"), "{} bytes", piped.len());
    // Users can also fetch from the mirror with the command that `task show` prints.
    let shown = String::from_utf8(ran(&home, &["task", "show", &task]).await).expect("text");
    let fetch = shown.lines().find_map(|line| line.strip_prefix("fetch:    git fetch ")).expect("`task show` prints the command");
    let (path, branch) = fetch.split_once(' ').expect("the command has a path and a branch");
    upstream.git_in(&mine, &["fetch", "-q", path, &format!("{branch}:fetched")]);
    assert_eq!(tip(&mine, "fetched"), tip(&mine, "taken"));
}

#[tokio::test]
async fn mails_become_the_same_commits() {
    let (upstream, home, env) = stage().await;
    // Use git settings that change patches, as a user may have.
    let taste = "[format]\n\tattach\n\tcoverLetter = true\n\tsignOff = true\n\tnotes = true\n\tsubjectPrefix = X\n\
        [diff]\n\tnoprefix = true\n\texternal = false\n\tmnemonicPrefix = true\n[color]\n\tui = always\n";
    fs_err::create_dir_all(home.scratch().join("user")).expect("a folder");
    fs_err::write(home.scratch().join("user/.gitconfig"), taste).expect("written");
    let task = done(&home, &env, WORK).await;
    let mine = clone(&upstream, &home, "mine");
    let file = mine.join("task.mbox");
    ran(&home, &["task", "patch", &task, "--output", file.to_str().expect("text")]).await;
    upstream.git_in(&mine, &["am", "-q", "--keep-cr", "--keep-non-patch", file.to_str().expect("text")]);
    let mirror = home.path().join("envs").join(&env).join("mirror");
    let told = |folder: &std::path::Path, range: &str| upstream.git_in(folder, &["log", "--format=%an <%ae> %ad%n%B%T", range]);
    assert_eq!(
        told(&mine, "origin/main..HEAD"),
        told(&mirror, &format!("main..codex/{task}")),
        "the commits have the same authors, messages and trees"
    );
    assert!(told(&mine, "origin/main..HEAD").contains("Änne A. <a@b>"));
}

#[tokio::test]
async fn a_task_without_commits_of_its_own_is_refused_with_a_reason() {
    let (_upstream, home, env) = stage().await;
    let task = done(&home, &env, "begin; end done").await;
    for path in ["bundle", "patches"] {
        let (status, refused) = home.get(&format!("/api/v1/tasks/{task}/{path}")).await;
        assert_eq!((status, refused["code"].as_str()), (409, Some("no_commits")), "{refused}");
        assert!(refused["hints"].as_array().is_some_and(|hints| !hints.is_empty()), "{refused}");
    }
    let missing = home.scratch().join("task.bundle");
    let output = home
        .command(&["task", "bundle", &task, "-o", missing.to_str().expect("text")])
        .output()
        .await
        .expect("the command can be started");
    assert!(!output.status.success() && !missing.exists(), "a failed export leaves no file");
}
