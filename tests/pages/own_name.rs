//! The pages' own host name on this machine: how a browser gets there, that its session is not sent elsewhere, and that
//! strangers never learn the name. Tested with a real browser, and with a program that writes its requests byte by byte.

use std::sync::{Arc, Mutex};

use reqwest::Method;
use serde_json::json;
use testkit::TestHome;
use testkit::browser::Browser;
use testkit::worker::scripted_worker;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{Visit, sign_in};
use crate::BINARY;

/// Another program on this machine that serves pages, such as an application of the agent or of a different user.
struct Elsewhere {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Elsewhere {
    /// Starts a program that serves this page at every path and keeps every request.
    async fn start(page: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("the listener has an address").port();
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (kept, page) = (Arc::clone(&kept), page.clone());
                tokio::spawn(async move {
                    let mut bytes = vec![0; 1 << 16];
                    let length = stream.read(&mut bytes).await.unwrap_or_default();
                    kept.lock().expect("whole").push(String::from_utf8_lossy(&bytes[..length]).into_owned());
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{page}",
                        page.len()
                    );
                    // A disconnected browser needs no answer.
                    stream.write_all(answer.as_bytes()).await.ok();
                });
            }
        });
        Self { port, heard }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("whole").clone()
    }
}

/// Returns the server's port.
async fn port(home: &TestHome) -> String {
    home.tcp_address().await.rsplit_once(':').expect("a port").1.to_owned()
}

/// Returns the path of a new sign-in link.
async fn link(home: &TestHome) -> String {
    let (status, link) = home.post("/api/v1/sign-in-links", &json!(null)).await;
    assert_eq!(status, 201, "{link}");
    link["path"].as_str().expect("a path").to_owned()
}

/// Returns the host name of the pages, without the port.
fn own_name(home: &TestHome) -> String {
    fs_err::read_to_string(home.path().join("pages-host")).expect("a started server has a host name").trim().to_owned()
}

/// Returns the complete answer to a request.
async fn raw(port: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).await.expect("the server listens");
    stream.write_all(request.as_bytes()).await.expect("the server reads the request");
    let mut answer = vec![];
    stream.read_to_end(&mut answer).await.expect("the server answers and closes the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn set_password(home: &TestHome, password: &str) {
    let set = home.request(Method::PUT, "/api/v1/password").json(&json!({ "password": password })).send().await;
    assert_eq!(set.expect("the server answers").status(), 204);
}

async fn open_home() -> TestHome {
    let mut home = TestHome::new(BINARY);
    home.set("ORCH_WORKER", scripted_worker(home.scratch()));
    home.start().await;
    home
}

const SIGNED_IN: &str = "document.querySelector('nav.around') && location.pathname";

