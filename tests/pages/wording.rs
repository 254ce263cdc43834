//! Snapshots of the text of every page, read from a real server without a browser. IDs, times, sizes and folders are redacted.
//! The crate `web` covers task states that are hard to produce here (`pages/wording.rs`).

use std::fmt::Write as _;

use reqwest::{Method, header};
use serde_json::json;
use testkit::TestHome;
use testkit::pages::Pages;
use testkit::receiver::Receiver;
use testkit::upstream::Upstream;
use testkit::words::{redacted, words};
use testkit::worker::scripted_worker;

use crate::BINARY;

const UNKNOWN: &str = "01a20000-0000-7000-8000-000000000000";

struct Reader {
    upstream: Upstream,
    home: TestHome,
    url: String,
    cookie: String,
    /// The path and the version of git.
    git: (String, String),
    all: String,
}

impl Reader {
    async fn new() -> Self {
        let mut home = TestHome::new(BINARY);
        home.set("ORCH_WORKER", scripted_worker(home.scratch()));
        home.set("ORCH_LISTEN", "127.0.0.1:0");
        home.start().await;
        let (_, status) = home.get("/api/v1/status").await;
        let git = status["git"]
            .as_str()
            .and_then(|git| git.trim_end_matches(')').split_once(" ("))
            .expect("the status has git's version and path");
        let git = (git.1.to_owned(), git.0.to_owned());
        let (url, cookie, all) = (String::new(), String::new(), String::new());
        let mut reader = Self { upstream: Upstream::new(), home, url, cookie, git, all };
        reader.sign_in().await;
        reader
    }

    async fn sign_in(&mut self) {
        let pages = Pages::sign_in(&self.home).await;
        let (url, cookie) = pages.session();
        (self.url, self.cookie) = (url.to_owned(), cookie.to_owned());
    }

    async fn ask(&self, method: Method, url: &str, cookie: &str, body: String) -> (u16, String) {
        let client = testkit::http_client().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
        let request = client.request(method, url).header(header::ACCEPT, "text/html").header(header::COOKIE, cookie);
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(body);
        let answer = request.header(header::USER_AGENT, "Chrome/140 Linux").send().await.expect("the server answers");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    }

    fn note(&mut self, name: &str, (status, html): (u16, String)) {
        let home = self.home.path().display().to_string();
        let scratch = self.home.scratch().display().to_string();
        let process = format!("process {}", self.home.server_pid());
        let known = [
            (self.url.as_str(), "URL"),
            (&home, "HOME"),
            (&scratch, "SCRATCH"),
            (&self.upstream.url(), "UPSTREAM"),
            (&process, "process PID"),
            (&self.git.0, "GIT"),
            (&self.git.1, "VERSION"),
            (env!("CARGO_PKG_VERSION"), "VERSION"),
        ];
        let text = words(&html);
        // Leave out the frame of the page, which has its own snapshot.
        let text = match (text.find("{aria-label: Main}"), text.find("{aria-label: Around}")) {
            (None, None) => text,
            (start, other) => {
                let start = start.or(other).expect("the page has a navigation");
                let lines: Vec<_> = text[start..].lines().skip(1).collect();
                let end = lines.iter().position(|line| line.starts_with("dialog") || line.contains("{aria-label: Key"));
                let title = text.lines().next().unwrap_or_default();
                format!("{title}\n{}\n", lines[..end.unwrap_or(lines.len())].join("\n"))
            }
        };
        let text: String = text.lines().map(|line| sizes(line) + "\n").collect();
        let _ = writeln!(self.all, "=== {name} ({status})\n{}", redacted(&text, &known));
    }

    async fn page(&mut self, path: &str) {
        let answer = self.ask(Method::GET, &format!("{}{path}", self.url), &self.cookie, String::new()).await;
        self.note(&redacted(path, &[]), answer);
    }

