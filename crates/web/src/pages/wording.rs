//! Snapshots of the text of pages in states that are hard to produce with a real server: tasks in every state, and every kind of entry.
//! The tests in `tests/pages/wording.rs` cover whole pages.

use std::fmt::Write as _;

use jiff::SignedDuration;
use maud::{Markup, html};
use model::codex::CodexEvent;
use protocol::TaskView;
use serde_json::{Value, json};
use testkit::words::words;

use super::entry::{self, Whose};
use super::session::Signed;
use super::{layout, task, tasks};

/// Returns a task with these changes to its view and to its run.
pub(super) fn task_with(changes: &Value, of_run: &Value) -> TaskView {
    let mut run = json!({
        "number": 1, "log": "logs/run-001.jsonl", "prompt": "Fix the parser", "model": null, "effort": null, "status": "completed",
        "queued_at": "2026-01-02T03:04:05Z", "started_at": null, "finished_at": null, "exit_code": null, "thread_id": null,
        "commit": null, "usage": null, "last_message": null, "error": null
    });
    let mut view = json!({
        "schema": 1, "task_id": "01a201f5-b7dd-79a1-8a6e-7e6639f5c650", "env_id": "01a201f5-b7dd-79a1-8a6e-7e6639f5c651",
        "repo_url": "/srv/app", "title": "Fix the parser", "ref": "main", "base_sha": null, "branch": "codex/01a201f5-fix-the-parser",
        "thread_id": null, "status": "completed", "created_at": "2026-01-02T03:04:05Z", "updated_at": "2026-01-02T03:04:05Z",
        "env_name": "app", "group": "done", "active": false, "progress": null
    });
    let over = |under: &mut Value, over: &Value| {
        for (name, value) in over.as_object().expect("the value is an object") {
            under[name] = value.clone();
        }
    };
    over(&mut run, of_run);
    view["runs"] = json!([run]);
    over(&mut view, changes);
    serde_json::from_value(view).expect("a task")
}

/// Returns the words of a task's page above and below its transcript, and those of its row in the list.
fn shown(name: &str, changes: &Value, of_run: &Value) -> String {
    let view = task_with(changes, of_run);
    let signed = Signed::sample();
    let page = html! { (task::state(&view, &signed)) (task::composer(&view, &signed)) };
    format!("=== {name}\n{}--- in the list\n{}\n", of(&page), of(&html! { (tasks::row(&view)) }))
}

fn of(markup: &Markup) -> String {
    words(&markup.0)
}

fn active(status: &str, more: &Value) -> Value {
    let mut view = json!({ "status": status, "active": true, "group": "running" });
    for (name, value) in more.as_object().expect("the value is an object") {
        view[name] = value.clone();
    }
    view
}

#[test]
fn held_and_omitted_files_are_listed_with_what_can_be_done() {
    let paths =
        json!([{ "path": "junk/", "files": 6321, "bytes": 12_000_000 }, { "path": "one\u{202e}.bin", "files": 1, "bytes": 9 }]);
    let held =
        json!({ "number": 3, "run": 1, "files": 6322, "bytes": 12_000_009, "paths": paths, "asked_at": "2026-01-02T03:04:05Z" });
    let omitted = json!([{ "path": ".venv/", "reason": "virtual_environment", "files": 15, "bytes": 1_200_000 }]);
    let of_run = json!({ "finished_at": "2026-01-02T03:05:05Z", "omitted": omitted });
    let both = shown("held and omitted", &json!({ "held": held, "group": "needs_you" }), &of_run);
    let update = json!({
        "after_run": 1, "strategy": "merge", "from_base": "a".repeat(40), "to_base": "a".repeat(40), "from_head": "b".repeat(40),
        "to_head": "c".repeat(40), "committed": [".venv/"], "at": "2026-01-02T03:06:05Z",
    });
    let committed = shown("committed later", &json!({ "updates": [update] }), &of_run);
    insta::assert_snapshot!("held_and_omitted", both + &committed);
}

