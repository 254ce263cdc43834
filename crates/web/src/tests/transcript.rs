//! Tests the pages of a run that has ended: its transcript in parts, complete outputs, the raw log, and the reply to it.
//!
//! The log is what an agent wrote, so it can contain anything.

use testkit::words::words;

use super::*;

/// Starts a stage with one task whose run has ended in this way and left this log.
async fn after(log: &[u8], run: &Value) -> (Stage, String) {
    let (stage, env) = Stage::with_repository().await;
    let task = stage.task(&env, "Fix the parser").await;
    let (name, log, run) = (task.clone(), log.to_vec(), run.clone());
    (stage.again(move |home| write_run(home, &name, &log, &run)).await, task)
}

fn command(id: usize, command: &str, output: &str, code: i32) -> String {
    let item = json!({ "id": format!("item_{id}"), "type": "command_execution", "command": command, "aggregated_output": output,
        "exit_code": code, "status": if code == 0 { "completed" } else { "failed" } });
    json!({ "type": "item.completed", "item": item }).to_string() + "\n"
}

/// Returns the numbers of the messages `number N` in a page, in order.
fn numbers(page: &str) -> Vec<usize> {
    page.split("number ").skip(1).filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()).collect()
}

/// Returns the address of the first link with this label.
fn link(page: &str, label: &str) -> Option<String> {
    let before = page.split_once(label)?.0;
    let address = before.rsplit_once("href=\"")?.1.split('"').next()?;
    Some(address.replace("&amp;", "&"))
}

#[tokio::test]
async fn a_run_that_has_ended_shows_what_it_said_and_did_in_order() {
    let log = [
        "{\"type\":\"thread.started\",\"thread_id\":\"01a201f5-b7dd-79a1-8a6e-7e6639f5c652\"}\n",
        "{\"type\":\"turn.started\"}\n",
        &said(1, "First I **look**."),
        &command(2, "/bin/bash -lc 'cargo test'", "one failure\n", 101),
        "{\"type\":\"item.completed\",\"item\":{\"id\":\"item_3\",\"type\":\"todo_list\",\"items\":[{\"text\":\"look\",\"completed\":true},{\"text\":\"fix\",\"completed\":false}]}}\n",
        &said(4, "Done."),
        "{\"type\":\"turn.completed\",\"usage\":{\"input_tokens\":1200,\"cached_input_tokens\":1000,\"output_tokens\":30}}\n",
    ];
    let usage = json!({ "input_tokens": 1200, "cached_input_tokens": 1000, "output_tokens": 30 });
    let mut run = ended("completed");
    run["usage"] = usage;
    run["notes"] = json!(["refused example.com:443 (not on the list of allowed hosts)"]);
    let (stage, task) = after(log.concat().as_bytes(), &run).await;
    let page = stage.get(&format!("/tasks/{task}")).await;
    let shown = words(page.page(200));
    let mut rest = shown.as_str();
    for expected in [
        "Run 1",
        "First I look.",
        "cargo test",
        "exit 101",
        "1 line of output",
        "Plan: 1 of 2 done",
        "Done.",
        "Run 1 · ✓ Completed · 1 min 5 s · 1,200 input tokens (1,000 cached), 30 output tokens",
        "refused example.com:443",
        "Reply to Codex…",
    ] {
        rest = rest.split_once(expected).unwrap_or_else(|| panic!("{expected} is missing or in another place: {shown}")).1;
    }
    assert!(!shown.contains("Retry") && !shown.contains("Changes") && !shown.contains("Stop"), "{shown}");
    assert!(stage.get("/?group=needs_you").await.page(200).contains("No matching tasks."), "the page was opened");
}

