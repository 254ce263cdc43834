//! Repositories on a phone: adding, cloning, editing, fetching, choosing a ref, removing and restoring. Everything that works
//! without scripts is tested with a client that runs none.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::browser::{DESK, PHONE, Screen};
use testkit::upstream::Upstream;

use super::Visit;

#[tokio::test]
async fn a_repository_is_added_on_a_phone_and_is_seen_to_become_ready() {
    let mut stage = Visit::new().await;
    stage.browser.look(PHONE).await;
    stage.open("/environments").await;
    stage.browser.write("#repo_url", "https://me:secret@host/r.git").await;
    stage.browser.click("form[action='/environments'] button.primary").await;
    stage.browser.until("document.querySelector('#repo_url-wrong')?.innerText.includes('password')").await;
    assert_eq!(stage.browser.value("document.querySelector('#repo_url').getAttribute('aria-invalid')").await, "true");
    let other = Upstream::new();
    stage.browser.write("#repo_url", &other.url()).await;
    stage.browser.write("#name", "The other").await;
    stage.browser.write("#variables", "CI=1").await;
    stage.browser.click("form[action='/environments'] button.primary").await;
    stage
        .browser
        .until(
            "location.pathname.startsWith('/environments/') && document.querySelector('#variables') \
             && document.querySelector('#list .s-ready') !== null",
        )
        .await;
    assert_eq!(stage.browser.value("document.querySelector('#variables').value").await, "CI=1");
    // An open list shows a repository that another client adds.
    stage.open("/environments").await;
    stage.home.environment(&Upstream::new().url()).await;
    stage.browser.until("document.querySelectorAll('#list .s-ready').length === 3").await;
    let wide = stage.browser.value("document.documentElement.scrollWidth").await;
    assert!(wide.as_u64().is_some_and(|wide| wide <= 390), "the page does not scroll sideways: {wide}");
}

#[tokio::test]
async fn a_clone_is_followed_and_one_that_fails_can_be_tried_again() {
    let mut stage = Visit::new().await;
    stage.browser.look(PHONE).await;
    // The remote accepts connections but never answers.
    let remote = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/repo.git", remote.local_addr().expect("the listener has an address"));
    stage.open("/environments").await;
    stage.browser.write("#repo_url", &url).await;
    stage.browser.click("form[action='/environments'] button.primary").await;
    let (connection, _) = remote.accept().await.expect("git connects");
    stage.browser.until("document.querySelector('#list progress') && document.querySelector('#list .s-cloning')").await;
    drop((connection, remote));
    stage.browser.until("document.querySelector('#list .s-failed') && document.querySelector('#list .error')").await;
    assert!(stage.text().await.contains("Try again"));
    stage.browser.click("form[action$='/retry'] button").await;
    stage.browser.until("document.querySelector('#list .s-failed')").await;
    assert_eq!(
        stage.browser.value("!!document.querySelector('form[action$=\"/fetch\"]')").await,
        false,
        "a repository that is not cloned cannot be fetched"
    );
}