#[test]
fn a_task_that_waits_names_its_place_and_the_reason() {
    let hold = json!({ "code": "disk_low", "detail": "2.0 GiB of disk space are free", "hints": ["free some space"] });
    let mut all = String::new();
    for waits_for in ["turn", "environment_limit", "environment_paused", "memory", "time", "hold", "answer"] {
        let mut queue = json!({ "position": 2, "waits_for": waits_for });
        match waits_for {
            "time" => queue["not_before"] = json!("2026-01-02T04:00:00Z"),
            "hold" => queue["hold"] = hold.clone(),
            _ => {}
        }
        all += &shown(waits_for, &active("queued", &json!({ "queue": queue })), &json!({ "status": "queued" }));
    }
    let fourth = json!({ "queue": { "position": 1, "waits_for": "time" } });
    all += &shown("time, unknown", &active("queued", &fourth), &json!({ "status": "queued" }));
    insta::assert_snapshot!("queued", all);
}

#[test]
fn a_task_that_runs_shows_its_steps_and_what_follows() {
    let progress = |phase: &str| json!({ "progress": { "phase": phase, "percent": 42 } });
    let image = json!({ "file": "ba7816bf8f01cfea.png", "name": "a.png", "bytes": 1 });
    let follow_ups = json!({ "follow_ups": [
        { "number": 1, "prompt": "Write tests", "queued_at": "2026-01-02T03:04:05Z", "asked_at": "2026-01-02T03:04:05Z" },
        { "number": 2, "prompt": "Then the docs", "images": [image], "queued_at": "2026-01-02T03:04:05Z", "asked_at": "2026-01-02T03:04:05Z" }
    ] });
    let started = json!({ "status": "running", "started_at": "2026-01-02T03:04:05Z" });
    let urls = json!(["https://example.com/owner/library.git"]);
    let question = json!({ "question": { "number": 1, "urls": urls, "asked_at": "2026-01-02T03:04:05Z" } });
    let one = json!({ "status": "stopped", "follow_ups": [follow_ups["follow_ups"][0]] });
    let all = [
        shown("fetching", &active("preparing", &progress("Receiving objects")), &json!({ "status": "preparing" })),
        shown("preparing", &active("preparing", &progress("Updating files")), &json!({ "status": "preparing" })),
        shown("starting", &active("running", &json!({})), &started),
        shown(
            "running",
            &active("running", &json!({ "activity": "cargo test", "thread_id": "01a201f5-b7dd-79a1-8a6e-7e6639f5c652" })),
            &json!({ "status": "running", "started_at": "2026-01-02T03:04:05Z", "thread_id": "01a201f5-b7dd-79a1-8a6e-7e6639f5c652" }),
        ),
        shown("running, two follow-ups", &active("running", &follow_ups), &started),
        shown("stopped, one follow-up", &one, &json!({ "status": "stopped", "finished_at": "2026-01-02T03:05:05Z" })),
        shown("stopping", &active("stopping", &json!({})), &json!({ "status": "stopping" })),
        shown("asks", &active("queued", &question), &json!({ "status": "queued" })),
    ];
    insta::assert_snapshot!("running", all.concat());
}

fn published(more: &Value) -> Value {
    let mut publication = json!({ "attempt": 1, "status": "done", "asked": {}, "asked_at": "2026-01-02T03:04:05Z" });
    for (name, value) in more.as_object().expect("the value is an object") {
        publication[name] = value.clone();
    }
    json!({ "publication": publication, "thread_id": "01a201f5-b7dd-79a1-8a6e-7e6639f5c652" })
}

fn pull_request(more: &Value) -> Value {
    let mut found = json!({
        "number": 7, "url": "https://github.com/me/app/pull/7", "title": "Fix the parser", "state": "open", "draft": false, "base": "main",
        "head_sha": null, "created_at": "2026-01-02T03:04:05Z", "mergeable": true, "checks": null, "reviews": null
    });
    for (name, value) in more.as_object().expect("the value is an object") {
        found[name] = value.clone();
    }
    published(&json!({ "pull_request": found }))
}

