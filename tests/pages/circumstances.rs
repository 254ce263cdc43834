//! Pages in unusual situations: several tabs, a reload, no network for a while, no scripts. Everything that an agent wrote in the
//! meantime is shown afterwards, exactly once.

use serde_json::{Value, json};
use testkit::browser::{Browser, DESK, PHONE};

use super::{Visit, sign_in};

const SAID: &str = "[...document.querySelectorAll('#transcript .agent')].map((it) => it.innerText.trim())";

/// Returns the prompt of a worker that prints something, waits for a file, and so on.
fn prompt(files: &[&std::path::Path]) -> String {
    let steps = files.iter().enumerate().map(|(n, file)| format!("say {n}; await {}; ", file.display()));
    format!("begin; {}end done", steps.collect::<String>())
}

#[tokio::test]
async fn two_tabs_and_a_reload_in_the_middle_show_the_same_each_once() {
    let mut stage = Visit::new().await;
    let (one, two) = (stage.home.scratch().join("one"), stage.home.scratch().join("two"));
    let task = stage.home.task(&stage.env, &prompt(&[&one, &two])).await;
    let mut other = Browser::start().await;
    sign_in(&stage.home, &mut other).await;
    let address = format!("{}/tasks/{task}", stage.url);
    for browser in [&mut stage.browser, &mut other] {
        browser.open(&address).await;
        browser.until(&format!("{SAID}.join() === '0'")).await;
    }
    fs_err::write(&one, "").expect("written");
    stage.browser.until(&format!("{SAID}.join() === '0,1'")).await;
    stage.browser.reload().await;
    fs_err::write(&two, "").expect("written");
    for browser in [&mut stage.browser, &mut other] {
        browser.until("document.querySelector('.run-end') && document.querySelector('#state .s-completed') !== null").await;
        assert_eq!(browser.value(SAID).await, json!(["0", "1", "done"]));
    }
    // A request in one tab appears in the other one.
    other.write("#say", "begin; say more; end \"all of it\"").await;
    other.click(".composer button.primary").await;
    stage.browser.until("document.querySelectorAll('.run-head').length === 2").await;
    stage.browser.until(&format!("{SAID}.at(-1) === 'all of it'")).await;
    stage.content();
}

#[tokio::test]
async fn who_was_offline_is_told_so_and_catches_up() {
    let mut stage = Visit::new().await;
    let (one, two) = (stage.home.scratch().join("one"), stage.home.scratch().join("two"));
    let task = stage.home.task(&stage.env, &prompt(&[&one, &two])).await;
    stage.browser.look(PHONE).await;
    stage.open(&format!("/tasks/{task}")).await;
    stage.browser.until(&format!("{SAID}.join() === '0'")).await;
    stage.browser.offline(true).await;
    stage.browser.until("document.querySelector('#connection').innerText.includes('Offline')").await;
    // Pretend that the phone sleeps, so that its page receives nothing.
    let sleep = |hidden: bool| {
        format!(
            "Object.defineProperty(document, 'hidden', {{ configurable: true, get: () => {hidden} }}); \
             document.dispatchEvent(new Event('visibilitychange'))"
        )
    };
    stage.browser.value(&sleep(true)).await;
    fs_err::write(&one, "").expect("written");
    fs_err::write(&two, "").expect("written");
    stage.home.settled(&task).await;
    assert_eq!(stage.browser.value(SAID).await, json!(["0"]));
    stage.browser.offline(false).await;
    stage.browser.value(&sleep(false)).await;
    stage.browser.until("document.querySelector('.run-end') && document.querySelector('#state .s-completed') !== null").await;
    assert_eq!(stage.browser.value(SAID).await, json!(["0", "1", "done"]), "each message is shown once");
    stage.browser.until("document.querySelector('#connection').hidden").await;
}

