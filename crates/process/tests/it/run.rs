//! Running programs: their input, their output, and how they end. The tests use real programs in temporary folders and wait for
//! their output instead of sleeping.

use std::os::unix::process::ExitStatusExt;
use std::sync::Mutex;
use std::time::Duration;

use process::{
    BaseEnvironment, CommandSpec, Redactor, RunProgramError, Signal, Stderr, Stdin, Stdout, Tool, members_of_group,
    processes_with_environment,
};
use tokio_util::sync::CancellationToken;

/// A time limit that is far longer than any step of these tests takes.
const PATIENCE: Duration = Duration::from_mins(1);

fn base() -> BaseEnvironment {
    BaseEnvironment::default().with("PATH", "/usr/local/bin:/usr/bin:/bin")
}

fn shell(script: &str) -> CommandSpec<'static> {
    let shell = Tool::find("sh", &base()).expect("a shell is part of every system");
    CommandSpec::new(&shell, &base(), "/").arg("-c").arg(script).stdout(Stdout::Capture { max: 1 << 20 }).deadline(PATIENCE)
}

/// Returns a value that marks the processes of one test.
fn mark() -> String {
    format!("mark-{}", uuid::Uuid::now_v7())
}

async fn said(spec: CommandSpec<'_>) -> String {
    spec.run_ok().await.expect("the script succeeds").text()
}

#[tokio::test]
async fn a_program_gets_the_listed_environment_and_nothing_else() {
    let seen = said(shell("env | grep -v '^_=\\|^PWD=\\|^SHLVL=' | sort").env("EXTRA", "1").env_remove("LANG")).await;
    assert_eq!(seen, "EXTRA=1\nPATH=/usr/local/bin:/usr/bin:/bin\n");
}

#[tokio::test]
async fn it_runs_in_the_given_folder_with_nothing_to_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let shell_in = |folder: &std::path::Path| {
        let shell = Tool::find("sh", &base()).expect("a shell");
        CommandSpec::new(&shell, &base(), folder)
            .args(["-c", "pwd -P; cat"])
            .stdout(Stdout::Capture { max: 4096 })
            .deadline(PATIENCE)
    };
    let path = folder.path().canonicalize().expect("it exists");
    assert_eq!(said(shell_in(&path)).await, format!("{}\n", path.display()));
    let missing = path.join("gone");
    let error = shell_in(&missing).run().await.expect_err("the folder does not exist");
    assert!(matches!(error, RunProgramError::DirectoryMissing { .. }), "{error}");
}

#[tokio::test]
async fn bytes_on_stdin_come_through_however_many_they_are() {
    let bytes = vec![b'x'; 3 << 20];
    let spec = shell("wc -c").stdin(Stdin::Bytes(bytes));
    assert_eq!(said(spec).await.trim(), (3 << 20).to_string());
}

#[tokio::test]
async fn a_program_that_does_not_read_its_stdin_is_no_error() {
    assert_eq!(said(shell("exec 0<&-; echo done").stdin(Stdin::Bytes(vec![b'x'; 1 << 20]))).await, "done\n");
}

#[tokio::test]
async fn files_are_handed_over_as_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("in"), "from a file\n").expect("a file");
    let open = |name: &str| std::fs::File::create(path(name)).expect("a file");
    let input = std::fs::File::open(path("in")).expect("a file");
    let spec = shell("cat; echo trouble >&2").stdin(Stdin::File(input)).stdout(Stdout::File(open("out")));
    let finished = spec.stderr(Stderr::File(open("err"))).run_ok().await.expect("the program succeeds");
    assert!(finished.stdout.is_empty() && finished.stderr_tail.is_empty());
    let read = |name: &str| std::fs::read_to_string(path(name)).expect("the file was written");
    assert_eq!((read("out").as_str(), read("err").as_str()), ("from a file\n", "trouble\n"));
}