#[test]
fn a_task_that_ended_shows_what_can_be_done_with_its_work() {
    let done = json!({
        "finished_at": "2026-01-02T03:05:05Z", "commit": "b".repeat(40), "last_message": "The parser is **fixed**.",
        "changes": { "files": 1, "additions": 12, "deletions": 3 }
    });
    let error = |code: &str| json!({ "code": code, "message": "the connection was lost", "hints": ["retry the task"] });
    let failed = |status: &str| json!({ "status": status, "finished_at": "2026-01-02T03:05:05Z", "error": error("network") });
    let checks = json!({ "passed": 3, "failed": ["lint"], "pending": 1 });
    let reviews = json!({ "approved": ["grace"], "changes_requested": ["ada"] });
    let refused = json!({ "status": "failed", "error": error("push_refused"), "remote_sha": "c".repeat(40) });
    let note = json!({ "note": "the branch was pushed" });
    let all = [
        shown("without changes", &json!({}), &json!({ "finished_at": "2026-01-02T03:05:05Z" })),
        shown("with changes", &json!({ "thread_id": "01a201f5-b7dd-79a1-8a6e-7e6639f5c652" }), &done),
        shown("with installations", &json!({}), &json!({ "finished_at": "2026-01-02T03:05:05Z", "installed": true })),
        shown("archived", &json!({ "archived_at": "2026-01-02T03:04:05Z" }), &done),
        shown("pushing", &published(&json!({ "status": "pushing" })), &done),
        shown("opening", &published(&json!({ "status": "opening" })), &done),
        shown("pushed", &published(&json!({})), &done),
        shown("pushed, with a note", &published(&note), &done),
        shown("push failed", &published(&refused), &done),
        shown("pull request", &pull_request(&json!({})), &done),
        shown("draft", &pull_request(&json!({ "draft": true })), &done),
        shown("checks and reviews", &pull_request(&json!({ "mergeable": false, "checks": checks, "reviews": reviews })), &done),
        shown("merged", &pull_request(&json!({ "state": "merged" })), &done),
        shown("closed", &pull_request(&json!({ "state": "closed" })), &done),
        shown("failed", &json!({ "status": "failed", "group": "needs_you" }), &failed("failed")),
        shown("interrupted", &json!({ "status": "interrupted", "group": "needs_you" }), &failed("interrupted")),
        shown(
            "stopped before a thread",
            &json!({ "status": "stopped" }),
            &json!({ "status": "stopped", "finished_at": "2026-01-02T03:05:05Z" }),
        ),
    ];
    insta::assert_snapshot!("ended", all.concat());
}

