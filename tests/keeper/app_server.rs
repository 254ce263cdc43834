//! Keepers that run an app server: shell scripts answer like Codex, too late, never, or like an agent that attacks them.

use process::Signal;
use runner::journal::FolderWatch;
use runner::keeper::{ExitRecord, KeeperState, WorkerEnd, complete_log, end_leftovers, request_stop};
use runner::worker::{AppServerCall, Otherwise, SandboxMode};
use serde_json::Value;
use testkit::small_disk::SmallDisk;
use tokio::process::Child;

use super::bench::{Bench, gone};

/// Functions for scripts that answer like an app server. `serve` reads messages and calls `turn` after the turn has started. All of
/// them end with SIGTERM.
const LIBRARY: &str = r#"
[ "$1" = app-server ] || { cat; echo '{"type":"turn.started"}'; echo '{"type":"turn.completed"}'; exit 0; }
trap 'echo terminated >> signals; exit 0' TERM
trap 'echo interrupted >> signals; exit 1' INT
greet() { echo '{"id":"orchestrator-initialize","result":{"userAgent":"x/0.169.0 (y)"}}'; }
open_thread() { echo '{"id":"orchestrator-thread","result":{"thread":{"id":"a"}}}'; }
start() { echo '{"id":"orchestrator-turn","result":{"turn":{"id":"t"}}}'; echo '{"method":"turn/started","params":{"threadId":"a"}}'; }
end() { echo '{"method":"turn/completed","params":{"threadId":"a","turn":{"id":"t","status":"'$1'"}}}'; }
serve() {
    while read -r line; do
        echo "$line" >> received
        case "$line" in
            *'"initialize"'*) greet;;
            *'"thread/start"'*) open_thread;;
            *'"turn/start"'*) start; turn;;
            *'"turn/interrupt"'*) end interrupted;;
        esac
    done
}
"#;

/// The log of a run whose only turn completed.
const COMPLETED: [&str; 3] = ["thread.started", "turn.started", "turn.completed"];

fn bench(otherwise: Otherwise, script: &str) -> Bench {
    let mut bench = Bench::new(&format!("{LIBRARY}\n{script}"));
    bench.order.app_server = Some(AppServerCall {
        args: vec![bench.order.args[0].clone(), "app-server".to_owned()],
        directory: bench.order.directory.clone(),
        sandbox: SandboxMode::WorkspaceWrite,
        images: vec![],
        model: None,
        effort: None,
        resumes: None,
        otherwise,
        answer_limit_ms: 60_000,
        messages_limit_bytes: 1 << 30,
    });
    bench
}

fn server(bench: &mut Bench) -> &mut AppServerCall {
    bench.order.app_server.as_mut().expect("the run uses an app server")
}

fn events(bench: &Bench) -> Vec<Value> {
    bench.journal().lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not an event: {line}"))).collect()
}

