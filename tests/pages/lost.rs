//! URLs without a page, and returning to a page after sign-in. Browsers get pages and redirects; programs and API clients get
//! problem+json.

use reqwest::{Method, Response, header};
use serde_json::json;
use testkit::browser::Browser;

use super::{Visit, sign_in};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
const PROGRAM: &str = "*/*";
const UNKNOWN: &str = "01a20000-0000-7000-8000-000000000000";

/// Sends a request like a browser or a program, without following redirects.
async fn ask(method: Method, url: &str, accept: &str, cookies: &str, body: &str) -> Response {
    let client = testkit::http_client().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    let request = client.request(method, url).header(header::ACCEPT, accept).header(header::COOKIE, cookies);
    let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(body.to_owned());
    request.send().await.expect("the server answers")
}

fn text<'a>(answer: &'a Response, name: &header::HeaderName) -> &'a str {
    answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[tokio::test]
async fn the_address_of_a_form_opens_the_page_that_the_form_is_on() {
    let mut stage = Visit::new().await;
    let cookies = stage.browser.cookies(&stage.url).await;
    let task = format!("/tasks/{UNKNOWN}");
    let environment = format!("/environments/{}", stage.env);
    let below =
        |page: &str, forms: &[&str]| forms.iter().map(|form| (format!("{page}/{form}"), page.to_owned())).collect::<Vec<_>>();
    let forms = [
        vec![("/tasks".to_owned(), "/".to_owned()), ("/tasks/selected".to_owned(), "/".to_owned())],
        vec![("/sign-out".to_owned(), "/".to_owned())],
        below(
            &task,
            &["say", "continue", "retry", "archive", "push", "update", "feedback", "follow-ups/1", "follow-ups/1/remove"],
        ),
        below(&format!("{task}/changes"), &["viewed"]),
        below(&environment, &["fetch", "retry"]),
        below("/settings/notices", &["ntfy/test", "devices", "devices/1/test", "devices/1/remove"]),
        below("/settings", &["sessions/1/revoke"]),
        below("/trash", &["tasks/1/restore", "environments/1/restore"]),
    ];
    for (form, page) in forms.concat() {
        let url = format!("{}{form}", stage.url);
        for method in [Method::GET, Method::HEAD] {
            let answer = ask(method.clone(), &url, BROWSER, &cookies, "").await;
            assert_eq!((answer.status().as_u16(), text(&answer, &header::LOCATION)), (303, page.as_str()), "{method} {form}");
            let answer = ask(method, &url, PROGRAM, &cookies, "").await;
            assert_eq!((answer.status().as_u16(), text(&answer, &header::ALLOW)), (405, "POST"), "{form}");
            assert_eq!(text(&answer, &header::CONTENT_TYPE), "application/problem+json", "{form}");
        }
    }
    stage.open("/tasks/selected").await;
    assert_eq!(stage.browser.value("location.pathname").await, "/");
    stage.content();
}

#[tokio::test]
async fn an_address_that_leads_nowhere_is_a_page_with_a_way_back() {
    let mut stage = Visit::new().await;
    let cookies = stage.browser.cookies(&stage.url).await;
    let task = stage.task("begin; end done").await;
    for path in [
        "/nowhere",
        "/nowhere/at/all?a=b",
        "/assets/nothing.js",
        "/tasks/no-id",
        "/tasks/%ff",
        &format!("/tasks/{UNKNOWN}"),
        &format!("/tasks/{UNKNOWN}/changes"),
        &format!("/tasks/{UNKNOWN}/stop"),
        &format!("/tasks/{task}/nothing"),
        &format!("/tasks/{task}/runs/9/older"),
        &format!("/tasks/{task}/runs/one/older"),
        &format!("/tasks/{task}/runs/1/older?before=x"),
        &format!("/tasks/{task}/runs/1/output"),
        &format!("/tasks/{task}/runs/99999999999/log"),
        &format!("/environments/{UNKNOWN}"),
        "/environments/no-id",
    ] {
        for method in [Method::GET, Method::HEAD] {
            let answer = ask(method.clone(), &format!("{}{path}", stage.url), BROWSER, &cookies, "").await;
            let kind = text(&answer, &header::CONTENT_TYPE).to_owned();
            assert!(answer.status() == 404 && kind == "text/html; charset=utf-8", "{method} {path}: {answer:?}");
            let page = answer.text().await.expect("text");
            if method == Method::GET {
                assert!(page.contains("Go to tasks") && page.contains("class=\"around\""), "{path}: {page}");
            }
        }
    }
    for (path, cookies) in [("/nowhere", ""), ("/api/v1/nothing", &cookies), ("/api/nothing", &cookies)] {
        for accept in [PROGRAM, BROWSER] {
            let answer = ask(Method::GET, &format!("{}{path}", stage.url), accept, cookies, "").await;
            match (path, accept) {
                ("/nowhere", BROWSER) => {
                    assert_eq!(
                        text(&answer, &header::LOCATION),
                        "/sign-in?next=%2Fnowhere",
                        "visitors who are not signed in do not learn which paths exist"
                    );
                }
                _ => {
                    assert_eq!(
                        (answer.status().as_u16(), text(&answer, &header::CONTENT_TYPE)),
                        (401, "application/problem+json")
                    );
                }
            }
        }
    }
    stage.open("/nowhere").await;
    assert!(stage.text().await.contains("page not found: /nowhere"), "{}", stage.text().await);
    stage.browser.click("main a.button").await;
    stage.browser.until("location.pathname === '/'").await;
}

