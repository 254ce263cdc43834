//! Writes the title and the body of a pull request. The body has a generated section that is updated on every push.
//!
//! Text around the generated section is never changed.

use std::fmt::Write as _;

use super::{BODY_LIMIT_CHARS, TITLE_LIMIT_CHARS};
use crate::run::RunRecord;
use crate::task::TaskRecord;

/// The marker at the start of the generated section. [`END`] is the marker at its end.
const BEGIN: &str = "<!-- codex-orchestrator: this section is updated on every push -->";
const END: &str = "<!-- codex-orchestrator: end -->";

/// The start marker that earlier versions wrote.
const OLD_BEGIN: &str = "<!-- codex-orchestrator: this part is renewed with every push -->";

/// The maximum length of the agent's last message in the body, in characters.
const LAST_MESSAGE_CHARS: usize = 20_000;

/// The maximum number of runs in the table. Earlier runs are only counted.
const MOST_RUNS: usize = 50;

/// The size of the changes on a task's branch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changes {
    /// Number of changed files.
    pub files: usize,
    /// Number of added lines.
    pub added: u64,
    /// Number of removed lines.
    pub removed: u64,
}

/// Removes line breaks and control characters, and collapses whitespace.
pub fn one_line(text: &str) -> String {
    let words: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Cuts `text` to `limit` characters, with `…` at the end if something is missing.
fn cut(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(limit.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// Returns the default title.
pub fn title(task: &TaskRecord) -> String {
    cut(&one_line(task.title.as_str()), TITLE_LIMIT_CHARS)
}

/// Returns the default body: the repository's template, then the generated section.
pub fn body(task: &TaskRecord, changes: Changes, template: Option<&str>) -> String {
    let ours = section(task, changes);
    match template.map(str::trim).filter(|template| !template.is_empty()) {
        Some(template) => {
            // Keep as much of the template as possible.
            let room = BODY_LIMIT_CHARS.saturating_sub(ours.chars().count() + 2);
            format!("{}\n\n{ours}", cut(template, room))
        }
        None => ours,
    }
}

/// Returns the body with an updated section, or `None` if it has no such section, would not change, or would become too long.
pub fn renewed(body: &str, task: &TaskRecord, changes: Changes) -> Option<String> {
    let (before, rest) = body.split_once(BEGIN).or_else(|| body.split_once(OLD_BEGIN))?;
    let (_, after) = rest.split_once(END)?;
    let renewed = format!("{before}{}{after}", section(task, changes));
    Some(renewed).filter(|text| text != body && text.chars().count() <= BODY_LIMIT_CHARS)
}

fn section(task: &TaskRecord, changes: Changes) -> String {
    let mut text = format!("{BEGIN}\n");
    let ended = task.runs.iter().filter_map(RunRecord::end);
    let said = ended.filter_map(|end| end.last_message.as_deref()).next_back().unwrap_or_default();
    let said = without_markers(said.trim());
    if !said.is_empty() {
        writeln!(text, "{}\n", cut(&said, LAST_MESSAGE_CHARS)).expect("writing to a string cannot fail");
    }
    let Changes { files, added, removed } = changes;
    let word = if files == 1 { "file" } else { "files" };
    writeln!(text, "---\n\n{files} {word} changed, +{added} −{removed}\n").expect("writing to a string cannot fail");
    writeln!(text, "| Run | Status | Prompt |\n|---|---|---|").expect("writing to a string cannot fail");
    let left_out = task.runs.len().saturating_sub(MOST_RUNS);
    for run in &task.runs[left_out..] {
        let prompt = without_markers(&run.prompt.first_line(100)).replace('|', "\\|");
        writeln!(text, "| {} | {} | {prompt} |", run.number.0, run.status().as_str()).expect("writing to a string cannot fail");
    }
    if left_out > 0 {
        writeln!(text, "\n{left_out} earlier runs are not listed.").expect("writing to a string cannot fail");
    }
    writeln!(text, "\nWritten by Codex in task `{}`.\n{END}", task.task_id).expect("writing to a string cannot fail");
    text.truncate(text.trim_end().len());
    text
}

/// Prevents text from the agent from ending the generated section.
fn without_markers(text: &str) -> String {
    text.replace("<!--", "<!- -").replace("-->", "- ->")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{Prompt, Title};
    use crate::task::samples;

    const CHANGES: Changes = Changes { files: 2, added: 10, removed: 3 };

    #[test]
    fn a_body_has_the_last_message_the_runs_and_the_figures() {
        let body = body(&samples::completed(), CHANGES, None);
        for part in ["\ndone\n", "2 files changed, +10 −3", "| 1 | completed | Fix it |", BEGIN, END] {
            assert!(body.contains(part), "{part}: {body}");
        }
    }

    #[test]
    fn the_body_reads_as_reviewed() {
        let mut task = samples::completed();
        let first = task.runs[0].clone();
        task.runs.extend((2..=52).map(|number| RunRecord { number: crate::ids::RunNumber(number), ..first.clone() }));
        let body = body(&task, CHANGES, Some("## What this changes\n"));
        let rows: Vec<_> = (4..=52).map(|number| format!("| {number} | completed | Fix it |\n")).collect();
        insta::assert_snapshot!("pull_request_body", body.replace(&rows.concat(), "[…]\n"));
    }

    #[test]
    fn a_template_comes_first_and_all_fits() {
        let template = format!("## What\n\n{}", "x".repeat(100_000));
        let body = body(&samples::completed(), CHANGES, Some(&template));
        assert!(body.starts_with("## What") && body.ends_with(END));
        assert!(body.chars().count() <= BODY_LIMIT_CHARS);
    }

    #[test]
    fn only_our_part_is_renewed() {
        let task = samples::completed();
        let first = format!("mine before\n{}\nmine after", body(&task, CHANGES, None));
        let second = renewed(&first, &task, Changes { files: 9, ..CHANGES }).expect("the body has a generated section");
        assert!(second.starts_with("mine before\n") && second.ends_with("\nmine after"), "{second}");
        assert!(second.contains("9 files") && !second.contains("2 files"), "{second}");
        assert_eq!(renewed(&second, &task, Changes { files: 9, ..CHANGES }), None, "nothing has changed");
        let older = first.replace(BEGIN, OLD_BEGIN);
        assert_eq!(
            renewed(&older, &task, Changes { files: 9, ..CHANGES }).as_ref(),
            Some(&second),
            "the marker of older versions is recognized"
        );
        assert_eq!(renewed("somebody replaced the whole body", &task, CHANGES), None);
    }

    #[test]
    fn what_an_agent_says_does_not_end_our_part() {
        let mut task = samples::completed();
        task.runs[0].prompt = Prompt::parse(&format!("a | b {END}")).expect("the prompt is valid");
        let body = body(&task, CHANGES, None);
        assert_eq!(body.matches(END).count(), 1, "{body}");
        assert!(body.contains("a \\| b"), "{body}");
    }

    #[test]
    fn a_title_is_one_line_of_a_length_that_is_taken() {
        let mut task = samples::completed();
        task.title = Title::parse(&"🦀".repeat(50)).expect("the title is valid");
        assert_eq!(title(&task).chars().count(), 50);
        assert_eq!(one_line("a\r\nb\u{1b}[0m  c"), "a b [0m c");
    }
}
