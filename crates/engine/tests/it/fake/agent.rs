//! A scripted agent: what it writes, and how its work is exported with the real git.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use process::{BaseEnvironment, CommandSpec, Stdout, Tool};
use runner::ExportMode;
use runner::keeper::{ExitRecord, WorkerEnd};
use runner::spec::RunKey;

use super::host::{Accepted, Host, write};

/// How long a step of an agent takes.
pub(super) const STEP: Duration = Duration::from_millis(5);

/// The number of steps of an agent.
const STEPS: usize = 12;

/// The prompt of an agent that works until it is stopped.
const FOREVER: &str = "wait";

/// The prompt of an agent that replaces the history of its branch.
const REWRITE: &str = "rewrite";

/// Returns the lines that an agent writes before its last one.
fn lines(key: RunKey) -> Vec<u8> {
    let mut lines = format!("{{\"type\":\"thread.started\",\"thread_id\":\"{}\"}}\n{{\"type\":\"turn.started\"}}\n", key.task);
    for step in 0..STEPS {
        let text = format!("{key}: step {step}, é{}", "x".repeat(step * 40));
        let item = serde_json::json!({ "id": format!("item_{step}"), "type": "agent_message", "text": text });
        lines.push_str(&serde_json::json!({ "type": "item.completed", "item": item }).to_string());
        lines.push('\n');
    }
    lines.into_bytes()
}

const COMPLETED: &[u8] =
    b"{\"type\":\"turn.completed\",\"usage\":{\"input_tokens\":10,\"cached_input_tokens\":0,\"output_tokens\":5}}\n";

/// Works on a run until its end.
pub(super) async fn work(host: &Arc<Host>, accepted: &Accepted) {
    let key = accepted.spec.key;
    let folder = host.folder(key);
    let tree = folder.join("tree");
    let source = &accepted.spec.source;
    git(&folder, &["clone", "--quiet", "--no-checkout", &accepted.mirror.display().to_string(), "tree"]).await;
    git(&tree, &["checkout", "--quiet", "-B", &source.branch, source.start.as_str()]).await;
    if accepted.prompt == REWRITE {
        git(&tree, &["checkout", "--quiet", "--orphan", "other"]).await;
        git(&tree, &["commit", "--quiet", "--allow-empty", "--message", "a new beginning"]).await;
        git(&tree, &["checkout", "--quiet", "-B", &source.branch]).await;
    }
    fs_err::write(tree.join(format!("work-{}.txt", key.run)), content(key)).expect("written");
    let mut log = fs_err::File::options().create(true).append(true).open(folder.join("log")).expect("a log");
    let mut say = |bytes: &[u8]| {
        log.write_all(bytes).expect("written");
        host.note(|ledger| ledger.written.entry(key).or_default().extend_from_slice(bytes));
    };
    let is_stopped = || folder.join("stop").exists();
    // Pieces end in the middle of lines and characters.
    let lines = lines(key);
    for piece in lines.chunks(lines.len() / STEPS) {
        if is_stopped() {
            break;
        }
        say(piece);
        tokio::time::sleep(STEP).await;
    }
    while accepted.prompt == FOREVER && !is_stopped() {
        tokio::time::sleep(STEP).await;
    }
    let stop_requested = is_stopped();
    if !stop_requested {
        say(COMPLETED);
    }
    host.note(|ledger| {
        ledger.alive -= 1;
        if stop_requested {
            ledger.stopped.insert(key);
        }
    });
    let ending = if stop_requested { WorkerEnd::Signal { signal: 2 } } else { WorkerEnd::Code { code: 0 } };
    let exit = ExitRecord {
        schema: model::SCHEMA,
        attempt: key.attempt,
        started_at: Some(accepted.started_at),
        finished_at: Timestamp::now(),
        ending,
        stop_requested,
        work_on_disk: true,
        unusable_app_server: None,
        log_is_incomplete: false,
    };
    write(&folder.join("exit.json"), &exit);
}

/// Returns the content of the file that an attempt creates.
pub(crate) fn content(key: RunKey) -> String {
    format!("the work of {key}\n")
}

/// Commits the work of an attempt and writes it to the folder `out`, as a container does.
pub(super) async fn export(folder: &Path, accepted: &Accepted, mode: ExportMode, message: &str, out: &Path) {
    let (tree, source) = (folder.join("tree"), &accepted.spec.source);
    let (branch, since) = (format!("refs/heads/{}", source.branch), source.start.as_str());
    git(&tree, &["add", "--all"]).await;
    match mode {
        ExportMode::Commits => {
            if !git(&tree, &["status", "--porcelain"]).await.is_empty() {
                git(&tree, &["commit", "--quiet", "--message", message]).await;
            }
        }
        ExportMode::Files => {
            let files = git(&tree, &["write-tree"]).await;
            let commit = git(&tree, &["commit-tree", &files, "-p", since, "-m", message]).await;
            git(&tree, &["update-ref", &branch, &commit]).await;
        }
    }
    let head = git(&tree, &["rev-parse", &branch]).await;
    fs_err::create_dir_all(out).expect("a folder");
    if head != since {
        let bundle = out.join("bundle").display().to_string();
        git(&tree, &["bundle", "create", "--quiet", &bundle, &branch, &format!("^{since}")]).await;
    }
    fs_err::write(out.join("result"), format!("harvest 1\0head {head}\0end\0")).expect("written");
}

/// Runs git in a folder, and returns its output without the last line end.
pub(crate) async fn git(folder: &Path, args: &[&str]) -> String {
    let base = BaseEnvironment::default().with("PATH", "/usr/local/bin:/usr/bin:/bin").with("HOME", "/nonexistent");
    let tool = Tool::find("git", &base).expect("git is installed");
    let who = ["AUTHOR", "COMMITTER"]
        .into_iter()
        .flat_map(|who| [(format!("GIT_{who}_NAME"), "Fake"), (format!("GIT_{who}_EMAIL"), "fake@example.org")]);
    let command = CommandSpec::new(&tool, &base, folder).args(args).envs(who).env("GIT_CONFIG_NOSYSTEM", "1");
    let done = command.stdout(Stdout::Capture { max: 1 << 20 }).deadline(Duration::from_mins(1)).run_ok().await;
    done.unwrap_or_else(|error| panic!("git {args:?}: {error}")).text().trim_end().to_owned()
}
