//! Tests the parsers with real output of versions 0.169.0 and 0.75.0 of the Codex CLI.
//!
//! Every recording is listed here with its outcome, and a test checks that the list matches the folder.

#![expect(clippy::disallowed_methods, reason = "the fixtures are files")]

use std::path::{Path, PathBuf};

use model::Report;
use model::codex::{
    CodexEvent, Exit, Item, ItemKind, JournalSummary, LineContent, LineSplitter, ProcessEnd, Usage, UsageScope, Verdict,
    classify, transcribe,
};

/// The name and outcome of each recording: `completed`, `interrupted`, or the code of a failure and the start of its message.
const VERDICTS: &[(&str, &str)] = &[
    ("bad_config", "config: Model provider `nosuch` not found"),
    ("barebin_codemode", "completed"),
    ("bg", "completed"),
    ("cmd_fail", "completed"),
    ("cmd_ok", "completed"),
    ("codemode_multi", "completed"),
    ("docker_default", "completed"),
    (
        "err_connrefused",
        "worker_killed: the worker was killed by SIGKILL before the turn finished; Codex's last error: Reconnecting... waiting for network",
    ),
    ("err_cut", "network: stream disconnected before completion: Transport error"),
    ("err_cut1", "completed"),
    ("err_e401", "unauthorized: unexpected status 401 Unauthorized"),
    ("err_e429usage", "usage_limit: You’ve hit your usage limit."),
    ("err_e500", "overloaded: We’re currently experiencing high demand"),
    ("err_e500x2", "completed"),
    ("err_failed_ctx", "context_window: Codex ran out of room in the model's context window."),
    ("fork", "completed"),
    ("last_message_multi", "completed"),
    ("mcp_err", "completed"),
    ("mcp_ok", "completed"),
    ("multi", "completed"),
    ("nogit", "not_trusted_directory: Not inside a trusted directory"),
    ("parallel", "completed"),
    ("patch", "completed"),
    ("plain", "completed"),
    ("plan", "completed"),
    ("reason", "completed"),
    ("resume_badid", "completed"),
    ("resume_plain1", "completed"),
    ("resume_plain2", "completed"),
    ("resume_unknown", "unknown_thread: thread/resume: thread/resume failed: no rollout found for thread id"),
    ("review_uncommitted", "completed"),
    ("sigint_cmd", "ended_without_result: the worker exited with code 1 during the turn"),
    ("sigint_cmd_resume", "completed"),
    ("sigkill_cmd", "worker_killed: the worker was killed by SIGKILL before the turn finished"),
    ("sigterm_cmd", "worker_killed: the worker was killed by SIGTERM before the turn finished"),
    ("spawn", "completed"),
    ("twomsg", "completed"),
    ("v0.75.0/cmd_fail", "completed"),
    ("v0.75.0/cmd_ok", "completed"),
    ("v0.75.0/patch", "completed"),
    ("v0.75.0/plain", "completed"),
    ("web", "completed"),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/recordings")
}