#[tokio::test]
async fn nothing_in_a_log_becomes_markup_or_hides() {
    let hostile = "</pre><script>alert(1)</script><img src=x onerror=alert(1)> \u{202e}evil\u{202c} \u{1b}[2J\u{0}\u{7} &lt;";
    let text = Value::from(hostile);
    let word = "w".repeat(5_000);
    let mut log: Vec<u8> = [
        json!({ "type": "item.completed", "item": { "id": text, "type": "agent_message", "text": text } }),
        json!({ "type": "item.completed", "item": { "id": "a", "type": "agent_message", "text": format!("[x](javascript:alert(1)) <b onclick=x> `{word}`") } }),
        json!({ "type": "item.completed", "item": { "id": "b", "type": "reasoning", "text": text } }),
        json!({ "type": "item.completed", "item": { "id": "c", "type": "command_execution", "command": text, "aggregated_output": text, "exit_code": 1, "status": "failed" } }),
        json!({ "type": "item.completed", "item": { "id": "d", "type": "file_change", "changes": [{ "path": text, "kind": "update" }], "status": "completed" } }),
        json!({ "type": "item.completed", "item": { "id": "e", "type": "mcp_tool_call", "server": text, "tool": text, "arguments": { "a": text }, "status": "completed" } }),
        json!({ "type": "item.completed", "item": { "id": "f", "type": "web_search", "query": text } }),
        json!({ "type": "item.completed", "item": { "id": "g", "type": text, "x": text } }),
        json!({ "type": text, "message": text }),
        json!({ "type": "error", "message": text }),
        json!({ "type": "turn.failed", "error": { "message": text } }),
        json!([text]),
    ]
    .iter()
    .flat_map(|line| format!("{line}\n").into_bytes())
    .collect();
    log.extend_from_slice(b"\xff\xfe not UTF-8 <script>\n\n{\"type\":\n");
    log.extend_from_slice(format!("plain text {hostile}\n").replace('\0', "").as_bytes());
    let mut run = ended("failed");
    run["error"] = json!({ "code": "turn_failed", "message": hostile, "hints": ["read the <log>"] });
    run["last_message"] = text.clone();
    run["notes"] = json!([hostile]);
    let (stage, task) = after(&log, &run).await;
    for path in [format!("/tasks/{task}"), "/".to_owned(), format!("/tasks/{task}/runs/1/older")] {
        let reply = stage.get(&path).await;
        let page = reply.page(200);
        for planted in ["<script>alert", "<img", "<b onclick", "javascript:alert", "\u{202e}", "\u{1b}", "\u{0}", "\u{7}"] {
            assert!(!page.contains(planted), "{path} contains {planted:?}: {page}");
        }
    }
    let page = stage.get(&format!("/tasks/{task}")).await.body;
    assert!(page.contains("alert(1)") && page.contains("not UTF-8"), "what was written is still shown");
    let changes = stage.get(&link(&page, "View diff").expect("a link")).await;
    assert!(changes.page(200).contains("No changes."), "a run without commits changed nothing: {}", changes.body);
}

#[tokio::test]
async fn a_long_transcript_comes_in_parts_that_show_everything_once() {
    let filler = "x".repeat(900);
    let log: String = (0..1000).map(|n| said(n, &format!("number {n} {filler}"))).collect();
    let (stage, task) = after(log.as_bytes(), &ended("completed")).await;
    let page = stage.get(&format!("/tasks/{task}")).await;
    let page = page.page(200).to_owned();
    let mut all = numbers(&page);
    assert!(all.len() < 400 && all.last() == Some(&999), "the page shows the end: {all:?}");
    let mut next = link(&page, "Load earlier events");
    let mut parts = 0;
    while let Some(address) = next {
        let request = stage.browser("GET", &address).header("hx-request", "true").body(Body::empty()).expect("a request");
        let part = stage.ask(request).await;
        assert!(part.page(200).starts_with("<li") && !part.body.contains("<html"), "a fragment for the script");
        all.splice(0..0, numbers(&part.body));
        next = link(&part.body, "Load earlier events");
        parts += 1;
    }
    assert_eq!(all, (0..1000).collect::<Vec<_>>(), "in {parts} parts");
    assert!((2..8).contains(&parts), "{parts}");
    let whole = stage.get(&format!("/tasks/{task}/runs/1/older?before=5000")).await;
    assert!(whole.page(200).contains("<html") && whole.body.contains("← Back to task"), "a page without the script");
    for query in ["before=0", "before=18446744073709551615", "before=1"] {
        assert_eq!(stage.get(&format!("/tasks/{task}/runs/1/older?{query}")).await.status, 200, "{query}");
    }
    stage.get(&format!("/tasks/{task}/runs/1/older?before=-1")).await.page(404);
    stage.get(&format!("/tasks/{task}/runs/9/older")).await.page(404);
}

#[tokio::test]
async fn a_long_output_is_shown_to_its_last_line_page_by_page() {
    let output = (0..50_000).map(|n| format!("number {n}\n")).collect::<Vec<_>>().concat();
    let (stage, task) = after(command(1, "seq <b>", &output, 0).as_bytes(), &ended("completed")).await;
    let page = stage.get(&format!("/tasks/{task}")).await.body;
    assert!(page.len() < 100_000 && !page.contains("<b>") && numbers(&page).last() == Some(&49_999), "{}", page.len());
    let mut next = link(&page, "Show earlier output");
    let (mut all, mut parts) = (String::new(), 0);
    while let Some(address) = next {
        let part = stage.get(&address).await;
        let part = part.page(200);
        assert!(part.contains("seq &lt;b&gt;"), "the command is the title");
        all.push_str(
            part.split_once("<pre class=\"output\">").and_then(|(_, rest)| rest.split("</pre>").next()).expect("an output"),
        );
        next = link(part, "Show more (");
        parts += 1;
    }
    assert!(all == output && parts > 1, "{} bytes in {parts} parts", all.len());
    for (query, status) in
        [("at=0", 200), ("at=1", 200), ("at=99999999", 200), ("at=9&from=99999999999", 200), ("", 404), ("at=x", 404)]
    {
        stage.get(&format!("/tasks/{task}/runs/1/output?{query}")).await.page(status);
    }
    assert!(stage.get(&format!("/tasks/{task}/runs/1/output?at=0")).await.body.contains("No output found."));
}