#[tokio::test]
async fn the_link_that_the_commands_show_leads_to_the_pages_own_name() {
    let home = open_home().await;
    let (name, port) = (own_name(&home), port(&home).await);
    let digits = name.strip_prefix("codex-").and_then(|rest| rest.strip_suffix(".localhost")).expect("a name");
    assert!(digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
    let said = async |words: &[&str]| {
        let output = home.command(words).output().await.expect("the command can be started");
        String::from_utf8(output.stdout).expect("text")
    };
    assert!(said(&["sign-in"]).await.starts_with(&format!("http://{name}:{port}/sign-in?code=")));
    for words in [["status"], ["up"]] {
        assert!(said(&words).await.contains(&format!("pages    http://{name}:{port}\n")), "{words:?}");
    }
}

#[tokio::test]
async fn a_link_at_localhost_leads_to_the_pages_own_name_also_without_a_script() {
    let home = open_home().await;
    let (name, port) = (own_name(&home), port(&home).await);
    for (at, has_scripts) in [("localhost", true), ("127.0.0.1", false), ("[::1]", true)] {
        if at == "[::1]" && TcpListener::bind("[::1]:0").await.is_err() {
            continue;
        }
        let mut browser = Browser::start().await;
        if !has_scripts {
            browser.without_scripts().await;
        }
        let path = link(&home).await;
        browser.open(&format!("http://{at}:{port}{path}&next=%2Fsettings")).await;
        assert_eq!(browser.value("location.host").await, json!(format!("{name}:{port}")), "{at}");
        browser.click("form button.primary").await;
        browser.until(&format!("{SIGNED_IN} === '/settings'")).await;
        assert_eq!(browser.value("location.host").await, json!(format!("{name}:{port}")), "{at}");
        assert_eq!(browser.cookies(&format!("http://{at}:{port}/")).await, "", "no cookie is set at {at}");
        assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
        // The code was redeemed at the pages' own name, and not before.
        browser.open(&format!("http://{at}:{port}{path}")).await;
        browser.until("document.body.innerText.includes('already used')").await;
    }
}

#[tokio::test]
async fn a_password_at_127_0_0_1_leads_to_the_pages_own_name() {
    let home = open_home().await;
    set_password(&home, "correct horse battery").await;
    let (name, port) = (own_name(&home), port(&home).await);
    for has_scripts in [true, false] {
        let mut browser = Browser::start().await;
        if !has_scripts {
            browser.without_scripts().await;
        }
        // Every page redirects to sign-in, and from there back to the page.
        browser.open(&format!("http://127.0.0.1:{port}/environments")).await;
        browser.until("location.pathname === '/sign-in'").await;
        browser.write("#password", "correct horse battery").await;
        browser.click("form button.primary").await;
        browser.until(&format!("location.host === '{name}:{port}' && document.querySelector('input[name=code]')")).await;
        browser.click("form button.primary").await;
        browser.until(&format!("{SIGNED_IN} === '/environments'")).await;
        assert!(browser.cookies(&format!("http://{name}:{port}/")).await.starts_with("orch_session="));
        assert_eq!(browser.cookies(&format!("http://127.0.0.1:{port}/")).await, "");
        assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
    }
}

#[tokio::test]
async fn no_program_at_another_port_receives_the_session() {
    let mut stage = Visit::new().await;
    let (name, port) = (own_name(&stage.home), port(&stage.home).await);
    let secret = stage.browser.cookies(&stage.url).await;
    let secret = secret.strip_prefix("orch_session=").expect("the browser is signed in").to_owned();
    assert_eq!(secret.len(), 64);
    let third = Elsewhere::start("<p>third".to_owned()).await;
    // The page does everything that it can: it sets cookies, and makes the browser send all kinds of requests to other ports.
    let page = format!(
        "<p>other<img src='http://localhost:{port}/sign-in'><img src='http://127.0.0.1:{third}/image'>\
         <form method=post action='http://localhost:{third}/form'><button>send</button></form>\
         <script>for (const domain of ['', '; domain=localhost', '; domain=.localhost']) \
         document.cookie = 'orch_session=planted; path=/' + domain;\
         Promise.allSettled(['localhost:{port}/', '127.0.0.1:{port}/', 'localhost:{port}/sign-in', 'localhost:{third}/fetch', \
         '127.0.0.1:{third}/fetch', 'a.localhost:{third}/fetch'].flatMap((at) => ['cors', 'no-cors'].map((mode) => \
         fetch('http://' + at, {{ mode, credentials: 'include' }})))).then(() => {{ document.title = 'done'; }})</script>",
        third = third.port
    );
    let other = Elsewhere::start(page).await;
    for at in ["localhost", "127.0.0.1", "a.localhost"] {
        stage.browser.open(&format!("http://{at}:{}/", other.port)).await;
        stage.browser.until("document.title === 'done'").await;
        stage.browser.click("form button").await;
        stage.browser.until("document.body.innerText.includes('third')").await;
    }
    let heard = [other.heard(), third.heard()].concat();
    assert!(heard.len() > 20, "{heard:?}");
    assert!(heard.iter().any(|request| request.starts_with("POST /form")), "{heard:?}");
    for request in &heard {
        assert!(!request.contains(&secret) && !request.contains(&name), "{request}");
    }
    // The planted cookie does not overwrite or hide the session.
    stage.browser.complaints.clear();
    stage.open("/settings").await;
    stage.browser.until(&format!("{SIGNED_IN} === '/settings'")).await;
    assert_eq!(stage.browser.cookies(&stage.url).await, format!("orch_session={secret}"));
    stage.content();
}

#[tokio::test]
async fn a_session_is_worth_nothing_at_a_name_that_programs_share() {
    let mut stage = Visit::new().await;
    let (name, port) = (own_name(&stage.home), port(&stage.home).await);
    let cookie = stage.browser.cookies(&stage.url).await;
    let ask = async |host: &str, cookies: &str| {
        let request = format!("GET /settings HTTP/1.1\r\nHost: {host}\r\nCookie: {cookies}\r\nConnection: close\r\n\r\n");
        raw(&port, &request).await
    };
    assert!(ask(&format!("{name}:{port}"), &cookie).await.starts_with("HTTP/1.1 200"));
    // Other cookies with the same name are ignored, in any order.
    for planted in [format!("orch_session=planted; {cookie}"), format!("{cookie}; orch_session=planted; orch_session=")] {
        assert!(ask(&format!("{name}:{port}"), &planted).await.starts_with("HTTP/1.1 200"), "{planted}");
    }
    for host in ["localhost", "127.0.0.1", "[::1]"] {
        let answer = ask(&format!("{host}:{port}"), &cookie).await;
        assert!(answer.starts_with("HTTP/1.1 303") && answer.contains("location: /sign-in?next=%2Fsettings\r\n"), "{answer}");
        assert!(!answer.contains("set-cookie"), "{answer}");
    }
    // A user who signed in at this name with an earlier version is told what to do.
    let request =
        format!("GET /sign-in HTTP/1.1\r\nHost: localhost:{port}\r\nCookie: orch_session=old\r\nConnection: close\r\n\r\n");
    let page = raw(&port, &request).await;
    assert!(page.contains("install the app and turn on notifications there"), "{page}");
}

#[tokio::test]
async fn strangers_never_learn_the_pages_own_name() {
    let mut stage = Visit::new().await;
    set_password(&stage.home, "correct horse battery").await;
    let (name, port) = (own_name(&stage.home), port(&stage.home).await);
    let task = stage.task("begin; end done").await;
    let token = stage.home.token();
    let form =
        |body: &str| format!("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let paths = [
        "/",
        "/sign-in",
        "/sign-in?code=guess",
        "/sign-in?code=guess&next=/settings",
        "/sign-in?next=//evil.example",
        "/sign-out",
        "/settings",
        "/nothing",
        "/healthz",
        "/readyz",
        "/metrics",
        "/manifest.webmanifest",
        "/sw.js",
        "/assets/nothing",
        "/api/v1/status",
        "/api/v1/sign-in-links",
        "/api/v1/openapi.json",
        "/%ff",
        &format!("/tasks/{task}"),
    ];
    for host in ["localhost", "127.0.0.1", "[::1]", "evil.example", "a.localhost", "localhost:1", "127.0.0.1:08080", "[::1]x"] {
        let host = if host.contains(":1") && !host.starts_with('[') || host.contains(":0") {
            host.to_owned()
        } else {
            format!("{host}:{port}")
        };
        for path in paths {
            for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
                for accept in ["text/html", "*/*"] {
                    let request =
                        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
                    let answer = raw(&port, &request).await;
                    assert!(!answer.contains(&name), "{request}{answer}");
                }
            }
        }
        for body in ["code=guess", "password=guess", "code=&password=", "next=/settings", "x"] {
            let request = format!("POST /sign-in HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{}", form(body));
            let answer = raw(&port, &request).await;
            assert!(!answer.contains(&name), "{request}{answer}");
        }
    }
    // A page of another origin does not learn the name, even with a code.
    let path = link(&stage.home).await;
    for site in ["cross-site", "same-site"] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nSec-Fetch-Site: {site}\r\nSec-Fetch-Mode: cors\r\nConnection: close\r\n\r\n"
        );
        assert!(!raw(&port, &request).await.contains(&name), "{request}");
    }
    // A valid code or token identifies the owner.
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n");
    let answer = raw(&port, &request).await;
    assert!(answer.contains(&format!("location: http://{name}:{port}{path}\r\n")), "{answer}");
    let request = format!(
        "GET /api/v1/status HTTP/1.1\r\nHost: localhost:{port}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    assert!(raw(&port, &request).await.contains(&name));
    // No page contains the name, so that a link or copied text does not disclose it.
    for path in ["/", "/settings", "/settings/notices", "/environments", &format!("/tasks/{task}")] {
        stage.open(path).await;
        let text = stage.browser.value("document.documentElement.outerHTML").await;
        assert!(!text.as_str().expect("text").contains(&name), "{path}");
    }
    assert!(!stage.home.log().contains(&name), "{}", stage.home.log());
}

