//! Takes screenshots of the main pages for the README: on a phone and a desktop, in light and dark colors.
//!
//! `cargo xtask screenshots` builds the program and runs this example with the path of the program and the output folder.

use std::path::PathBuf;

use testkit::TestHome;
use testkit::browser::{Browser, DESK, PHONE, Screen};
use testkit::upstream::Upstream;
use testkit::worker::scripted_worker;

/// The script of the agent in the screenshots.
const WORK: &str = r#"begin
line() { printf '%s\n' "$1"; }
line '{"type":"item.completed","item":{"id":"item_1","type":"reasoning","text":"**Looking at the failing test first**"}}'
line '{"type":"item.completed","item":{"id":"item_2","type":"todo_list","items":[{"text":"run the tests","completed":true},{"text":"fix the parser","completed":true},{"text":"add a test for the empty file","completed":false}]}}'
line '{"type":"item.completed","item":{"id":"item_3","type":"command_execution","command":"/bin/bash -lc '"'"'cargo test'"'"'","aggregated_output":"running 12 tests\n\u001b[31mtest parser::empty_file ... FAILED\u001b[0m\ntest parser::one_line ... ok\n\nfailures: parser::empty_file\n","exit_code":101,"status":"failed"}}'
mkdir -p src
printf 'pub fn lines(text: &str) -> usize {\n    if text.is_empty() {\n        return 0;\n    }\n    text.lines().count()\n}\n' > src/parser.rs
line '{"type":"item.completed","item":{"id":"item_4","type":"file_change","changes":[{"path":"/workspace/worktree/src/parser.rs","kind":"update"}],"status":"completed"}}'
line '{"type":"item.completed","item":{"id":"item_5","type":"command_execution","command":"/bin/bash -lc '"'"'cargo test'"'"'","aggregated_output":"running 12 tests\n\u001b[32mtest result: ok. 12 passed\u001b[0m\n","exit_code":0,"status":"completed"}}'
end "The parser counted one line in an **empty file**. It returns 0 now:\n\n* src/parser.rs: an early return\n* all 12 tests pass"
"#;

async fn picture(browser: &mut Browser, url: &str, ready: &str, name: &str, folder: &std::path::Path) {
    for (screen, word) in [(PHONE, "phone"), (DESK, "desk")] {
        for (dark, shade) in [(false, "light"), (true, "dark")] {
            browser.look(Screen { dark, ..screen }).await;
            browser.open(url).await;
            browser.until(ready).await;
            browser.picture(&folder.join(format!("{name}-{word}-{shade}.png"))).await;
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (binary, folder) = (arguments.next().expect("the program"), arguments.next().expect("a folder"));
    let binary = binary.canonicalize().expect("the program exists");
    fs_err::create_dir_all(&folder).expect("the folder can be created");
    let upstream = Upstream::new();
    upstream.commit(
        "main",
        &[("src/parser.rs", "pub fn lines(text: &str) -> usize {\n    text.split('\\n').count()\n}\n")],
        "a parser",
    );
    let mut home = TestHome::new(binary.to_str().expect("text"));
    home.set("ORCH_WORKER", scripted_worker(home.scratch()));
    home.set("ORCH_LISTEN", "127.0.0.1:0");
    home.start().await;
    let env = home.environment(&upstream.url()).await;
    let titled = async |title: &str, prompt: &str| {
        let body = serde_json::json!({ "env_id": env, "prompt": prompt, "title": title });
        let (_, view) = home.post("/api/v1/tasks", &body).await;
        view["task_id"].as_str().expect("an id").to_owned()
    };
    let failed = titled("Upgrade the HTTP client", "begin; failed \"the model is overloaded\"").await;
    home.settled(&failed).await;
    let running = titled("Write the missing CLI docs", "begin; say \"Reading the help texts.\"; sleep 600").await;
    let done = titled("Fix the failing test in the parser", WORK).await;
    home.settled(&done).await;
    home.wait_for(&format!("/api/v1/tasks/{running}"), |task| task["runs"][0]["turn_started"] == true).await;
    let link = home.command(&["sign-in"]).output().await.expect("it starts");
    let link = String::from_utf8_lossy(&link.stdout).trim().to_owned();
    let url = link.split("/sign-in").next().expect("the link contains `/sign-in`").to_owned();
    let mut browser = Browser::start().await;
    browser.open(&link).await;
    browser.click("form button.primary").await;
    browser.until("document.querySelector('nav.around')").await;
    picture(&mut browser, &format!("{url}/"), "document.querySelectorAll('li.task').length === 3", "tasks", &folder).await;
    let path = format!("{url}/tasks/{done}");
    picture(&mut browser, &path, "document.querySelector('.run-end')", "task", &folder).await;
    picture(&mut browser, &format!("{path}/changes"), "document.querySelector('table.diff')", "changes", &folder).await;
    home.stop().await;
}
