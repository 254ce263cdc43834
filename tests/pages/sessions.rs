//! Access to the pages: a link works once, a session can be revoked, and forms without a session are rejected. The tests use a
//! browser and a program without cookies.

use reqwest::Method;
use serde_json::Value;
use testkit::TestHome;
use testkit::browser::Browser;
use testkit::small_disk::SmallDisk;
use testkit::upstream::Upstream;
use testkit::worker::scripted_worker;

use super::{Visit, sign_in};
use crate::BINARY;

/// Sends a request over TCP without a script or a cookie.
async fn plain(url: &str, method: Method, headers: &[(&str, &str)], body: &'static str) -> (u16, String) {
    let client = testkit::http_client().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    let mut request = client.request(method, url).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.expect("the server answers");
    let status = answer.status().as_u16();
    (status, answer.text().await.expect("text"))
}

#[tokio::test]
async fn without_a_session_there_is_only_the_way_to_one() {
    let stage = Visit::new().await;
    for path in ["/", "/tasks/new", "/settings", "/settings/notices", "/environments", "/live"] {
        let (status, text) = plain(&format!("{}{path}", stage.url), Method::GET, &[], "").await;
        assert_eq!((status, text.as_str()), (303, ""), "{path}");
    }
    let (status, text) = plain(&format!("{}/sign-in", stage.url), Method::GET, &[], "").await;
    assert!(status == 200 && text.contains("codex-orchestrator sign-in"));
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let (status, text) = plain(&format!("{}/sign-in", stage.url), Method::POST, &form, "code=guessed").await;
    assert!(status == 401 && text.contains("already used"), "{text}");
    let (status, _) = plain(&format!("{}/tasks", stage.url), Method::POST, &form, "env_id=x&prompt=y").await;
    assert_eq!(status, 303, "a form without a session is redirected to sign-in");
}

#[tokio::test]
async fn a_link_signs_one_browser_in_and_a_revoked_one_is_out() {
    let mut stage = Visit::new().await;
    let mut other = Browser::start().await;
    sign_in(&stage.home, &mut other).await;
    let cookie = other.value("document.cookie").await;
    assert_eq!(cookie, "", "scripts cannot read the cookie");
    stage.open("/settings").await;
    assert_eq!(stage.browser.value("document.querySelectorAll('form[action*=revoke]').length").await, 1);
    stage.browser.click("form[action*=revoke] button").await;
    stage.browser.until("document.querySelectorAll('form[action*=revoke]').length === 0").await;
    other.open(&format!("{}/", stage.url)).await;
    other.until("location.pathname === '/sign-in'").await;
    stage.browser.click("form[action='/sign-out'] button").await;
    stage.browser.until("location.pathname === '/sign-in'").await;
}

/// Runs `password` with this stdin, and returns its output.
async fn password(home: &TestHome, words: &[&str], stdin: &str) -> (bool, String) {
    let file = home.scratch().join("stdin");
    fs_err::write(&file, stdin).expect("written");
    let stdin = std::fs::File::open(&file).expect("there");
    let output = home.command(words).stdin(stdin).output().await.expect("the command can be started");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test]