    /// Sends a form with the session's token, and notes the answer.
    async fn form(&mut self, path: &str, fields: &str) {
        let (_, page) = self.ask(Method::GET, &format!("{}/settings", self.url), &self.cookie, String::new()).await;
        let token = page.split_once("name=\"form_token\" value=\"").and_then(|(_, rest)| rest.split('"').next());
        let body = format!("form_token={}&{fields}", token.expect("a token"));
        let answer = self.ask(Method::POST, &format!("{}{path}", self.url), &self.cookie, body).await;
        self.note(&format!("POST {} {}", redacted(path, &[]), redacted(fields, &[])), answer);
    }

    async fn task(&self, env: &str, prompt: &str) -> String {
        let task = self.home.task(env, prompt).await;
        self.home.settled(&task).await;
        task
    }
}

/// Returns a line without disk sizes and durations.
fn sizes(line: &str) -> String {
    let mut shown: Vec<&str> = vec![];
    for word in line.split(' ') {
        let unit = word.trim_end_matches([',', '.', ';', ':', ')']);
        let is_unit = ["B", "KiB", "MiB", "GiB", "s"].contains(&unit);
        let is_number = |last: &&str| last.trim_start_matches('(').starts_with(|letter: char| letter.is_ascii_digit());
        match shown.last_mut() {
            Some(last) if is_unit && is_number(last) => *last = if unit == "s" { "DURATION" } else { "SIZE" },
            Some(_) | None => shown.push(word),
        }
    }
    // On a slow machine, it may not be known how long the container took to start.
    shown.join(" ").replace("container DURATION · ", "")
}

#[tokio::test]
async fn pages_of_visitors_who_are_not_signed_in() {
    let mut reader = Reader::new().await;
    let (url, shared) = (reader.url.clone(), format!("http://{}", reader.home.tcp_address().await));
    for (name, url, cookie) in [
        ("sign in", format!("{url}/sign-in"), ""),
        ("sign in, with an old session", format!("{url}/sign-in"), "orch_session=old"),
        ("sign in with a code", format!("{url}/sign-in?code=abc"), ""),
        ("sign in at a shared name", format!("{shared}/sign-in"), ""),
        ("sign in at a shared name, with an old session", format!("{shared}/sign-in"), "orch_session=old"),
    ] {
        let answer = reader.ask(Method::GET, &url, cookie, String::new()).await;
        reader.note(name, answer);
    }
    let wrong = reader.ask(Method::POST, &format!("{url}/sign-in"), "", "code=abc".to_owned()).await;
    reader.note("a wrong code", wrong);
    let password = json!({ "password": "correct horse battery" });
    reader.home.request(Method::PUT, "/api/v1/password").json(&password).send().await.expect("set");
    let page = reader.ask(Method::GET, &format!("{url}/sign-in"), "", String::new()).await;
    reader.note("sign in with a password", page);
    for name in ["a wrong password", "2", "3", "4", "5", "too many wrong passwords"] {
        let wrong = reader.ask(Method::POST, &format!("{url}/sign-in"), "", "password=wrong".to_owned()).await;
        if name.len() > 1 {
            reader.note(name, wrong);
        }
    }
    insta::assert_snapshot!("signed_out", reader.all);
}

#[tokio::test]
async fn pages_of_an_empty_home() {
    let mut reader = Reader::new().await;
    for path in ["/", "/tasks/new", "/environments", "/settings", "/settings/check", "/settings/notices", "/trash"] {
        reader.page(path).await;
    }
    insta::assert_snapshot!("empty", reader.all);
}

