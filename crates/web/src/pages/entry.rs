//! The transcript: one event of a run as an entry of a list. An entry about a piece of work that was not over takes the place of the
//! earlier one, which has the same id.

use jiff::SignedDuration;
use maud::{Markup, html};
use model::codex::{
    ChangeKind, CodexEvent, CommandExecution, FileChange, Item, ItemKind, ItemStatus, TodoItem, printable, printable_line,
    transcribe, unwrap_shell,
};
use model::run::{RunFile, RunStatus};

use super::review::{Asked, on_demand};
use super::text::{end_of, head_of, markdown, output};
use super::timing::{self, Course};

/// So many lines and bytes of an output are in the page; the rest is a click away.
const OUTPUT_LINES: usize = 200;
const OUTPUT_BYTES: usize = 16_000;

/// Of a message, a command or another text so many bytes are in the page.
const LONGEST_BYTES: usize = 64_000;

/// So many files or steps of one entry are in the page.
const MOST_PARTS: usize = 200;

/// The longest first line of a command, in characters.
const COMMAND_CHARS: usize = 240;

/// Which run's transcript it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whose<'a> {
    pub(super) task: &'a str,
    pub(super) run: u32,
}

/// An entry, and the id by which it replaces an earlier one.
pub(super) struct Entry {
    pub(super) id: Option<String>,
    /// Whether a later word about the same piece of work takes its place.
    pub(super) is_open: bool,
    pub(super) html: Markup,
}

/// What an event looks like; none for one that tells a reader nothing. `offset` is the one behind its line, and `took` how long the
/// work took that it says is over.
pub(super) fn entry(whose: Whose<'_>, offset: u64, event: &CodexEvent, took: Option<SignedDuration>) -> Option<Entry> {
    let (item, is_over) = match event {
        CodexEvent::ItemStarted(item) | CodexEvent::ItemUpdated(item) => (item, false),
        CodexEvent::ItemCompleted(item) => (item, true),
        CodexEvent::TurnCompleted { .. } => return Some(plain(&html! { p.turn { "turn completed" } })),
        CodexEvent::ThreadStarted { .. } | CodexEvent::TurnStarted => return None,
        CodexEvent::TurnFailed { .. } | CodexEvent::Error { .. } | CodexEvent::Unknown(_) | CodexEvent::Note(_) => {
            return generic(whose, offset, event).map(|html| plain(&html));
        }
    };
    let body = of_item(whose, offset, item, if is_over { Course::Over(took) } else { Course::UnderWay }, event)?;
    // Ids are counted anew in each process, so the run's number belongs to them.
    let id = plain_id(&item.id).map(|id| format!("r{}-{id}", whose.run));
    let html = html! { li.entry id=[id.as_deref()] data-open[!is_over] { (body) } };
    Some(Entry { id, is_open: !is_over, html })
}

fn plain(body: &Markup) -> Entry {
    Entry { id: None, is_open: false, html: html! { li.entry { (body) } } }
}

/// An id as Codex counts them. Another one is a stranger's word and no id of a page.
fn plain_id(id: &str) -> Option<&str> {
    let is_plain = !id.is_empty() && id.len() <= 60 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_plain.then_some(id)
}

fn of_item(whose: Whose<'_>, offset: u64, item: &Item, course: Course, event: &CodexEvent) -> Option<Markup> {
    let is_over = course != Course::UnderWay;
    Some(match &item.kind {
        ItemKind::AgentMessage { text } if is_over => html! { div.agent { (said(whose, offset, text)) } },
        ItemKind::Reasoning { text } if is_over => {
            html! { details.reasoning { summary { "Thoughts: " (printable_line(text, 120)) } (said(whose, offset, text)) } }
        }
        ItemKind::CommandExecution(found) => command(whose, offset, found, course),
        ItemKind::FileChange(change) if is_over => files(whose, change),
        ItemKind::TodoList { items } => plan(items),
        _ => return generic(whose, offset, event),
    })
}

/// A message, as far as a page takes it.
fn said(whose: Whose<'_>, offset: u64, text: &str) -> Markup {
    let (shown, left) = head_of(text, LONGEST_BYTES);
    html! { (markdown(shown)) (rest(whose, offset, left)) }
}

/// Where what a page does not take is to be had.
fn rest(whose: Whose<'_>, offset: u64, left: usize) -> Markup {
    html! {
        @if left > 0 {
            p { a.all href={ "/tasks/" (whose.task) "/runs/" (whose.run) "/output?at=" (offset) } { "all of it: " (left) " bytes more" } }
        }
    }
}

