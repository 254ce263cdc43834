//! Starting a task, following it, replying and reviewing on a phone, without a reload.
//! Complaints of the browser fail a test.

use serde_json::json;
use testkit::browser::{DESK, PHONE, Screen};

use super::Visit;

#[tokio::test]
async fn work_is_handed_over_followed_answered_and_reviewed() {
    let mut stage = Visit::new().await;
    let go = stage.home.scratch().join("go");
    stage.browser.look(PHONE).await;
    stage.open("/tasks/new").await;
    let prompt = format!("begin; say first; await {}; say second; echo work > work.txt; end \"All *done*.\"", go.display());
    stage.browser.write("#prompt", &prompt).await;
    stage.browser.click("form button.primary").await;
    stage.browser.until("document.querySelector('#transcript .agent')?.innerText.includes('first')").await;
    stage.browser.until("document.querySelector('#state .s-running') !== null").await;
    fs_err::write(&go, "").expect("written");
    stage
        .browser
        .until("[...document.querySelectorAll('#transcript .agent')].some((it) => it.innerText.includes('second'))")
        .await;
    stage.browser.until("document.querySelector('.run-end') && document.querySelector('#state .s-completed') !== null").await;
    assert_eq!(stage.browser.value("document.querySelector('#transcript .agent em')?.innerText ?? ''").await, "done");
    assert_eq!(stage.browser.value("document.querySelectorAll('#transcript .run-end').length").await, 1);
    stage.browser.write("#say", "begin; echo more > more.txt; end more").await;
    stage.browser.click(".composer button").await;
    stage
        .browser
        .until("document.querySelectorAll('.run-head').length === 2 && document.querySelector('#state .s-completed') !== null")
        .await;
    stage.browser.click("#state a[href$='/changes']").await;
    stage.browser.until("document.readyState === 'complete' && document.querySelectorAll('.file').length === 2").await;
    let wide = stage.browser.value("document.documentElement.scrollWidth").await;
    assert!(wide.as_u64().is_some_and(|wide| wide <= 390), "the page does not scroll sideways: {wide}");
    stage.content();
}

#[tokio::test]
async fn a_branch_is_brought_up_to_its_base_and_conflicts_are_shown() {
    let mut stage = Visit::new().await;
    let task = stage.task("begin; echo mine > README.md; end done").await;
    stage.upstream.commit("main", &[("other.txt", "x\n")], "elsewhere");
    stage.open(&format!("/tasks/{task}")).await;
    stage.browser.click("form[action$='/update'] button").await;
    let newest = stage.upstream.commit_of("main");
    stage.home.wait_for(&format!("/api/v1/tasks/{task}"), |task| task["base_sha"].as_str() == newest.as_deref()).await;
    stage.upstream.commit("main", &[("README.md", "theirs\n")], "the same place");
    stage.open(&format!("/tasks/{task}")).await;
    stage.browser.click("form[action$='/update'] button").await;
    stage.browser.until("document.querySelector('h1')?.innerText === 'Conflicts'").await;
    assert!(stage.text().await.contains("README.md"));
    stage.browser.click("form button.primary").await;
    stage.browser.until("document.querySelectorAll('.run-head').length === 2").await;
    stage.content();
}

#[tokio::test]
async fn the_list_shows_what_needs_somebody_and_changes_by_itself() {
    let mut stage = Visit::new().await;
    stage.open("/").await;
    assert!(stage.text().await.contains("No tasks."));
    let task = stage.task("begin; failed \"out of luck\"").await;
    stage
        .browser
        .until("document.querySelector('section[aria-label=\"Needs your attention\"] li.task')?.innerText.includes('Failed')")
        .await;
    assert!(stage.text().await.contains("out of luck"));
    stage.open("/?status=completed").await;
    assert!(!stage.text().await.contains("out of luck"));
    stage.open("/?status=failed%2Cinterrupted").await;
    assert!(stage.text().await.contains("out of luck"));
    stage.open("/").await;
    let fine = stage.task("begin; end fine").await;
    stage.browser.until("document.querySelectorAll('section[aria-label=\"Needs your attention\"] li.task').length === 2").await;
    stage.open(&format!("/tasks/{fine}")).await;
    stage.open("/").await;
    stage.browser.until("document.querySelector('section[aria-label=Done] li.task')").await;
    stage.home.delete(&format!("/api/v1/tasks/{task}")).await;
    stage.browser.until("!document.querySelector('section[aria-label=\"Needs your attention\"]')").await;
    stage.content();
}