#[tokio::test]
async fn the_pages_are_reached_through_a_tunnel_from_another_port() {
    let home = open_home().await;
    let (name, address) = (own_name(&home), home.tcp_address().await);
    // Forward the port, like `ssh -L` on another machine.
    let tunnel = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let port = tunnel.local_addr().expect("the listener has an address").port();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = tunnel.accept().await {
            let address = address.clone();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(address).await.expect("the server listens");
                tokio::io::copy_bidirectional(&mut near, &mut far).await.ok();
            });
        }
    });
    let mut browser = Browser::start().await;
    browser.open(&format!("http://localhost:{port}/")).await;
    let text = browser.value("document.body.innerText").await;
    assert!(text.as_str().expect("text").contains(&format!("sign-in --address http://localhost:{port}")), "{text}");
    let output = home
        .command(&["sign-in", "--address", &format!("http://localhost:{port}")])
        .output()
        .await
        .expect("the command can be started");
    let link = String::from_utf8(output.stdout).expect("text").trim().to_owned();
    assert!(link.starts_with(&format!("http://{name}:{port}/sign-in?code=")), "{link}");
    browser.open(&link).await;
    browser.click("form button.primary").await;
    browser.until(&format!("{SIGNED_IN} === '/'")).await;
    assert_eq!(browser.value("location.host").await, json!(format!("{name}:{port}")));
    // Ignore the complaints about the first page, which was rejected with everything that it loads.
    let refused = format!("'http://localhost:{port}/");
    browser.complaints.retain(|complaint| !complaint.contains("403 (Forbidden)") && !complaint.contains(&refused));
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

