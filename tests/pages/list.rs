//! The list of tasks: groups, pages of a group, the archive, and bulk actions. Everything here also works without a script.

use testkit::browser::PHONE;

use super::Visit;

/// Returns the titles in a section of the list.
async fn titles(stage: &mut Visit, section: &str) -> Vec<String> {
    let found = format!(
        "[...document.querySelectorAll('section[aria-label=\"{section}\"] li.task .title')].map((it) => it.innerText.trim())"
    );
    let found = stage.browser.value(&found).await;
    found.as_array().expect("a list").iter().filter_map(|title| title.as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn several_tasks_are_archived_brought_back_and_removed_at_once() {
    let mut stage = Visit::new().await;
    for n in 1..=3 {
        stage.task(&format!("begin; echo {n} > {n}.txt; end \"number {n}\"")).await;
    }
    stage.browser.look(PHONE).await;
    stage.open("/").await;
    assert_eq!(titles(&mut stage, "Needs your attention").await.len(), 3);
    assert!(stage.text().await.contains("+1 −0"), "{}", stage.text().await);
    let bar = "getComputedStyle(document.querySelector('#selected')).display";
    assert_eq!(stage.browser.value(bar).await, "none", "the bar is hidden while nothing is selected");
    stage.browser.click("li.task:nth-of-type(1) .pick input").await;
    stage.browser.click("li.task:nth-of-type(2) .pick input").await;
    assert_eq!(stage.browser.value(bar).await, "flex");
    // Another task changes the list, but selected tasks stay selected.
    stage.task("begin; end four").await;
    stage.browser.until("document.querySelectorAll('li.task').length === 4").await;
    assert_eq!(stage.browser.value("document.querySelectorAll('.pick input:checked').length").await, 2);
    stage.browser.click("#selected button[value=archive]").await;
    stage.browser.until("document.readyState === 'complete' && document.querySelectorAll('li.task').length === 2").await;
    stage.open("/?archived=only").await;
    assert_eq!(titles(&mut stage, "Done").await.len(), 2, "archived tasks need no attention");
    stage.browser.click("li.task:nth-of-type(1) .pick input").await;
    stage.browser.click("#selected button[value=unarchive]").await;
    stage.browser.until("document.readyState === 'complete' && document.querySelectorAll('li.task').length === 1").await;
    stage.open("/").await;
    assert_eq!((titles(&mut stage, "Needs your attention").await.len(), titles(&mut stage, "Done").await.len()), (2, 1));
    for n in 1..=2 {
        stage.browser.click(&format!("section[aria-label='Needs your attention'] li.task:nth-of-type({n}) .pick input")).await;
    }
    stage.browser.click("#selected button[value=remove]").await;
    stage.browser.until("document.querySelector('h1')?.innerText.includes('trash')").await;
    assert_eq!(stage.browser.value("document.querySelectorAll('main li').length").await, 2);
    stage.browser.click("main form button.danger").await;
    stage.browser.until("document.readyState === 'complete' && document.querySelectorAll('li.task').length === 1").await;
    stage.content();
}

#[tokio::test]
async fn one_that_cannot_be_archived_holds_up_no_other_and_is_named() {
    let mut stage = Visit::new().await;
    stage.task("begin; end fine").await;
    let busy = stage.home.task(&stage.env, "begin; say working; await /never").await;
    stage.home.wait_for(&format!("/api/v1/tasks/{busy}"), |task| task["status"] == "running").await;
    stage.open("/").await;
    stage.browser.until("document.querySelectorAll('li.task').length === 2").await;
    stage.browser.value("document.querySelectorAll('.pick input').forEach((it) => it.click())").await;
    stage.browser.click("#selected button[value=archive]").await;
    stage.browser.until("document.querySelector('h1')?.innerText.includes('1 of 2')").await;
    assert!(stage.text().await.contains("still active"), "{}", stage.text().await);
    stage.open("/").await;
    assert_eq!((titles(&mut stage, "Running").await.len(), titles(&mut stage, "Needs your attention").await.len()), (1, 0));
    stage.content();
}

#[tokio::test]
async fn queued_tasks_are_listed_in_the_order_of_the_places_they_show() {
    let mut stage = Visit::new().await;
    let paused = serde_json::json!({ "runs": { "paused": true } });
    assert_eq!(stage.home.patch(&format!("/api/v1/envs/{}", stage.env), &paused).await.0, 200);
    for (title, priority) in [("second", "normal"), ("third", "normal"), ("last", "low"), ("first", "high")] {
        let new = serde_json::json!({ "env_id": stage.env, "prompt": "begin", "title": title, "priority": priority });
        assert_eq!(stage.home.post("/api/v1/tasks", &new).await.0, 201);
    }
    stage.home.wait_for("/api/v1/queue", |queue| queue["items"].as_array().map(Vec::len) == Some(4)).await;
    stage.open("/").await;
    assert_eq!(titles(&mut stage, "Queued").await, ["first", "second", "third", "last"]);
    let text = stage.text().await;
    let places: Vec<_> = ["1st", "2nd", "3rd", "4th"]
        .into_iter()
        .map(|place| text.find(&format!("{place} in queue")).expect("the page shows the position"))
        .collect();
    assert!(places.is_sorted(), "{text}");
    stage.content();
}

#[tokio::test]
async fn an_old_task_that_needs_somebody_is_on_the_first_page() {
    let mut stage = Visit::new().await;
    let old = stage.task("begin; failed \"out of luck\"").await;
    let mut made = vec![];
    for n in 0..52 {
        made.push(stage.home.task(&stage.env, &format!("begin; end {n}")).await);
    }
    for task in &made {
        stage.home.settled(task).await;
        stage.home.post(&format!("/api/v1/tasks/{task}/archive"), &serde_json::Value::Null).await;
    }
    // Unarchived tasks count as seen, so they are in the group `Done`.
    for task in &made {
        stage.home.post(&format!("/api/v1/tasks/{task}/unarchive"), &serde_json::Value::Null).await;
    }
    stage.open("/").await;
    assert_eq!(titles(&mut stage, "Needs your attention").await.len(), 1);
    assert_eq!(titles(&mut stage, "Done").await.len(), 50, "the first page has 50 tasks");
    stage.browser.click("section[aria-label=Done] > a.button").await;
    stage.browser.until("document.readyState === 'complete' && location.search.includes('group=done')").await;
    assert_eq!(titles(&mut stage, "Done").await.len(), 2, "the last page has the remaining tasks");
    assert!(!stage.text().await.contains("out of luck"), "the group does not contain the failed task {old}");
    stage.content();
}

#[tokio::test]
async fn ten_thousand_tasks_are_searched_and_leafed_through() {
    let mut stage = Visit::new().await;
    let task = stage.task("begin; end done").await;
    stage.home.post(&format!("/api/v1/tasks/{task}/archive"), &serde_json::Value::Null).await;
    stage.home.post(&format!("/api/v1/tasks/{task}/unarchive"), &serde_json::Value::Null).await;
    let address = stage.home.tcp_address().await;
    stage.home.stop().await;
    stage.home.copy_task(&task, 10_000);
    stage.home.set("ORCH_LISTEN", address.trim_start_matches("http://"));
    stage.home.start().await;
    stage.task("begin; failed \"a needle in the hay\"").await;
    stage.open("/").await;
    // Ignore the complaint that the page lost its connection when the server stopped.
    stage.browser.complaints.clear();
    assert_eq!((titles(&mut stage, "Needs your attention").await.len(), titles(&mut stage, "Done").await.len()), (1, 50));
    for _ in 0..3 {
        let first = stage.browser.value("document.querySelector('li.task:last-of-type a').href").await;
        stage.browser.click("section[aria-label=Done] > a.button").await;
        let other = format!(
            "document.readyState === 'complete' && document.querySelectorAll('section[aria-label=Done] li.task').length === 50 && ![...document.querySelectorAll('li.task a')].some((it) => it.href === {first})"
        );
        stage.browser.until(&other).await;
    }
    stage.open("/?q=needle").await;
    assert_eq!((titles(&mut stage, "Needs your attention").await.len(), titles(&mut stage, "Done").await.len()), (1, 0));
    let bytes = stage.browser.value("performance.getEntriesByType('navigation')[0].transferSize").await;
    assert!(bytes.as_u64().is_some_and(|bytes| bytes < 60_000), "{bytes}");
    stage.content();
}

#[tokio::test]
async fn a_row_says_what_its_agent_does_as_it_does_it() {
    let mut stage = Visit::new().await;
    let go = stage.home.scratch().join("go");
    let prompt = format!("begin; say \"looking around\"; await {}; say \"<b>found</b> it\"; await /never", go.display());
    let task = stage.home.task(&stage.env, &prompt).await;
    stage.open("/").await;
    stage.browser.until("document.querySelector('section[aria-label=Running] .said')?.innerText === 'looking around'").await;
    fs_err::write(&go, "").expect("written");
    stage.browser.until("document.querySelector('section[aria-label=Running] .said')?.innerText === '<b>found</b> it'").await;
    let (_, view) = stage.home.get(&format!("/api/v1/tasks/{task}")).await;
    assert_eq!(view["activity"], "<b>found</b> it");
    stage.home.post(&format!("/api/v1/tasks/{task}/stop"), &serde_json::Value::Null).await;
    assert_eq!(stage.home.settled(&task).await["activity"], serde_json::Value::Null);
    stage.content();
}

#[tokio::test]
async fn an_answer_that_is_late_takes_nothing_away_again() {
    let mut stage = Visit::new().await;
    stage.open("/").await;
    // Hold back the first answer until the test releases it, and listen to the same events as the list.
    let slow = "(async () => { const real = fetch; let asked = 0; window.through = new Promise((done) => { window.let_through = done; }); \
        window.fetch = async (...what) => { const answer = await real(...what); if (!asked++) { window.held = 1; await through; } \
        return answer; }; window.looked = () => real(location.href); window.heard = 0; \
        const source = new EventSource(document.querySelector('#list').dataset.live); \
        source.addEventListener('changed', () => heard++); \
        await new Promise((done) => source.addEventListener('server', done)); return true; })()";
    assert_eq!(stage.browser.value(slow).await, true);
    stage.home.task(&stage.env, "await /never").await;
    stage.browser.until("window.held").await;
    let heard = stage.browser.value("heard").await;
    stage.home.task(&stage.env, "await /never").await;
    stage.browser.until(&format!("heard > {heard}")).await;
    // Wait as long as a second request of the list would take.
    stage.browser.value("looked().then(() => let_through())").await;
    stage.browser.until("document.querySelectorAll('#list li.task').length === 2").await;
    // The held answer has arrived, and the list still shows both tasks.
    let same = "looked().then((it) => it.text()).then(() => document.querySelectorAll('#list li.task').length)";
    assert_eq!(stage.browser.value(same).await, 2);
    stage.content();
}
