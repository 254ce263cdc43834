//! The pages in a real Chromium on the screens of a phone and a desktop, with a real server. Complaints of the
//! browser, such as a violation of a page's policy, fail a test.

mod burst;
mod circumstances;
mod hidden;
mod hostile;
mod images;
mod list;
mod lost;
mod notices;
mod own_name;
mod question;
mod repositories;
mod retry;
mod review;
mod sessions;
mod story;
mod whole;
mod wording;

use testkit::TestHome;
use testkit::browser::Browser;
use testkit::upstream::Upstream;

use crate::stage::Stage;

/// A server with pages, a repository, and a signed-in browser.
struct Visit {
    upstream: Upstream,
    home: TestHome,
    env: String,
    browser: Browser,
    url: String,
}

impl Visit {
    async fn new() -> Self {
        Self::with(Browser::start().await).await
    }

    async fn with(mut browser: Browser) -> Self {
        let Stage { home, env, upstream, .. } = Stage::setup().set("ORCH_LISTEN", "127.0.0.1:0").start().await;
        let url = sign_in(&home, &mut browser).await;
        Self { upstream, home, env, browser, url }
    }

    async fn task(&self, prompt: &str) -> String {
        let task = self.home.task(&self.env, prompt).await;
        self.home.settled(&task).await;
        task
    }

    async fn open(&mut self, path: &str) {
        self.browser.open(&format!("{}{path}", self.url)).await;
    }

    async fn text(&mut self) -> String {
        self.browser.value("document.body.innerText").await.as_str().unwrap_or_default().to_owned()
    }

    /// Continues a task, and waits until it has ended.
    async fn resume(&self, task: &str, prompt: &str) {
        let (status, answer) =
            self.home.post(&format!("/api/v1/tasks/{task}/resume"), &serde_json::json!({ "prompt": prompt })).await;
        assert_eq!(status, 201, "{answer}");
        self.home.settled(task).await;
    }

    /// Checks the accessibility of the open page.
    async fn accessible(&mut self) {
        let rules = testkit::npm::accessibility_rules().expect("the accessibility rules can be installed with npm");
        self.browser.value(&fs_err::read_to_string(rules).expect("a script")).await;
        let found = self.browser.value(
            "axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] }).then((found) => \
             found.violations.map((it) => it.id + ': ' + it.nodes.map((node) => node.html + ' ' + node.failureSummary).join(' | ')))",
        );
        let found = found.await;
        let shown =
            self.browser.value("location.pathname + (matchMedia('(prefers-color-scheme: dark)').matches ? ', dark' : '')").await;
        assert_eq!(found, serde_json::json!([]), "{shown}");
    }

    /// Checks that the browser has not complained.
    #[track_caller]
    fn content(&self) {
        assert!(self.browser.complaints.is_empty(), "{:#?}", self.browser.complaints);
    }
}

/// Signs a browser in, and returns the URL of the pages.
async fn sign_in(home: &TestHome, browser: &mut Browser) -> String {
    browser.sign_in(home).await
}
