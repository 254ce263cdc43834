//! What an agent leaves in `/artifacts` of a real container: it is kept for each run, whatever it is, and is harmless.
//!
//! The Codex CLI is real, and only the model is scripted.

use std::time::Duration;

use fs_err as fs;
use scripted_model::{Item, Script, Turn};
use serde_json::{Value, json};
use testkit::TestHome;
use testkit::browser::{Browser, PHONE};
use testkit::docker;
use testkit::pictures::{PNG, data_url};
use testkit::shell_agent::ShellAgent;
use testkit::upstream::Upstream;

use crate::BINARY;
use crate::container_codex::setup;
use crate::stage::{completed, id_of};

/// A test report with one failure.
pub(crate) const REPORT: &str = "<?xml version=\"1.0\"?><testsuites><testsuite name=\"unit\" tests=\"3\" failures=\"1\" skipped=\"1\" time=\"0.5\">\
    <testcase name=\"adds\"/><testcase classname=\"math\" name=\"divides\"><failure message=\"division by &lt;zero&gt;\">trace</failure></testcase>\
    <testcase name=\"later\"><skipped/></testcase></testsuite></testsuites>";

/// Returns a command that leaves files of all kinds.
fn leave() -> Item {
    let encoded = |bytes: &[u8]| data_url("", bytes).split(',').next_back().map(str::to_owned).unwrap_or_default();
    let (png, report) = (encoded(PNG), encoded(REPORT.as_bytes()));
    Item::shell(format!(
        "set -e; cd /artifacts; mkdir -p shots; echo {png} | base64 -d > shots/page.png; echo {report} | base64 -d > report.xml; \
         printf 'all <b>good</b>\\n' > build.log; ln -s /etc/passwd passwd; ln -s / root; mkfifo fifo; truncate -s 10G huge; \
         chmod 6777 build.log; mkdir closed; echo hidden > closed/file; chmod 000 closed; echo left"
    ))
}

fn list(task: &Value, run: u32) -> String {
    format!("/api/v1/tasks/{}/runs/{run}/artifacts", id_of(task))
}

fn paths(list: &Value, key: &str) -> Vec<String> {
    let all = list[key].as_array().expect("a list");
    all.iter().map(|item| item["path"].as_str().expect("a path").to_owned()).collect()
}

#[tokio::test]
async fn what_an_agent_leaves_is_kept_for_each_run_and_is_harmless() {
    let script = Script::new().turn(Turn::containing("leave files").step([leave()]).says("done")).turn(
        Turn::containing("leave more")
            .step([Item::shell("ls -A /artifacts > /tmp/found; wc -l < /tmp/found > /artifacts/count; echo counted")])
            .says("done"),
    );
    let stage = setup(script, docker::codex_image()).start().await;
    let first = stage.run("leave files").await;
    assert!(stage.log(completed(&first), 1).await.contains("left\\n"));
    assert_eq!(first["runs"][0]["artifacts"], 4, "{first}");
    let notes = first["runs"][0]["notes"].to_string();
    assert!(notes.contains("4 artifacts were not kept") && notes.contains("`huge` (larger than 100 MiB)"), "{notes}");

    let found = stage.home.get(&list(&first, 1)).await.1;
    let expected = json!([
        { "path": "build.log", "bytes": 16, "kind": "text" },
        { "path": "closed/file", "bytes": 7, "kind": "text" },
        { "path": "report.xml", "bytes": REPORT.len(), "kind": "junit" },
        { "path": "shots/page.png", "bytes": PNG.len(), "kind": "image" },
    ]);
    assert_eq!(found["artifacts"], expected);
    assert_eq!(paths(&found, "left_out"), ["fifo", "huge", "passwd", "root"]);
    let read = |path: &str| stage.home.request(reqwest::Method::GET, &format!("{}/{path}", list(&first, 1))).send();
    let answer = read("build.log").await.expect("an answer");
    assert_eq!(answer.headers()["content-disposition"], "attachment; filename=\"build.log\"");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    assert_eq!(answer.text().await.expect("text"), "all <b>good</b>\n");
    for missing in ["passwd", "root%2Fetc%2Fpasswd", "..%2Frun-001.jsonl", "list.json", "0", "huge"] {
        assert_eq!(read(missing).await.expect("an answer").status(), 404, "{missing}");
    }

    let second = stage.resume(&first, "leave more").await;
    let found = stage.home.get(&list(completed(&second), 2)).await.1;
    assert_eq!((paths(&found, "artifacts"), found["left_out"].clone()), (vec!["count".to_owned()], json!([])));
    assert_eq!(stage.home.text(&format!("{}/count", list(&second, 2))).await, "0\n", "each run gets an empty folder");
    assert_eq!(stage.home.get(&list(&first, 1)).await.1["artifacts"], expected);
    assert_eq!(stage.home.get(&list(&first, 3)).await.0, 404);

    let into = stage.home.scratch().join("downloaded");
    let folder = into.to_str().expect("text");
    let done = stage
        .home
        .command(&["task", "artifacts", id_of(&first), "--run", "1", "--download", folder])
        .output()
        .await
        .expect("started");
    assert!(done.status.success(), "{done:?}");
    assert_eq!(fs::read(into.join("shots/page.png")).expect("downloaded"), PNG);

    let logs = stage.folder(id_of(&first)).join("logs");
    let left =
        fs::read_dir(&logs).expect("a folder").map(|entry| entry.expect("an entry").file_name().into_string().expect("text"));
    let mut left: Vec<_> = left.filter(|name| name.contains("artifacts")).collect();
    left.sort();
    assert_eq!(left, ["run-001.artifacts", "run-002.artifacts"], "the folders of the agent are deleted");
    assert_eq!(stage.home.delete(&format!("/api/v1/tasks/{}", id_of(&first))).await.0, 204);
    assert!(!logs.exists(), "the artifacts move to the trash with their task");
    let (status, collected) = stage.home.post("/api/v1/gc", &json!({ "older_than_days": 0 })).await;
    assert_eq!(status, 200, "{collected}");
    let trash = fs::read_dir(stage.home.path().join("trash")).expect("a folder");
    assert_eq!(trash.count(), 0, "{collected}");
}

