//! Tests the parsers with any bytes from a worker: nothing panics, nothing is lost, and the size of the chunks does not matter.

use model::codex::{
    CodexEvent, Exit, ItemKind, JournalSummary, LINE_CAP_BYTES, Line, LineContent, LineSplitter, ProcessEnd, classify,
    transcribe, unwrap_shell,
};
use printable::{printable, printable_line};
use proptest::collection::vec;
use proptest::prelude::*;

/// Generates realistic lines: valid events, broken events, values of wrong types, and noise.
fn lines() -> impl Strategy<Value = Vec<u8>> {
    let keys = "type|id|item|text|command|status|changes|path|items|usage|error|message|thread_id|server|tool|exit_code";
    let kinds = "\"(item.started|item.updated|item.completed|turn.completed|turn.failed|error|thread.started)\"";
    let items = "\"(agent_message|command_execution|file_change|mcp_tool_call|collab_tool_call|web_search|todo_list|error)\"";
    let field = format!("\"({keys})\":(null|-?[0-9]{{1,3}}|true|\"[a-z\\\\\\\\ ]{{0,6}}\"|\\[\\{{\\}}\\]|\\{{\\}}|{items})");
    let event = format!("\\{{\"type\":{kinds},\"item\":\\{{\"type\":{items}(,{field}){{0,5}}\\}}(,{field}){{0,2}}\\}}\n");
    let event = proptest::string::string_regex(&event).expect("the pattern is valid");
    prop_oneof![
        3 => event.prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..60),
        1 => Just(b"\n".to_vec()),
    ]
}

fn journals() -> impl Strategy<Value = Vec<u8>> {
    vec(lines(), 0..20).prop_map(|lines| lines.concat())
}

/// The bytes of a line if they are within the cap, the length of the line, and the offset after it.
type OwnedLine = (Option<Vec<u8>>, u64, u64);

/// Returns everything that a splitter emits: the lines, and the length of the incomplete last line.
fn split(bytes: &[u8], cuts: &[usize], cap: usize) -> (Vec<OwnedLine>, u64) {
    let mut splitter = LineSplitter::new().with_cap(cap);
    let mut lines = Vec::new();
    let mut rest = bytes;
    for cut in cuts {
        let (chunk, after) = rest.split_at((*cut).min(rest.len()));
        splitter.feed(chunk, |line| lines.push(owned(line)));
        rest = after;
    }
    splitter.feed(rest, |line| lines.push(owned(line)));
    (lines, splitter.torn())
}

fn owned(line: Line<'_>) -> OwnedLine {
    match line.content {
        LineContent::Whole(bytes) => (Some(bytes.to_vec()), bytes.len() as u64, line.end),
        LineContent::Oversized { len } => (None, len, line.end),
    }
}

proptest! {
    #[test]
    fn the_splitter_loses_nothing_whatever_the_chunks(
        bytes in vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..300),
        cuts in vec(0_usize..40, 0..30),
        cap in prop_oneof![0_usize..20, Just(LINE_CAP_BYTES)],
    ) {
        let (lines, torn) = split(&bytes, &cuts, cap);
        let mut end = 0;
        for (number, (content, len, line_end)) in lines.iter().enumerate() {
            let expect = bytes.split(|byte| *byte == b'\n').nth(number).unwrap_or_default();
            prop_assert_eq!(content.as_deref(), (expect.len() <= cap).then_some(expect));
            end += len + 1;
            prop_assert_eq!(*line_end, end);
        }
        prop_assert_eq!(end + torn, bytes.len() as u64);
        prop_assert_eq!(lines.len(), bytes.split(|byte| *byte == b'\n').count() - 1);
    }

    #[test]
    fn any_bytes_are_an_event_a_summary_and_a_verdict(journal in journals(), exit in -2_i32..260, stop: bool, stderr in ".{0,200}") {
        let mut folded = JournalSummary::default();
        LineSplitter::new().feed(&journal, |line| {
            let event = line.event();
            folded.observe(&event);
            if let Some(entry) = transcribe(&event) {
                assert!(!entry.title.contains('\n'), "{entry:?}");
                assert!(!entry.body.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{entry:?}");
            }
        });
        prop_assert_eq!(&folded, &JournalSummary::of(&journal));
        prop_assert_eq!(folded.lines, journal.split(|byte| *byte == b'\n').count() as u64 - 1);
        let expected_thread = Some("7".to_owned());
        let exit = if exit < 0 { Exit::Lost } else { Exit::Code(exit) };
        classify(&folded, &ProcessEnd { exit, stop_requested: stop, expected_thread }, &stderr);
    }

    #[test]
    fn printable_text_is_harmless_and_stays_as_it_is(text in any::<String>()) {
        let clean = printable(&text).into_owned();
        prop_assert!(!clean.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
        prop_assert_eq!(printable(&clean), clean.as_str());
        let line = printable_line(&text, 12);
        prop_assert!(line.chars().count() <= 12 && !line.contains(['\n', '\t']), "{:?}", line);
    }

    #[test]
    fn any_command_can_be_unwrapped(script in any::<String>()) {
        unwrap_shell(&script);
        let wrapped = format!("/bin/bash -lc '{}'", script.replace('\'', "'\\''"));
        prop_assert_eq!(unwrap_shell(&wrapped), script.as_str());
    }
}

#[test]
fn a_command_with_eight_mebibytes_of_escaped_output_is_understood() {
    let head = "{\"type\":\"item.completed\",\"item\":{\"id\":\"item_0\",\"type\":\"command_execution\",\"command\":\"x\",\
                \"aggregated_output\":\"";
    let foot = "\",\"exit_code\":0,\"status\":\"completed\"}}";
    let room = LINE_CAP_BYTES - head.len() - foot.len();
    let line = format!("{head}{}{}{foot}\n", "\\u0001".repeat(room / 6), "y".repeat(room % 6));
    assert_eq!(line.len(), LINE_CAP_BYTES + 1);

    let mut splitter = LineSplitter::new();
    let mut events = Vec::new();
    for chunk in line.as_bytes().chunks(64 * 1024) {
        splitter.feed(chunk, |line| events.push(line.event()));
    }
    let [CodexEvent::ItemCompleted(item)] = events.as_slice() else { panic!("{} events", events.len()) };
    let ItemKind::CommandExecution(command) = &item.kind else { panic!("the item is a command") };
    assert_eq!(command.aggregated_output.len(), room / 6 + room % 6);
    let entry = transcribe(&events[0]).expect("commands are shown");
    assert!(entry.body.len() < 10_000, "the transcript shows only the end");

    let one_more = line.replacen("\"id\":\"item_0\"", "\"id\":\"item_00\"", 1);
    splitter.feed(one_more.as_bytes(), |line| {
        assert_eq!(line.content, LineContent::Oversized { len: LINE_CAP_BYTES as u64 + 1 });
        assert!(matches!(line.event(), CodexEvent::Note(_)));
    });
    assert_eq!(splitter.complete(), (line.len() + one_more.len()) as u64);
}