#[tokio::test]
async fn signing_in_with_a_link_leads_to_the_page_that_was_asked_for() {
    let stage = Visit::new().await;
    let task = stage.task("begin; end done").await;
    let page = format!("/tasks/{task}?from=phone&x=%20y");
    let mut browser = Browser::start().await;
    browser.without_scripts().await;
    browser.open(&format!("{}{page}", stage.url)).await;
    assert_eq!(browser.value("location.pathname").await, "/sign-in");
    sign_in(&stage.home, &mut browser).await;
    assert_eq!(browser.value("location.pathname + location.search").await, page.as_str());
    // The requested page is used only once.
    sign_in(&stage.home, &mut browser).await;
    assert_eq!(browser.value("location.pathname").await, "/");
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

#[tokio::test]
async fn signing_in_with_a_password_leads_back_too_and_a_form_leads_to_its_page() {
    let mut stage = Visit::new().await;
    let task = stage.task("begin; end done").await;
    let password = json!({ "password": "correct horse" });
    stage.home.request(Method::PUT, "/api/v1/password").json(&password).send().await.expect("set");
    let mut browser = Browser::start().await;
    browser.without_scripts().await;
    let enter = "document.querySelector('#password').value = 'correct horse'";
    browser.open(&format!("{}/tasks/{task}/changes?view=unified", stage.url)).await;
    browser.value(enter).await;
    browser.click("form button.primary").await;
    browser.until(&format!("location.pathname + location.search === '/tasks/{task}/changes?view=unified'")).await;
    // The session ends while a form is open.
    browser.open(&format!("{}/tasks/{task}", stage.url)).await;
    stage.open("/settings").await;
    stage.browser.click("form[action*=revoke] button").await;
    stage.browser.until("document.querySelectorAll('form[action*=revoke]').length === 0").await;
    browser.click("form[action$='/archive'] button").await;
    browser.until("location.pathname === '/sign-in'").await;
    browser.value(enter).await;
    browser.click("form button.primary").await;
    browser.until(&format!("location.pathname === '/tasks/{task}'")).await;
    assert_eq!(
        stage.home.get(&format!("/api/v1/tasks/{task}")).await.1["archived_at"],
        json!(null),
        "a form without a session changes nothing"
    );
}

#[tokio::test]
async fn no_sign_in_leads_to_another_server() {
    let stage = Visit::new().await;
    let password = json!({ "password": "correct horse" });
    stage.home.request(Method::PUT, "/api/v1/password").json(&password).send().await.expect("set");
    let url = format!("{}/sign-in", stage.url);
    for hostile in [
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "https://evil.example",
        "http:evil.example",
        "javascript:alert(1)",
        "/\t/evil.example",
        "/\r\nSet-Cookie: orch_session=1",
        "evil.example",
        "",
    ] {
        let next = hostile.bytes().fold(String::new(), |sum, byte| sum + &format!("%{byte:02x}"));
        let body = format!("password=correct+horse&next={next}");
        let answer = ask(Method::POST, &url, BROWSER, "", &body).await;
        assert_eq!(
            (answer.status().as_u16(), text(&answer, &header::LOCATION)),
            (303, "/"),
            "{hostile:?} in the form is ignored"
        );
        let cookie = format!("orch_next={next}");
        let answer = ask(Method::POST, &url, BROWSER, &cookie, "password=correct+horse").await;
        assert_eq!(
            (answer.status().as_u16(), text(&answer, &header::LOCATION)),
            (303, "/"),
            "{hostile:?} in the cookie is ignored"
        );
        let page = ask(Method::GET, &format!("{url}?next={next}"), BROWSER, "", "").await;
        assert!(!format!("{:?} {}", page.headers().clone(), page.text().await.expect("text")).contains("evil"), "{hostile:?}");
    }
    let answer =
        ask(Method::POST, &url, BROWSER, "orch_next=%2Ftrash", "password=correct+horse&next=%2Ftasks%2Fnew%3Fa%3Db").await;
    assert_eq!(text(&answer, &header::LOCATION), "/tasks/new?a=b", "the form takes precedence over the cookie");
}