#[tokio::test]
async fn the_page_of_a_task_displays_images_texts_and_test_reports() {
    let script = Script::new().turn(Turn::containing("leave files").step([leave()]).says("done"));
    let stage = setup(script, docker::codex_image()).set("ORCH_LISTEN", "127.0.0.1:0").start().await;
    let task = stage.run("leave files").await;
    let mut browser = Browser::start().await;
    browser.look(PHONE).await;
    let url = browser.sign_in(&stage.home).await;
    browser.open(&format!("{url}/tasks/{}", id_of(completed(&task)))).await;
    browser.click("details.artifacts > summary").await;
    browser.until("[...document.querySelectorAll('.run-end ul.images img')].some(image => image.naturalWidth > 0)").await;
    let summaries = "[...document.querySelectorAll('ul.artifacts summary')]";
    browser.value(&format!("{summaries}.forEach(summary => summary.click())")).await;
    browser.until("document.querySelectorAll('table.tests tbody td').length === 6").await;
    browser.until("document.querySelector('ul.artifacts').innerText.includes('all <b>good</b>')").await;
    let cells = "[...document.querySelectorAll('table.tests td')].map(cell => cell.innerText).join(' ')";
    assert_eq!(browser.value(cells).await, "unit 3 1 0 1 0.500 s");
    let failure = browser.value("document.querySelector('details.failure').innerText").await.to_string();
    assert!(failure.contains("math › divides") && failure.contains("division by <zero>\\ntrace"), "{failure}");
    let names = browser.value("document.querySelector('.run-end').innerText").await.to_string();
    assert!(names.contains("passwd not a regular file") && names.contains("huge larger than 100 MiB"), "{names}");
    let wide = browser.value("document.documentElement.scrollWidth > document.documentElement.clientWidth").await;
    assert_eq!(wide, false, "the page is not wider than the screen");
}

#[tokio::test]
async fn the_model_is_told_about_the_folder_and_a_run_that_survives_its_server_keeps_what_it_left() {
    let wait = "echo early > /artifacts/early; until [ -e /artifacts/go ]; do sleep 0.05; done; echo late > /artifacts/late";
    let script = Script::new().turn(Turn::containing("wait for it").step([Item::shell(wait)]).says("done"));
    let mut stage = setup(script, docker::codex_image()).container(&json!({ "user": "caller" })).start().await;
    let id = stage.home.task(&stage.env, "wait for it").await;
    let open = stage.folder(&id).join("logs/run-001.artifacts-open");
    testkit::until(Duration::from_mins(1), "the first file", || open.join("early").exists());
    let told = stage.model().requests().iter().any(|request| request.body.to_string().contains("/artifacts"));
    assert!(told, "the instructions name the folder");
    stage.home.kill().await;
    stage.home.start().await;
    fs::write(open.join("go"), "").expect("written");
    let task = stage.home.settled(&id).await;
    let found = stage.home.get(&list(completed(&task), 1)).await.1;
    assert_eq!(paths(&found, "artifacts"), ["early", "go", "late"], "{found}");
}

#[tokio::test]
async fn a_server_that_dies_while_it_keeps_artifacts_has_them_at_the_next_start() {
    let mut home = TestHome::new(BINARY);
    home.set("ORCH_CRASH_AT", "artifacts-kept");
    let mut stage = ShellAgent::in_home(home, Upstream::new(), &json!({})).await;
    let task = stage.home.task(&stage.env, "echo x > /artifacts/a; echo y > work").await;
    stage.home.ended().await;
    stage.home.set("ORCH_CRASH_AT", "");
    stage.home.start().await;
    let task = stage.home.settled(&task).await;
    let found = stage.home.get(&list(completed(&task), 1)).await.1;
    assert_eq!((paths(&found, "artifacts"), &task["runs"][0]["artifacts"]), (vec!["a".to_owned()], &json!(1)));
    let logs = stage.home.path().join("tasks").join(id_of(&task)).join("logs");
    assert!(!logs.join("run-001.artifacts-open").exists());
}
