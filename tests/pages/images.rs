//! Images and other files in prompts: chosen, pasted, dropped and removed again, sent with and without a script, and shown in the transcript.
//! Effects of hostile names and files are checked in the browser.

use reqwest::header::{CONTENT_TYPE, COOKIE, HeaderMap, SET_COOKIE};
use serde_json::{Value, json};
use testkit::TestHome;
use testkit::browser::{PHONE, Screen};
use testkit::pictures::{GIF, JPEG, PNG, WEBP, data_url, given, png_of};
use testkit::upstream::Upstream;
use testkit::worker::scripted_worker;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Visit;
use crate::BINARY;

/// A signed-in client without a browser, to test pages without scripts.
struct Plain {
    client: reqwest::Client,
    url: String,
    cookie: String,
}

/// The status, headers and body of an answer.
type Answer = (u16, HeaderMap, Vec<u8>);

impl Plain {
    async fn sign_in(home: &TestHome) -> Self {
        let output = home.command(&["sign-in"]).output().await.expect("the command can be started");
        let link = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let (url, code) = link.split_once("/sign-in?code=").expect("a link");
        let client = testkit::http_client().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
        let form = client.post(format!("{url}/sign-in")).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let answer = form.body(format!("code={code}")).send().await.expect("the server answers");
        let cookie = answer.headers()[SET_COOKIE].to_str().expect("text").split(';').next().expect("a cookie").to_owned();
        Self { client, url: url.to_owned(), cookie }
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = request.header(COOKIE, &self.cookie).send().await.expect("the server answers");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        (status, headers, answer.bytes().await.expect("the body can be read").to_vec())
    }

    async fn get(&self, path: &str) -> Answer {
        self.answer(self.client.get(format!("{}{path}", self.url))).await
    }

    /// Returns the form token of this session.
    async fn form_token(&self) -> String {
        let page = String::from_utf8(self.get("/settings").await.2).expect("text");
        let (_, rest) = page.split_once("name=\"form_token\" value=\"").expect("a form");
        rest.split('"').next().expect("a value").to_owned()
    }

    /// Sends a form with files, like a browser.
    async fn send(&self, path: &str, fields: &[(&str, &str)], files: &[(&str, &[u8])]) -> Answer {
        let mut body = vec![];
        for (name, value) in fields {
            body.extend_from_slice(
                format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").as_bytes(),
            );
        }
        for (name, bytes) in files {
            let head = format!(
                "--b\r\nContent-Disposition: form-data; name=\"images\"; filename=\"{name}\"\r\nContent-Type: text/html\r\n\r\n"
            );
            body.extend([head.as_bytes(), bytes, b"\r\n"].concat());
        }
        body.extend_from_slice(b"--b--\r\n");
        let request = self.client.post(format!("{}{path}", self.url)).header(CONTENT_TYPE, "multipart/form-data; boundary=b");
        self.answer(request.body(body)).await
    }
}

/// Starts a server without a browser.
async fn quiet() -> (TestHome, String, Plain, Upstream) {
    let upstream = Upstream::new();
    let mut home = TestHome::new(BINARY);
    home.set("ORCH_WORKER", scripted_worker(home.scratch()));
    home.set("ORCH_LISTEN", "127.0.0.1:0");
    home.start().await;
    let env = home.environment(&upstream.url()).await;
    let plain = Plain::sign_in(&home).await;
    (home, env, plain, upstream)
}

fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.2).into_owned()
}

/// Pastes or drops files with these names, each a PNG, and returns whether the page accepted them.
fn hands_over(kind: &str, names: &[&str]) -> String {
    let bytes = data_url("image/png", PNG);
    let event = match kind {
        "paste" => "new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true })",
        _ => "new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true })",
    };
    format!(
        "(async () => {{ const data = new DataTransfer(); \
         const bytes = Uint8Array.from(atob('{}'), (c) => c.charCodeAt(0)); \
         for (const name of {}) data.items.add(new File([bytes], name, {{ type: 'image/png' }})); \
         return !document.querySelector('textarea[name=prompt]').dispatchEvent({event}); }})()",
        bytes.split(',').nth(1).expect("Base64"),
        json!(names)
    )
}

const LISTED: &str = "[...document.querySelectorAll('form .images li')].map((item) => item.textContent).join('|')";