fn journal(name: &str) -> Vec<u8> {
    let path = folder().join(format!("{name}.jsonl"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

fn text_beside(name: &str, extension: &str) -> String {
    std::fs::read_to_string(folder().join(format!("{name}.{extension}"))).unwrap_or_default()
}

fn summary(name: &str) -> JournalSummary {
    JournalSummary::of(&journal(name))
}

fn events(name: &str) -> Vec<CodexEvent> {
    let mut events = Vec::new();
    LineSplitter::new().feed(&journal(name), |line| events.push(line.event()));
    events
}

/// Returns the recorded exit, or [`Exit::Lost`] if no exit code was recorded.
fn recorded_exit(name: &str) -> Exit {
    match text_beside(name, "exit").trim().parse::<i32>() {
        Ok(signal @ ..0) => Exit::Signal(-signal),
        Ok(code) => Exit::Code(code),
        Err(_not_recorded) => Exit::Lost,
    }
}

fn verdict(name: &str, stop_requested: bool, expected_thread: Option<&str>) -> Verdict {
    let end = ProcessEnd { exit: recorded_exit(name), stop_requested, expected_thread: expected_thread.map(str::to_owned) };
    classify(&summary(name), &end, &text_beside(name, "stderr"))
}

fn in_words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Completed => "completed".to_owned(),
        Verdict::Failed(Report { code, message, hints }) => {
            assert!(!hints.is_empty(), "{code} has no hint");
            format!("{code}: {message}")
        }
        Verdict::Stopped => "stopped".to_owned(),
        Verdict::Interrupted(Report { message, .. }) => format!("interrupted: {message}"),
    }
}

fn recordings_in(folder: &Path, prefix: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the fixtures are part of the repository");
    let paths = entries.map(|entry| entry.expect("a fixture can be listed").path());
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .filter_map(|path| Some(format!("{prefix}{}", path.file_stem()?.to_str()?)))
        .collect()
}

#[test]
fn every_recording_is_listed_with_its_verdict() {
    let mut found = recordings_in(&folder(), "");
    found.extend(recordings_in(&folder().join("v0.75.0"), "v0.75.0/"));
    found.sort();
    let listed: Vec<&str> = VERDICTS.iter().map(|(name, _)| *name).collect();
    assert_eq!(found, listed);
}

#[test]
fn every_recording_gets_its_verdict() {
    for (name, expect) in VERDICTS {
        let words = in_words(&verdict(name, false, None));
        let fits = if *expect == "completed" { words == *expect } else { words.starts_with(expect) };
        assert!(fits, "{name}: expected {expect}, got {words}");
    }
}

#[test]
fn every_line_of_every_recording_is_understood_and_none_is_lost() {
    for (name, _) in VERDICTS {
        let bytes = journal(name);
        let mut splitter = LineSplitter::new();
        let (mut seen, mut lines) = (0, 0);
        splitter.feed(&bytes, |line| {
            let LineContent::Whole(content) = line.content else { panic!("{name}: a recorded line is below the cap") };
            seen += content.len() as u64 + 1;
            lines += 1;
            assert_eq!(line.end, seen, "{name}");
            let event = line.event();
            let understood = match &event {
                CodexEvent::ItemStarted(item) | CodexEvent::ItemUpdated(item) | CodexEvent::ItemCompleted(item) => {
                    !matches!(item.kind, ItemKind::Unknown(_)) && !item.id.is_empty()
                }
                CodexEvent::Unknown(_) | CodexEvent::Note(_) => false,
                CodexEvent::ThreadStarted { .. }
                | CodexEvent::TurnStarted
                | CodexEvent::TurnCompleted { .. }
                | CodexEvent::TurnFailed { .. }
                | CodexEvent::Error { .. } => true,
            };
            assert!(understood, "{name}: {event:?}");
        });
        assert_eq!((seen, splitter.torn()), (bytes.len() as u64, 0), "{name}");
        assert_eq!(summary(name).lines, lines, "{name}");
    }
}

#[test]
fn no_recording_puts_control_characters_on_a_terminal() {
    for (name, _) in VERDICTS {
        for entry in events(name).iter().filter_map(transcribe) {
            assert!(!entry.title.is_empty() && !entry.title.contains('\n'), "{name}: {entry:?}");
            assert!(!entry.body.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{name}: {entry:?}");
        }
    }
}

#[test]
fn a_stop_makes_a_cut_off_run_stopped_and_leaves_a_finished_one_alone() {
    for name in ["sigint_cmd", "sigterm_cmd", "sigkill_cmd", "err_connrefused"] {
        assert_eq!(verdict(name, true, None), Verdict::Stopped, "{name}");
    }
    assert_eq!(verdict("plain", true, None), Verdict::Completed);
    assert!(in_words(&verdict("err_e401", true, None)).starts_with("unauthorized"));
}

#[test]
fn a_resume_that_started_another_thread_has_failed() {
    let asked = "01a201f6-bb13-7e93-be10-6898dc8bfe44";
    let words = in_words(&verdict("resume_badid", false, Some(asked)));
    assert!(
        words.starts_with("thread_changed: Codex started thread 01a201f8")
            && words.contains("instead of continuing thread 01a201f6"),
        "{words}"
    );
    assert_eq!(verdict("resume_plain2", false, Some("01a201f8-de0d-7ee3-ba14-d4b699b12d6a")), Verdict::Completed);
}

#[test]
fn the_doubled_id_of_a_web_search_is_no_obstacle() {
    let mut searches: Vec<Item> = Vec::new();
    for event in events("web") {
        if let CodexEvent::ItemCompleted(item) = event
            && matches!(item.kind, ItemKind::WebSearch { .. })
        {
            searches.push(item);
        }
    }
    let [search] = searches.as_slice() else { panic!("{searches:?}") };
    let ItemKind::WebSearch { query, action } = &search.kind else { panic!("{search:?}") };
    assert_eq!((query.as_str(), search.id.starts_with("ws_")), ("codex docs", true));
    assert_eq!(action.as_ref().and_then(|action| action.get("type")).and_then(|kind| kind.as_str()), Some("search"));
    assert!(summary("web").open_items.is_empty());
}

#[test]
fn usage_of_a_run_is_the_difference_of_the_thread_totals() {
    let first = summary("resume_plain1").usage().expect("the turn completed").of_run(&Usage::default());
    assert_eq!(
        (first.input_tokens, first.cached_input_tokens, first.output_tokens, first.reasoning_output_tokens),
        (3600, 3000, 150, 60)
    );
    let second = *summary("resume_plain2").usage().expect("the turn completed");
    assert_eq!((second.scope, second.figures.input_tokens), (UsageScope::Thread, 4800));
    let run = second.of_run(&first);
    assert_eq!((run.input_tokens, run.cached_input_tokens, run.output_tokens, run.reasoning_output_tokens), (1200, 1000, 50, 20));
    assert_eq!(run.cache_write_input_tokens, Some(0));
}

#[test]
fn usage_of_the_older_version_counts_the_run_alone() {
    let report = *summary("v0.75.0/plain").usage().expect("the turn completed");
    assert_eq!(report.scope, UsageScope::Process);
    let earlier = Usage { input_tokens: 1000, cached_input_tokens: 900, output_tokens: 10, ..Usage::default() };
    assert_eq!(report.of_run(&earlier).input_tokens, 1200);
}

#[test]
fn a_review_reports_nothing_and_costs_nothing() {
    let report = *summary("review_uncommitted").usage().expect("the turn completed");
    assert_eq!(report.of_run(&Usage { input_tokens: 9, ..Usage::default() }).input_tokens, 0);
}

#[test]
fn the_summary_of_a_run_says_what_happened_in_it() {
    let multi = summary("multi");
    assert_eq!(multi.thread_id.as_deref(), Some("01a201e6-9983-75a3-b0fc-67e9774e2c86"));
    assert_eq!(multi.last_message.as_deref(), Some("Final answer: all done."));
    assert_eq!((multi.commands_run, multi.commands_failed, multi.notes, multi.unknown), (2, 1, 0, 0));
    assert!(multi.turn_started && multi.open_items.is_empty() && multi.last_error.is_none());
    assert_eq!(summary("twomsg").last_message.as_deref(), Some("second message"));
    assert_eq!(summary("bg").open_items.into_iter().collect::<Vec<_>>(), ["item_0"]);
    assert_eq!(summary("err_cut1").last_error, None, "the reconnect succeeded");
}

#[test]
fn every_recording_cut_anywhere_is_judged_without_panic_and_never_completed_early() {
    for (name, _) in VERDICTS {
        let bytes = journal(name);
        for cut in 0..bytes.len() {
            let summary = JournalSummary::of(&bytes[..cut]);
            let end = ProcessEnd { exit: Exit::Lost, stop_requested: false, expected_thread: None };
            let verdict = classify(&summary, &end, "");
            assert_ne!(verdict, Verdict::Completed, "{name}, cut at {cut}: the last line is incomplete");
        }
    }
}
