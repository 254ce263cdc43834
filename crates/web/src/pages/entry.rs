//! The transcript: renders each event of a run as an entry of a list.
//! Later events about the same item replace its entry for as long as the item is open.

use jiff::SignedDuration;
use markup::text::{self, end_of, head_of, markdown, output};
use markup::visible;
use maud::{Markup, html};
use model::codex::{
    ChangeKind, CodexEvent, CommandExecution, FileChange, Item, ItemKind, ItemStatus, TodoItem, transcribe, unwrap_shell,
};
use model::run::RunStatus;
use printable::{printable, printable_line};
use protocol::RunView;

use super::layout::size;
use super::review::{ShownChanges, on_demand};
use super::timing::{self, Course};

/// The part of an output that a page contains, in lines and bytes. The rest is one click away.
const OUTPUT_LINES: usize = 200;
const OUTPUT_BYTES: usize = 16_000;

/// The part of a message, a command or another text that a page contains, in bytes.
const LONGEST_BYTES: usize = 64_000;

/// The number of files or steps of one entry that a page contains.
const MOST_PARTS: usize = 200;

/// The longest title of a generic entry, in characters.
const TITLE_CHARS: usize = 300;

/// The number of notes of a run that a page contains, and the size of each in bytes.
const MOST_NOTES: usize = 100;
const NOTE_BYTES: usize = 4_000;

/// The longest note that is shown without a fold, in bytes.
const SHORT_NOTE_BYTES: usize = 120;

/// An upper bound for the markup around an entry, in bytes.
const ITEM_BYTES: usize = 200;

/// The longest first line of a command, in characters.
const COMMAND_CHARS: usize = 240;

/// The run that a transcript belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whose<'a> {
    pub(super) task: &'a str,
    pub(super) run: u32,
}

/// An entry of the transcript.
pub(super) struct Entry {
    /// The ID of the item that the entry shows. A later event about the same item replaces the entry.
    id: Option<String>,
    /// Whether the item is still in progress.
    is_open: bool,
    /// The log offsets after the first and the last line that the entry was made from.
    lines: (u64, u64),
    body: Markup,
}

impl Entry {
    /// Returns the approximate size of the entry's markup in bytes.
    fn bytes(&self) -> usize {
        self.body.0.len() + ITEM_BYTES
    }

    /// Renders the list item. `data-lines` lists the log offsets of the entry, so that a script can order entries and skip duplicates.
    fn html(&self, run: u32) -> Markup {
        let (first, last) = self.lines;
        html! {
            li.entry id=[self.id.as_deref()] data-open[self.is_open] data-lines={
                (run) ":" (first) @if last != first { " " (run) ":" (last) }
            } { (self.body) }
        }
    }
}

/// Entries of one run, in order of first appearance.
#[derive(Default)]
pub(super) struct Entries(Vec<Entry>);

impl Entries {
    /// Appends an entry, or replaces the open entry of the same item.
    pub(super) fn push(&mut self, found: Entry) {
        match self.open(&found) {
            Some(known) => *known = Entry { lines: (known.lines.0, found.lines.1), ..found },
            None => self.0.push(found),
        }
    }

    /// Replaces the open entry of the same item. Does nothing if there is none.
    pub(super) fn update(&mut self, found: Entry) {
        if let Some(known) = self.open(&found) {
            *known = Entry { lines: (known.lines.0, found.lines.1), ..found };
        }
    }

    fn open(&mut self, found: &Entry) -> Option<&mut Entry> {
        found.id.as_ref()?;
        self.0.iter_mut().rev().find(|known| known.is_open && known.id == found.id)
    }

    /// Returns whether an item is still in progress.
    pub(super) fn has_open(&self) -> bool {
        self.0.iter().any(|entry| entry.is_open)
    }