#[tokio::test]
async fn lines_and_progress_are_told_as_they_come() {
    let (lines, progress) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let note = |into: &Mutex<Vec<String>>, text: String| into.lock().expect("nobody panicked").push(text);
    let spec = shell("echo one; echo two; printf '1%%\\r2%%\\rdone\\n' >&2");
    let spec = spec.stdout(Stdout::Lines(Box::new(|line| note(&lines, String::from_utf8_lossy(line).into_owned()))));
    let spec = spec.stderr(Stderr::Progress(Box::new(|piece| note(&progress, piece.to_owned()))));
    let finished = spec.run_ok().await.expect("the program succeeds");
    assert_eq!(lines.into_inner().expect("nobody panicked"), ["one", "two"]);
    assert_eq!(progress.into_inner().expect("nobody panicked"), ["1%", "2%", "done"]);
    assert!(finished.stderr_tail.ends_with("done\n"));
}

#[tokio::test]
async fn a_failure_carries_the_end_of_stderr_without_secrets() {
    let script = "echo \"fatal: 'https://me:hunter2@host/r' and $TOKEN\" >&2; exit 3";
    let spec = shell(script).env("TOKEN", "s3cr3t-value").redact(Redactor::new(["s3cr3t-value".to_owned()]));
    let error = spec.run_ok().await.expect_err("the script exits with 3");
    let text = error.to_string();
    assert!(text.contains("https://***@host/r") && text.contains("exit status: 3"), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("s3cr3t"), "{text}");
}

#[tokio::test]
async fn any_exit_status_is_an_answer_to_who_asks_for_it() {
    assert_eq!(shell("exit 7").run().await.expect("it ran").status.code(), Some(7));
    assert_eq!(shell("kill -9 $$").run().await.expect("it ran").status.signal(), Some(9));
}

#[tokio::test]
async fn a_missing_program_is_told_by_name() {
    let error = CommandSpec::new(&Tool::at("/nowhere/tool"), &base(), "/").run().await.expect_err("the program does not exist");
    assert!(matches!(&error, RunProgramError::NotFound { program } if program == "/nowhere/tool"), "{error}");
}

#[tokio::test]
async fn too_much_output_ends_the_program() {
    let spec = shell("yes").stdout(Stdout::Capture { max: 100_000 });
    let error = spec.run().await.expect_err("`yes` never stops on its own");
    assert!(matches!(error, RunProgramError::OutputTooLarge { max: 100_000, .. }), "{error}");
}

#[tokio::test]
async fn a_deadline_ends_the_whole_group() {
    let mark = mark();
    let spec = shell("sleep 600 & sleep 600").env("MARK", &mark).deadline(Duration::from_millis(300));
    let error = spec.run().await.expect_err("the script takes too long");
    assert!(matches!(error, RunProgramError::TimedOut { .. }), "{error}");
    assert_eq!(processes_with_environment("MARK", &mark).expect("/proc can be read"), []);
}

#[tokio::test]
async fn a_program_may_clean_up_when_it_is_cancelled() {
    let folder = tempfile::tempdir().expect("a folder");
    let cancel = CancellationToken::new();
    let ready = cancel.clone();
    // The run is cancelled on the program's first output, when the trap is set.
    let script =
        format!("trap 'touch {}/cleaned; exit 0' TERM; echo ready; while :; do sleep 0.01; done", folder.path().display());
    let spec = shell(&script).stdout(Stdout::Lines(Box::new(move |_| ready.cancel()))).cancel(cancel);
    let error = spec.run().await.expect_err("the run was cancelled");
    assert!(matches!(error, RunProgramError::Cancelled { .. }), "{error}");
    assert!(folder.path().join("cleaned").exists());
}

#[tokio::test]
async fn who_ignores_sigterm_is_killed() {
    let mark = mark();
    let cancel = CancellationToken::new();
    let ready = cancel.clone();
    let spec = shell("trap '' TERM; echo ready; while :; do sleep 0.01; done").env("MARK", &mark);
    let spec = spec.stdout(Stdout::Lines(Box::new(move |_| ready.cancel()))).cancel(cancel);
    assert!(spec.run().await.is_err());
    assert_eq!(processes_with_environment("MARK", &mark).expect("/proc can be read"), []);
}

#[tokio::test]
async fn what_is_cancelled_already_is_ended_at_once() {
    let cancel = CancellationToken::new();
    cancel.cancel();
    let error = shell("sleep 600").cancel(cancel).run().await.expect_err("the run was cancelled");
    assert!(matches!(error, RunProgramError::Cancelled { .. }), "{error}");
}

