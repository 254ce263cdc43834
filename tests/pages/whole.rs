//! A task from start to pull request, with the real Codex CLI and a real remote: it is started, watched, answered, reviewed and pushed.
//! One test uses taps on a phone, and one uses only the keyboard of a desktop. Only the model and the Git host are simulated.

use std::path::Path;

use scripted_model::{CodexConfig, Item, Script, ScriptedModel, Turn};
use serde_json::{Value, json};
use testkit::TestHome;
use testkit::browser::{Browser, DESK, PHONE, Screen};
use testkit::codex::{CodexCli, CodexHome};
use testkit::forge::{FakeForge, Make, PROJECT, TOKEN};
use testkit::upstream::Upstream;

use crate::BINARY;

/// Returns the model's script. A command writes two lines of a poem once `go` exists.
fn script(go: &Path) -> Script {
    let write = format!(
        "until [ -e {} ]; do echo still thinking; sleep 0.1; done; printf 'roses are blue\\nviolets are red\\n' > poem.txt",
        go.display()
    );
    Script::new()
        .turn(Turn::containing("Write a poem").step([Item::shell(write)]).says("The poem is *written*."))
        .turn(Turn::containing("Make it rhyme").says("It rhymes with itself."))
        .turn(
            Turn::containing("Comments on your changes")
                .step([Item::shell("printf 'roses are red\\nviolets are blue\\n' > poem.txt")])
                .says("The colours are right now."),
        )
}

struct Whole {
    upstream: Upstream,
    forge: FakeForge,
    home: TestHome,
    browser: Browser,
    url: String,
    _model: ScriptedModel,
    _codex_home: CodexHome,
}

impl Whole {
    async fn new(screen: Screen) -> Self {
        let upstream = Upstream::new();
        let forge = FakeForge::start(Make::GitHub, &upstream).await;
        let mut home = TestHome::new(BINARY);
        let model = ScriptedModel::start(script(&home.scratch().join("go"))).expect("the scripted model starts");
        let codex_home = CodexHome::with_config(&CodexConfig::new(model.url()).retries(2));
        let codex = CodexCli::pinned();
        let folder = codex.program().parent().expect("the program has a parent folder").display().to_string();
        home.set("PATH", format!("{folder}:{}", std::env::var("PATH").expect("PATH is set")));
        home.set("ORCH_WORKER", "host");
        home.set("CODEX_HOME", codex_home.path());
        home.set("ORCH_GITHUB_REPO", PROJECT);
        home.set("ORCH_GITHUB_API_URL", forge.api_url());
        home.set("ORCH_GITHUB_TOKEN", TOKEN);
        home.set("ORCH_LISTEN", "127.0.0.1:0");
        home.start().await;
        home.environment(&upstream.url()).await;
        let mut browser = Browser::start().await;
        browser.look(screen).await;
        let url = browser.sign_in(&home).await;
        Self { upstream, forge, home, browser, url, _model: model, _codex_home: codex_home }
    }

    async fn task(&self) -> Value {
        self.home.get("/api/v1/tasks").await.1["items"][0].clone()
    }

    async fn says(&mut self, what: &str) {
        let said =
            format!("[...document.querySelectorAll('#transcript .agent')].some((it) => it.innerText.includes({}))", json!(what));
        self.browser.until(&said).await;
    }

    /// Taps a line and types a comment in the box below it.
    async fn comment(&mut self, line: usize, text: &str) {
        self.browser.value(&format!("document.querySelectorAll('tr.add')[{line}].querySelector('.code').click()")).await;
        self.browser.until("document.activeElement.matches('.note textarea')").await;
        self.browser.type_text(text).await;
    }

    /// Checks that the task's branch is on the remote, and that its pull request is open.
    async fn was_pushed(&self) {
        let task = self.task().await;
        assert_eq!(
            self.upstream.commit_of(task["branch"].as_str().expect("a branch")).as_deref(),
            task["runs"][2]["commit"].as_str()
        );
        assert_eq!(task["publication"]["pull_request"]["state"], "open", "{task}");
        assert_eq!(self.forge.pull_requests().len(), 1);
        let prompt = task["runs"][2]["prompt"].as_str().expect("a prompt");
        for part in ["poem.txt", "roses are blue", "not blue", "violets are red", "not red"] {
            assert!(prompt.contains(part), "{part}: {prompt}");
        }
        assert!(self.browser.complaints.is_empty(), "{:#?}", self.browser.complaints);
    }
}

