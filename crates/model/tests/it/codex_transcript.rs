//! Tests the transcripts of recorded runs.

use std::fmt::Write as _;

use model::codex::{CodexEvent, EntryKind, LineSplitter, TranscriptEntry, transcribe};
use serde_json::{Value, json};

fn entries(journal: &[u8]) -> Vec<TranscriptEntry> {
    let mut entries = Vec::new();
    LineSplitter::new().feed(journal, |line| entries.extend(transcribe(&line.event())));
    entries
}

fn page(entries: &[TranscriptEntry]) -> String {
    let mut page = String::new();
    for entry in entries {
        writeln!(page, "{:?}: {}", entry.kind, entry.title).expect("writing to a string cannot fail");
        for line in entry.body.lines() {
            writeln!(page, "{}", format!("    {line}").trim_end()).expect("writing to a string cannot fail");
        }
    }
    page
}

fn completed(item: &Value) -> TranscriptEntry {
    let event = json!({"type": "item.completed", "item": item});
    transcribe(&CodexEvent::parse(event.to_string().as_bytes())).expect("the item is shown")
}

#[test]
fn a_whole_run_reads_from_top_to_bottom() {
    let multi = include_bytes!("../fixtures/recordings/multi.jsonl");
    insta::assert_snapshot!(page(&entries(multi)), @r"
    Lifecycle: thread 01a201e6-9983-75a3-b0fc-67e9774e2c86
    Lifecycle: turn started
    Reasoning: reasoning
        **Plan**

        first
    Agent: agent
        I will look around first.
    Command { ok: None }: running ls -a
    Command { ok: Some(true) }: ls -a
        .
        ..
        .git
        a.txt
    Plan: plan: 1 of 2 done
        [x] look
        [ ] edit
    Reasoning: reasoning
        **Edit**
    Files: changed 1 file
        A /workspace/repo/hello.txt
    Command { ok: None }: running cat hello.txt && false
    Command { ok: Some(false) }: cat hello.txt && false (exit code 1)
        hello
        world
    Agent: agent
        Final answer: all done.
    Lifecycle: turn completed
        6000 tokens in (5000 cached), 250 out, in this thread so far
    ");
}

#[test]
fn tools_agents_and_searches_have_their_blocks() {
    let spawn = include_bytes!("../fixtures/recordings/spawn.jsonl");
    let mcp = include_bytes!("../fixtures/recordings/mcp_err.jsonl");
    let web = include_bytes!("../fixtures/recordings/web.jsonl");
    let journal = [&spawn[..], &mcp[..], &web[..]].concat();
    let entries: Vec<_> = entries(&journal).into_iter().filter(|entry| entry.kind != EntryKind::Lifecycle).collect();
    insta::assert_snapshot!(page(&entries), @r#"
    Warning: warning
        Model metadata for `gpt-5.1-codex` not found. Defaulting to fallback metadata; this can degrade performance and cause issues.
    Tool: agents: spawn_agent …
        SCENARIO:plain child
    Tool: agents: spawn_agent
        01a20208-df66-7103-9835-ff42732db6b1 pending_init
    Tool: agents: wait …
    Tool: agents: wait
        01a20208-df66-7103-9835-ff42732db6b1 completed: Hello from the mock.
    Agent: agent
        spawned
    Tool: calling m.echo
    Tool: m.echo (failed)
        {"x":"bad"}
        echo:bad
    Agent: agent
        mcp done
    Search: searched the web: codex docs
    Agent: agent
        searched
    "#);
}

#[test]
fn a_plan_is_shown_when_it_is_made_and_when_it_changes() {
    let plan = include_bytes!("../fixtures/recordings/plan.jsonl");
    let plans: Vec<_> = entries(plan).into_iter().filter(|entry| entry.kind == EntryKind::Plan).collect();
    insta::assert_snapshot!(page(&plans), @r"
    Plan: plan: 0 of 2 done
        [ ] one
        [ ] two
    Plan: plan: 1 of 2 done
        [x] one
        [ ] two
    Plan: plan: 2 of 2 done
        [x] one
        [x] two
    ");
}

#[test]
fn trouble_is_shown_with_its_words() {
    let failed = include_bytes!("../fixtures/recordings/err_e429usage.jsonl");
    insta::assert_snapshot!(page(&entries(failed)), @r"
    Lifecycle: thread 01a201e7-bf8e-7783-99d6-ec5fc6324532
    Lifecycle: turn started
    Warning: Codex reported a problem
        You’ve hit your usage limit. Visit https://chatgpt.com/settings/usage to purchase more credits or try again at Mar 17th, 2030 5:46 PM.
    Error: turn failed
        You’ve hit your usage limit. Visit https://chatgpt.com/settings/usage to purchase more credits or try again at Mar 17th, 2030 5:46 PM.
    ");
}

#[test]
fn a_worker_banner_is_a_note_and_a_blank_line_is_nothing() {
    let shown = entries(b"Starting container \x1b[32mcodex-1\x1b[0m\n\n   \n{\"type\":\"thread.compacted\",\"by\":3}\n");
    insta::assert_snapshot!(page(&shown), @r#"
    Note: note
        Starting container codex-1
    Note: unknown event thread.compacted
        {"by":3,"type":"thread.compacted"}
    "#);
}

#[test]
fn of_a_long_output_the_end_is_shown() {
    let output: String = (1..=100).fold(String::new(), |output, number| output + &format!("line {number}\n"));
    let entry = completed(&json!({"id": "item_0", "type": "command_execution", "command": "make\nmake test",
        "aggregated_output": output, "exit_code": 2, "status": "failed"}));
    assert_eq!((entry.kind, entry.title.as_str()), (EntryKind::Command { ok: Some(false) }, "make … (exit code 2)"));
    let lines: Vec<&str> = entry.body.lines().collect();
    assert_eq!(lines[..3], ["> make test", "… see the log for earlier output", "line 81"]);
    assert_eq!((lines.len(), lines.last()), (22, Some(&"line 100")));
}

#[test]
fn a_megabyte_in_one_line_is_cut() {
    let entry = completed(&json!({"id": "item_0", "type": "command_execution", "command": format!("echo {}", "é".repeat(5000)),
        "aggregated_output": "é".repeat(500_000), "exit_code": 3, "status": "completed"}));
    assert!(entry.title.ends_with("… (exit code 3)") && entry.title.chars().count() < 401, "{}", entry.title);
    assert!(entry.body.ends_with('…') && entry.body.chars().count() < 500, "{}", entry.body);
}

#[test]
fn nothing_an_agent_says_drives_the_terminal() {
    let hostile = "\u{1b}]52;c;ZXZpbA==\u{7}\u{1b}[2J\u{9b}31mplain\r\u{8}\u{202e}\u{0}";
    for item in [
        json!({"type": "agent_message", "text": hostile}),
        json!({"type": "reasoning", "text": hostile}),
        json!({"type": "error", "message": hostile}),
        json!({"type": "command_execution", "command": hostile, "aggregated_output": hostile, "exit_code": 0}),
        json!({"type": "file_change", "changes": [{"path": hostile, "kind": hostile}], "status": hostile}),
        json!({"type": "mcp_tool_call", "server": hostile, "tool": hostile, "arguments": hostile, "error": {"message": hostile}}),
        json!({"type": "mcp_tool_call", "server": "s", "tool": "t", "result": {"content": [{"text": hostile}]}}),
        json!({"type": "collab_tool_call", "tool": hostile, "prompt": hostile, "agents_states": {hostile: {"message": hostile}}}),
        json!({"type": "web_search", "query": hostile}),
        json!({"type": hostile, "text": hostile}),
    ] {
        let entry = completed(&item);
        let shown = format!("{}\n{}", entry.title, entry.body);
        assert!(shown.contains("plain"), "{shown:?}");
        assert!(!shown.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{shown:?}");
        // The name of a file is shown in full, with visible marks.
        let has_marks = item["type"] == "file_change" && shown.contains("␛]52");
        assert!(!shown.contains("ZXZpbA") || item["type"] == hostile || shown.contains("\\u001b") || has_marks, "{shown:?}");
    }
}

#[test]
fn a_command_says_how_it_ended() {
    let command = |status: &str, exit_code: Value| {
        completed(&json!({"type": "command_execution", "command": "/bin/sh -c ls", "exit_code": exit_code, "status": status}))
    };
    for (status, exit_code, ok, title) in [
        ("completed", json!(0), Some(true), "ls"),
        ("failed", json!(7), Some(false), "ls (exit code 7)"),
        ("failed", json!(null), Some(false), "ls (failed)"),
        ("declined", json!(null), Some(false), "ls (declined)"),
        ("odd", json!(null), None, "ls"),
    ] {
        let entry = command(status, exit_code);
        assert_eq!((entry.kind, entry.title.as_str()), (EntryKind::Command { ok }, title));
    }
}