#[tokio::test]
async fn a_dropped_run_takes_its_group_with_it() {
    let mark = mark();
    let (tell, told) = tokio::sync::oneshot::channel();
    let mut tell = Some(tell);
    let on_line = move |_: &[u8]| {
        if let Some(tell) = tell.take() {
            tell.send(()).expect("the test waits for this message");
        }
    };
    let spec = shell("sleep 600 & echo ready; wait").env("MARK", &mark).stdout(Stdout::Lines(Box::new(on_line)));
    let run = tokio::spawn(spec.run());
    told.await.expect("the script reports that it is ready");
    let running = processes_with_environment("MARK", &mark).expect("/proc can be read");
    assert!(running.len() >= 2, "{running:?}");
    run.abort();
    assert!(run.await.expect_err("aborted").is_cancelled());
    for process in running {
        tokio::time::timeout(PATIENCE, process.wait_until_gone())
            .await
            .expect("the process ends")
            .expect("the process can be awaited");
    }
}

#[tokio::test]
async fn a_helper_in_the_background_does_not_hold_up_its_parent_nor_die_with_it() {
    let mark = mark();
    let finished = shell("sleep 600 & echo done").env("MARK", &mark).run_ok().await.expect("the program succeeds");
    assert_eq!(finished.text(), "done\n");
    let left = processes_with_environment("MARK", &mark).expect("/proc can be read");
    assert_eq!(left.len(), 1, "the helper continues: {left:?}");
    left[0].signal(Signal::KILL).expect("the process belongs to the test");
}

#[tokio::test]
async fn a_started_program_is_watched_signalled_and_reaped() {
    let mut running = shell("sleep 600 & wait").stdout(Stdout::Null).stdin(Stdin::Null).start().expect("it starts");
    let identity = running.identity().clone();
    assert!(identity.is_alive().expect("/proc can be read"));
    running.signal_group(Signal::KILL).expect("the process group belongs to the test");
    tokio::time::timeout(PATIENCE, running.ended()).await.expect("the process ends").expect("the process can be awaited");
    assert_eq!(running.reap().await.expect("the process is our child").signal(), Some(9));
    assert!(!identity.is_alive().expect("/proc can be read"));
}

#[tokio::test]
async fn a_detached_program_outlives_its_starter() {
    let identity = shell("exec sleep 600").stdout(Stdout::Null).start_detached().expect("it starts");
    assert!(identity.is_alive().expect("/proc can be read"));
    assert_eq!(members_of_group(identity.pid).expect("/proc can be read"), std::slice::from_ref(&identity));
    identity.signal(Signal::KILL).expect("the process belongs to the test");
    tokio::time::timeout(PATIENCE, identity.wait_until_gone())
        .await
        .expect("the process ends")
        .expect("the process can be awaited");
}

#[tokio::test]
async fn a_program_may_make_a_session_of_its_own() {
    let setsid = Tool::find("setsid", &base()).expect("util-linux is part of every system");
    let spec = CommandSpec::new(&setsid, &base(), "/").args(["sh", "-c", "ps -o pid=,sid= -p $$ || cat /proc/$$/stat"]);
    let spec = spec.stdout(Stdout::Capture { max: 4096 }).in_inherited_group().deadline(PATIENCE);
    // `setsid` forks if it already leads a group, and then the session belongs to a different process.
    let finished = spec.run_ok().await.expect("the program succeeds");
    let text = finished.text();
    let numbers: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(numbers[0], numbers[1], "{text}");
}

#[tokio::test]
async fn a_program_and_what_it_starts_get_no_more_memory_than_they_may() {
    // `tail` holds a complete line in memory.
    let hungry = |script: &str| shell(script).memory(64 << 20);
    let small = "head -c 1000000 /dev/zero | tail -n 1 | wc -c";
    assert_eq!(said(hungry(small)).await.trim(), "1000000");
    let large = hungry("head -c 500000000 /dev/zero | tail -n 1 >/dev/null").run().await.expect("it ends");
    assert!(!large.status.success() && large.stderr_tail.contains("memory"), "{large:?}");
}