    /// Returns the approximate size of all markup in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(Entry::bytes).sum()
    }

    /// Drops the oldest entries until the rest fits into a number of bytes. The newest entry always stays. Returns the log offset at
    /// which the earlier part of the transcript ends, if any entry was dropped.
    pub(super) fn keep_newest(&mut self, bytes: usize) -> Option<u64> {
        let mut total = 0;
        let sizes = self.0.iter().rev().map(Entry::bytes);
        let fitting = sizes.take_while(|size| {
            total += size;
            total <= bytes
        });
        let kept = fitting.count().max(1);
        let dropped = self.0.len().saturating_sub(kept);
        self.0.drain(..dropped).next_back().map(|entry| entry.lines.0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn html(&self, run: u32) -> Markup {
        html! { @for entry in &self.0 { (entry.html(run)) } }
    }
}

/// Renders an event. Returns `None` for events without information for readers. `offset` is the log offset after the event's line,
/// and `took` is the duration of the item that it completes.
pub(super) fn entry(whose: Whose<'_>, offset: u64, event: &CodexEvent, took: Option<SignedDuration>) -> Option<Entry> {
    let (item, is_over) = match event {
        CodexEvent::ItemStarted(item) | CodexEvent::ItemUpdated(item) => (item, false),
        CodexEvent::ItemCompleted(item) => (item, true),
        CodexEvent::ThreadStarted { .. } | CodexEvent::TurnStarted | CodexEvent::TurnCompleted { .. } => return None,
        CodexEvent::TurnFailed { .. } | CodexEvent::Error { .. } | CodexEvent::Unknown(_) | CodexEvent::Note(_) => {
            return generic(whose, offset, event).map(|body| plain(offset, body));
        }
    };
    let body = of_item(whose, offset, item, if is_over { Course::Over(took) } else { Course::UnderWay }, event)?;
    // Item IDs start again in each process, so the element's ID includes the run number.
    let id = plain_id(&item.id).map(|id| format!("r{}-{id}", whose.run));
    Some(Entry { id, is_open: !is_over, lines: (offset, offset), body })
}

fn plain(offset: u64, body: Markup) -> Entry {
    Entry { id: None, is_open: false, lines: (offset, offset), body }
}

/// Returns an item ID that is safe as the ID of an element.
pub(super) fn plain_id(id: &str) -> Option<&str> {
    let is_plain = !id.is_empty() && id.len() <= 60 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_plain.then_some(id)
}

fn of_item(whose: Whose<'_>, offset: u64, item: &Item, course: Course, event: &CodexEvent) -> Option<Markup> {
    let is_over = course != Course::UnderWay;
    Some(match &item.kind {
        ItemKind::AgentMessage { text } if is_over => html! { div.agent { (said(whose, offset, text)) } },
        ItemKind::Reasoning { text } if is_over => {
            html! { details.reasoning { summary { "Thinking: " (text::words_of(text, 120)) } (said(whose, offset, text)) } }
        }
        ItemKind::CommandExecution(found) => command(whose, offset, found, course),
        ItemKind::FileChange(change) if is_over => files(whose, change),
        ItemKind::TodoList { items } => plan(items),
        _ => return generic(whose, offset, event),
    })
}

/// Renders a message up to the size limit.
fn said(whose: Whose<'_>, offset: u64, text: &str) -> Markup {
    let (shown, left) = head_of(text, LONGEST_BYTES);
    html! { (markdown(shown)) (rest(whose, offset, left)) }
}

/// Renders a link to the part of a text that the page leaves out.
fn rest(whose: Whose<'_>, offset: u64, left: usize) -> Markup {
    html! {
        @if left > 0 {
            p { a.all href={ "/tasks/" (whose.task) "/runs/" (whose.run) "/output?at=" (offset) } { "Show all (" (size(left as u64)) " more)" } }
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
                @if let Course::Over(Some(took)) = course { span.word title="Duration" { (timing::words(took)) } }
            }
            @if text.trim().contains('\n') {
                details { summary { "Full command" } pre { (printable(head_of(&text, LONGEST_BYTES).0)) } }
            }
            @if !shown.trim().is_empty() {
                details open[failed] {
                    summary { (lines) @if lines == 1 { " line" } @else { " lines" } " of output" }
                    @if left_out > 0 {
                        a.all href={ "/tasks/" (whose.task) "/runs/" (whose.run) "/output?at=" (offset) } {
                            "Show earlier output (" (size(left_out as u64)) ")"
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
    // The transcript is narrow on every screen, so link to the unified view.
    let asked = ShownChanges::of_run(whose.task, whose.run).unified();
    html! {
        div class={ "files" @if failed { " failed" } } {
            @if failed { p.word { "Could not apply this patch" } }
            ul {
                @for path in change.changes.iter().take(MOST_PARTS) {
                    @let (sign, word) = match path.kind {
                        ChangeKind::Add => ("+", "added"),
                        ChangeKind::Delete => ("−", "deleted"),
                        ChangeKind::Update => ("~", "changed"),
                        ChangeKind::Other(_) => ("?", "changed"),
                    };
                    @let name = below_worktree(&path.path);
                    @let head = html! {
                        span.mark title=(word) { (sign) } " "
                        code { (visible::name(name)) }
                        span.visually-hidden { " " (word) }
                    };
                    li {
                        @if failed {
                            (head)
                        } @else {
                            details { summary { (head) } (on_demand(&asked.address("/part", &[("path", &model::visible::path_key(name.as_bytes()))]), "Show lines")) }
                        }
                    }
                }
            }
            @if change.changes.len() > MOST_PARTS { p.quiet { "and " (change.changes.len() - MOST_PARTS) " more" } }
            @if !failed { a.quiet href={ "/tasks/" (whose.task) "/changes?run=" (whose.run) } { "View diff" } }
        }
    }
}

/// Returns a path relative to the repository. Agents report paths below their worktree.
fn below_worktree(path: &str) -> &str {
    path.split_once("/worktree/").map_or(path, |(_, rest)| rest)
}

fn plan(items: &[TodoItem]) -> Markup {
    let done = items.iter().filter(|item| item.completed).count();
    html! {
        div.plan {
            p.word { "Plan: " (done) " of " (items.len()) " done" }
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

/// Renders an event that has no special form: its title, and its folded content.
fn generic(whose: Whose<'_>, offset: u64, event: &CodexEvent) -> Option<Markup> {
    let found = transcribe(event)?;
    let (body, left) = head_of(&found.body, LONGEST_BYTES);
    let title = printable_line(&found.title, TITLE_CHARS);
    let class = match event {
        CodexEvent::TurnFailed { .. } => "error",
        CodexEvent::Error { .. } | CodexEvent::ItemCompleted(Item { kind: ItemKind::Error { .. }, .. }) => "warning",
        _ => "other",
    };
    Some(html! {
        div class=(class) role=[(class == "error").then_some("alert")] {
            @if matches!(event, CodexEvent::Note(_)) && body.len() <= SHORT_NOTE_BYTES && !body.contains('\n') {
                p { (title) ": " (body) }
            } @else if class == "other" && !body.is_empty() {
                details { summary { (title) } pre { (body) } (rest(whose, offset, left)) }
            } @else {
                p { (title) }
                @if !body.is_empty() { pre { (body) } (rest(whose, offset, left)) }
            }
        }
    })
}

/// Renders the heading of a run: its number, time, model, prompt and images.
pub(super) fn run_head(task: &str, run: &RunView) -> Markup {
    html! {
        li.run-head id={ "run-" (run.number.0) } {
            h2 { "Run " (run.number.0) }
            (super::layout::age(run.queued_at))
            @if let Some(model) = &run.model { " " span.word { (model) } }
            details.prompt open[run.prompt.as_str().len() < 600] {
                summary { (printable(&run.prompt.first_line(160))) }
                pre { (printable(run.prompt.as_str())) }
            }
            (super::images::shown(task, &run.images))
        }
    }
}

/// Renders the end of a run: its status, duration, tokens, error, notes and the logs of its services.
pub(super) fn run_end(task: &str, run: &RunView) -> Markup {
    let failed = matches!(run.status, RunStatus::Failed | RunStatus::Interrupted);
    html! {
        li class={ "run-end" @if failed { " failed" } } id={ "end-" (run.number.0) } {
            p {
                "Run " (run.number.0) " · " (super::layout::status(run.status.into()))
                @if let (Some(start), Some(end)) = (run.started_at, run.finished_at) {
                    " · " (timing::duration(end.duration_since(start).as_secs()))
                }
                @if let Some(usage) = &run.usage {
                    " · " (grouped(usage.input_tokens)) " input tokens (" (grouped(usage.cached_input_tokens)) " cached), " (grouped(usage.output_tokens)) " output tokens"
                }
            }
            @if !run.times.is_empty() { p.said { (run.times) } }
            @if let Some(error) = &run.error {
                p.error { (printable(&error.message)) }
                @for hint in &error.hints { p.hint { "→ " (hint) } }
            }
            @for note in run.notes.iter().take(MOST_NOTES) { p.note { (printable(head_of(note, NOTE_BYTES).0)) } }
            @if run.notes.len() > MOST_NOTES { p.note { (run.notes.len() - MOST_NOTES) " more notes" } }
            (super::artifacts::folded(task, run))
            @if !run.services.is_empty() {
                p.note { "Service logs: "
                    @for (index, name) in run.services.iter().enumerate() {
                        @if index > 0 { ", " }
                        a href={ "/tasks/" (task) "/runs/" (run.number.0) "/services/" (name) } { (name) }
                    }
                }
            }
        }
    }
}

/// Formats a number with separators: `628,164`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> Option<String> {
        let event = CodexEvent::parse(line.as_bytes());
        entry(Whose { task: "t", run: 3 }, 10, &event, None).map(|entry| entry.html(3).into_string())
    }

    #[test]
    fn later_events_about_open_work_replace_its_entry_and_both_lines_are_named() {
        let command = |kind: &str, id: &str, offset| {
            let line = format!(
                r#"{{"type":"item.{kind}","item":{{"id":"{id}","type":"command_execution","command":"{kind} {id}","status":"completed","exit_code":0}}}}"#
            );
            entry(Whose { task: "t", run: 3 }, offset, &CodexEvent::parse(line.as_bytes()), None).expect("the event has an entry")
        };
        let mut entries = Entries::default();
        for (kind, id, offset) in [("started", "a", 10), ("started", "b", 20), ("completed", "a", 30)] {
            entries.push(command(kind, id, offset));
        }
        let html = entries.html(3).into_string();
        assert!(html.starts_with("<li class=\"entry\" id=\"r3-a\" data-lines=\"3:10 3:30\">"), "{html}");
        assert!(html.contains("completed a") && !html.contains("started a") && entries.has_open(), "{html}");
        entries.update(command("completed", "b", 40));
        entries.update(command("completed", "c", 50));
        let html = entries.html(3).into_string();
        assert!(html.contains("data-lines=\"3:20 3:40\"") && !html.contains("r3-c") && !entries.has_open(), "{html}");
    }

    #[test]
    fn a_command_has_its_text_code_and_output() {
        let line = r#"{"type":"item.completed","item":{"id":"item_4","type":"command_execution","command":"/bin/bash -lc 'cargo test'",
            "aggregated_output":"\u001b[31mFAILED\u001b[0m\n","exit_code":101,"status":"failed"}}"#;
        let html = shown(&line.replace('\n', "")).expect("the event has an entry");
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
        let html = shown(&line).expect("the event has an entry");
        assert!(html.len() < 40_000 && html.contains("/tasks/t/runs/3/output?at=10"), "{}", html.len());
    }

    #[test]
    fn what_changed_in_a_file_comes_when_it_is_opened() {
        let change = |status: &str| {
            let line = format!(
                r#"{{"type":"item.completed","item":{{"id":"a","type":"file_change","changes":[{{"path":"/x/worktree/a b.rs","kind":"update"}}],"status":"{status}"}}}}"#
            );
            shown(&line).expect("the event has an entry")
        };
        let html = change("completed");
        assert!(
            html.contains("<code>a b.rs</code>")
                && html.contains("href=\"/tasks/t/changes/part?run=3&amp;view=unified&amp;path=a+b.rs\""),
            "{html}"
        );
        assert!(!change("failed").contains("/changes"), "a failed patch has no diff");
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
                .expect("the event has an entry")
                .contains("Thinking")
        );
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([grouped(0), grouped(999), grouped(1_200), grouped(1_628_164)], ["0", "999", "1,200", "1,628,164"]);
    }
}