#[tokio::test]
async fn pages_of_a_repository_and_its_tasks() {
    let mut reader = Reader::new().await;
    let env = reader.home.environment(&reader.upstream.url()).await;
    let repository = format!("/environments/{env}");
    for path in ["/", "/?q=nothing", "/tasks/new", "/environments"] {
        reader.page(path).await;
    }
    let task =
        reader.task(&env, "begin; echo mine > README.md; echo new > new.txt; printf 'a\\0' > a.bin; end 'All *done*.'").await;
    let failed = reader.task(&env, "begin; failed \"out of luck\"").await;
    let page = format!("/tasks/{task}");
    reader.page("/").await;
    for path in ["", "/changes", "/changes?since=viewed", "/changes?run=1&view=unified&space=ignore", "/runs/1/older", "/remove"]
    {
        reader.page(&format!("{page}{path}")).await;
    }
    reader.page(&format!("/tasks/{failed}")).await;
    reader.upstream.commit("main", &[("README.md", "theirs\n")], "the same place");
    reader.form(&format!("{page}/update"), "").await;
    let busy = reader.home.task(&env, "begin; say working; await /never").await;
    reader.home.wait_for(&format!("/api/v1/tasks/{busy}"), |task| task["thread_id"].is_string()).await;
    reader.page(&format!("/tasks/{busy}/stop")).await;
    for deed in ["stop", "remove", "archive"] {
        reader.form("/tasks/selected", &format!("deed={deed}&task={busy}&task={task}")).await;
    }
    reader.page("/?archived=only").await;
    reader.form(&format!("/tasks/{busy}/stop"), "").await;
    reader.home.settled(&busy).await;
    reader.page(&format!("{repository}/remove")).await;
    for id in [&busy, &failed] {
        reader.home.delete(&format!("/api/v1/tasks/{id}")).await;
    }
    reader.page("/trash").await;
    reader.page("/trash/delete").await;
    reader.form(&format!("{repository}/remove"), "").await;
    reader.page("/trash").await;
    insta::assert_snapshot!("work", reader.all);
}

#[tokio::test]
async fn pages_of_errors() {
    let mut reader = Reader::new().await;
    let env = reader.home.environment(&reader.upstream.url()).await;
    for path in [
        "/nowhere",
        "/tasks/no-id",
        &format!("/tasks/{UNKNOWN}"),
        &format!("/environments/{UNKNOWN}"),
        "/trash/delete?id=nothing",
    ] {
        reader.page(path).await;
    }
    let stranger = reader.ask(Method::POST, &format!("{}/tasks", reader.url), &reader.cookie, "form_token=x".to_owned()).await;
    reader.note("a form of another session", stranger);
    reader.form("/tasks", &format!("env_id={env}&prompt=&key=")).await;
    reader.form("/tasks", &format!("env_id={env}&prompt=x&ref=nowhere&key=")).await;
    reader.form("/environments", "repo_url=ftp://x&default_branch=a..b").await;
    reader.form("/settings/notices", "ntfy_url=nonsense").await;
    reader.form("/settings/notices", "from=22&to=07:00&zone=UTC").await;
    reader.form("/settings/notices/ntfy/test", "").await;
    reader.form("/settings/notices/pigeon/test", "").await;
    let elsewhere = format!("http://elsewhere.localhost:{}/", reader.url.rsplit(':').next().expect("a port"));
    let elsewhere = reader.ask(Method::GET, &elsewhere, "", String::new()).await;
    reader.note("another host name", elsewhere);
    let port = reader.url.rsplit(':').next().expect("a port").to_owned();
    let all = reader.all.replace(&port, "PORT");
    insta::assert_snapshot!("errors", all);
}

#[tokio::test]
async fn the_page_of_notifications_with_receivers() {
    let mut reader = Reader::new().await;
    let webhook = Receiver::start().await;
    let url = webhook.url().to_owned();
    let fields = format!(
        "ntfy_url={url}&webhook_url={url}&webhook_secret=hush&tell_failed=yes&from=00:00&to=23:59&zone=UTC&let_failed=yes"
    );
    reader.form("/settings/notices", &fields).await;
    reader.form("/settings/notices/ntfy/test", "").await;
    webhook.refuse(1);
    reader.form("/settings/notices/webhook/test", "").await;
    reader.page("/settings/notices").await;
    reader.home.stop().await;
    for name in ["devices.json", "notices.json"] {
        fs_err::write(reader.home.path().join(name), "{\"schema\":1,\"content\":").expect("written");
    }
    reader.home.start().await;
    reader.sign_in().await;
    reader.page("/settings/notices").await;
    let all = reader.all.replace(&url, "RECEIVER");
    insta::assert_snapshot!("notifications", all);
}