#[tokio::test]
async fn every_setting_is_on_the_page_and_no_secret_is() {
    let mut stage = Visit::new().await;
    stage.upstream.commit("next", &[("a", "b\n")], "next");
    stage.home.post(&format!("/api/v1/envs/{}/fetch", stage.env), &json!({})).await;
    let path = format!("/environments/{}", stage.env);
    stage.browser.look(DESK).await;
    stage.open(&path).await;
    let fields = [
        ("name", "Renamed"),
        ("default_branch", "next"),
        ("variables", "CI=1\nMODE=a=b"),
        ("secret_name", "API_KEY"),
        ("secret_value", "hunter2-hunter2"),
        ("image", "mine:1"),
        ("user", "caller"),
        ("network", "allow"),
        ("allow_hosts", "example.com\n*.example.org"),
        ("hosted_tools", "allow"),
        ("memory", "lots"),
        ("cpus", "1.5"),
        ("pids", "256"),
        ("token_budget", "5000"),
        ("max_parallel_runs", "3"),
        ("retries", "2"),
        ("resume_interrupted", "on"),
        ("model", "gpt-5.5"),
        ("effort", "high"),
        ("forge_kind", "forgejo"),
        ("forge_project", "me/app"),
        ("forge_api", "https://git.example/api/v1"),
        ("forge_token", "t0ken-t0ken"),
    ];
    for (name, text) in fields {
        stage.browser.write(&format!("#{name}"), text).await;
    }
    stage.browser.click("input[name=paused]").await;
    stage.browser.click("form.stack button.primary").await;
    stage.browser.until("document.querySelector('#memory-wrong')").await;
    assert_eq!(
        stage.browser.value("document.querySelector('#memory').getAttribute('aria-describedby')").await,
        "memory-wrong memory-help"
    );
    assert_eq!(
        stage.browser.value("document.querySelector('#memory').value + document.querySelector('#cpus').value").await,
        "lots1.5"
    );
    let html = stage.browser.value("document.documentElement.outerHTML").await.to_string();
    assert!(!html.contains("hunter2") && !html.contains("t0ken"), "the page contains no secret");
    let (_, before) = stage.home.get(&format!("/api/v1/envs/{}", stage.env)).await;
    assert_eq!((&before["secrets"], &before["runs"]), (&json!([]), &json!({})), "rejected settings change nothing");
    for (name, text) in [("memory", "4g"), ("secret_value", "hunter2-hunter2"), ("forge_token", "t0ken-t0ken")] {
        stage.browser.write(&format!("#{name}"), text).await;
    }
    stage.browser.click("form.stack button.primary").await;
    stage.browser.until("document.querySelector('h1')?.innerText === 'Renamed'").await;
    let (_, view) = stage.home.get(&format!("/api/v1/envs/{}", stage.env)).await;
    assert_eq!(
        (&view["name"], &view["default_branch"], &view["secrets"]),
        (&json!("Renamed"), &json!("next"), &json!(["API_KEY"]))
    );
    assert_eq!(view["variables"], json!({ "CI": "1", "MODE": "a=b" }));
    assert_eq!(
        view["container"],
        json!({ "image": "mine:1", "user": "caller", "network": "allow", "allow_hosts": ["example.com", "*.example.org"],
                "hosted_tools": "allow", "memory": "4g", "cpus": 1.5, "pids": 256, "token_budget": 5000 })
    );
    assert_eq!(
        view["runs"],
        json!({ "paused": true, "max_parallel_runs": 3, "retries": 2, "resume_interrupted": true,
        "model": "gpt-5.5", "effort": "high" })
    );
    assert_eq!(view["forge"], json!({ "kind": "forgejo", "project": "me/app", "api_url": "https://git.example/api/v1" }));
    assert_eq!(view["has_forge_token"], true);
    let html = stage.browser.value("fetch(location.href).then((it) => it.text())").await.to_string();
    assert!(
        !html.contains("hunter2") && !html.contains("t0ken") && html.contains("API_KEY"),
        "the page shows only the name of the secret"
    );
    // Emptied fields get their defaults again, and checked boxes delete the secret and the token.
    for name in
        ["image", "allow_hosts", "hosted_tools", "memory", "cpus", "pids", "token_budget", "max_parallel_runs", "forge_project"]
    {
        stage.browser.write(&format!("#{name}"), "").await;
    }
    stage.browser.write("#name", "Again").await;
    stage.browser.write("#network", "open").await;
    stage.browser.click("input[name='forget:API_KEY']").await;
    stage.browser.click("input[name=forget_token]").await;
    stage.browser.click("form.stack button.primary").await;
    stage.browser.until("document.querySelector('h1')?.innerText === 'Again'").await;
    let (_, view) = stage.home.get(&format!("/api/v1/envs/{}", stage.env)).await;
    assert_eq!(view["container"], json!({ "user": "caller", "network": "open" }));
    assert_eq!(
        (&view["secrets"], &view["has_forge_token"], &view["runs"]["max_parallel_runs"]),
        (&json!([]), &json!(false), &Value::Null)
    );
}