#[tokio::test]
async fn a_form_that_is_sent_again_does_it_once_and_a_changed_one_is_something_new() {
    let mut stage = Visit::new().await;
    // Send a form repeatedly, like a browser that lost the answer or went back to the page.
    let sent = |form: &str, prompts: [&str; 3]| {
        format!(
            "(async () => {{ const form = document.querySelector('{form}'); const seen = []; \
             for (const prompt of {}) {{ form.prompt.value = prompt; \
             seen.push((await fetch(form.action, {{ method: 'POST', body: new FormData(form) }})).url); }} return seen; }})()",
            json!(prompts)
        )
    };
    stage.open("/tasks/new").await;
    let seen = stage.browser.value(&sent("form.stack", ["begin; end one", "begin; end one", "begin; end two"])).await;
    assert!(seen[0] == seen[1] && seen[1] != seen[2], "{seen}");
    let (_, list) = stage.home.get("/api/v1/tasks").await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(2), "{list}");

    let task = seen[2].as_str().and_then(|url| url.rsplit('/').next()).expect("a task").to_owned();
    stage.home.settled(&task).await;
    stage.open(&format!("/tasks/{task}")).await;
    stage.browser.value(&sent("form.composer", ["begin; end again", "begin; end again", "begin; end more"])).await;
    let prompts = |task: &Value| {
        let runs = task["runs"].as_array().into_iter().flatten().chain(task["follow_ups"].as_array().into_iter().flatten());
        runs.filter_map(|run| run["prompt"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let told = prompts(&stage.home.get(&format!("/api/v1/tasks/{task}")).await.1);
    assert_eq!(told, ["begin; end two", "begin; end again", "begin; end more"]);
}

/// An expression that is true if the browser could not reach the server.
const NOWHERE: &str = "location.protocol === 'chrome-error:'";

#[tokio::test]
async fn what_could_not_be_sent_is_still_there_and_what_was_sent_is_not() {
    let mut stage = Visit::new().await;
    stage.browser.look(PHONE).await;
    let task = stage.task("begin; printf 'a\\nb\\n' > file.txt; end done").await;
    let page = format!("/tasks/{task}");
    let drafts = "Object.keys(localStorage).filter((key) => key.startsWith('draft:')).length";

    stage.open(&page).await;
    stage.browser.write("#say", "begin; end again").await;
    stage.browser.offline(true).await;
    stage.browser.click(".composer button.primary").await;
    stage.browser.until(NOWHERE).await;
    stage.browser.offline(false).await;
    stage.open(&page).await;
    assert_eq!(stage.browser.value("document.querySelector('#say').value").await, "begin; end again");
    stage.browser.click(".composer button.primary").await;
    stage.browser.until("document.querySelectorAll('.run-end').length === 2").await;
    assert_eq!(stage.browser.value("document.querySelector('#say').value").await, "");
    assert_eq!(stage.browser.value(drafts).await, 0);

    // The draft of a rejected form is kept, too.
    stage.open("/tasks/new").await;
    stage.browser.write("#prompt", "What do I do?").await;
    stage.browser.write("#ref", "nowhere").await;
    stage.browser.click("form button.primary").await;
    stage.browser.until("document.querySelector('#ref-wrong')").await;
    assert_eq!(stage.browser.value(drafts).await, 1);
    stage.open("/tasks/new").await;
    assert_eq!(stage.browser.value("document.querySelector('#prompt').value").await, "What do I do?");
    stage.browser.click("form button.primary").await;
    stage.browser.until("location.pathname.startsWith('/tasks/0')").await;
    assert_eq!(stage.browser.value(drafts).await, 0);

    stage.open(&format!("{page}/changes")).await;
    stage.browser.click("tr.add .code").await;
    stage.browser.type_text("Why?").await;
    stage.browser.write("#comments", "All in all").await;
    stage.browser.offline(true).await;
    stage.browser.click(".composer button").await;
    stage.browser.until(NOWHERE).await;
    stage.browser.offline(false).await;
    stage.open(&format!("{page}/changes")).await;
    assert_eq!(stage.browser.value("document.querySelector('.note textarea').value").await, "Why?");
    assert_eq!(stage.browser.value("document.querySelector('#comments').value").await, "All in all");
    stage.browser.click(".composer button").await;
    stage.browser.until("document.querySelectorAll('.run-head').length === 3").await;
    assert_eq!(stage.browser.value(drafts).await, 0);
}

#[tokio::test]
async fn without_a_script_links_and_forms_do_the_work() {
    let mut stage = Visit::new().await;
    stage.browser.look(PHONE).await;
    stage.browser.without_scripts().await;
    stage.open("/tasks/new").await;
    let fill = |field: &str, text: &str| format!("document.querySelector('{field}').value = {}", json!(text));
    stage.browser.value(&fill("#prompt", "begin; echo one > one.txt; end \"All *done*.\"")).await;
    stage.browser.click("form button.primary").await;
    stage.browser.until("document.readyState === 'complete' && location.pathname.startsWith('/tasks/0')").await;
    let (_, page) = stage.home.get("/api/v1/tasks").await;
    let task = page["items"][0]["task_id"].as_str().expect("a task").to_owned();
    stage.home.settled(&task).await;
    stage.open(&format!("/tasks/{task}")).await;
    assert_eq!(stage.browser.value("document.querySelector('.agent em').innerText").await, "done");
    assert_eq!(stage.browser.value("typeof htmx").await, "undefined", "the browser runs no script");
    stage.browser.value(&fill("#say", "begin; echo two > two.txt; end more")).await;
    stage.browser.click(".composer button.primary").await;
    stage.home.wait_for(&format!("/api/v1/tasks/{task}"), |task| task["runs"][1]["status"] == "completed").await;
    stage.open(&format!("/tasks/{task}")).await;
    // The page links to the transcript of the first run.
    stage.browser.click("li.older a").await;
    stage.browser.until("document.readyState === 'complete' && location.pathname.endsWith('/older')").await;
    assert!(stage.text().await.contains("All done."), "{}", stage.text().await);
    stage.open(&format!("/tasks/{task}/changes")).await;
    assert_eq!(stage.browser.value("document.querySelectorAll('.file').length").await, 2);
    stage.browser.value(&fill("#comments", "begin; end answered")).await;
    stage.browser.click("form[data-review] .composer button").await;
    stage.home.wait_for(&format!("/api/v1/tasks/{task}"), |task| task["runs"][2].is_object()).await;
    stage.home.settled(&task).await;
    stage.open(&format!("/tasks/{task}")).await;
    stage.browser.click("form[action$='/archive'] button").await;
    stage.browser.until("document.readyState === 'complete' && location.pathname === '/'").await;
    assert!(stage.text().await.contains("No tasks."));
    stage.content();
}

#[tokio::test]
async fn pages_stay_where_they_are_while_they_load() {
    let mut stage = Visit::new().await;
    let task = stage.task("begin; echo work > work.txt; end \"# All done\"").await;
    for screen in [PHONE, DESK] {
        stage.browser.look(screen).await;
        for path in ["/".to_owned(), format!("/tasks/{task}"), format!("/tasks/{task}/changes"), "/tasks/new".to_owned()] {
            stage.open(&path).await;
            let shift = "new Promise((done) => { let sum = 0; new PerformanceObserver((list) => {
                for (const it of list.getEntries()) if (!it.hadRecentInput) sum += it.value;
            }).observe({ type: 'layout-shift', buffered: true }); setTimeout(() => done(sum), 300); })";
            let shift = stage.browser.value(shift).await;
            // This is the limit for a good layout shift score.
            assert!(shift.as_f64().is_some_and(|shift| shift < 0.1), "{path}: {shift}");
        }
    }
}