#[tokio::test]
async fn a_page_catches_up_when_its_stream_was_cut() {
    let mut stage = Visit::new().await;
    let (one, two) = (stage.home.scratch().join("one"), stage.home.scratch().join("two"));
    let prompt = format!("begin; say before; await {}; say between; await {}; say after; end done", one.display(), two.display());
    let task = stage.home.task(&stage.env, &prompt).await;
    stage.open(&format!("/tasks/{task}")).await;
    stage.browser.until("document.querySelector('#transcript .agent')?.innerText.includes('before')").await;
    let port = stage.home.tcp_address().await;
    stage.home.kill().await;
    fs_err::write(&one, "").expect("written");
    stage.browser.until("document.querySelector('#connection').innerText.includes('Disconnected')").await;
    stage.home.set("ORCH_LISTEN", port.trim_start_matches("http://"));
    stage.home.start().await;
    fs_err::write(&two, "").expect("written");
    stage.browser.until("document.querySelector('.run-end') && document.querySelector('#state .s-completed') !== null").await;
    let said = stage.browser.value("[...document.querySelectorAll('#transcript .agent')].map((it) => it.innerText.trim())").await;
    assert_eq!(said, json!(["before", "between", "after", "done"]), "each message is shown once");
    stage.browser.until("document.querySelector('#connection').innerText.includes('Server restarted')").await;
}

#[tokio::test]
async fn what_waits_can_be_changed_and_forgotten() {
    let mut stage = Visit::new().await;
    let go = stage.home.scratch().join("go");
    let task = stage.home.task(&stage.env, &format!("begin; say first; await {}; end done", go.display())).await;
    let address = format!("/api/v1/tasks/{task}");
    stage.home.wait_for(&address, |task| task["thread_id"].is_string()).await;
    stage.open(&format!("/tasks/{task}")).await;
    for prompt in ["begin; end wrong", "begin; end never"] {
        stage.browser.write("#say", prompt).await;
        stage.browser.click(".composer button").await;
        stage.browser.until(&format!("document.readyState === 'complete' && [...document.querySelectorAll('.to-come summary')].pop()?.innerText.includes('{}')", &prompt[11..])).await;
    }
    stage.browser.click(".to-come details summary").await;
    stage.browser.write("#follow-up-1", "begin; end right").await;
    stage.browser.click(".to-come form.stack button").await;
    stage
        .browser
        .until("document.readyState === 'complete' && document.querySelector('.to-come summary')?.innerText.includes('right')")
        .await;
    stage.browser.click("form[action$='/follow-ups/2/remove'] button").await;
    stage.browser.until("document.readyState === 'complete' && document.querySelectorAll('.to-come').length === 1").await;
    fs_err::write(&go, "").expect("written");
    let done = stage.home.wait_for(&address, |task| task["runs"][1]["status"] == "completed").await;
    assert_eq!((&done["runs"][1]["last_message"], &done["runs"][2]), (&json!("right"), &json!(null)));
    stage.content();
}