fn kinds(bench: &Bench) -> Vec<String> {
    events(bench).iter().map(|event| event["type"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Returns the reason of the last event, `turn.failed`.
fn reason(bench: &Bench) -> String {
    let event = events(bench).pop().expect("the log has events");
    assert_eq!(event["type"], "turn.failed", "{event}");
    event["error"]["message"].as_str().unwrap_or_default().to_owned()
}

fn read(bench: &Bench, name: &str) -> String {
    fs_err::read_to_string(bench.file(name)).unwrap_or_default()
}

/// Waits until the log contains this text.
async fn logged(bench: &Bench, text: &str) {
    let watch = FolderWatch::new();
    let mut changes = watch.watch(bench.files.folder());
    let found = async {
        while !fs_err::read_to_string(bench.files.journal()).unwrap_or_default().contains(text) {
            changes.changed().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(1), found).await.expect("the log contains the text");
}

async fn stopped(bench: &Bench, keeper: Child) -> ExitRecord {
    request_stop(&bench.files, bench.order.attempt).await.expect("the stop can be requested");
    bench.ended(keeper).await
}

#[tokio::test]
async fn a_turn_runs_to_its_end_and_the_server_is_ended_in_good_order() {
    let bench = bench(Otherwise::Fail, "turn() { end completed; }; serve");
    let exit = bench.held().await;
    assert_eq!((exit.ending, exit.stop_requested, exit.unusable_app_server), (WorkerEnd::Code { code: 0 }, false, None));
    assert_eq!((kinds(&bench), read(&bench, "signals")), (COMPLETED.map(str::to_owned).to_vec(), "terminated\n".to_owned()));
    assert!(read(&bench, "received").contains(r#"{"text":"the prompt","type":"text"}"#), "{}", read(&bench, "received"));
    assert!(!bench.files.pipe().exists() && bench.files.messages().exists());
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_replaced_by_exec_or_fails_the_run() {
    let silent = "while :; do sleep 0.05; done";
    let at_once = "exit 2";
    let old = "greet() { echo '{\"id\":\"orchestrator-initialize\",\"result\":{\"userAgent\":\"x/0.75.0\"}}'; }; serve";
    for (script, why) in [(silent, "did not answer in time"), (at_once, "ended before it answered"), (old, "0.75.0 is too old")] {
        let mut falling_back = bench(Otherwise::Exec, script);
        server(&mut falling_back).answer_limit_ms = 500;
        let exit = falling_back.held().await;
        assert_eq!(exit.ending, WorkerEnd::Code { code: 0 }, "{why}");
        assert!(exit.unusable_app_server.as_ref().is_some_and(|reason| reason.contains(why)), "{why}: {exit:?}");
        assert_eq!(falling_back.journal(), "the prompt{\"type\":\"turn.started\"}\n{\"type\":\"turn.completed\"}\n", "{why}");
        assert!(!falling_back.files.messages().exists() && !falling_back.files.pipe().exists(), "{why}");
        let mut failing = bench(Otherwise::Fail, script);
        server(&mut failing).answer_limit_ms = 500;
        failing.held().await;
        assert!(reason(&failing).contains(why), "{why}: {}", failing.journal());
    }
}

#[tokio::test]
async fn a_stop_interrupts_the_turn_before_it_ends_the_server() {
    let bench = bench(Otherwise::Exec, "turn() { :; }; serve");
    let keeper = bench.start();
    logged(&bench, "turn.started").await;
    let exit = stopped(&bench, keeper).await;
    assert_eq!((exit.ending, exit.stop_requested), (WorkerEnd::Code { code: 0 }, true));
    assert!(read(&bench, "received").contains("turn/interrupt"), "{}", read(&bench, "received"));
    assert_eq!(
        (kinds(&bench), read(&bench, "signals").as_str()),
        (COMPLETED[..2].iter().map(ToString::to_string).collect(), "terminated\n")
    );
}

#[tokio::test]
async fn a_stop_works_while_the_server_reads_nothing_and_its_pipe_is_full() {
    let bench = bench(Otherwise::Exec, "greet; open_thread; echo up > up; while :; do sleep 0.05; done");
    fs_err::write(bench.files.prompt(), "x".repeat(1 << 20)).expect("the test's folder is writable");
    let keeper = bench.start_until("up").await;
    logged(&bench, "thread.started").await;
    let exit = stopped(&bench, keeper).await;
    assert_eq!((exit.ending, read(&bench, "signals").as_str()), (WorkerEnd::Code { code: 0 }, "terminated\n"));
}

#[tokio::test]
async fn a_server_that_ignores_its_end_is_killed_and_the_turn_counts() {
    let bench = bench(Otherwise::Fail, "trap '' TERM INT; turn() { end completed; }; serve");
    let exit = bench.held().await;
    assert_eq!(exit.ending, WorkerEnd::Grace);
    assert_eq!(kinds(&bench), COMPLETED);
}

#[tokio::test]
async fn output_beyond_the_limit_ends_the_run_with_the_reason() {
    let flood = "turn() { while :; do echo '{\"method\":\"item/commandExecution/outputDelta\",\"params\":{\"threadId\":\"a\"}}'; done; }; serve";
    let mut bench = bench(Otherwise::Exec, flood);
    server(&mut bench).messages_limit_bytes = 1 << 20;
    let exit = bench.held().await;
    assert_eq!(exit.ending, WorkerEnd::Code { code: 0 }, "{exit:?}");
    assert!(reason(&bench).contains("reached the limit of 1 MiB"), "{}", bench.journal());
    let size = fs_err::metadata(bench.files.messages()).expect("the messages are kept").len();
    assert!(size < 64 << 20, "the server wrote {size} bytes before it ended");
}

#[tokio::test]
async fn what_an_agent_writes_into_the_pipe_or_among_the_messages_does_no_harm() {
    // An agent of the same user opens both files through /proc.
    let attack = r#"turn() {
        printf '{"method":"turn/interrupt"' >> /proc/$$/fd/0
        head -c 300000 /dev/zero | tr '\0' x > garbage
        cat garbage; echo; cat garbage | head -c 1000; printf '\n[]\n7\n{"id":{}}\n{"method":7}\n'
        echo '{"method":"turn/completed","params":{"threadId":"b","turn":{"status":"completed"}}}'
        echo '{"id":"orchestrator-thread","result":{"thread":{"id":"b"}}}'
        echo '{"method":"new/request","id":9}'
        end completed
    }; serve"#;
    let bench = bench(Otherwise::Fail, attack);
    let exit = bench.held().await;
    assert_eq!((exit.ending, kinds(&bench)), (WorkerEnd::Code { code: 0 }, COMPLETED.map(str::to_owned).to_vec()));
}

#[tokio::test]
async fn what_a_killed_keeper_did_not_translate_is_added_to_the_log() {
    let script = "turn() { echo up > up; while [ ! -e go ]; do sleep 0.02; done; end completed; echo written > written; }; serve";
    let bench = bench(Otherwise::Fail, script);
    let keeper = bench.start_until("up").await;
    logged(&bench, "turn.started").await;
    bench.record().keeper.signal(Signal::KILL).expect("the signal can be sent");
    gone(keeper).await;
    fs_err::write(bench.file("go"), "").expect("the test's folder is writable");
    super::bench::appears(&bench.file("written")).await;
    assert!(matches!(bench.state(), KeeperState::Gone { exit: None, .. }));
    end_leftovers(&bench.files, bench.order.attempt, &[]).await.expect("the leftovers can be ended");
    assert_eq!(kinds(&bench), COMPLETED[..2]);
    assert!(bench.files.pipe().exists(), "nobody could remove it yet");
    for _ in 0..2 {
        complete_log(&bench.files, bench.order.attempt).expect("the log can be completed");
        assert_eq!(kinds(&bench), COMPLETED);
    }
    assert!(!bench.files.pipe().exists());
}

#[tokio::test]
async fn what_did_not_fit_on_the_disk_is_added_to_the_log() {
    let script = "turn() { while [ ! -e go ]; do sleep 0.02; done; end completed; }; serve";
    let bench = bench(Otherwise::Fail, script);
    let disk = SmallDisk::mount(&bench.file("disk"), 1);
    let on_disk = disk.path().join("log");
    fs_err::write(&on_disk, "").expect("the disk has space");
    std::os::unix::fs::symlink(&on_disk, bench.files.journal()).expect("the test's folder is writable");
    let keeper = bench.start();
    let begun = || fs_err::read_to_string(&on_disk).is_ok_and(|log| log.contains("turn.started"));
    testkit::until(std::time::Duration::from_mins(1), "the turn starts", begun);
    // Fill the rest of the log's last block, so that not even a line fits.
    let padding = 4096 - fs_err::metadata(&on_disk).expect("there").len();
    let mut log = fs_err::File::options().append(true).open(&on_disk).expect("there");
    std::io::Write::write_all(&mut log, &vec![b'\n'; usize::try_from(padding).expect("small")]).expect("the block has space");
    disk.fill();
    fs_err::write(bench.file("go"), "").expect("the test's folder is writable");
    let exit = bench.ended(keeper).await;
    assert!(exit.log_is_incomplete && exit.ending == WorkerEnd::Code { code: 0 }, "{exit:?}");
    let written = fs_err::read_to_string(&on_disk).expect("there");
    fs_err::remove_file(bench.files.journal()).expect("there");
    fs_err::write(bench.files.journal(), written.trim_end().to_owned() + "\n").expect("the test's folder is writable");
    complete_log(&bench.files, bench.order.attempt).expect("the log can be completed");
    assert_eq!(kinds(&bench), COMPLETED);
}
