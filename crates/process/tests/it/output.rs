//! Streamed and captured output, the search for programs, and the counters of programs.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use fs_err as fs;
use futures_util::{Stream, StreamExt as _};
use process::{BaseEnvironment, CommandSpec, RunProgramError, Stdout, Tool, calls, processes_with_environment};

/// A time limit that is far longer than any step of these tests takes.
const PATIENCE: Duration = Duration::from_mins(1);

fn shell(script: &str, max: usize) -> CommandSpec<'static> {
    let base = BaseEnvironment::default().with("PATH", "/usr/bin:/bin");
    CommandSpec::new(&Tool::at("/bin/sh"), &base, "/").arg("-c").arg(script).stdout(Stdout::Capture { max }).deadline(PATIENCE)
}

#[tokio::test]
async fn only_the_last_8_kib_of_stderr_are_kept() {
    let script = "i=0; while [ $i -lt 300 ]; do echo \"line $i xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\" >&2; i=$((i+1)); done; exit 3";
    let error = shell(script, 0).run_ok().await.expect_err("it fails");
    let RunProgramError::Failed { status, stderr_tail, .. } = error else { panic!("{error:?}") };
    assert_eq!(status.code(), Some(3));
    assert!(stderr_tail.len() <= 8 * 1024 && stderr_tail.contains("line 299 ") && !stderr_tail.contains("line 0 "));
}

#[tokio::test]
async fn output_that_is_not_text_is_captured_as_bytes() {
    let captured = shell("printf '\\377\\376'", 10).run_ok().await.expect("it succeeds");
    assert_eq!(captured.stdout, [0xff, 0xfe]);
    assert_eq!(captured.text(), "\u{fffd}\u{fffd}");
}

#[test]
fn the_first_program_of_the_search_path_is_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    for path in [&first, &second] {
        fs::create_dir(path).expect("made");
    }
    let base = BaseEnvironment::default().with("PATH", format!("{}:{}", first.display(), second.display()));
    let found = || Tool::find("tool", &base).ok().map(|tool| tool.path().to_owned());
    assert_eq!(found(), None);
    let make = |folder: &std::path::Path, mode: u32| {
        fs::write(folder.join("tool"), "#!/bin/sh\n").expect("written");
        fs::set_permissions(folder.join("tool"), std::fs::Permissions::from_mode(mode)).expect("ours");
    };
    make(&second, 0o755);
    assert_eq!(found(), Some(second.join("tool")));
    make(&first, 0o644);
    assert_eq!(found(), Some(second.join("tool")), "a file that cannot be executed is skipped");
    make(&first, 0o755);
    assert_eq!(found(), Some(first.join("tool")));
    fs::remove_file(first.join("tool")).expect("removed");
    std::os::unix::fs::symlink(second.join("tool"), first.join("tool")).expect("linked");
    assert_eq!(found(), Some(first.join("tool")), "a link to a program is a program");
    fs::remove_file(second.join("tool")).expect("removed");
    assert_eq!(found(), None, "a dangling link is not");
}

#[test]
fn without_a_search_path_only_an_absolute_path_is_found() {
    let base = BaseEnvironment::default();
    assert_eq!(Tool::find("sh", &base).expect_err("no PATH").to_string(), "`sh` not found on PATH");
    assert_eq!(Tool::find("/bin/sh", &base).expect("absolute").path(), std::path::Path::new("/bin/sh"));
    Tool::find("/bin/no-such-program", &base).expect_err("missing");
    Tool::find("", &BaseEnvironment::default().with("PATH", "/bin")).expect_err("a folder is not a program");
}

#[tokio::test]
async fn a_program_without_output_has_no_version() {
    let base = BaseEnvironment::default().with("PATH", "/usr/bin:/bin");
    let silent = Tool::at("/bin/sh").ask_version(&["-c", "true"], &base).await.expect("it succeeds");
    assert_eq!(silent.version(), None);
    let blank = Tool::at("/bin/sh").ask_version(&["-c", "echo; echo 1.2"], &base).await.expect("it succeeds");
    assert_eq!(blank.version(), Some(""), "only the first line counts");
    Tool::at("/bin/sh").ask_version(&["-c", "exit 1"], &base).await.expect_err("it fails");
    Tool::at("/nowhere/tool").ask_version(&["--version"], &base).await.expect_err("it is missing");
}

/// Reads a stream to its end. Returns the output before the first error, and the error.
async fn read(stream: impl Stream<Item = std::io::Result<bytes::Bytes>>) -> (Vec<u8>, Option<String>) {
    let mut stream = std::pin::pin!(stream);
    let mut output = vec![];
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(piece) => output.extend_from_slice(&piece),
            Err(error) => return (output, Some(error.to_string())),
        }
    }
    (output, None)
}

#[tokio::test]
async fn a_stream_contains_all_output_however_large_it_is() {
    let stream = shell("head -c 1000000 /dev/zero; printf end", 0).streamed().await.expect("it writes");
    let (output, error) = read(stream).await;
    assert_eq!((output.len(), output.ends_with(b"\0end"), error), (1_000_003, true, None));
}

#[tokio::test]
async fn a_program_without_output_is_an_empty_stream() {
    let stream = shell("true", 0).streamed().await.expect("it succeeds");
    assert_eq!(read(stream).await, (vec![], None));
}

#[tokio::test]
async fn a_failure_before_any_output_is_an_error_and_a_later_one_ends_the_stream() {
    let early = shell("echo why >&2; exit 3", 0).streamed().await.err().expect("it fails");
    assert!(matches!(&early, RunProgramError::Failed { stderr_tail, .. } if stderr_tail == "why\n"), "{early:?}");
    let stream = shell("echo some; echo why >&2; exit 3", 0).streamed().await.expect("it writes");
    let (output, error) = read(stream).await;
    assert_eq!(output, b"some\n");
    assert!(error.is_some_and(|error| error.contains("why")), "the reader learns that the output is incomplete");
    let missing = CommandSpec::new(&Tool::at("/nowhere/tool"), &BaseEnvironment::default(), "/").streamed().await;
    assert!(matches!(missing.err(), Some(RunProgramError::NotFound { .. })));
}

#[tokio::test]
async fn a_stream_that_is_dropped_ends_its_program() {
    let mark = format!("mark-{}", uuid::Uuid::now_v7());
    let stream = shell("echo started; exec sleep 600", 0).env("STREAM_MARK", &mark).streamed().await.expect("it writes");
    let running = processes_with_environment("STREAM_MARK", &mark).expect("/proc can be read");
    assert_eq!(running.len(), 1, "{running:?}");
    drop(stream);
    tokio::time::timeout(PATIENCE, running[0].wait_until_gone()).await.expect("it ends").expect("known");
}

#[tokio::test]
async fn each_program_is_counted_with_how_it_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("counted");
    fs::write(&program, "#!/bin/sh\nexit $2\n").expect("written");
    fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("ours");
    let base = BaseEnvironment::default().with("PATH", "/usr/bin:/bin");
    for code in ["0", "0", "1"] {
        let ended = CommandSpec::new(&Tool::at(&program), &base, "/").args(["fetch", code]).deadline(PATIENCE).run_ok().await;
        assert_eq!(ended.is_ok(), code == "0");
    }
    let counted: Vec<_> = calls().into_iter().filter(|(call, _)| call.program == "counted").collect();
    let shown: Vec<_> = counted.iter().map(|(call, times)| (call.verb.as_str(), call.outcome, *times)).collect();
    assert_eq!(shown, [("fetch", "failed", 1), ("fetch", "ok", 2)]);
}
