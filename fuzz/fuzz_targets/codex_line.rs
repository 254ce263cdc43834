//! Fuzzes the processing of a worker's stdout, from bytes to verdict. It must not panic, lose bytes or let terminal control
//! characters through.
//!
//! The length of the input determines the chunk size and the line limit, so seeds need no header.

#![no_main]

use libfuzzer_sys::fuzz_target;
use model::codex::{
    CommandExecution, Exit, Installs, ItemStatus, JournalSummary, LINE_CAP_BYTES, LineContent, LineSplitter, ProcessEnd,
    classify, missing_installs, transcribe, unwrap_shell,
};
use model::ids::RunNumber;

fuzz_target!(|journal: &[u8]| {
    let chunk_size = journal.len() % 61 + 1;
    let cap = if journal.len().is_multiple_of(4) { 64 } else { LINE_CAP_BYTES };
    let summary = read_in_chunks(journal, chunk_size, cap);
    if journal.split(|byte| *byte == b'\n').all(|line| line.len() <= cap) {
        assert_eq!(summary, JournalSummary::of(journal));
    }
    judge(&summary, journal);
    if let Ok(text) = std::str::from_utf8(journal) {
        unwrap_shell(text);
        find_installs(text);
    }
});

fn find_installs(command: &str) {
    let command = CommandExecution {
        command: command.to_owned(),
        aggregated_output: String::new(),
        exit_code: Some(0),
        status: ItemStatus::Completed,
    };
    let mut installs = Installs::default();
    installs.observe(RunNumber::FIRST, &command);
    for found in &installs.commands {
        assert!(!found.command.chars().any(char::is_control));
        assert!(missing_installs(&found.command, std::slice::from_ref(found)).is_empty());
    }
    for left in &installs.left_out {
        assert!(!left.command.chars().any(char::is_control));
    }
}

fn read_in_chunks(journal: &[u8], chunk_size: usize, cap: usize) -> JournalSummary {
    let mut splitter = LineSplitter::new().with_cap(cap);
    let mut summary = JournalSummary::default();
    let mut end = 0;
    for chunk in journal.chunks(chunk_size) {
        splitter.feed(chunk, |line| {
            let len = match line.content {
                LineContent::Whole(bytes) => bytes.len() as u64,
                LineContent::Oversized { len } => len,
            };
            end += len + 1;
            assert_eq!(line.end, end);
            let event = line.event();
            summary.observe(&event);
            if let Some(entry) = transcribe(&event) {
                assert!(!entry.title.contains('\n'));
                assert!(!entry.body.chars().any(|character| character.is_control() && !matches!(character, '\n' | '\t')));
            }
        });
        assert!(splitter.tail().len() <= cap);
    }
    assert_eq!(end + splitter.torn(), journal.len() as u64);
    summary
}

fn judge(summary: &JournalSummary, journal: &[u8]) {
    let stderr = String::from_utf8_lossy(journal);
    for exit in [Exit::Code(0), Exit::Code(1), Exit::Code(127), Exit::Signal(9), Exit::Grace, Exit::Lost, Exit::TimeLimit] {
        for stop_requested in [false, true] {
            let end = ProcessEnd { exit: exit.clone(), stop_requested, expected_thread: Some("7".to_owned()) };
            classify(summary, &end, &stderr);
        }
    }
}