#[tokio::test]
async fn on_a_phone_by_taps() {
    let mut whole = Whole::new(PHONE).await;
    let go = whole.home.scratch().join("go");
    let url = whole.url.clone();
    whole.browser.open(&format!("{url}/tasks/new")).await;
    whole.browser.write("#prompt", "Write a poem").await;
    whole.browser.click("form button.primary").await;
    whole.browser.until("document.querySelector('.command .head')?.innerText.includes('running')").await;
    whole.browser.until("document.querySelector('.command pre.writing')?.textContent.includes('still thinking')").await;
    fs_err::write(&go, "").expect("written");
    whole.says("The poem is written.").await;
    whole.browser.until("document.querySelector('.writing') === null").await;
    whole.browser.until("document.querySelector('#state .s-completed') !== null").await;
    whole.browser.write("#say", "Make it rhyme").await;
    whole.browser.click(".composer button.primary").await;
    whole.says("It rhymes with itself.").await;
    whole.browser.until("document.querySelector('#state .s-completed') !== null").await;
    whole.browser.click("#state a[href$='/changes']").await;
    whole.browser.until("document.readyState === 'complete' && document.querySelectorAll('tr.add').length === 2").await;
    whole.comment(0, "not blue").await;
    whole.comment(1, "not red").await;
    whole.browser.click("form[data-review] .composer button.primary").await;
    whole.says("The colours are right now.").await;
    whole.browser.until("document.querySelector('#state .s-completed') !== null").await;
    whole.browser.click("details.publish summary").await;
    whole.browser.write("#pr-title", "A poem").await;
    whole.browser.click("details.publish button.primary").await;
    whole.browser.until("document.querySelector('details.publish summary')?.innerText.includes('#1 · Open')").await;
    assert_eq!(whole.forge.pull_requests()[0].title, "A poem");
    let wide = "[...document.querySelectorAll('main *')].filter((it) => it.getBoundingClientRect().right > innerWidth && !it.closest('.visually-hidden')).map((it) => it.outerHTML.slice(0, 200))";
    assert_eq!(whole.browser.value(wide).await, json!([]), "the page does not scroll sideways");
    whole.was_pushed().await;
}

#[tokio::test]
async fn at_a_desk_by_the_keyboard_alone() {
    let mut whole = Whole::new(DESK).await;
    let go = whole.home.scratch().join("go");
    whole.browser.tab_to("nav a[href='/tasks/new']").await;
    whole.browser.press("Enter").await;
    whole.browser.until("document.readyState === 'complete' && document.activeElement?.id === 'prompt'").await;
    whole.browser.type_text("Write a poem").await;
    whole.browser.press("Control+Enter").await;
    whole.browser.until("document.querySelector('.command .head')?.innerText.includes('running')").await;
    fs_err::write(&go, "").expect("written");
    whole.browser.until("document.querySelector('#state .s-completed') !== null").await;
    whole.browser.press("/").await;
    whole.browser.until("document.activeElement.id === 'say'").await;
    whole.browser.type_text("Make it rhyme").await;
    whole.browser.press("Control+Enter").await;
    whole.says("It rhymes with itself.").await;
    whole.browser.until("document.querySelector('#state .s-completed') !== null").await;
    whole.browser.tab_to("#state a[href$='/changes']").await;
    whole.browser.press("Enter").await;
    whole
        .browser
        .until("document.readyState === 'complete' && document.querySelectorAll('table.diff.split td.add').length === 2")
        .await;
    for (keys, text) in [(["j", "j", "c"].as_slice(), "not blue"), (&["Escape", "j", "c"], "not red")] {
        for key in keys {
            whole.browser.press(key).await;
        }
        whole.browser.until("document.activeElement.matches('.note textarea')").await;
        whole.browser.type_text(text).await;
    }
    whole.browser.press("Control+Enter").await;
    whole.says("The colours are right now.").await;
    whole.browser.until("document.querySelector('#state .s-completed') !== null").await;
    whole.browser.tab_to("details.publish summary").await;
    whole.browser.press("Enter").await;
    whole.browser.tab_to("details.publish button.primary").await;
    whole.browser.press("Enter").await;
    whole.browser.until("document.querySelector('details.publish summary')?.innerText.includes('#1 · Open')").await;
    whole.was_pushed().await;
}