#[tokio::test]
async fn images_are_pasted_dropped_chosen_taken_out_sent_and_shown() {
    let mut stage = Visit::new().await;
    let file = stage.home.scratch().join("chosen.gif");
    fs_err::write(&file, GIF).expect("written");
    stage.browser.look(PHONE).await;
    stage.open("/tasks/new").await;
    stage.browser.write("#prompt", "begin; end done").await;
    assert_eq!(stage.browser.value(&hands_over("paste", &["a.png", "evil<img src=x onerror=window.caught=1>.png"])).await, true);
    stage.browser.choose("input[name=images]", &[&file]).await;
    stage.browser.until(&format!("{LISTED} === 'a.png✕|evil<img src=x onerror=window.caught=1>.png✕|chosen.gif✕'")).await;
    assert_eq!(stage.browser.value(&hands_over("drop", &["late.png"])).await, true);
    stage.browser.click("form .images button[aria-label='Remove a.png']").await;
    stage.browser.until(&format!("{LISTED}.startsWith('evil<') && {LISTED}.endsWith('chosen.gif✕|late.png✕')")).await;
    stage.browser.until("[...document.querySelectorAll('form .images img')].every((img) => img.naturalWidth)").await;
    let wide = stage.browser.value("document.documentElement.scrollWidth").await;
    assert!(wide.as_u64().is_some_and(|wide| wide <= 390), "the page does not scroll sideways: {wide}");
    let small = "[...document.querySelectorAll('form .images button, .attach')].some((it) => it.offsetHeight < 44 || it.offsetWidth < 44)";
    assert_eq!(stage.browser.value(small).await, false);
    for screen in [PHONE, Screen { dark: true, ..PHONE }] {
        stage.browser.look(screen).await;
        stage.accessible().await;
    }
    stage.browser.click("form button.primary").await;
    // The page recognizes the same file under two names as one image.
    stage.browser.until("document.querySelectorAll('#transcript .run-head .images img').length === 2").await;
    let names = "[...document.querySelectorAll('#transcript .images img')].map((img) => img.alt).join('|')";
    assert_eq!(stage.browser.value(names).await, "evil<img src=x onerror=window.caught=1>.png|chosen.gif");
    stage.browser.until("[...document.querySelectorAll('#transcript .images img')].every((img) => img.naturalWidth)").await;
    assert_eq!(stage.browser.value("window.caught ?? null").await, Value::Null);
    stage.accessible().await;

    stage.browser.until("document.querySelector('#state .s-completed') !== null").await;
    let go = stage.home.scratch().join("go");
    stage.browser.write("#say", &format!("begin; await {}; end x", go.display())).await;
    assert_eq!(stage.browser.value(&hands_over("paste", &["more.png"])).await, true);
    stage.browser.until(&format!("{LISTED} === 'more.png✕'")).await;
    stage.browser.until(&format!("!({small})")).await;
    let room = stage.browser.value("document.querySelector('#say').clientWidth").await;
    assert!(room.as_u64().is_some_and(|room| room > 200), "the text field is wide enough: {room}");
    stage.browser.click(".composer button.primary").await;
    stage.browser.until("document.querySelector('#run-2 .images img')?.alt === 'more.png'").await;
    stage.browser.until("document.querySelector('#state .s-running') !== null").await;
    stage.browser.write("#say", "begin; end last").await;
    let tall = stage.browser.value("document.querySelector('#say').clientHeight").await;
    assert!(tall.as_u64().is_some_and(|tall| tall < 80), "the empty text field has one line: {tall}");
    stage.browser.choose("input[name=images]", &[&file]).await;
    stage.browser.until(&format!("{LISTED} === 'chosen.gif✕'")).await;
    stage.browser.click(".composer button.primary").await;
    stage.browser.until("document.querySelector('.to-come')?.innerText.includes('1 file')").await;
    fs_err::write(&go, "").expect("written");
    // The image appears without a reload.
    stage.browser.until("document.querySelector('#run-3 .images img')?.naturalWidth").await;
    stage.content();
}