async fn a_password_signs_in_where_there_is_one_and_guesses_are_limited() {
    let stage = Visit::new().await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let address = format!("{}/sign-in", stage.url);
    assert!(
        !plain(&address, Method::GET, &[], "").await.1.contains("type=\"password\""),
        "the page has no password field before a password is set"
    );
    let (status, _) = plain(&address, Method::POST, &form, "password=").await;
    assert_eq!(status, 401);
    let (done, text) = password(&stage.home, &["password", "set"], "short\n").await;
    assert!(!done && text.contains("10 characters"), "{text}");
    assert!(password(&stage.home, &["password", "set"], "correct horse battery\n").await.0);
    let mut browser = Browser::start().await;
    browser.open(&address).await;
    browser.write("#password", "correct horse battery").await;
    browser.click("form button.primary").await;
    browser.until("document.readyState === 'complete' && location.pathname === '/'").await;
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
    for _ in 0..5 {
        let (status, text) = plain(&address, Method::POST, &form, "password=wrong-guess").await;
        assert!(status == 401 && text.contains("wrong password"), "{status} {text}");
    }
    let (status, text) = plain(&address, Method::POST, &form, "password=correct+horse+battery").await;
    assert!(status == 429 && text.contains("too many wrong passwords"), "{status} {text}");
    // Sign-in links still work, and existing sessions stay valid.
    sign_in(&stage.home, &mut browser).await;
    let home = stage.home.path();
    let found = std::process::Command::new("grep")
        .args(["-rlE", "horse|wrong-guess"])
        .arg(home)
        .output()
        .expect("the command can be started");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "no file contains the password or the guess");
    assert!(password(&stage.home, &["password", "remove"], "").await.0);
    let (status, _) = plain(&address, Method::POST, &form, "password=correct+horse+battery").await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn who_is_signed_out_hears_no_more() {
    let mut stage = Visit::new().await;
    let go = stage.home.scratch().join("go");
    let prompt = format!("begin; say before; await {}; say after; end done", go.display());
    let task = stage.home.task(&stage.env, &prompt).await;
    stage.open(&format!("/tasks/{task}")).await;
    stage.browser.until("document.querySelector('#transcript .agent')?.innerText.includes('before')").await;
    let mut other = Browser::start().await;
    sign_in(&stage.home, &mut other).await;
    other.open(&format!("{}/settings", stage.url)).await;
    other.click("form[action*=revoke] button").await;
    other.until("document.querySelectorAll('form[action*=revoke]').length === 0").await;
    other.open(&format!("{}/tasks/{task}", stage.url)).await;
    fs_err::write(&go, "").expect("written");
    other.until("document.querySelectorAll('#transcript .agent').length === 3").await;
    let heard = stage.browser.value("document.querySelectorAll('#transcript .agent').length").await;
    assert_eq!(heard, 1, "the revoked browser receives no more messages");
    let asked = format!("fetch('/tasks/{task}/live?run=1&offset=0', {{ redirect: 'manual' }}).then((answer) => answer.type)");
    assert_eq!(stage.browser.value(&asked).await, "opaqueredirect");
}

#[tokio::test]
async fn a_full_disk_hides_no_page() {
    let upstream = Upstream::new();
    let mut home = TestHome::new(BINARY);
    let disk = SmallDisk::mount(&home.path(), 32);
    home.set("ORCH_WORKER", scripted_worker(home.scratch()));
    home.set("ORCH_LISTEN", "127.0.0.1:0");
    home.start().await;
    let env = home.environment(&upstream.url()).await;
    let mut browser = Browser::start().await;
    let url = sign_in(&home, &mut browser).await;
    let task = home.task(&env, "begin; end \"All done.\"").await;
    home.settled(&task).await;
    let ballast = disk.fill();
    browser.open(&format!("{url}/tasks/{task}")).await;
    browser.until("document.querySelector('#transcript .agent')?.innerText.includes('All done.')").await;
    fs_err::remove_file(ballast).expect("ours");
    home.stop().await;
}

#[tokio::test]
async fn a_form_without_its_token_changes_nothing() {
    let mut stage = Visit::new().await;
    stage.open("/tasks/new").await;
    let sent = |token: &str| {
        format!(
            "fetch('/tasks', {{ method: 'POST', redirect: 'manual', body: new URLSearchParams({{ form_token: '{token}', \
             env_id: '{}', prompt: 'begin; end x' }}) }}).then((answer) => answer.status)",
            stage.env
        )
    };
    let (without, wrong) = (sent(""), sent("0123456789abcdef0123456789abcdef"));
    assert_eq!(stage.browser.value(&without).await, 400);
    assert_eq!(stage.browser.value(&wrong).await, 400);
    let (_, page) = stage.home.get("/api/v1/tasks").await;
    assert_eq!(page["items"].as_array().map(Vec::len), Some(0));
    let twice = "Promise.all([0, 1].map(() => fetch('/tasks', { method: 'POST', redirect: 'manual', \
        body: new URLSearchParams(new FormData(document.querySelector('form.stack'))) }))).then((all) => all.length)";
    stage.browser.write("#prompt", "begin; end once").await;
    assert_eq!(stage.browser.value(twice).await, 2);
    let (_, page): (u16, Value) = stage.home.get("/api/v1/tasks").await;
    assert_eq!(page["items"].as_array().map(Vec::len), Some(1), "a double tap creates one task");
}