#[tokio::test]
async fn a_long_message_is_cut_and_all_of_it_is_a_click_away() {
    let (stage, task) = after(said(1, &"word ".repeat(20_000)).as_bytes(), &ended("completed")).await;
    let page = stage.get(&format!("/tasks/{task}")).await.body;
    assert!(page.matches("word ").count() < 14_000, "{}", page.len());
    let message = stage.get(&link(&page, "Show all (").expect("the message is cut")).await;
    assert_eq!(message.page(200).matches("word").count(), 20_000);
}

#[tokio::test]
async fn a_line_without_an_end_is_told_of_when_it_is_long_and_never_parsed() {
    let log =
        said(1, "complete") + "{\"type\":\"item.completed\",\"item\":{\"id\":\"x\",\"type\":\"agent_message\",\"text\":\"torn";
    let (stage, task) = after(log.as_bytes(), &ended("completed")).await;
    let page = stage.get(&format!("/tasks/{task}")).await;
    assert!(page.page(200).contains("complete") && !page.body.contains("torn"), "{}", page.body);
    let raw = stage.get(&format!("/tasks/{task}/runs/1/log")).await;
    assert_eq!((raw.header("content-type"), raw.body.as_str()), ("application/x-ndjson", log.as_str()));
    assert_eq!(raw.header("content-disposition"), "attachment; filename=\"run-001.jsonl\"");
}

#[tokio::test]
async fn a_task_that_failed_says_why_and_is_retried_once_for_each_form() {
    let mut run = ended("failed");
    run["error"] = json!({ "code": "turn_failed", "message": "the model <b>refused</b>", "hints": ["try another model"] });
    let (stage, task) = after(said(1, "x").as_bytes(), &run).await;
    let page = stage.get(&format!("/tasks/{task}")).await;
    let page = page.page(200);
    assert!(
        page.contains("the model &lt;b&gt;refused") && page.contains("→ try another model") && page.contains(">Retry<"),
        "{page}"
    );
    assert!(stage.get("/?group=needs_you").await.page(200).contains("the model &lt;b&gt;refused"), "{page}");
    let retry = format!("/tasks/{task}/retry");
    let (one, two) = tokio::join!(stage.post(&retry, &[("key", "k")]), stage.post(&retry, &[("key", "k")]));
    assert_eq!([one.status, two.status], [303, 303], "{} {}", one.body, two.body);
    let runs = stage.user().task(&task).expect("it exists").runs;
    assert_eq!(runs.len(), 2, "a double tap retries once");
    stage.post(&retry, &[("key", "other")]).await.page(409);
    let page = stage.get(&format!("/tasks/{task}")).await;
    let page = page.page(200);
    assert!(page.contains("1 earlier run<") && page.contains(&format!("/tasks/{task}/runs/1/older")), "{page}");
}

#[tokio::test]
async fn a_task_without_a_thread_has_nothing_to_reply_to() {
    let mut run = ended("failed");
    run["thread_id"] = Value::Null;
    run["error"] = json!({ "code": "no_thread", "message": "Codex did not start", "hints": [] });
    let (stage, task) = after(b"", &run).await;
    let page = stage.get(&format!("/tasks/{task}")).await;
    assert!(
        page.page(200).contains("nothing to reply to") && page.body.contains("Retry runs the same prompt again."),
        "{}",
        page.body
    );
    let refused = stage.post(&format!("/tasks/{task}/say"), &[("prompt", "go on")]).await;
    assert!(refused.page(409).contains("no Codex thread to continue"), "{}", refused.body);
    for (form, status) in
        [("continue", 409), ("push", 409), ("feedback", 409), ("update", 409), ("answer", 400), ("changes", 422)]
    {
        let refused = stage.post(&format!("/tasks/{task}/{form}"), &[]).await;
        assert!((400..500).contains(&refused.status), "{form}: {} instead of {status}: {}", refused.status, refused.body);
        refused.page(refused.status);
    }
    let answered = stage.post(&format!("/tasks/{task}/answer"), &[("question", "one"), ("answer", "fetch")]).await;
    assert!(answered.page(400).contains("invalid question number"), "{}", answered.body);
    let unasked = stage.post(&format!("/tasks/{task}/answer"), &[("question", "1"), ("answer", "fetch")]).await;
    assert!(unasked.page(409).contains("no open question"), "{}", unasked.body);
    let neither = stage.post(&format!("/tasks/{task}/answer"), &[("question", "1"), ("answer", "perhaps")]).await;
    neither.page(422);
}

#[tokio::test]
async fn a_log_that_is_gone_or_is_a_folder_hides_no_page() {
    let (stage, task) = after(said(1, "x").as_bytes(), &ended("completed")).await;
    let log = stage.task_folder(&task).join("logs/run-001.jsonl");
    std::fs::remove_file(&log).expect("it exists");
    for path in [format!("/tasks/{task}"), "/".to_owned()] {
        assert!(stage.get(&path).await.page(200).contains("Fix the parser"), "{path}");
    }
}
