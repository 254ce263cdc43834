//! The limits of captured output, the search for programs, and what an error says.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use fs_err as fs;
use process::{BaseEnvironment, CommandSpec, RunProgramError, Stdout, Tool};

/// A time limit that is far longer than any step of these tests takes.
const PATIENCE: Duration = Duration::from_mins(1);

fn shell(script: &str, max: usize) -> CommandSpec<'static> {
    let base = BaseEnvironment::default().with("PATH", "/usr/bin:/bin");
    CommandSpec::new(&Tool::at("/bin/sh"), &base, "/").arg("-c").arg(script).stdout(Stdout::Capture { max }).deadline(PATIENCE)
}

#[tokio::test]
async fn output_of_exactly_the_limit_is_captured_and_one_byte_more_is_too_much() {
    let captured = shell("printf 12345", 5).run_ok().await.expect("it fits");
    assert_eq!(captured.stdout, b"12345");
    let error = shell("printf 123456", 5).run_ok().await.expect_err("too much");
    assert!(matches!(error, RunProgramError::OutputTooLarge { .. }), "{error:?}");
    let nothing = shell("true", 0).run_ok().await.expect("nothing fits into nothing");
    assert_eq!(nothing.stdout, b"");
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