#[tokio::test]
async fn behind_https_the_cookie_is_bound_to_the_host_and_to_https() {
    let mut home = TestHome::new(BINARY);
    home.set("ORCH_WORKER", scripted_worker(home.scratch()));
    let settings = "allowed_hosts = [\"codex.example\", \"box.lan\"]\n[notify]\npublic_url = \"https://codex.example\"\n";
    fs_err::write(home.path().join("config.toml"), settings).expect("written");
    home.start().await;
    let port = port(&home).await;
    let signed_in = async |host: &str, origin: &str| {
        let code = link(&home).await.split_once("code=").expect("a code").1.to_owned();
        let body = format!("code={code}");
        let request = format!(
            "POST /sign-in HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = raw(&port, &request).await;
        let cookie =
            answer.split("\r\n").find_map(|line| line.strip_prefix("set-cookie: ").filter(|it| it.contains("orch_session=")));
        cookie.unwrap_or_else(|| panic!("no cookie: {answer}")).to_owned()
    };
    let status = async |host: &str, cookie: &str| {
        let answer =
            raw(&port, &format!("GET / HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n")).await;
        answer.split(' ').nth(1).expect("a status").to_owned()
    };
    let value = |cookie: &str| cookie.split(';').next().expect("a pair").split_once('=').expect("a value").1.to_owned();
    let https = signed_in("codex.example", "https://codex.example").await;
    assert!(https.starts_with("__Host-orch_session=") && https.contains("; Path=/;") && https.ends_with("; Secure"), "{https}");
    assert!(https.contains("HttpOnly; SameSite=Strict") && !https.to_lowercase().contains("domain"), "{https}");
    let secret = value(&https);
    assert_eq!(status("codex.example", &format!("__Host-orch_session={secret}")).await, "200");
    // A program at another port can set a cookie with the plain name, so that cookie is ignored.
    assert_eq!(status("codex.example", &format!("orch_session={secret}")).await, "303");
    let both = format!("orch_session=planted; __Host-orch_session={secret}");
    assert_eq!(status("codex.example", &both).await, "200");
    // A session is valid only at one host name.
    for host in ["box.lan".to_owned(), format!("localhost:{port}"), format!("{}:{port}", own_name(&home))] {
        for name in ["orch_session", "__Host-orch_session"] {
            assert_eq!(status(&host, &format!("{name}={secret}")).await, "303", "{name} at {host}");
        }
    }
    // A host name without HTTPS works if the configuration allows it.
    let plain = signed_in("box.lan", "http://box.lan").await;
    assert!(plain.starts_with("orch_session=") && !plain.contains("Secure"), "{plain}");
    assert_eq!(status("box.lan", &format!("orch_session={}", value(&plain))).await, "200");
    assert!(home.log().contains("box.lan") && !home.log().contains("name=\"codex.example\""), "{}", home.log());
}

#[tokio::test]
async fn a_browser_that_is_signed_in_at_the_pages_own_name_is_a_secure_place() {
    let mut stage = Visit::new().await;
    stage.open("/settings/notices").await;
    assert_eq!(stage.browser.value("isSecureContext").await, true);
    let worker = "navigator.serviceWorker.register('/sw.js').then(() => navigator.serviceWorker.ready).then((it) => it.scope)";
    assert_eq!(stage.browser.value(worker).await, json!(format!("{}/", stage.url)));
    let installed =
        "fetch(document.querySelector('link[rel=manifest]').href, { credentials: 'include' }).then((it) => it.status)";
    assert_eq!(stage.browser.value(installed).await, 200);
    stage.content();
    let mut other = Browser::start().await;
    sign_in(&stage.home, &mut other).await;
    other.open(&format!("http://localhost:{}/sign-in", port(&stage.home).await)).await;
    assert_eq!(
        other.value("document.querySelector('link[rel=manifest]')").await,
        json!(null),
        "the page at the shared name has no manifest"
    );
}