#[tokio::test]
async fn what_was_fetched_is_offered_and_a_slip_is_told() {
    let mut stage = Visit::new().await;
    stage.browser.look(PHONE).await;
    let offered = "[...document.querySelectorAll('#refs option')].map((it) => it.value).sort()";
    stage.open("/tasks/new").await;
    assert_eq!(stage.browser.value(offered).await, json!(["main"]));
    stage.upstream.commit("release/2.1", &[("new.txt", "x\n")], "new");
    stage.upstream.git(&["update-ref", "refs/heads/\"><img/src=x/onerror=alert(1)>", "refs/heads/main"]);
    stage.open(&format!("/environments/{}", stage.env)).await;
    assert!(stage.text().await.contains("Fetched automatically before each task"));
    stage.browser.click("form[action$='/fetch'] button").await;
    stage.browser.until("document.querySelector('#fetched')?.innerText.includes('just now')").await;
    let other = Upstream::new();
    other.commit("elsewhere", &[("x", "y\n")], "x");
    let second = stage.home.environment(&other.url()).await;
    stage.open(&format!("/tasks/new?env={}", stage.env)).await;
    assert_eq!(stage.browser.value(offered).await, json!(["\"><img/src=x/onerror=alert(1)>", "main", "release/2.1"]));
    assert_eq!(stage.browser.value("document.querySelectorAll('main img').length").await, 0);
    // Another repository suggests its own branches.
    let choose = |env: &str| {
        format!(
            "(() => {{ const it = document.querySelector('#env_id'); it.value = '{env}'; \
             it.dispatchEvent(new Event('change', {{ bubbles: true }})); }})()"
        )
    };
    stage.browser.value(&choose(&second)).await;
    stage.browser.until(&format!("{offered}.join() === 'elsewhere,main'")).await;
    stage.browser.value(&choose(&stage.env.clone())).await;
    stage.browser.until(&format!("{offered}.length === 3")).await;
    stage.browser.write("#prompt", "begin; cat new.txt; end done").await;
    stage.browser.write("#ref", "realease/2.1").await;
    stage.browser.click("form.stack button.primary").await;
    stage.browser.until("document.querySelector('#ref-wrong')?.innerText.includes('`release/2.1`')").await;
    assert_eq!(stage.browser.value("document.querySelector('#prompt').value").await, "begin; cat new.txt; end done");
    assert_eq!(stage.browser.value("document.querySelector('#ref').value").await, "realease/2.1");
    let (_, tasks) = stage.home.get("/api/v1/tasks").await;
    assert_eq!(tasks["items"], json!([]), "the rejected form starts no task");
    // A branch that is newer than the last fetch is found.
    stage.upstream.commit("just-pushed", &[("z", "z\n")], "z");
    stage.browser.write("#ref", "just-pushed").await;
    stage.browser.click("form.stack button.primary").await;
    stage.browser.until("document.querySelector('#state .s-completed') !== null").await;
}

#[tokio::test]
async fn a_task_shows_how_far_it_is_before_it_begins() {
    let mut stage = Visit::new().await;
    let path = format!("/api/v1/envs/{}", stage.env);
    stage.home.patch(&path, &json!({ "runs": { "paused": true } })).await;
    let task = stage.home.task(&stage.env, "begin; end done").await;
    stage.open(&format!("/tasks/{task}")).await;
    stage.browser.until("document.querySelector('.steps [aria-current=step]')?.innerText.includes('are paused')").await;
    assert_eq!(stage.browser.value("document.querySelectorAll('.steps li').length").await, 4);
    stage.home.patch(&path, &json!({ "runs": { "paused": false } })).await;
    stage.browser.until("document.querySelector('#state .s-completed') !== null && !document.querySelector('.steps')").await;
    stage.content();
}

#[tokio::test]
async fn a_task_that_waits_for_its_remote_says_so() {
    let mut stage = Visit::new().await;
    // Replace the remote's HEAD with a pipe, so that readers block.
    let file = |name: &str| stage.upstream.path().join(name);
    let (head, away, gate) = (file("HEAD"), file("HEAD.away"), file("HEAD.gate"));
    fs_err::rename(&head, &away).expect("the test's folder is writable");
    rustix::fs::mkfifoat(rustix::fs::CWD, &head, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).expect("a pipe");
    let task = stage.home.task(&stage.env, "begin; end done").await;
    stage.open(&format!("/tasks/{task}")).await;
    stage.browser.until("document.querySelector('.steps [aria-current=step]')?.innerText.includes('Fetching')").await;
    assert_eq!(stage.browser.value("document.querySelectorAll('.steps .done').length").await, 1, "the step in the queue is done");
    fs_err::rename(&head, &gate).expect("the test's folder is writable");
    fs_err::rename(&away, &head).expect("the test's folder is writable");
    tokio::task::spawn_blocking(move || fs_err::write(&gate, "ref: refs/heads/main\n"))
        .await
        .expect("the thread does not panic")
        .expect("git reads the pipe");
    stage.browser.until("document.querySelector('#state .s-completed') !== null && !document.querySelector('.steps')").await;
}