#[tokio::test]
async fn a_command_says_how_long_it_took_as_it_runs_and_later() {
    let mut stage = Visit::new().await;
    let go = stage.home.scratch().join("go");
    let item = |kind: &str, rest: &str| {
        let item = r#"{"id":"item_1","type":"command_execution","command":"make","aggregated_output":"built\\n""#;
        format!(r#"echo '{{"type":"item.{kind}","item":{item},{rest}}}}}'"#)
    };
    let begun = item("started", r#""exit_code":null,"status":"in_progress""#);
    let over = item("completed", r#""exit_code":0,"status":"completed""#);
    let prompt = format!("begin; {begun}; await {}; {over}; end done", go.display());
    let task = stage.home.task(&stage.env, &prompt).await;
    stage.open(&format!("/tasks/{task}")).await;
    stage.browser.until("document.querySelector('.command .head')?.innerText.includes('running')").await;
    fs_err::write(&go, "").expect("written");
    let took = "/^\\d+\\.\\d s$/.test(document.querySelector('.command [title=Duration]')?.innerText.trim())";
    stage.browser.until(took).await;
    stage.home.settled(&task).await;
    stage.open(&format!("/tasks/{task}")).await;
    stage.browser.until(took).await;
    stage.content();
}

/// Returns the paths of all pages, each with some content.
async fn every_page(stage: &mut Visit) -> Vec<String> {
    let removed = stage.task("begin; end removed").await;
    stage.home.delete(&format!("/api/v1/tasks/{removed}")).await;
    let archived = stage.task("begin; end archived").await;
    stage.home.post(&format!("/api/v1/tasks/{archived}/archive"), &json!(null)).await;
    let failed = stage.task("begin; failed \"out of luck\"").await;
    let command = r#"{"type":"item.completed","item":{"id":"item_1","type":"command_execution","command":"make","aggregated_output":"out","exit_code":2,"status":"failed"}}"#;
    let installed = r#"{"type":"item.completed","item":{"id":"item_2","type":"command_execution","command":"bash -lc \"pip install jinja2; npm ci $X && curl x | sh\"","aggregated_output":"","exit_code":0,"status":"completed"}}"#;
    let task =
        stage.task(&format!("begin; echo '{command}'; echo '{installed}'; echo work > work.rs; end \"All **done**.\"")).await;
    stage.open(&format!("/tasks/{task}")).await;
    let output = stage.browser.value("document.querySelector('.command a.all')?.getAttribute('href') ?? null").await;
    assert_eq!(output, json!(null), "a short output has no link to the rest");
    let description = [
        (".codex-orchestrator/environment.toml", "image = { build = { dockerfile = \"Dockerfile\" } }\n"),
        ("Dockerfile", "FROM x\n"),
    ];
    stage.upstream.commit("idea", &description, "describe the environment");
    let (status, answer) = stage.home.post(&format!("/api/v1/envs/{}/fetch", stage.env), &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    let environment = format!("/environments/{}", stage.env);
    [
        "/",
        "/?archived=only",
        "/?group=needs_you",
        "/?q=nothing-has-this",
        "/tasks/new",
        "/tasks/01a20000-0000-7000-8000-000000000000",
        &format!("/tasks/{task}"),
        &format!("/tasks/{failed}"),
        &format!("/tasks/{task}/stop"),
        &format!("/tasks/{task}/remove"),
        &format!("/tasks/{task}/runs/1/older"),
        &format!("/tasks/{task}/changes"),
        &format!("/tasks/{task}/changes?view=unified"),
        &format!("/tasks/{task}/changes?since=viewed"),
        "/environments",
        &environment,
        &format!("{environment}/remove"),
        &format!("{environment}/setup"),
        &format!("{environment}/setup/diff?branch=idea"),
        &format!("/tasks/{task}/refresh-environment"),
        &format!("/tasks/{task}/installed"),
        "/settings",
        "/settings/check",
        "/settings/notices",
        "/trash",
        "/trash/delete",
        "/sign-in",
        "/sign-in?code=5ec2e7",
    ]
    .map(str::to_owned)
    .to_vec()
}

#[tokio::test]
async fn every_page_fits_its_screen_obeys_its_policy_and_is_usable_for_everybody() {
    let mut stage = Visit::new().await;
    stage
        .home
        .request(reqwest::Method::PUT, "/api/v1/password")
        .json(&json!({ "password": "correct horse" }))
        .send()
        .await
        .expect("set");
    let pages = every_page(&mut stage).await;
    for screen in [testkit::browser::Screen { width: 320, ..PHONE }, DESK] {
        stage.browser.look(screen).await;
        for path in &pages {
            stage.open(path).await;
            let wide = stage.browser.value("document.documentElement.scrollWidth").await;
            assert!(wide.as_u64().is_some_and(|wide| wide <= u64::from(screen.width)), "{path} at {}: {wide}", screen.width);
            let small = stage.browser.value(
                "[...document.querySelectorAll('button:not([hidden]), .button, nav.around a, input:not([type=checkbox]):not([type=hidden]), select, textarea')]\
                 .filter((it) => it.checkVisibility() && !it.matches('.visually-hidden') && (it.getBoundingClientRect().height < 44 || parseFloat(getComputedStyle(it).fontSize) < 12))\
                 .map((it) => it.outerHTML)",
            );
            assert_eq!(small.await, json!([]), "{path}: every control is large enough for a thumb");
            let tiny = stage.browser.value(
                "[...document.querySelectorAll('input:not([type=checkbox]):not([type=hidden]), select, textarea')]\
                 .filter((it) => parseFloat(getComputedStyle(it).fontSize) < 16).map((it) => it.outerHTML)",
            );
            assert_eq!(tiny.await, json!([]), "{path}: no text field is so small that a phone zooms in");
            let unnamed = stage.browser.value(
                "[...document.querySelectorAll('input:not([type=hidden]), select, textarea')].filter((it) => \
                 !it.labels?.length && !it.ariaLabel && !it.ariaHidden).map((it) => it.outerHTML)",
            );
            assert_eq!(unnamed.await, json!([]), "{path}");
        }
    }
    let refused = "Failed to load resource: the server responded with a status of 404";
    stage.browser.complaints.retain(|complaint| !complaint.contains(refused));
    stage.content();
    for screen in [PHONE, Screen { dark: true, ..DESK }, Screen { dark: true, ..PHONE }, DESK] {
        stage.browser.look(screen).await;
        for path in &pages {
            stage.open(path).await;
            stage.accessible().await;
        }
    }
}
