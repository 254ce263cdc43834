//! `codex-docker` as a user calls it: arguments, folder, streams and exit code are passed through, and nothing else. Each test is
//! one call, as a user would type it.

use std::io::{BufRead as _, Read as _, Write as _};
use std::process::Stdio;

use super::hand::Hand;
use crate::BINARY;

#[test]
fn arguments_folder_streams_and_exit_code_pass_through() {
    let hand = Hand::with_shell();
    fs_err::write(hand.work().join("there"), "x").expect("written");
    let said = hand.run(["echo out; echo err >&2; pwd; ls; echo made > made; exit 7"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(7), "out\n/workspace/work\nthere\n"));
    assert_eq!(said.stderr, "err\n");
    assert_eq!(fs_err::read_to_string(hand.work().join("made")).expect("made"), "made\n");
    assert!(
        hand.containers().is_empty() && hand.folders().is_empty(),
        "no container and no folder is left: {:?}",
        hand.folders()
    );
}

#[test]
fn the_real_codex_answers_and_both_names_are_one_program() {
    let hand = Hand::new();
    let said = hand.run(["--", "--version"]);
    assert_eq!(said.well().trim(), format!("codex-cli {}", model::CODEX_VERSION));
    let link = hand.root().join("codex-docker");
    std::os::unix::fs::symlink(BINARY, &link).expect("linked");
    let by_name = std::process::Command::new(link).arg("--version").output().expect("the command can be started");
    assert!(String::from_utf8_lossy(&by_name.stdout).starts_with("codex-docker "), "{by_name:?}");
}

#[test]
fn a_word_that_is_ours_reaches_codex_after_two_dashes() {
    let said = Hand::with_shell().run(["--", "list"]);
    assert_eq!(said.code, Some(127), "`list` is passed to the shell, which does not know it: {said:?}");
}

#[test]
fn a_shell_starts_in_the_container_of_codex() {
    let hand = Hand::new().with("CODEX_CONTAINER_ENV_GIVEN", "given");
    fs_err::write(hand.work().join("there"), "x").expect("written");
    // The image is that of the real Codex, whose arguments these are not.
    let said = hand.run(["shell", "sh", "-c", "echo $GIVEN; pwd; ls; echo err >&2; exit 7"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(7), "given\n/workspace/work\nthere\n"), "{said:?}");
    assert_eq!(said.stderr, "err\n");
    let script = hand.root().join("script");
    fs_err::write(&script, "shopt -q login_shell && echo login; codex --version").expect("written");
    let output = hand.command(["shell"]).stdin(std::fs::File::open(&script).expect("there")).output().expect("ended");
    let expected = format!("login\ncodex-cli {}\n", model::CODEX_VERSION);
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{output:?}");
    let said = hand.run(["shell", "no-such-program"]);
    assert_eq!(
        (said.code, said.stderr.as_str()),
        (Some(127), "error: no-such-program not found in the image; use an image that contains it\n")
    );
    assert!(hand.containers().is_empty() && hand.folders().is_empty(), "nothing is left");
    let said = hand.with("IMAGE_NAME", &testkit::docker::base_image()).run(["exec", "-"]);
    assert_eq!(said.code, Some(127));
    assert!(said.stderr.starts_with("error: codex not found in the image; build an image"), "{said:?}");
}

#[test]
fn stdin_is_a_stream_a_file_or_nothing() {
    let hand = Hand::with_shell();
    assert_eq!(hand.run(["cat; echo end"]).well(), "end\n", "an empty stdin ends immediately");

    let mut child = hand
        .command(["while read x; do echo got $x; done"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(b"one\ntwo\n").expect("written");
    drop(stdin);
    let output = child.wait_with_output().expect("ended");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "got one\ngot two\n");

    let prompt = hand.root().join("prompt");
    fs_err::write(&prompt, "what to do").expect("written");
    let file = std::fs::File::open(&prompt).expect("there");
    let output = hand.command(["cat"]).stdin(file).output().expect("ended");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "what to do");
}

#[test]
fn lines_of_many_mebibytes_arrive_whole_and_once() {
    let hand = Hand::with_shell();
    let said = hand.run(["head -c 8000000 /dev/zero | tr '\\0' x; echo; seq 1 50000"]);
    let mut lines = said.well().lines();
    assert_eq!(lines.next().map(str::len), Some(8_000_000));
    assert!(lines.enumerate().all(|(n, line)| line == (n + 1).to_string()), "every line arrives once and in order");
    assert_eq!(said.stdout.lines().count(), 50_001);
}

