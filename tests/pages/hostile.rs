//! Markup that a hostile agent plants in prompts, output, messages, names and diffs: it never runs, changes the page or loads
//! anything.

use super::Visit;

/// Texts that would set `window.caught` or load something if they were treated as markup.
const PLANTED: [&str; 7] = [
    "<script>window.caught=1</script>",
    "<img src=x onerror=window.caught=1>",
    "<svg onload=window.caught=1>",
    "\"><style>*{display:none}</style>",
    "[x](javascript:window.caught=1)",
    "</textarea></pre></li><h1 id=planted>x</h1>",
    "\u{202e}drowssap",
];

#[tokio::test]
async fn nothing_that_is_planted_does_anything() {
    let mut stage = Visit::new().await;
    let all = PLANTED.join("\n");
    let message = serde_json::Value::from(all.as_str()).to_string();
    let item = |item: serde_json::Value| {
        let line = serde_json::json!({ "type": "item.completed", "item": item }).to_string();
        format!("cat <<'LINE'\n{line}\nLINE\n")
    };
    let lines = [
        item(serde_json::json!({ "id": all, "type": "agent_message", "text": all })),
        item(serde_json::json!({ "id": "item_1", "type": "command_execution", "command": all, "aggregated_output": all, "exit_code": 1, "status": "failed" })),
        item(serde_json::json!({ "id": "item_2", "type": "file_change", "changes": [{ "path": all, "kind": "add" }], "status": "completed" })),
        item(serde_json::json!({ "id": "item_3", "type": "todo_list", "items": [{ "text": all, "completed": false }] })),
        item(serde_json::json!({ "id": "item_4", "type": all, "x": message })),
    ]
    .concat();
    let fenced =
        format!("~~~html\n{all}\n~~~\n~~~rust\n\"{all}\n/*{all}\n~~~\n~~~\"><script>window.caught=1</script>\n{all}\n~~~");
    let lines = lines + &item(serde_json::json!({ "id": "item_5", "type": "agent_message", "text": fenced }));
    let name = "<img src=x onerror=window.caught=1>.html";
    let prompt = format!("begin\n{lines}\ncat > '{name}' <<'FILE'\n{all}\nFILE\nend done\n# {all}");
    let task = stage.task(&prompt).await;
    // Show a hostile file name in a comment box and in the saved draft.
    stage.open(&format!("/tasks/{task}/changes")).await;
    for n in 0..PLANTED.len() {
        stage.browser.value(&format!("document.querySelectorAll('.diff tr.add, .diff td.add')[{n}].click()")).await;
        stage.browser.type_text(&all).await;
    }
    assert_eq!(stage.browser.value("document.querySelectorAll('.note').length").await, PLANTED.len());
    let encoded = "<img+src%3Dx+onerror%3Dwindow.caught%3D1>.html";
    let pages = [
        "/".to_owned(),
        format!("/tasks/{task}"),
        format!("/tasks/{task}/changes"),
        format!("/tasks/{task}/changes?view=unified&path={encoded}"),
        format!("/tasks/{task}/changes?since=viewed&view=%3Cscript%3E"),
    ];
    for path in pages {
        stage.open(&path).await;
        stage.browser.until("document.querySelector('main h1')").await;
        assert_eq!(stage.browser.value("window.caught ?? null").await, serde_json::Value::Null, "{path}");
        assert_eq!(
            stage
                .browser
                .value("!!document.querySelector('#planted, main img, main svg, main style, main script, [onerror], [onload]')")
                .await,
            false,
            "{path}"
        );
        assert_eq!(
            stage.browser.value("[...document.links].some((link) => link.protocol === 'javascript:')").await,
            false,
            "{path}"
        );
        assert_eq!(stage.browser.value("getComputedStyle(document.querySelector('main h1')).display").await, "block", "{path}");
        let text = stage.text().await;
        assert!(!text.contains('\u{202e}'), "{path}");
    }
    stage.content();
}

