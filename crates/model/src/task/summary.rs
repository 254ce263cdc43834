//! Writes the first prompt of a new thread that replaces a thread whose session was lost: a summary of the conversation, then
//! the request.
//!
//! The agent has the files, but not the conversation. Invariant: the summary has a limited length, and the request is never cut.

use super::record::TaskRecord;
use crate::run::RunRecord;

/// The maximum length of an earlier prompt or answer, in characters.
const PIECE: usize = 4_000;

/// The number of latest runs in the summary, in addition to the first run.
const LATEST: usize = 8;

/// Returns the prompt of the task's last run for a new thread.
pub fn with_summary(task: &TaskRecord) -> String {
    let run = task.last_run();
    let earlier: Vec<&RunRecord> = task.runs.iter().filter(|earlier| earlier.number < run.number).collect();
    let left_out = earlier.len().saturating_sub(LATEST + 1);
    let mut pieces = vec![format!(
        "This task continues earlier work. The previous conversation is no longer available; here is a summary. The working tree \
         and the branch `{}` contain all work so far.",
        task.branch()
    )];
    for (position, earlier) in earlier.iter().enumerate() {
        if position > 0 && position <= left_out {
            continue;
        }
        if position == left_out + 1 && left_out > 0 {
            pieces.push(format!("({left_out} earlier requests omitted)"));
        }
        let (number, status) = (earlier.number.0, earlier.status().as_str());
        let answer = earlier.end().and_then(|end| end.last_message.as_deref()).map_or("(no answer)", str::trim);
        pieces.push(format!("## Request {number}\n\n{}", shortened(earlier.prompt.as_str())));
        pieces.push(format!("## Your answer to request {number} ({status})\n\n{}", shortened(answer)));
    }
    pieces.push(format!("## Current request\n\n{}\n", run.prompt.as_str()));
    pieces.join("\n\n")
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(PIECE) {
        Some((end, _)) => format!("{} […]", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use crate::names::Prompt;
    use crate::run::RunPhase;

    fn task(runs: u32) -> TaskRecord {
        let mut task = samples::completed();
        let first = task.runs[0].clone();
        for number in 2..=runs {
            let mut run = first.clone();
            run.number = crate::ids::RunNumber(number);
            run.prompt = Prompt::parse(&format!("request {number}")).expect("the prompt is valid");
            task.runs.push(run);
        }
        task.last_run_mut().phase = RunPhase::Preparing;
        task
    }

    #[test]
    fn a_new_thread_is_told_what_was_said_and_then_what_is_asked() {
        let mut task = task(2);
        task.runs[0].prompt = Prompt::parse("Fix the parser").expect("the prompt is valid");
        if let RunPhase::Ended(end) = &mut task.runs[0].phase {
            end.last_message = Some("Fixed it in `parser.rs`.".to_owned());
        }
        let text = with_summary(&task);
        let order: Vec<_> = ["codex/", "Fix the parser", "Fixed it in `parser.rs`.", "## Current request\n\nrequest 2\n"]
            .iter()
            .map(|piece| text.find(piece).expect("the prompt contains the piece"))
            .collect();
        assert!(order.is_sorted(), "{text}");
    }

    #[test]
    fn the_prompt_reads_as_reviewed() {
        let mut task = task(12);
        if let RunPhase::Ended(end) = &mut task.runs[10].phase {
            end.last_message = None;
        }
        insta::assert_snapshot!("lost_thread_prompt", with_summary(&task));
    }

    #[test]
    fn a_long_conversation_keeps_its_start_its_end_and_the_whole_request() {
        let mut task = task(40);
        let long = "x".repeat(100_000);
        task.runs[5].prompt = Prompt::parse(&long).expect("the prompt is valid");
        task.runs[38].prompt = Prompt::parse(&long).expect("the prompt is valid");
        task.last_run_mut().prompt = Prompt::parse(&format!("{long}!")).expect("the prompt is valid");
        let text = with_summary(&task);
        assert!(
            text.contains("## Request 1\n") && text.contains("## Request 39\n") && !text.contains("## Request 20\n"),
            "{text}"
        );
        assert!(text.contains("(30 earlier requests omitted)"), "{text}");
        assert!(text.ends_with(&format!("{long}!\n")));
        assert!(text.len() < 100_000 + 20 * PIECE, "{}", text.len());
    }
}
