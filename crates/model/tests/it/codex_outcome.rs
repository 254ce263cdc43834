//! Tests the rules that determine the outcome of a run. The table in `outcome.rs` lists the rules.

use model::codex::{Exit, JournalSummary, ProcessEnd, Verdict, classify};
use model::{ErrorCode, Report};

const THREAD: &str = "{\"type\":\"thread.started\",\"thread_id\":\"01a2\"}\n";
const TURN: &str = "{\"type\":\"turn.started\"}\n";
const DONE: &str = "{\"type\":\"turn.completed\",\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}\n";

struct Run {
    journal: String,
    exit: Exit,
    stop: bool,
    expected: Option<&'static str>,
    stderr: &'static str,
}

fn run(lines: &[&str], exit: Exit) -> Run {
    Run { journal: lines.concat(), exit, stop: false, expected: None, stderr: "" }
}

impl Run {
    fn stopped(self) -> Self {
        Self { stop: true, ..self }
    }

    fn resuming(self, thread: &'static str) -> Self {
        Self { expected: Some(thread), ..self }
    }

    fn saying(self, stderr: &'static str) -> Self {
        Self { stderr, ..self }
    }

    fn verdict(self) -> Verdict {
        let expected_thread = self.expected.map(str::to_owned);
        let end = ProcessEnd { exit: self.exit, stop_requested: self.stop, expected_thread };
        classify(&JournalSummary::of(self.journal.as_bytes()), &end, self.stderr)
    }

    /// Asserts that the run failed with this code and that the message contains `words`.
    #[track_caller]
    fn fails(self, code: ErrorCode, words: &str) -> Vec<String> {
        let verdict = self.verdict();
        let Verdict::Failed(Report { code: got, message, hints }) = verdict else { panic!("expected {code}, got {verdict:?}") };
        assert_eq!(got, code, "{message}");
        assert!(message.contains(words) && !message.contains('\n'), "{message:?} does not contain {words:?}");
        assert!(!hints.is_empty(), "{code} has no hint");
        hints
    }
}

fn failed_turn(message: &str) -> String {
    format!("{}\n", serde_json::json!({"type": "turn.failed", "error": {"message": message}}))
}

fn error_event(message: &str) -> String {
    format!("{}\n", serde_json::json!({"type": "error", "message": message}))
}

#[test]
fn a_worker_that_never_started_is_missing_or_broken() {
    run(&[], Exit::NeverStarted("No such file or directory".to_owned()))
        .fails(ErrorCode::WorkerMissing, "could not start the worker: No such file");
    run(&[], Exit::NeverStarted("Permission denied".to_owned())).fails(ErrorCode::WorkerFailed, "Permission denied");
    assert_eq!(run(&[], Exit::NeverStarted("not found".to_owned())).stopped().verdict(), Verdict::Stopped);
}

#[test]
fn what_was_stopped_before_its_end_is_stopped() {
    for exit in [Exit::Code(0), Exit::Code(1), Exit::Code(143), Exit::Signal(9), Exit::Lost, Exit::TimeLimit, Exit::Grace] {
        assert_eq!(run(&[THREAD, TURN], exit.clone()).stopped().verdict(), Verdict::Stopped);
        assert_eq!(run(&[], exit).stopped().verdict(), Verdict::Stopped);
    }
    assert_eq!(run(&[THREAD, TURN, DONE], Exit::Signal(15)).stopped().verdict(), Verdict::Stopped);
    assert_eq!(run(&[THREAD, TURN, DONE, TURN], Exit::Code(0)).stopped().verdict(), Verdict::Stopped);
    assert_eq!(run(&[THREAD, TURN, &failed_turn("turn aborted by user")], Exit::Code(1)).stopped().verdict(), Verdict::Stopped);
    assert_eq!(run(&[THREAD, TURN], Exit::Code(1)).resuming("other").stopped().verdict(), Verdict::Stopped);
}

#[test]
fn a_stop_that_came_too_late_changes_nothing() {
    for exit in [Exit::Code(0), Exit::Grace, Exit::Lost] {
        assert_eq!(run(&[THREAD, TURN, DONE], exit).stopped().verdict(), Verdict::Completed);
    }
    run(&[THREAD, TURN, &failed_turn("You have hit your usage limit")], Exit::Code(1))
        .stopped()
        .fails(ErrorCode::UsageLimit, "usage limit");
    run(&[THREAD, TURN, DONE], Exit::Code(0))
        .resuming("other")
        .stopped()
        .fails(ErrorCode::ThreadChanged, "instead of continuing thread other");
}

