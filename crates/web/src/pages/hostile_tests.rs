//! Random text of agents, Git hosts and repositories in every part of a page: it stays text, and nothing in it hides or acts.
//!
//! The check knows which elements and attributes the pages use. Anything else must come from the text.

use maud::Markup;
use model::codex::CodexEvent;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::entry::{self, Whose};
use super::session::Signed;
use super::wording::task_with;
use super::{task, tasks};

/// Pieces that have a meaning in HTML, Markdown, a terminal or a URL.
const PIECES: &[&str] = &[
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"",
    "'",
    "&",
    "&lt;",
    ">",
    "<",
    "</li>",
    "</pre>",
    "<!--",
    "-->",
    "\u{202e}",
    "\u{2066}",
    "\u{1b}[31m",
    "\u{1b}]8;;http://x\u{7}",
    "\0",
    "\u{9b}",
    "\n",
    "\r",
    "\t",
    "`",
    "```\n",
    "[x](javascript:alert(1))",
    "![x](https://x/y.png)",
    "[x](https://x/?a=\"b)",
    "<https://x>",
    "**",
    "| a | b |\n|--|--|\n",
    "# ",
    "- ",
    "word",
    " ",
    "\u{e4}",
    "\u{1f600}",
    "onmouseover=alert(1)",
    "style=x",
];

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES), 0..8).prop_map(|pieces| pieces.concat())
}

/// The elements of the parts of pages that are tested here.
const ELEMENTS: &[&str] = &[
    "a",
    "blockquote",
    "br",
    "button",
    "code",
    "dd",
    "del",
    "details",
    "div",
    "dl",
    "dt",
    "em",
    "figure",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "img",
    "input",
    "label",
    "li",
    "noscript",
    "ol",
    "p",
    "pre",
    "progress",
    "section",
    "span",
    "strong",
    "summary",
    "table",
    "tbody",
    "td",
    "textarea",
    "th",
    "thead",
    "time",
    "tr",
    "ul",
];

/// The attributes of these elements, besides those that start with `data-`, `aria-` or `hx-`.
const ATTRIBUTES: &[&str] = &[
    "action",
    "alt",
    "class",
    "checked",
    "datetime",
    "decoding",
    "disabled",
    "enctype",
    "for",
    "form",
    "hidden",
    "href",
    "id",
    "loading",
    "max",
    "method",
    "multiple",
    "accept",
    "name",
    "open",
    "placeholder",
    "rel",
    "required",
    "role",
    "rows",
    "src",
    "start",
    "title",
    "type",
    "value",
];