fn command(whose: Whose<'_>, offset: u64, command: &CommandExecution, course: Course) -> Markup {
    let is_over = course != Course::UnderWay;
    let text = unwrap_shell(&command.command);
    let (mark, word) = match (command.ok(), is_over) {
        (_, false) => ("●", "running".to_owned()),
        (Some(true), true) => ("✓", String::new()),
        (Some(false) | None, true) => {
            let word = match (&command.status, command.exit_code) {
                (ItemStatus::Declined, _) => "declined".to_owned(),
                (_, Some(code)) => format!("exit {code}"),
                (_, None) => "failed".to_owned(),
            };
            ("✕", word)
        }
    };
    let failed = is_over && command.ok() != Some(true);
    let (shown, left_out) = end_of(&command.aggregated_output, OUTPUT_LINES, OUTPUT_BYTES);
    let lines = shown.lines().count();
    html! {
        div class={ "command" @if failed { " failed" } } {
            div.head {
                span.mark aria-hidden="true" { (mark) }
                code.text { (printable_line(&text, COMMAND_CHARS)) }
                @if !word.is_empty() { span.word { (word) } }
                @if let Course::Over(Some(took)) = course { span.word title="how long it took" { (timing::words(took)) } }
            }
            @if text.trim().contains('\n') {
                details { summary { "whole command" } pre { (printable(head_of(&text, LONGEST_BYTES).0)) } }
            }
            @if !shown.trim().is_empty() {
                details open[failed] {
                    summary { "output, " (lines) @if lines == 1 { " line" } @else { " lines" } }
                    @if left_out > 0 {
                        a.all href={ "/tasks/" (whose.task) "/runs/" (whose.run) "/output?at=" (offset) } {
                            "the " (left_out) " bytes before this"
                        }
                    }
                    pre.output { (output(shown)) }
                }
            }
        }
    }
}

fn files(whose: Whose<'_>, change: &FileChange) -> Markup {
    let failed = change.status == ItemStatus::Failed;
    // A narrow column, wherever it is read.
    let asked = Asked::of_run(whose.task, whose.run).unified();
    html! {
        div class={ "files" @if failed { " failed" } } {
            @if failed { p.word { "a patch that could not be applied" } }
            ul {
                @for path in change.changes.iter().take(MOST_PARTS) {
                    @let (sign, word) = match path.kind {
                        ChangeKind::Add => ("+", "new"),
                        ChangeKind::Delete => ("−", "deleted"),
                        ChangeKind::Update => ("~", "changed"),
                        ChangeKind::Other(_) => ("?", "touched"),
                    };
                    @let name = printable_line(below_worktree(&path.path), 1_000);
                    @let head = html! {
                        span.mark title=(word) { (sign) } " "
                        code { (printable_line(&name, 300)) }
                        span.visually-hidden { " " (word) }
                    };
                    li {
                        @if failed {
                            (head)
                        } @else {
                            details { summary { (head) } (on_demand(&asked.address("/part", &[("path", &name)]))) }
                        }
                    }
                }
            }
            @if change.changes.len() > MOST_PARTS { p.quiet { "and " (change.changes.len() - MOST_PARTS) " more" } }
            @if !failed { a.quiet href={ "/tasks/" (whose.task) "/changes?run=" (whose.run) } { "what changed" } }
        }
    }
}

/// A path as it is in the repository: an agent sees it below the place where it works.
fn below_worktree(path: &str) -> &str {
    path.split_once("/worktree/").map_or(path, |(_, rest)| rest)
}

fn plan(items: &[TodoItem]) -> Markup {
    let done = items.iter().filter(|item| item.completed).count();
    html! {
        div.plan {
            p.word { "Plan, " (done) " of " (items.len()) " done" }
            ul {
                @for item in items.iter().take(MOST_PARTS) {
                    li class=[item.completed.then_some("done")] {
                        span.mark aria-hidden="true" { @if item.completed { "☑" } @else { "☐" } }
                        " " (printable_line(&item.text, 400))
                        @if item.completed { span.visually-hidden { " (done)" } }
                    }
                }
            }
        }
    }
}

/// What has no look of its own: its title, and the rest folded.
fn generic(whose: Whose<'_>, offset: u64, event: &CodexEvent) -> Option<Markup> {
    let found = transcribe(event)?;
    let (body, left) = head_of(&found.body, LONGEST_BYTES);
    let class = match event {
        CodexEvent::TurnFailed { .. } => "error",
        CodexEvent::Error { .. } | CodexEvent::ItemCompleted(Item { kind: ItemKind::Error { .. }, .. }) => "warning",
        _ => "other",
    };
    Some(html! {
        div class=(class) role=[(class == "error").then_some("alert")] {
            @if class == "other" && !body.is_empty() {
                details { summary { (found.title) } pre { (body) } (rest(whose, offset, left)) }
            } @else {
                p { (found.title) }
                @if !body.is_empty() { pre { (body) } (rest(whose, offset, left)) }
            }
        }
    })
}

/// What stands above a run's entries: who asked what.
pub(super) fn run_head(task: &str, run: &RunFile) -> Markup {
    html! {
        li.run-head id={ "run-" (run.number.0) } {
            h2 { "Run " (run.number.0) }
            (super::layout::age(run.queued_at))
            @if let Some(model) = &run.model { " " span.word { (model) } }
            details.prompt open[run.prompt.as_str().len() < 600] {
                summary { (run.prompt.first_line(160)) }
                pre { (printable(run.prompt.as_str())) }
            }
            (super::images::shown(task, &run.images))
        }
    }
}