#[test]
fn another_thread_than_the_one_asked_for_is_a_failure_however_the_turn_ended() {
    for (lines, exit) in [
        (vec![THREAD, TURN, DONE], Exit::Code(0)),
        (vec![THREAD, TURN], Exit::TimeLimit),
        (vec![THREAD, TURN], Exit::Lost),
        (vec![THREAD], Exit::Code(1)),
    ] {
        run(&lines, exit)
            .resuming("0b")
            .fails(ErrorCode::ThreadChanged, "Codex started thread 01a2 instead of continuing thread 0b");
    }
    assert_eq!(run(&[THREAD, TURN, DONE], Exit::Code(0)).resuming("01A2").verdict(), Verdict::Completed);
    run(&[], Exit::Code(1))
        .resuming("0b")
        .saying("Error: no rollout found for thread id 0b")
        .fails(ErrorCode::UnknownThread, "0b");
}

#[test]
fn only_a_complete_turn_and_exit_code_zero_are_success() {
    assert_eq!(run(&[THREAD, TURN, DONE], Exit::Code(0)).verdict(), Verdict::Completed);
    run(&[THREAD, TURN, DONE], Exit::Code(101)).fails(ErrorCode::WorkerFailed, "exited with code 101");
    run(&[THREAD, TURN, DONE], Exit::Signal(11)).fails(ErrorCode::WorkerKilled, "SIGSEGV after the turn completed");
    run(&[THREAD, TURN, DONE, &failed_turn("boom")], Exit::Code(0)).fails(ErrorCode::TurnFailed, "boom");
    run(&[THREAD, TURN, DONE, TURN], Exit::Code(0)).fails(ErrorCode::EndedWithoutResult, "during the turn");
}

#[test]
fn where_nobody_saw_a_good_exit_the_last_turn_decides() {
    for exit in [Exit::Grace, Exit::Lost, Exit::TimeLimit] {
        assert_eq!(run(&[THREAD, TURN, DONE], exit.clone()).verdict(), Verdict::Completed);
        run(&[THREAD, TURN, &failed_turn("boom")], exit).fails(ErrorCode::TurnFailed, "boom");
    }
}

#[test]
fn a_failed_turn_is_known_by_its_message() {
    for (message, code) in [
        ("unexpected status 401 Unauthorized: Incorrect API key provided", ErrorCode::Unauthorized),
        ("exceeded retry limit, last status: 429 Too Many Requests", ErrorCode::RateLimited),
        ("The model `x` does not exist", ErrorCode::ModelNotFound),
        ("stream disconnected before completion: idle timeout waiting for SSE", ErrorCode::Network),
        ("something entirely new", ErrorCode::TurnFailed),
    ] {
        run(&[THREAD, TURN, &failed_turn(message)], Exit::Code(1)).fails(code, message);
    }
    let hints = run(&[THREAD, TURN, &failed_turn("401 Unauthorized")], Exit::Code(1)).fails(ErrorCode::Unauthorized, "401");
    assert!(hints[0].contains("`codex-orchestrator login`") && hints[0].contains("CODEX_API_KEY"), "{hints:?}");
}

#[test]
fn a_failed_turn_without_a_message_takes_the_last_error() {
    run(&[THREAD, TURN, &error_event("rate limit reached"), &failed_turn("")], Exit::Code(1))
        .fails(ErrorCode::RateLimited, "rate limit");
    run(&[THREAD, TURN, &failed_turn("")], Exit::Code(1)).fails(ErrorCode::TurnFailed, "Codex gave no reason");
}

#[test]
fn the_time_limit_says_what_codex_was_waiting_for() {
    run(&[THREAD, TURN], Exit::TimeLimit).fails(ErrorCode::TimeLimit, "before the turn finished");
    run(&[], Exit::TimeLimit).fails(ErrorCode::TimeLimit, "time limit");
    let waiting = error_event("Reconnecting... waiting for network (Connection failed)");
    let hints = run(&[THREAD, TURN, &waiting], Exit::TimeLimit).fails(ErrorCode::TimeLimit, "last error: Reconnecting");
    assert!(hints[0].contains("network"), "{hints:?}");
}

#[test]
fn a_run_that_its_worker_says_was_cut_off_is_interrupted_unless_its_turn_had_ended() {
    let cut_off = Exit::Code(model::WORKER_CUT_OFF.into());
    for lines in [&[][..], &[THREAD], &[THREAD, TURN]] {
        let Verdict::Interrupted(Report { message, hints, .. }) = run(lines, cut_off.clone()).verdict() else {
            panic!("the run was interrupted")
        };
        assert!(message.contains("was interrupted") && !hints.is_empty(), "{message}");
    }
    assert_eq!(run(&[THREAD, TURN, DONE], cut_off).verdict(), Verdict::Completed);
}