#[tokio::test]
async fn of_a_long_output_the_end_is_shown_and_all_of_it_is_a_click_away() {
    let mut stage = Visit::new().await;
    let output: String = (0..3000).map(|n| n.to_string() + "\n").collect();
    let item = serde_json::json!({ "id": "item_1", "type": "command_execution", "command": "seq 3000", "aggregated_output": output,
        "exit_code": 0, "status": "completed" });
    let line = serde_json::json!({ "type": "item.completed", "item": item }).to_string();
    let task = stage.task(&format!("begin\ncat <<'LINE'\n{line}\nLINE\nend done")).await;
    stage.open(&format!("/tasks/{task}")).await;
    stage.browser.until("document.querySelector('.command details pre')").await;
    assert_eq!(stage.browser.value("document.querySelector('.command pre').textContent.split('\\n')[0]").await, "2800");
    stage.browser.click(".command a.all").await;
    stage.browser.until("document.querySelector('main > pre.output, main pre.output')?.textContent.startsWith('0\\n1\\n')").await;
    assert_eq!(stage.browser.value("document.querySelector('pre.output').textContent.trim().split('\\n').length").await, 3000);
    stage.content();
}

#[tokio::test]
async fn a_long_run_opens_at_its_end_and_older_parts_come_when_asked_for() {
    let mut stage = Visit::new().await;
    let task = stage.task("begin; i=0; while [ $i -lt 50000 ]; do i=$((i+1)); say \"line number $i\"; done; end done").await;
    stage.open(&format!("/tasks/{task}")).await;
    let shown = "document.querySelectorAll('#transcript .agent').length";
    // The page keeps 500 entries, including the prompt.
    stage.browser.until(&format!("{shown} <= 500")).await;
    let first = stage.browser.value(shown).await.as_u64().expect("a number");
    assert!(first > 400, "{first}");
    assert!(stage.text().await.contains("line number 50000"));
    stage.browser.value("scrollTo(0, 0)").await;
    stage.browser.click("#transcript .older a").await;
    stage.browser.until(&format!("{shown} > {first}")).await;
    assert_eq!(stage.browser.value("location.pathname").await, format!("/tasks/{task}"), "the browser stays on the page");
    stage.content();
}

#[tokio::test]
async fn ten_megabytes_in_a_line_are_told_of_and_load_nothing() {
    let mut stage = Visit::new().await;
    let long = "head -c 10000000 /dev/zero | tr '\\0' x";
    let message = format!(
        "printf '{{\"type\":\"item.completed\",\"item\":{{\"id\":\"a\",\"type\":\"agent_message\",\"text\":\"'; {long}; printf '\"}}}}\\n'"
    );
    let output = "printf '{\"type\":\"item.completed\",\"item\":{\"id\":\"b\",\"type\":\"command_execution\",\"command\":\"make\",\"exit_code\":0,\"status\":\"completed\",\"aggregated_output\":\"'; \
         head -c 6000000 /dev/zero | tr '\\0' y; printf '\"}}\\n'";
    let escapes = "printf '\\033[2J\\033]0;title\\007\\033[31mred\\n'";
    let task = stage.task(&format!("begin; {message}; {output}; {escapes}; {long} > long.txt; end \"at last\"")).await;
    for (path, most) in
        [("/".to_owned(), 60_000), (format!("/tasks/{task}"), 200_000), (format!("/tasks/{task}/changes"), 200_000)]
    {
        stage.open(&path).await;
        let size = stage.browser.value("performance.getEntriesByType('navigation')[0].decodedBodySize").await;
        assert!(size.as_u64().is_some_and(|size| size < most), "{path}: {size}");
        let wide = stage.browser.value("document.documentElement.scrollWidth <= innerWidth").await;
        assert_eq!(wide, true, "{path} does not scroll sideways");
    }
    stage.open(&format!("/tasks/{task}")).await;
    let text = stage.text().await;
    assert!(text.contains("at last") && !text.contains('\u{1b}'), "{}", text.chars().take(3000).collect::<String>());
    // Earlier entries are loaded step by step in parts of limited size.
    let mut step = 0;
    while stage.browser.value("!!document.querySelector('#transcript .older a')").await == true {
        step += 1;
        stage.browser.click("#transcript .older a").await;
        let asked =
            "performance.getEntriesByType('resource').filter((it) => it.name.includes('/older')).map((it) => it.decodedBodySize)";
        stage.browser.until(&format!("{asked}.length === {step}")).await;
        let sizes = stage.browser.value(asked).await;
        let sizes: Vec<_> = sizes.as_array().expect("sizes").iter().filter_map(serde_json::Value::as_u64).collect();
        assert!(sizes.iter().all(|size| *size < 300_000), "{sizes:?}");
        stage.browser.until("!document.querySelector('.htmx-request')").await;
    }
    assert!((1..4).contains(&step), "{step} steps");
    assert!(
        stage.text().await.contains("a line of 9.5 MiB is not shown here; see the raw log"),
        "the page reports the long line"
    );
    stage.content();
}