#[tokio::test]
async fn any_file_is_taken_text_is_left_to_the_browser_and_too_much_is_said_before_it_is_sent() {
    let mut stage = Visit::new().await;
    stage.open("/tasks/new").await;
    let paste = |with: &str| {
        format!(
            "(() => {{ const data = new DataTransfer(); {with}; \
             return !document.querySelector('#prompt').dispatchEvent(new ClipboardEvent('paste', {{ clipboardData: data, cancelable: true, bubbles: true }})); }})()"
        )
    };
    let file = |name: &str, kind: &str| format!("data.items.add(new File(['x'], '{name}', {{ type: '{kind}' }}))");
    assert_eq!(stage.browser.value(&paste(&file("a.txt", "text/plain"))).await, true);
    stage.browser.until(&format!("{LISTED} === 'a.txt✕'")).await;
    stage.browser.click("form .images button").await;
    stage.browser.until(&format!("{LISTED} === ''")).await;
    let table = format!("data.items.add('1\\t2', 'text/plain'); {}", file("a.png", "image/png"));
    assert_eq!(stage.browser.value(&paste(&table)).await, false);
    assert_eq!(stage.browser.value(LISTED).await, "");
    let nine = (0..9).map(|n| file(&format!("{n}.png"), "image/png")).collect::<Vec<_>>().join(";");
    assert_eq!(stage.browser.value(&paste(&nine)).await, true);
    stage.browser.write("#prompt", "x").await;
    assert_eq!(stage.browser.value("document.querySelector('form.stack').checkValidity()").await, false);
    stage.browser.click("form .images button").await;
    stage.browser.until("document.querySelector('form.stack').checkValidity()").await;
    // The browser shows the answer, because the server reads everything that the browser sends.
    let huge = stage.home.scratch().join("huge.png");
    fs_err::write(&huge, png_of(60 << 20)).expect("written");
    stage.open("/tasks/new").await;
    stage.browser.choose("input[name=images]", &[&huge]).await;
    stage.browser.until(&format!("{LISTED} === 'huge.png✕'")).await;
    assert_eq!(stage.browser.value("document.querySelector('form.stack').checkValidity()").await, false);
    stage.browser.value("document.querySelector('form.stack').submit()").await;
    stage.browser.until("document.querySelector('.problem')?.innerText.includes('the form is too large')").await;
}