/// A client that reads and sends forms with a cookie, like a browser without scripts.
struct Plain {
    client: reqwest::Client,
    url: String,
    cookie: String,
}

impl Plain {
    async fn new(stage: &Visit) -> Self {
        let client = testkit::http_client().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
        let (_, link) = stage.home.post("/api/v1/sign-in-links", &json!({})).await;
        let code = link["path"].as_str().and_then(|path| path.split("code=").nth(1)).expect("a code").to_owned();
        let url = stage.url.clone();
        let form = client.post(format!("{url}/sign-in")).header("content-type", "application/x-www-form-urlencoded");
        let answer = form.body(format!("code={code}")).send().await.expect("the server answers");
        let cookie = answer.headers()["set-cookie"].to_str().expect("text").split(';').next().expect("a pair").to_owned();
        Self { client, url, cookie }
    }

    async fn ask(&self, method: Method, path: &str, body: String) -> (u16, String) {
        let request = self.client.request(method, format!("{}{path}", self.url)).header("cookie", &self.cookie);
        let answer = request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
            .send()
            .await
            .expect("the server answers");
        let status = answer.status().as_u16();
        let to = answer.headers().get("location").and_then(|to| to.to_str().ok()).map(str::to_owned);
        (status, to.unwrap_or(answer.text().await.expect("text")))
    }

    async fn page(&self, path: &str) -> String {
        let (status, page) = self.ask(Method::GET, path, String::new()).await;
        assert_eq!(status, 200, "{path}: {page}");
        page
    }

    /// Sends the form with this `action` of a page, and returns the path that it redirects to.
    async fn send(&self, page: &str, action: &str) -> String {
        let form = page
            .split("<form")
            .find(|form| form.contains(&format!("action=\"{action}\"")))
            .expect("the page has a form with this action");
        let token = form.split("name=\"form_token\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a token");
        let (status, to) = self.ask(Method::POST, action, format!("form_token={token}")).await;
        assert_eq!(status, 303, "{to}");
        to
    }
}

#[tokio::test]
async fn nothing_is_removed_or_stopped_without_a_second_question_also_without_a_script() {
    let stage = Visit::new().await;
    let plain = Plain::new(&stage).await;
    let task = stage.home.task(&stage.env, "begin; await /never; end never").await;
    stage.home.wait_for(&format!("/api/v1/tasks/{task}"), |task| task["status"] == "running").await;
    let page = plain.page(&format!("/tasks/{task}")).await;
    let stop = format!("/tasks/{task}/stop");
    assert!(
        page.contains(&format!("href=\"{stop}\"")) && !page.contains(&format!("action=\"{stop}\"")),
        "the page links to the question"
    );
    let question = plain.page(&stop).await;
    assert!(question.contains("Stop this run?"));
    assert_eq!(
        stage.home.get(&format!("/api/v1/tasks/{task}")).await.1["status"],
        "running",
        "opening the question does not stop the run"
    );
    plain.send(&question, &stop).await;
    assert_eq!(stage.home.settled(&task).await["status"], "stopped");
    let remove = format!("/environments/{}/remove", stage.env);
    let page = plain.page(&format!("/environments/{}", stage.env)).await;
    assert!(page.contains(&format!("href=\"{remove}\"")) && !page.contains(&format!("action=\"{remove}\"")));
    let question = plain.page(&remove).await;
    assert!(question.contains("its <strong>1 task</strong> move to the trash"), "{question}");
    assert_eq!(plain.send(&question, &remove).await, "/environments");
    assert_eq!(stage.home.get(&format!("/api/v1/envs/{}", stage.env)).await.0, 404);
}

