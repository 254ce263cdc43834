//! Retrying a failed task: with the button on its page, on the command line and over HTTP. Without a thread the prompt runs
//! again; with one, the agent gets a note to continue. Sending a form twice retries once.

use reqwest::Method;
use serde_json::{Value, json};

use super::Visit;

const NOTE: &str = "Your previous turn was interrupted (";

/// Returns a prompt that runs `first` until a file marks the problem as fixed, and completes after that.
fn prompt(stage: &Visit, first: &str) -> String {
    let fixed = stage.home.scratch().join("fixed");
    format!("[ -e {0} ] || {{ {first}; }}; begin; end \"It works now.\"", fixed.display())
}

fn fix(stage: &Visit) {
    fs_err::write(stage.home.scratch().join("fixed"), "").expect("written");
}

async fn task(stage: &Visit, id: &str) -> Value {
    stage.home.get(&format!("/api/v1/tasks/{id}")).await.1
}

#[tokio::test]
async fn a_task_that_failed_before_its_thread_runs_its_prompt_again_without_a_script() {
    let mut stage = Visit::new().await;
    let prompt = prompt(&stage, "echo 'your login has expired' >&2; exit 1");
    let id = stage.task(&prompt).await;
    assert_eq!((&task(&stage, &id).await["status"], &task(&stage, &id).await["thread_id"]), (&json!("failed"), &json!(null)));
    fix(&stage);
    stage.browser.without_scripts().await;
    stage.open(&format!("/tasks/{id}")).await;
    assert!(stage.text().await.contains("Retry runs the same prompt again."), "{}", stage.text().await);
    stage.browser.click("form[action$='/retry'] button").await;
    let done = stage.home.wait_for(&format!("/api/v1/tasks/{id}"), |task| task["runs"][1]["status"] == "completed").await;
    assert_eq!((done["runs"][1]["prompt"].as_str(), &done["runs"][1]["cause"]), (Some(prompt.as_str()), &json!("retry")));
    stage.open(&format!("/tasks/{id}")).await;
    assert!(stage.text().await.contains("It works now."));
    assert_eq!(
        stage.browser.value("document.querySelectorAll('form[action$=\"/retry\"]').length").await,
        0,
        "a completed task has no button to retry"
    );
    stage.content();
}

#[tokio::test]
async fn a_task_that_failed_in_its_thread_continues_it_and_a_double_tap_retries_once() {
    let mut stage = Visit::new().await;
    let id = stage.task("begin; failed 'stream disconnected'").await;
    stage.open(&format!("/tasks/{id}")).await;
    // Sending the form twice retries once. The scripted worker does not understand the note, and fails again.
    let twice = "Promise.all([0, 1].map(() => { const form = document.querySelector('form[action$=\"/retry\"]'); \
        return fetch(form.action, { method: 'POST', body: new URLSearchParams(new FormData(form)) }); })) \
        .then((all) => all.map((answer) => answer.status))";
    assert_eq!(stage.browser.value(twice).await, json!([200, 200]));
    stage.home.settled(&id).await;
    let retried = task(&stage, &id).await;
    let run = &retried["runs"][1];
    assert!(run["prompt"].as_str().is_some_and(|prompt| prompt.starts_with(NOTE)), "{run}");
    assert_eq!((&run["resumes"], retried["runs"].as_array().map(Vec::len)), (&retried["thread_id"], Some(2)));
    // An open page offers a retry as soon as the run has failed.
    stage
        .browser
        .until("document.querySelectorAll('.run-end').length === 2 && document.querySelector('form[action$=\"/retry\"]')")
        .await;
    stage.browser.click("form[action$='/retry'] button").await;
    stage.home.wait_for(&format!("/api/v1/tasks/{id}"), |task| task["runs"][2].is_object()).await;
    stage.content();
}

#[tokio::test]
async fn the_command_line_and_the_api_retry_too_and_say_what_cannot_be() {
    let stage = Visit::new().await;
    let id = stage.task(&prompt(&stage, "exit 1")).await;
    fix(&stage);
    let output = stage.home.command(&["task", "retry", "--follow", &id]).output().await.expect("the command can be started");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("It works now."), "{output:?}");
    let (status, answer) = stage.home.post(&format!("/api/v1/tasks/{id}/retry"), &json!(null)).await;
    assert_eq!((status, &answer["code"]), (409, &json!("not_failed")), "{answer}");

    let id = stage.task("begin; failed nothing").await;
    let asked = async || {
        let request = stage.home.request(Method::POST, &format!("/api/v1/tasks/{id}/retry"));
        request.header("Idempotency-Key", "once").send().await.expect("the server answers").status().as_u16()
    };
    assert_eq!((asked().await, asked().await), (201, 201));
    stage.home.settled(&id).await;
    assert_eq!(task(&stage, &id).await["runs"].as_array().map(Vec::len), Some(2));
}