#[test]
fn a_run_whose_end_nobody_saw_is_interrupted() {
    for lines in [&[][..], &[THREAD], &[THREAD, TURN]] {
        let verdict = run(lines, Exit::Lost).verdict();
        let Verdict::Interrupted(Report { message, hints, .. }) = verdict else { panic!("{verdict:?}") };
        assert!(message.contains("ended without a result") && hints[0].contains("retry"), "{message} {hints:?}");
    }
}

#[test]
fn a_killed_worker_is_told_apart_and_sigkill_hints_at_memory() {
    for exit in [Exit::Signal(9), Exit::Code(137)] {
        let hints = run(&[THREAD, TURN], exit).fails(ErrorCode::WorkerKilled, "SIGKILL before the turn finished");
        assert!(hints[0].contains("memory"), "{hints:?}");
    }
    let hints = run(&[], Exit::Code(143)).fails(ErrorCode::WorkerKilled, "SIGTERM");
    assert!(!hints[0].contains("memory"), "{hints:?}");
    run(&[THREAD, TURN], Exit::Signal(33)).fails(ErrorCode::WorkerKilled, "signal 33");
}

#[test]
fn exit_code_zero_without_a_turn_is_no_success() {
    for lines in [&[][..], &[THREAD], &["Usage: codex exec\n"]] {
        run(lines, Exit::Code(0)).fails(ErrorCode::NothingRan, "without running a turn");
    }
    run(&[THREAD, TURN], Exit::Code(0)).fails(ErrorCode::EndedWithoutResult, "code 0 during the turn");
}

#[test]
fn a_start_that_failed_is_known_by_stderr() {
    for (code, stderr, expect, words) in [
        (127, "sh: 1: codex: not found", ErrorCode::WorkerMissing, "codex: not found"),
        (126, "sh: 1: codex: Permission denied", ErrorCode::WorkerFailed, "cannot be executed"),
        (1, "Error: thread/resume failed: no rollout found for thread id 7", ErrorCode::UnknownThread, "no rollout found"),
        (
            1,
            "Not inside a trusted directory and --skip-git-repo-check was not specified.",
            ErrorCode::NotTrustedDirectory,
            "trusted",
        ),
        (1, "Error loading config.toml: unknown variant `chat`", ErrorCode::Config, "unknown variant"),
        (1, "Error: turn/start failed: input_too_large", ErrorCode::PromptRefused, "input_too_large"),
        (1, "Error: thread 7 already has an active writer", ErrorCode::ThreadBusy, "active writer"),
        (2, "error: unexpected argument '-S' found\n\nUsage: codex exec", ErrorCode::WorkerFailed, "unexpected argument"),
        (125, "docker: Cannot connect to the Docker daemon at unix:///x.", ErrorCode::ContainerEngine, "Docker daemon"),
        (1, "", ErrorCode::EndedWithoutResult, "code 1 and gave no reason"),
    ] {
        run(&[], Exit::Code(code)).saying(stderr).fails(expect, words);
    }
    run(&[THREAD], Exit::Code(1)).saying("Error: turn/start: input_too_large").fails(ErrorCode::PromptRefused, "input_too_large");
}

#[test]
fn a_run_that_ended_in_mid_turn_says_why_when_it_can() {
    let unauthorized = error_event("unexpected status 401 Unauthorized");
    run(&[THREAD, TURN, &unauthorized], Exit::Code(1)).fails(ErrorCode::Unauthorized, "during the turn: unexpected status 401");
    run(&[THREAD, TURN], Exit::Code(1))
        .saying("thread 'main' panicked")
        .fails(ErrorCode::EndedWithoutResult, "code 1 during the turn");
    run(&[THREAD, TURN], Exit::Grace).fails(ErrorCode::EndedWithoutResult, "had to be stopped");
    // The code is not `worker_missing`, because Codex had already started to work.
    run(&[THREAD, TURN], Exit::Code(127)).fails(ErrorCode::EndedWithoutResult, "code 127 during the turn");
}

#[test]
fn no_message_carries_escape_sequences() {
    let hostile = "\u{1b}]0;owned\u{7}\u{1b}[31mboom\n\u{202e}x";
    run(&[THREAD, TURN, &failed_turn(hostile)], Exit::Code(1)).fails(ErrorCode::TurnFailed, "boom x");
    run(&[], Exit::Code(1)).saying("\u{1b}[2Jred").fails(ErrorCode::WorkerFailed, "red");
}