/// What stands below a run's entries once it has ended.
pub(super) fn run_end(run: &RunFile) -> Markup {
    let failed = matches!(run.status, RunStatus::Failed | RunStatus::Interrupted);
    html! {
        li class={ "run-end" @if failed { " failed" } } id={ "end-" (run.number.0) } {
            p {
                "Run " (run.number.0) " " (super::layout::status(run.status.into()))
                @if let (Some(start), Some(end)) = (run.started_at, run.finished_at) {
                    " · " (duration(end.duration_since(start).as_secs()))
                }
                @if let Some(usage) = &run.usage {
                    " · " (usage.input_tokens) " tokens in (" (usage.cached_input_tokens) " cached), " (usage.output_tokens) " out"
                }
            }
            @if let Some(error) = &run.error {
                p.error { (printable(&error.message)) }
                @for hint in &error.hints { p.hint { "→ " (hint) } }
            }
            @for note in &run.notes { p.note { (printable(note)) } }
        }
    }
}

/// `1 h 5 min`, `12 s`.
pub(super) fn duration(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> Option<String> {
        let event = CodexEvent::parse(line.as_bytes());
        entry(Whose { task: "t", run: 3 }, 10, &event, None).map(|entry| entry.html.into_string())
    }

    #[test]
    fn a_command_has_its_text_code_and_output() {
        let line = r#"{"type":"item.completed","item":{"id":"item_4","type":"command_execution","command":"/bin/bash -lc 'cargo test'",
            "aggregated_output":"\u001b[31mFAILED\u001b[0m\n","exit_code":101,"status":"failed"}}"#;
        let html = shown(&line.replace('\n', "")).expect("an entry");
        for part in ["id=\"r3-item_4\"", "cargo test", "exit 101", "<span class=\"fg-red\">FAILED</span>", "<details open"] {
            assert!(html.contains(part), "{part}: {html}");
        }
    }

    #[test]
    fn a_long_output_is_cut_and_all_of_it_is_a_click_away() {
        let output = "line\\n".repeat(100_000);
        let line = format!(
            r#"{{"type":"item.completed","item":{{"id":"item_1","type":"command_execution","command":"x","aggregated_output":"{output}","exit_code":0,"status":"completed"}}}}"#
        );
        let html = shown(&line).expect("an entry");
        assert!(html.len() < 40_000 && html.contains("/tasks/t/runs/3/output?at=10"), "{}", html.len());
    }

    #[test]
    fn what_changed_in_a_file_comes_when_it_is_opened() {
        let change = |status: &str| {
            let line = format!(
                r#"{{"type":"item.completed","item":{{"id":"a","type":"file_change","changes":[{{"path":"/x/worktree/a b.rs","kind":"update"}}],"status":"{status}"}}}}"#
            );
            shown(&line).expect("an entry")
        };
        let html = change("completed");
        assert!(
            html.contains("<code>a b.rs</code>")
                && html.contains("href=\"/tasks/t/changes/part?run=3&amp;view=unified&amp;path=a+b.rs\""),
            "{html}"
        );
        assert!(!change("failed").contains("/changes"), "nothing was changed");
    }

    #[test]
    fn nothing_that_an_agent_says_breaks_out() {
        for text in ["<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "' onmouseover='alert(1)"] {
            let text = serde_json::Value::from(text).to_string();
            for line in [
                format!(r#"{{"type":"item.completed","item":{{"id":{text},"type":"agent_message","text":{text}}}}}"#),
                format!(
                    r#"{{"type":"item.started","item":{{"id":{text},"type":"command_execution","command":{text},"status":"in_progress"}}}}"#
                ),
                format!(
                    r#"{{"type":"item.completed","item":{{"id":"a","type":"file_change","changes":[{{"path":{text},"kind":"add"}}],"status":"completed"}}}}"#
                ),
                format!(
                    r#"{{"type":"item.completed","item":{{"id":"a","type":"todo_list","items":[{{"text":{text},"completed":true}}]}}}}"#
                ),
                format!(r#"{{"type":"turn.failed","error":{{"message":{text}}}}}"#),
                format!(r#"{{"type":{text},"x":{text}}}"#),
                text.clone(),
            ] {
                let html = shown(&line).unwrap_or_default().to_lowercase();
                assert!(!html.contains("<script") && !html.contains("<img") && !html.contains("id=\"r3-&"), "{line}: {html}");
            }
        }
    }

    #[test]
    fn every_recorded_event_has_a_look_or_says_nothing() {
        assert!(shown(r#"{"type":"turn.started"}"#).is_none());
        assert!(shown("").is_none());
        assert!(
            shown(r#"{"type":"item.completed","item":{"id":"x","type":"reasoning","text":"**Plan**"}}"#)
                .expect("an entry")
                .contains("Thoughts")
        );
    }

    #[test]
    fn a_duration_is_said_as_people_do() {
        assert_eq!([duration(5), duration(65), duration(3700)], ["5 s", "1 min 5 s", "1 h 1 min"]);
    }
}