#[tokio::test]
async fn without_a_script_a_form_with_images_is_sent_and_is_under_the_same_checks() {
    let (home, env, plain, _upstream) = quiet().await;
    let page = text(&plain.get("/tasks/new").await);
    assert!(page.contains("enctype=\"multipart/form-data\"") && page.contains("name=\"images\" multiple"), "{page}");
    let token = plain.form_token().await;
    let fields =
        [("form_token", token.as_str()), ("key", "k1"), ("env_id", &env), ("prompt", "begin; end x\r\n# two"), ("title", "")];
    let files: [(&str, &[u8]); 2] = [("a.jpg", JPEG), ("b.webp", WEBP)];
    let created = plain.send("/tasks", &fields, &files).await;
    assert_eq!(created.0, 303, "{}", text(&created));
    let place = created.1["location"].to_str().expect("text").to_owned();
    // A double tap sends the form twice.
    assert_eq!(plain.send("/tasks", &fields, &files).await.1["location"], place);
    let other = plain.send("/tasks", &fields, &files[..1]).await;
    assert!(
        other.0 == 303 && other.1["location"] != place.as_str(),
        "a form with other images creates another task: {}",
        text(&other)
    );
    let id = place.strip_prefix("/tasks/").expect("a task");
    let task = home.settled(id).await;
    assert_eq!((&task["runs"][0]["prompt"], &task["title"]), (&json!("begin; end x\n# two"), &json!("begin; end x")));
    assert_eq!(task["runs"][0]["images"].as_array().map(Vec::len), Some(2), "{task}");

    // A browser sends an empty file if the user chose none.
    let say = format!("{place}/say");
    let fields = [("form_token", token.as_str()), ("prompt", "begin; end y")];
    assert_eq!(plain.send(&say, &fields, &[("", b"")]).await.0, 303);
    assert_eq!(home.settled(id).await["runs"][1]["images"], Value::Null);

    let foreign = [("form_token", "0123456789abcdef0123456789abcdef"), ("prompt", "x")];
    for fields in [&foreign[..], &fields[1..]] {
        let refused = plain.send(&say, fields, &[]).await;
        assert!(refused.0 == 400 && text(&refused).contains("another session"), "{}", text(&refused));
    }
    let refused = plain.send(&say, &fields[..1], &[]).await;
    assert!(
        refused.0 == 400 && text(&refused).contains("could not read the form"),
        "a form without a prompt is rejected: {}",
        text(&refused)
    );
    let nobody = Plain { cookie: "orch_session=x".to_owned(), client: plain.client.clone(), url: plain.url.clone() };
    let refused = nobody.send(&say, &fields, &[("a.png", PNG)]).await;
    let sign_in = format!("/sign-in?next=%2Ftasks%2F{id}");
    assert_eq!((refused.0, refused.1["location"].to_str().ok()), (303, Some(sign_in.as_str())));
    assert_eq!(home.settled(id).await["runs"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn what_cannot_be_taken_is_said_on_a_page_however_much_it_is() {
    let (home, env, plain, _upstream) = quiet().await;
    let token = plain.form_token().await;
    let fields = [("form_token", token.as_str()), ("env_id", &env), ("prompt", "begin; end x")];
    let (large, huge) = (png_of((10 << 20) + 1), png_of(60 << 20));
    for (bytes, status, words) in [
        (&b""[..], 422, "is empty"),
        (&PNG[..50], 422, "is incomplete or damaged"),
        (&large, 413, "the limit is 10485760 (10 MiB)"),
        (&huge, 413, "the form is too large"),
    ] {
        let answer = plain.send("/tasks", &fields, &[("<b>x.png", bytes)]).await;
        let said = text(&answer);
        assert!(answer.0 == status && said.contains(words) && said.contains("role=\"alert\""), "{}: {said}", answer.0);
        assert!(!said.contains("<b>x"), "{said}");
    }
    // A client that sends everything before it reads gets an answer, too.
    let (host, address) = (plain.url.strip_prefix("http://").expect("the URL starts with http://"), home.tcp_address().await);
    let head = format!(
        "POST /tasks HTTP/1.1\r\nHost: {host}\r\nCookie: {}\r\nContent-Type: multipart/form-data; boundary=b\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        plain.cookie,
        huge.len()
    );
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("the server listens");
    stream.write_all(&[head.as_bytes(), &huge].concat()).await.expect("the server accepts the whole request");
    let mut answer = vec![];
    stream.read_to_end(&mut answer).await.expect("the server answers");
    assert!(answer.starts_with(b"HTTP/1.1 413 "), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(home.get("/api/v1/tasks").await.1["items"], json!([]));
}

#[tokio::test]
async fn an_image_is_served_as_nothing_but_an_image_to_who_is_signed_in() {
    let (home, env, plain, _upstream) = quiet().await;
    let planted = [PNG, b"<html><script>alert(1)</script>"].concat();
    let asked = json!({ "env_id": env, "prompt": "begin; end x", "images": [given("x.html", &planted), given("y.gif", GIF)] });
    let (status, task) = home.post("/api/v1/tasks", &asked).await;
    assert_eq!(status, 201, "{task}");
    let id = task["task_id"].as_str().expect("the task has an ID");
    let name = |n: usize| task["runs"][0]["images"][n]["file"].as_str().expect("a name");
    for (n, kind, bytes) in [(0, "image/png", planted.as_slice()), (1, "image/gif", GIF)] {
        let (status, headers, body) = plain.get(&format!("/tasks/{id}/images/{}", name(n))).await;
        assert_eq!((status, body.as_slice()), (200, bytes));
        assert_eq!(
            (&headers["content-type"], &headers["x-content-type-options"]),
            (&kind.parse().expect("a value"), &"nosniff".parse().expect("a value"))
        );
        assert!(
            headers["content-security-policy"].to_str().is_ok_and(|policy| policy.starts_with("sandbox; default-src 'none'"))
        );
        let known =
            plain.client.get(format!("{}/tasks/{id}/images/{}", plain.url, name(n))).header("if-none-match", &headers["etag"]);
        assert_eq!(plain.answer(known).await.0, 304);
    }
    let folder = home.path().join("tasks").join(id).join("images");
    fs_err::write(folder.join("0123456789abcdef.png"), PNG).expect("written");
    for name in ["0123456789abcdef.png", "..%2Fmeta.json", "..%2f..%2f..%2ftoken", "%00.png", "x"] {
        assert_eq!(
            plain.get(&format!("/tasks/{id}/images/{name}")).await.0,
            404,
            "{name}: a file that no record names is not served"
        );
    }
    let nobody = Plain { cookie: String::new(), client: plain.client.clone(), url: plain.url.clone() };
    assert_eq!(nobody.get(&format!("/tasks/{id}/images/{}", name(0))).await.0, 303);
    let (status, other) = home.post("/api/v1/tasks", &json!({ "env_id": env, "prompt": "begin; end x" })).await;
    assert_eq!(status, 201, "{other}");
    let other = other["task_id"].as_str().expect("the task has an ID");
    assert_eq!(plain.get(&format!("/tasks/{other}/images/{}", name(0))).await.0, 404, "an image of another task is not served");
}

#[tokio::test]
async fn where_no_script_hides_it_the_field_fits_a_narrow_phone() {
    let mut stage = Visit::new().await;
    let task = stage.task("begin; end done").await;
    stage.browser.look(Screen { width: 320, ..PHONE }).await;
    for path in ["/tasks/new".to_owned(), format!("/tasks/{task}")] {
        stage.open(&path).await;
        // Restore the state before the script has loaded.
        stage.browser.value("document.querySelector('input[name=images]').className = ''").await;
        let wide = stage.browser.value("document.documentElement.scrollWidth").await;
        assert_eq!(wide, 320, "{path}");
        let field = stage.browser.value("document.querySelector('input[name=images]').getBoundingClientRect().right").await;
        assert!(field.as_f64().is_some_and(|right| right <= 320.0), "{path}: {field}");
        stage.accessible().await;
    }
}