/// Checks that markup contains nothing but the elements and addresses of our pages.
fn check(markup: &Markup) -> Result<(), TestCaseError> {
    let html = &markup.0;
    let hides =
        |c: char| (c.is_control() && c != '\n' && c != '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    prop_assert!(!html.contains(hides), "{html:?}");
    for piece in html.split('<').skip(1) {
        let name: String = piece.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
        prop_assert!(ELEMENTS.contains(&name.as_str()), "<{name}>: {html}");
        let mut rest = &piece[piece.find(&name).unwrap_or_default() + name.len()..];
        // An element such as `<hr />` has no content.
        while let Some(attribute) = rest.strip_prefix(' ').filter(|rest| !rest.starts_with("/>")) {
            let end = attribute.find(['=', ' ', '>']).unwrap_or(attribute.len());
            let (attribute, after) = attribute.split_at(end);
            let is_ours = ["data-", "aria-", "hx-"].iter().any(|start| attribute.starts_with(start));
            prop_assert!(is_ours || ATTRIBUTES.contains(&attribute), "{attribute}: {html}");
            let Some(quoted) = after.strip_prefix("=\"") else {
                rest = after;
                continue;
            };
            let (value, after) = quoted.split_once('"').expect("the value ends");
            if ["href", "src", "action", "hx-get"].contains(&attribute) {
                let is_link = ["/tasks/", "/changes", "#", "https://", "http://"].iter().any(|start| value.starts_with(start));
                prop_assert!(is_link && (name == "a" || value.starts_with('/')), "{name} {attribute}={value}: {html}");
            }
            rest = after;
        }
        prop_assert!(rest.starts_with('>') || rest.starts_with(" />"), "{rest:?}: {html}");
    }
    Ok(())
}

/// Returns the line of an event about an item of this kind, with the text in every field.
fn line(kind: &str, text: &str) -> Value {
    let entries = json!([{ "text": text, "completed": true, "path": text, "kind": text }]);
    json!({
        "id": text, "type": kind, "text": text, "command": text, "aggregated_output": text, "status": text, "changes": entries, "items": entries,
        "server": text, "tool": text, "arguments": { text: text }, "result": { "content": [{ "type": "text", "text": text }] }, "error": { "message": text },
        "query": text, "message": text,
    })
}

proptest! {
    #[test]
    fn no_event_of_an_agent_becomes_more_than_text(text in text(), is_over in any::<bool>()) {
        let kinds = ["agent_message", "reasoning", "command_execution", "file_change", "mcp_tool_call", "web_search", "todo_list", "error", &text];
        let items = kinds.map(|kind| json!({ "type": if is_over { "item.completed" } else { "item.started" }, "item": line(kind, &text) }));
        let events = [json!({ "type": text, "x": text }), json!({ "type": "turn.failed", "error": { "message": text } }), json!(text)];
        for line in items.iter().chain(&events) {
            let event = CodexEvent::parse(line.to_string().as_bytes());
            if let Some(found) = entry::entry(Whose { task: "t", run: 1 }, 10, &event, None) {
                let mut entries = entry::Entries::default();
                entries.push(found);
                check(&entries.html(1))?;
            }
        }
        for line in text.lines() {
            let event = CodexEvent::parse(line.as_bytes());
            if let Some(found) = entry::entry(Whose { task: "t", run: 1 }, 10, &event, None) {
                let mut entries = entry::Entries::default();
                entries.push(found);
                check(&entries.html(1))?;
            }
        }
    }

    #[test]
    fn nothing_that_a_run_or_a_git_host_reports_becomes_more_than_text(text in text(), status in prop::sample::select(vec!["completed", "failed", "interrupted"])) {
        let image = json!({ "file": "ba7816bf8f01cfea.png", "name": text, "bytes": 1 });
        let error = json!({ "code": "x", "message": text, "hints": [] });
        let run = json!({
            "status": status, "finished_at": "2026-01-02T03:05:05Z", "started_at": "2026-01-02T03:04:05Z", "commit": "a".repeat(40), "last_message": text,
            "error": error, "notes": [text], "images": [image], "thread_id": "01a201f5-b7dd-79a1-8a6e-7e6639f5c652",
        });
        let pull_request = json!({
            "number": 7, "url": "https://github.com/me/app/pull/7", "title": text, "state": "open", "draft": false, "base": "main", "head_sha": null,
            "created_at": "2026-01-02T03:04:05Z", "mergeable": false, "checks": { "passed": 1, "pending": 0, "failed": [text, "lint"] },
            "reviews": { "approved": [text], "changes_requested": [text] },
        });
        let publication = json!({
            "attempt": 1, "status": "failed", "asked": {}, "asked_at": "2026-01-02T03:04:05Z", "pull_request": pull_request, "error": error, "note": text,
            "remote_sha": "a".repeat(40),
        });
        // The activity is one printable line, see `model::codex::activity`.
        let activity = printable::printable_line(&text, 100);
        let changes = json!({ "status": status, "publication": publication, "activity": activity, "thread_id": run["thread_id"] });
        let view = task_with(&changes, &run);
        let signed = Signed::sample();
        check(&task::state(&view, &signed))?;
        check(&task::composer(&view, &signed))?;
        check(&tasks::row(&view))?;
        check(&entry::run_head("t", &view.runs[0]))?;
        check(&entry::run_end("t", &view.runs[0]))?;
    }

    #[test]
    fn prompts_and_questions_are_text(text in text().prop_filter("prompts are not empty", |text| !text.trim().is_empty() && !text.contains('\0'))) {
        let follow_ups = json!([{ "number": 1, "prompt": text, "queued_at": "2026-01-02T03:04:05Z", "asked_at": "2026-01-02T03:04:05Z" }]);
        let question = json!({ "number": 1, "urls": ["https://example.com/x.git"], "asked_at": "2026-01-02T03:04:05Z" });
        let changes = json!({ "status": "queued", "active": true, "follow_ups": follow_ups, "question": question });
        let view = task_with(&changes, &json!({ "status": "queued", "prompt": text }));
        // A text area contains the text unchanged, so that saving it changes nothing.
        let state = task::state(&view, &Signed::sample()).0;
        let (before, rest) = state.split_once("<textarea").expect("a follow-up can be changed");
        let (area, after) = rest.split_once("</textarea>").expect("the text area ends");
        prop_assert!(!area.contains('<'), "{area}");
        check(&maud::PreEscaped(before.to_owned()))?;
        check(&maud::PreEscaped(after.to_owned()))?;
        check(&entry::run_head("t", &view.runs[0]))?;
        check(&tasks::row(&view))?;
    }
}