#[test]
fn nothing_of_the_callers_environment_passes_but_what_is_named() {
    let hand = Hand::with_shell()
        .with("AWS_SECRET_ACCESS_KEY", "leak-1")
        .with("SSH_AUTH_SOCK", "/leak-2")
        .with("CODEX_PASSTHROUGH_ENV", "MINE,ALSO_NOT_SET")
        .with("CODEX_CONTAINER_ENV_GIVEN", "it's given")
        .with("MINE", "passes")
        .with("LANG", "C.UTF-8");
    let said = hand.run(["env; cat /proc/1/environ | tr '\\0' '\\n'"]);
    assert!(!said.well().contains("leak"), "{}", said.stdout);
    for expected in ["MINE=passes", "GIVEN=it's given", "LANG=C.UTF-8"] {
        assert!(said.stdout.lines().any(|line| line == expected), "`{expected}` is missing in {}", said.stdout);
    }
}

#[test]
fn variables_are_not_in_what_the_engine_tells_of_a_container() {
    let hand = Hand::with_shell().with("CODEX_CONTAINER_ENV_TOKEN", "a-secret-value").named("variables");
    let mut running = hand.start("echo begun; echo $TOKEN; while [ ! -e /workspace/work/go ]; do sleep 0.05; done");
    running.line();
    let told = testkit::docker::docker(&["inspect", &hand.name("variables")]);
    fs_err::write(hand.work().join("go"), "").expect("written");
    assert!(running.end().stdout.contains("a-secret-value"), "the container has the variable");
    assert!(told.contains("/codex-docker/in/entry.sh"), "the engine describes the right container: {told}");
    assert!(!told.contains("a-secret-value"), "{told}");
}

#[test]
fn git_works_in_a_repository_of_somebody_else() {
    let hand = Hand::with_shell();
    let said =
        hand.run(["git init -q . && git -c user.name=a -c user.email=b commit -q --allow-empty -m first && git log --format=%s"]);
    assert_eq!(said.well(), "first\n");
    rustix::fs::chown(hand.work(), Some(rustix::fs::Uid::from_raw(12345)), None).expect("tests run as root");
    assert_eq!(hand.run(["git log --format=%s"]).well(), "first\n");
}

/// Runs `codex-docker` at a terminal of 33 rows and 99 columns, provided by `script`.
fn at_a_terminal(hand: &Hand, arguments: &str) -> std::process::Child {
    let program = hand.command([""; 0]);
    let call = format!("{} codex-docker {arguments}", program.get_program().to_string_lossy());
    let mut script = std::process::Command::new("script");
    script.args(["-qe", "-c", &format!("stty rows 33 cols 99; exec {call}"), "/dev/null"]).current_dir(hand.work()).env_clear();
    script.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("SHELL", "/bin/sh").env("TERM", "xterm");
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("`script` can be started")
}

#[test]
fn a_shell_at_a_terminal_is_interactive() {
    let hand = Hand::new();
    let mut child = at_a_terminal(&hand, "shell");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(b"echo sum $((40 + 2)); stty size; exit 5\n").expect("written");
    let output = child.wait_with_output().expect("ended");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("sum 42") && shown.contains("33 99"), "{shown}");
    assert_eq!(output.status.code(), Some(5), "{shown}");
}

#[test]
fn at_a_terminal_codex_gets_one_of_the_same_size() {
    let hand = Hand::with_shell();
    let codex = "stty size; test -t 0 && test -t 1 && echo terminal; read x; echo \"got $x\"; exit 4";
    let mut child = at_a_terminal(&hand, &format!("'{codex}'"));
    let mut stdin = child.stdin.take().expect("piped");
    // The terminal buffers input until the program reads it.
    stdin.write_all(b"hello\n").expect("written");
    let output = child.wait_with_output().expect("ended");
    let shown = String::from_utf8_lossy(&output.stdout);
    for expected in ["33 99", "terminal", "got hello"] {
        assert!(shown.contains(expected), "`{expected}` is missing in {shown}");
    }
    assert_eq!(output.status.code(), Some(4), "{shown}");
}

#[test]
fn control_c_at_a_terminal_is_codexs_to_hear() {
    let hand = Hand::with_shell();
    let mut child = at_a_terminal(&hand, "'trap \"echo interrupted; exit 9\" INT; echo ready; while :; do sleep 1; done'");
    let mut shown = std::io::BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    while !line.contains("ready") {
        line.clear();
        assert_ne!(shown.read_line(&mut line).expect("readable"), 0, "the run is ready before its output ends");
    }
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(b"\x03").expect("written");
    let mut rest = String::new();
    shown.read_to_string(&mut rest).expect("readable");
    assert!(rest.contains("interrupted"), "{rest}");
    assert_eq!(child.wait().expect("ours").code(), Some(9));
    assert!(hand.containers().is_empty());
}

#[test]
fn ten_at_once_all_end_well() {
    let hand = Hand::with_shell();
    let running: Vec<_> = (0..10).map(|n| hand.start(&format!("echo {n}; seq 1 1000"))).collect();
    for (n, run) in running.into_iter().enumerate() {
        let said = run.end();
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.stdout.starts_with(&format!("{n}\n1\n")) && said.stdout.ends_with("\n1000\n"), "{n}");
    }
    assert!(hand.containers().is_empty());
}