#[test]
fn every_kind_of_entry_has_its_words() {
    let item = |kind: &str, item: Value| {
        let mut item = item;
        item["id"] = json!("item_1");
        json!({ "type": format!("item.{kind}"), "item": item })
    };
    let command = |status: &str, code: Option<i32>| json!({ "type": "command_execution", "command": "/bin/bash -lc 'cargo test'", "aggregated_output": "one\ntwo\n", "exit_code": code, "status": status });
    let long = json!({ "type": "command_execution", "command": "a\nb", "aggregated_output": "line\n".repeat(4_000), "exit_code": 0, "status": "completed" });
    let files = |status: &str| {
        json!({ "type": "file_change", "status": status, "changes": [
        { "path": "/x/worktree/a.rs", "kind": "add" }, { "path": "/x/worktree/b.rs", "kind": "delete" },
        { "path": "/x/worktree/c.rs", "kind": "update" }, { "path": "/x/worktree/d.rs", "kind": "other" }] })
    };
    let many: Vec<_> = (0..205).map(|n| json!({ "path": format!("/x/worktree/{n}.rs"), "kind": "add" })).collect();
    let plan =
        json!({ "type": "todo_list", "items": [{ "text": "Read", "completed": true }, { "text": "Write", "completed": false }] });
    let lines = [
        json!({ "type": "thread.started", "thread_id": "x" }),
        json!({ "type": "turn.completed", "usage": { "input_tokens": 1, "cached_input_tokens": 0, "output_tokens": 1 } }),
        json!({ "type": "turn.failed", "error": { "message": "out of luck" } }),
        json!({ "type": "error", "message": "Reconnecting... 1/5" }),
        json!({ "type": "something.new", "x": 1 }),
        item("completed", json!({ "type": "agent_message", "text": "**Done**." })),
        item("completed", json!({ "type": "agent_message", "text": "long ".repeat(20_000) })),
        item("completed", json!({ "type": "reasoning", "text": "**Looking at the repository**\n\nI need to" })),
        item("started", command("in_progress", None)),
        item("completed", command("completed", Some(0))),
        item("completed", command("failed", Some(101))),
        item("completed", command("failed", None)),
        item("completed", command("declined", None)),
        item("completed", long),
        item("completed", files("completed")),
        item("completed", files("failed")),
        item("completed", json!({ "type": "file_change", "status": "completed", "changes": many })),
        item("updated", plan),
        item("completed", json!({ "type": "error", "message": "a warning" })),
        item("completed", json!({ "type": "web_search", "query": "rust" })),
        item("completed", json!({ "type": "mcp_tool_call", "server": "s", "tool": "t", "status": "completed" })),
    ];
    let cut = |text: String| {
        if text.len() > 3_000 {
            text.chars()
                .take(200)
                .chain(['…'])
                .chain(text.chars().rev().take(200).collect::<Vec<_>>().into_iter().rev())
                .collect()
        } else {
            text
        }
    };
    let mut all = String::new();
    for line in lines {
        let event = CodexEvent::parse(line.to_string().as_bytes());
        let found = entry::entry(Whose { task: "t", run: 3 }, 10, &event, Some(SignedDuration::from_secs(72)));
        let mut entries = entry::Entries::default();
        if let Some(found) = found {
            entries.push(found);
        }
        let name: String = line.to_string().chars().take(90).collect();
        let _ = writeln!(all, "=== {name}\n{}", cut(of(&entries.html(3))));
    }
    insta::assert_snapshot!("entries", all);
}

#[test]
fn a_run_has_a_head_and_an_end() {
    let usage = json!({ "input_tokens": 628_164, "cached_input_tokens": 500_000, "output_tokens": 1_200 });
    let ended = |status: &str, more: Value| {
        let mut run = json!({ "status": status, "started_at": "2026-01-02T03:04:05Z", "finished_at": "2026-01-02T04:05:09Z", "model": "gpt-5", "usage": usage });
        for (name, value) in more.as_object().expect("the value is an object") {
            run[name] = value.clone();
        }
        let view = task_with(&json!({}), &run);
        let run = &view.runs[0];
        of(&html! { (entry::run_head("t", run)) (entry::run_end("t", run)) })
    };
    let error = json!({ "code": "network", "message": "the connection was lost", "hints": ["retry the task"] });
    let notes: Vec<_> = (0..102).map(|n| format!("note {n}")).collect();
    let all = [
        ended("completed", json!({})),
        ended("failed", json!({ "error": error, "notes": ["a note"], "services": ["cache", "db"] })),
        ended("stopped", json!({ "usage": null, "notes": notes[..2] })),
        ended("completed", json!({ "notes": notes })).lines().last().unwrap_or_default().to_owned(),
    ];
    insta::assert_snapshot!("runs", all.join("\n"));
}

#[test]
fn every_page_has_the_same_frame() {
    insta::assert_snapshot!("frame", of(&layout::page("Title", layout::NavItem::Tasks, &html! { p { "Body" } })));
}