#[tokio::test]
async fn what_was_removed_is_brought_back_or_deleted_for_good() {
    let mut stage = Visit::new().await;
    stage.browser.look(PHONE).await;
    stage.open("/trash").await;
    assert!(stage.text().await.contains("Trash is empty"));
    let (kept, lost) = (stage.task("begin; echo work > work.txt; end kept").await, stage.task("begin; end lost").await);
    stage.open(&format!("/tasks/{kept}")).await;
    stage.browser.click("#state a[href$='/remove']").await;
    stage.browser.click("form[action$='/remove'] button").await;
    stage.browser.until("location.pathname === '/'").await;
    stage.home.delete(&format!("/api/v1/tasks/{lost}")).await;
    stage.open("/settings").await;
    stage.browser.click("a[href='/trash']").await;
    stage.browser.until("document.querySelectorAll('li.thing').length === 2").await;
    let wide = stage.browser.value("document.documentElement.scrollWidth").await;
    assert!(wide.as_u64().is_some_and(|wide| wide <= 390), "the page does not scroll sideways: {wide}");
    stage.browser.click(&format!("form[action='/trash/tasks/{kept}/restore'] button")).await;
    stage.browser.until("document.querySelector('#state .s-completed') !== null").await;
    stage.open("/trash").await;
    stage.browser.click(&format!("a[href$='id={lost}']")).await;
    stage.browser.until("document.querySelector('h1')?.innerText === 'Delete permanently?'").await;
    assert_eq!(
        stage.home.get("/api/v1/trash").await.1["items"].as_array().map(Vec::len),
        Some(1),
        "opening the question deletes nothing"
    );
    stage.browser.click("form button.danger").await;
    stage.browser.until("document.querySelector('.empty')").await;
    assert_eq!(stage.home.post(&format!("/api/v1/tasks/{lost}/restore"), &json!({})).await.0, 404);
    // Removing a repository removes its tasks, and restoring it restores them.
    stage.home.delete(&format!("/api/v1/envs/{}", stage.env)).await;
    stage.open("/trash").await;
    assert!(stage.text().await.contains("Restore its repository first"));
    assert_eq!(stage.browser.value("document.querySelectorAll('form[action*=\"/trash/tasks/\"]').length").await, 0);
    stage.browser.click("form[action^='/trash/environments/'] button").await;
    stage.browser.until("document.querySelector('#list .s-ready')").await;
    assert_eq!(stage.home.get(&format!("/api/v1/tasks/{kept}")).await.0, 200);
    stage.content();
}

#[tokio::test]
async fn the_page_says_what_doctor_says() {
    let mut stage = Visit::new().await;
    stage.open("/settings").await;
    assert_eq!(
        stage.browser.value("!!document.querySelector('#findings')").await,
        false,
        "the page runs the checks only on request"
    );
    stage.browser.click("form[action='/settings/check'] button").await;
    stage.browser.until("document.querySelectorAll('#findings li').length > 3").await;
    let shown = stage.browser.value("document.querySelector('#findings').innerText").await.to_string();
    let output = stage.home.command(&["doctor", "--json"]).output().await.expect("the command can be started");
    let findings: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    // The free disk space may have changed in the meantime.
    for finding in findings.as_array().expect("findings").iter().filter(|finding| finding["check"] != "disk") {
        let said = finding["found"].as_str().expect("text");
        assert!(shown.contains(said), "{said} is not in {shown}");
    }
    stage.content();
}

#[tokio::test]
async fn what_stands_on_these_pages_is_usable_for_everybody() {
    let mut stage = Visit::new().await;
    let gone = stage.task("begin; end gone").await;
    stage.home.delete(&format!("/api/v1/tasks/{gone}")).await;
    let task = stage.task("begin; end done").await;
    stage
        .home
        .patch(&format!("/api/v1/envs/{}", stage.env), &json!({ "secrets": { "TOKEN": "hunter2" }, "runs": { "paused": true } }))
        .await;
    let waiting = stage.home.task(&stage.env, "begin; end later").await;
    let environment = format!("/environments/{}", stage.env);
    let pages = [
        environment.clone(),
        format!("{environment}/remove"),
        format!("/tasks/{task}/remove"),
        format!("/tasks/{waiting}"),
        "/tasks/new".to_owned(),
        "/environments".to_owned(),
        "/settings/check".to_owned(),
        "/trash".to_owned(),
        "/trash/delete".to_owned(),
    ];
    for screen in [Screen { width: 320, ..PHONE }, Screen { dark: true, ..DESK }] {
        stage.browser.look(screen).await;
        for path in &pages {
            stage.open(path).await;
            stage.browser.value("document.querySelectorAll('details').forEach((it) => { it.open = true; })").await;
            stage.accessible().await;
            let wide = stage.browser.value("document.documentElement.scrollWidth").await;
            assert!(wide.as_u64().is_some_and(|wide| wide <= u64::from(screen.width)), "{path} at {}: {wide}", screen.width);
        }
        // Check a rejected form, too.
        stage.open(&environment).await;
        stage.browser.write("#memory", "lots").await;
        stage.browser.click("form.stack button.primary").await;
        stage.browser.until("document.querySelector('#memory-wrong')").await;
        stage.accessible().await;
    }
}
