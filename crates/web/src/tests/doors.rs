//! Tests who gets in: sessions, sign-in links and passwords, form tokens, and requests of other sites.
//!
//! The lists of pages and forms name every route with a session, so that a route without its check is noticed.

use super::*;

const ID: &str = "01a201f5-b7dd-79a1-8a6e-7e6639f5c650";

/// Every page that needs a session. `ID` stands for an ID.
const PAGES: &[&str] = &[
    "/",
    "/live?after=1",
    "/tasks/new",
    "/tasks/new/refs?env_id=ID",
    "/tasks/ID",
    "/tasks/ID/live?run=1&offset=0",
    "/tasks/ID/runs/1/older",
    "/tasks/ID/runs/1/output?at=1",
    "/tasks/ID/runs/1/log",
    "/tasks/ID/images/ba7816bf8f01cfea.png",
    "/tasks/ID/stop",
    "/tasks/ID/remove",
    "/tasks/ID/changes?view=split",
    "/tasks/ID/changes/part?path=a",
    "/tasks/ID/changes/image?path=a.png",
    "/environments",
    "/environments/ID",
    "/environments/ID/remove",
    "/settings",
    "/settings/check",
    "/settings/notices",
    "/trash",
    "/trash/delete",
];

/// Every form that needs a session.
const FORMS: &[&str] = &[
    "/sign-out",
    "/tasks",
    "/tasks/selected",
    "/tasks/ID/say",
    "/tasks/ID/stop",
    "/tasks/ID/continue",
    "/tasks/ID/retry",
    "/tasks/ID/answer",
    "/tasks/ID/follow-ups/1",
    "/tasks/ID/follow-ups/1/remove",
    "/tasks/ID/archive",
    "/tasks/ID/remove",
    "/tasks/ID/push",
    "/tasks/ID/update",
    "/tasks/ID/feedback",
    "/tasks/ID/changes",
    "/tasks/ID/changes/viewed",
    "/environments",
    "/environments/ID",
    "/environments/ID/fetch",
    "/environments/ID/retry",
    "/environments/ID/remove",
    "/settings/notices",
    "/settings/notices/ntfy/test",
    "/settings/notices/devices",
    "/settings/notices/devices/x/test",
    "/settings/notices/devices/x/remove",
    "/settings/sessions/x/revoke",
    "/trash/tasks/ID/restore",
    "/trash/environments/ID/restore",
    "/trash/delete",
];

impl Stage {
    /// Forgets the session of the browser.
    fn visitor(&mut self) {
        self.cookie.clear();
    }

    /// Opens a page at another host name, with the cookie of the browser.
    async fn get_at(&self, host: &str, path: &str) -> Reply {
        let mut request = self.browser("GET", path).body(Body::empty()).expect("a request");
        request.headers_mut().insert(header::HOST, host.parse().expect("a host"));
        self.ask(request).await
    }

    /// Sends the form of the sign-in page at a host name. `origin` is the scheme of the browser.
    async fn sign_in_at(&self, scheme: &str, host: &str, fields: &[(&str, &str)]) -> Reply {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let mut request = self.form("/sign-in", form);
        request.headers_mut().insert(header::HOST, host.parse().expect("a host"));
        request.headers_mut().insert(header::ORIGIN, format!("{scheme}://{host}").parse().expect("an origin"));
        request.headers_mut().remove(header::COOKIE);
        self.ask(request).await
    }
}

fn cookies(reply: &Reply) -> Vec<&str> {
    reply.headers.get_all(header::SET_COOKIE).iter().map(|value| value.to_str().expect("text")).collect()
}

#[tokio::test]
async fn without_a_session_there_is_only_the_way_to_one() {
    let mut stage = Stage::new().await;
    stage.visitor();
    for path in PAGES {
        let path = path.replace("ID", ID);
        let next = if path == "/" {
            String::new()
        } else {
            format!("?next={}", path.replace('/', "%2F").replace('?', "%3F").replace('=', "%3D").replace('&', "%26"))
        };
        let reply = stage.get(&path).await;
        assert_eq!(reply.leads_to(), (303, format!("/sign-in{next}").as_str()), "{path}");
        assert!(reply.body.is_empty(), "{path}: {}", reply.body);
    }
    for path in FORMS {
        let path = path.replace("ID", ID);
        let reply = stage.post(&path, &[]).await;
        assert_eq!(reply.status, 303, "{path}: {}", reply.body);
        assert!(reply.header("location").starts_with("/sign-in"), "{path}");
    }
    let unknown = stage.get("/nothing/here?a=b").await;
    assert_eq!(unknown.leads_to(), (303, "/sign-in?next=%2Fnothing%2Fhere%3Fa%3Db"), "visitors cannot tell which paths exist");
}

#[tokio::test]
async fn a_form_without_the_token_of_its_session_changes_nothing() {
    let mut stage = Stage::new().await;
    let own = stage.token.clone();
    for path in FORMS {
        let path = path.replace("ID", ID);
        for token in ["", "0", &own[..31], &own.to_uppercase(), &own.replace(|c: char| c.is_ascii_digit(), "a")] {
            stage.token = token.to_owned();
            let page = stage.post(&path, &[("sure", "yes")]).await;
            assert!(page.page(400).contains("go back, reload the page and send the form again"), "{path} {token}");
        }
    }
    stage.token = own;
    assert_eq!(stage.get("/").await.status, 200, "the session is still open");
}

#[tokio::test]
async fn a_session_is_valid_only_at_the_name_where_it_began() {
    let stage = Stage::new().await;
    let port = format!("{}:9000", stage.engine.pages_host());
    assert_eq!(stage.get_at(&port, "/settings").await.status, 200, "a tunnel may use another port");
    for host in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "box.example", "box.example:8443"] {
        let reply = stage.get_at(host, "/settings").await;
        assert_eq!(reply.leads_to(), (303, "/sign-in?next=%2Fsettings"), "{host}");
    }
    for host in ["evil.example", "localhost:9000", "codex-0.localhost:8080", "box.example.evil.example"] {
        let refused = stage.get_at(host, "/settings").await;
        let page = refused.page(403);
        assert!(page.contains("host not allowed") && !page.contains(stage.engine.pages_host()), "{host}: {page}");
    }
}

#[tokio::test]
async fn pages_of_other_sites_change_nothing_even_with_the_cookie_and_the_token() {
    let stage = Stage::new().await;
    let body = format!("form_token={}", stage.token);
    for (name, value) in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("origin", "http://localhost:8080"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let mut request = stage.form("/sign-out", body.clone());
        request.headers_mut().insert(name, value.parse().expect("a value"));
        let refused = stage.ask(request).await;
        assert!(refused.page(403).contains("requests from pages of other"), "{name}: {value}");
    }
    let framed = stage.browser("GET", "/").header("sec-fetch-site", "cross-site").header("sec-fetch-mode", "navigate");
    let framed = framed.header("sec-fetch-dest", "iframe").body(Body::empty()).expect("a request");
    assert_eq!(stage.ask(framed).await.status, 403);
    let linked = stage.browser("GET", "/").header("sec-fetch-site", "cross-site").header("sec-fetch-mode", "navigate");
    let linked = linked.header("sec-fetch-dest", "document").body(Body::empty()).expect("a request");
    assert_eq!(stage.ask(linked).await.status, 200, "a link on another page may lead here");
}

#[tokio::test]
async fn a_code_signs_one_browser_in_and_leads_back_only_to_a_page_of_this_server() {
    let stage = Stage::new().await;
    let host = stage.host();
    let signed = async |fields: &[(&str, &str)]| stage.sign_in_at("http", &host, fields).await;
    for (next, expected) in [
        (None, "/"),
        (Some("/tasks/01a2?a=b&c=d"), "/tasks/01a2?a=b&c=d"),
        (Some("//evil.example"), "/"),
        (Some("https://evil.example"), "/"),
        (Some("/\\evil.example"), "/"),
        (Some("/\r\nset-cookie: a=b"), "/"),
        (Some(""), "/"),
    ] {
        let code = stage.user().sign_in_code();
        let fields: Vec<_> = [("code", code.as_str())].into_iter().chain(next.map(|next| ("next", next))).collect();
        let reply = signed(&fields).await;
        assert_eq!(reply.leads_to(), (303, expected), "{next:?}");
        let given = cookies(&reply);
        assert_eq!(given.len(), 2, "{given:?}");
        assert!(given[0].starts_with("orch_session="), "{given:?}");
        for attribute in ["; Path=/;", "; HttpOnly", "; SameSite=Strict", "; Max-Age=7776000"] {
            assert!(given[0].contains(attribute), "{attribute}: {given:?}");
        }
        assert!(given[1].starts_with("orch_next=;") && given[1].contains("Max-Age=0"), "{given:?}");
        let again = signed(&[("code", &code)]).await;
        assert!(again.page(401).contains("already used or has expired") && cookies(&again).is_empty(), "{next:?}");
    }
    for code in ["", "0", "<script>", &"a".repeat(4000)] {
        let refused = signed(&[("code", code)]).await;
        assert!(!refused.page(401).contains("<script>") && cookies(&refused).is_empty(), "{code}");
    }
}

#[tokio::test]
async fn the_page_that_was_asked_for_is_remembered_for_the_link_from_the_terminal() {
    let mut stage = Stage::new().await;
    stage.visitor();
    let page = stage.get("/sign-in?next=%2Ftasks%2F01a2%3Fa%3Db").await;
    assert!(page.page(200).contains("codex-orchestrator sign-in"));
    let remembered = cookies(&page)[0].split(';').next().expect("a pair").to_owned();
    assert!(cookies(&page)[0].contains("Path=/sign-in; HttpOnly; SameSite=Strict"));
    let code = stage.user().sign_in_code();
    let mut request = stage.form("/sign-in", format!("code={code}"));
    request.headers_mut().insert(header::COOKIE, remembered.parse().expect("a cookie"));
    assert_eq!(stage.ask(request).await.leads_to(), (303, "/tasks/01a2?a=b"));
}

#[tokio::test]
async fn opening_a_link_redeems_nothing_and_repeats_its_code_only_as_text() {
    let mut stage = Stage::new().await;
    stage.visitor();
    let code = stage.user().sign_in_code();
    for _ in 0..3 {
        let page = stage.get(&format!("/sign-in?code={code}&next=%2Fsettings")).await;
        let page = page.page(200);
        assert!(
            page.contains(&format!(r#"name="code" value="{code}""#)) && page.contains(r#"name="next" value="/settings""#),
            "{page}"
        );
    }
    assert!(stage.engine.is_sign_in_code(&code), "programs that preview links open them too");
    let hostile = stage.get("/sign-in?code=%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E").await;
    assert!(!hostile.page(200).contains("<script>alert"), "{}", hostile.body);
}

#[tokio::test]
async fn at_a_name_that_programs_share_a_link_leads_to_the_pages_own_name_and_sets_no_cookie() {
    let mut stage = Stage::new().await;
    stage.visitor();
    let own = stage.engine.pages_host().to_owned();
    let code = stage.user().sign_in_code();
    let page = stage.get_at("localhost:8080", "/sign-in").await;
    assert!(page.header("content-security-policy").contains("form-action 'self' http://*.localhost:*"));
    assert!(!page.body.contains(&own) && cookies(&page).is_empty());
    let link = stage.get_at("localhost:8080", &format!("/sign-in?code={code}&next=%2Ftrash")).await;
    let expected = format!("http://{own}:8080/sign-in?code={code}&next=%2Ftrash");
    assert_eq!((link.leads_to(), cookies(&link).len()), ((303, expected.as_str()), 0));
    let form = stage.sign_in_at("http", "127.0.0.1:8080", &[("code", &code)]).await;
    assert_eq!(form.leads_to(), (303, format!("http://{own}:8080/sign-in?code={code}").as_str()));
    assert!(stage.engine.is_sign_in_code(&code), "the code is still valid at the other name");
    for refused in
        [stage.get_at("localhost:8080", "/sign-in?code=0").await, stage.sign_in_at("http", "localhost:8080", &[]).await]
    {
        assert!(refused.page(401).contains("already used") && !refused.body.contains(&own), "strangers do not learn the name");
    }
}

#[tokio::test]
async fn over_https_the_cookie_is_bound_to_the_host_and_to_https() {
    let stage = Stage::new().await;
    let code = stage.user().sign_in_code();
    let reply = stage.sign_in_at("https", "box.example", &[("code", &code)]).await;
    let given = cookies(&reply);
    assert!(given[0].starts_with("__Host-orch_session=") && given[0].ends_with("; Secure"), "{given:?}");
    assert!(given[1].starts_with("orch_session=;"), "a cookie from before HTTPS is deleted: {given:?}");
    let pair = given[0].split(';').next().expect("a pair").to_owned();
    let open = async |cookie: &str, host: &str| {
        let mut request = stage.browser("GET", "/settings").body(Body::empty()).expect("a request");
        request.headers_mut().insert(header::COOKIE, cookie.parse().expect("a cookie"));
        request.headers_mut().insert(header::HOST, host.parse().expect("a host"));
        stage.ask(request).await.status
    };
    assert_eq!(open(&pair, "box.example").await, 200);
    assert_eq!(open(&format!("a=b; orch_session=other; {pair}"), "box.example:8443").await, 200);
    assert_eq!(open(&pair, &stage.host()).await, 303, "the session is valid only where it started");
    assert_eq!(open(&pair.replace("__Host-", "__host-"), "box.example").await, 303, "names are case-sensitive");
}

#[tokio::test]
async fn a_password_signs_in_where_one_is_set() {
    let mut stage = Stage::new().await;
    stage.visitor();
    let host = stage.host();
    assert!(!stage.get("/sign-in").await.page(200).contains(r#"type="password""#));
    let set = stage.api("PUT", "/api/v1/password", &json!({ "password": "correct horse battery" })).await;
    assert_eq!(set.status, 204, "{}", set.body);
    assert!(stage.get("/sign-in").await.page(200).contains(r#"type="password""#));
    let wrong = stage.sign_in_at("http", &host, &[("password", "battery horse correct")]).await;
    let page = wrong.page(401);
    assert!(page.contains("wrong password") && !page.contains("horse") && cookies(&wrong).is_empty(), "{page}");
    let right = stage.sign_in_at("http", &host, &[("password", "correct horse battery"), ("next", "/trash")]).await;
    assert_eq!(right.leads_to(), (303, "/trash"));
    assert!(cookies(&right)[0].starts_with("orch_session="));
    let shared = stage.sign_in_at("http", "localhost:8080", &[("password", "correct horse battery")]).await;
    assert!(shared.header("location").starts_with(&format!("http://{host}/sign-in?code=")), "{shared:?}");
    assert!(cookies(&shared).is_empty());
    assert_eq!(stage.api("DELETE", "/api/v1/password", &Value::Null).await.status, 204);
    let removed = stage.sign_in_at("http", &host, &[("password", "correct horse battery")]).await;
    assert!(removed.status != 303 && cookies(&removed).is_empty(), "{removed:?}");
}

#[tokio::test]
async fn whoever_signs_out_or_is_signed_out_is_a_visitor() {
    let mut stage = Stage::new().await;
    let first = (stage.cookie.clone(), stage.token.clone());
    let signed = stage.sign_in_at("http", &stage.host(), &[("code", &stage.user().sign_in_code())]).await;
    let second = cookies(&signed)[0].split(';').next().expect("a pair").to_owned();
    let page = stage.get("/settings").await.body;
    let revoke = page.split("action=\"").find_map(|rest| rest.split_once("/revoke\"").map(|(path, _)| format!("{path}/revoke")));
    let revoke = revoke.expect("the other browser is listed");
    assert_eq!(stage.post(&revoke, &[]).await.leads_to(), (303, "/settings"));
    assert!(!stage.get("/settings").await.page(200).contains("/revoke"));
    stage.cookie = second;
    assert_eq!(stage.get("/").await.status, 303, "the revoked browser is signed out");
    (stage.cookie, stage.token) = first;
    let out = stage.post("/sign-out", &[]).await;
    assert_eq!((out.leads_to(), cookies(&out).len()), ((303, "/"), 1));
    assert!(cookies(&out)[0].starts_with("orch_session=;") && cookies(&out)[0].contains("Max-Age=0"));
    assert_eq!(stage.get("/").await.leads_to(), (303, "/sign-in"), "the old cookie opens nothing");
    assert_eq!(stage.post("/sign-out", &[]).await.status, 303, "a second time is harmless");
}

#[tokio::test]
async fn the_form_of_visitors_is_small() {
    let stage = Stage::new().await;
    let long = "a".repeat(9 << 10);
    let refused = stage.sign_in_at("http", &stage.host(), &[("code", &long)]).await;
    assert!(refused.page(400).contains("could not read the form"), "{}", refused.body);
    let mut request = stage.form("/sign-in", "code=1".to_owned());
    request.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().expect("a type"));
    assert!(stage.ask(request).await.page(400).contains("could not read the form"));
}

#[tokio::test]
async fn every_response_is_hardened() {
    let stage = Stage::new().await;
    let asset =
        stage.get("/").await.body.split("/assets/").nth(1).and_then(|rest| rest.split('"').next()).expect("a name").to_owned();
    for path in
        ["/", "/sign-in", "/nothing", "/api/v1/tasks", "/healthz", "/manifest.webmanifest", "/sw.js", &format!("/assets/{asset}")]
    {
        let reply = stage.get(path).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(reply.header(name), value, "{path}");
        }
        assert!(reply.header("content-security-policy").contains("default-src 'none'"), "{path}");
        assert!(["no-referrer", "same-origin"].contains(&reply.header("referrer-policy")), "{path}");
        let caches = reply.header("cache-control");
        let expected = if path.starts_with("/assets/") {
            "public, max-age=31536000, immutable"
        } else if path == "/sw.js" {
            "no-cache"
        } else {
            "no-store"
        };
        assert_eq!(caches, expected, "{path}");
        assert!(reply.headers.keys().all(|name| !name.as_str().starts_with("access-control")), "{path}");
    }
}

#[tokio::test]
async fn an_address_without_a_page_is_a_page_for_browsers_and_a_problem_for_programs() {
    let stage = Stage::new().await;
    let lost = stage.get("/nothing/%3Cscript%3E").await;
    let page = lost.page(404);
    assert!(page.contains("page not found: /nothing/%3Cscript%3E") && page.contains(r#"href="/""#), "{page}");
    let long = stage.get(&format!("/{}", "a".repeat(5000))).await;
    assert!(long.page(404).len() < 6000, "a long path is cut");
    let program = async |path: &str, method: &str, token: Option<&str>| {
        let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost:8080");
        let request =
            token.into_iter().fold(request, |request, token| request.header(header::AUTHORIZATION, format!("Bearer {token}")));
        stage.ask(request.body(Body::empty()).expect("a request")).await
    };
    let token = stage.engine.token();
    assert_eq!(program("/nothing", "GET", None).await.problem(), (401, "unauthenticated".to_owned()));
    assert_eq!(program("/nothing", "GET", Some("wrong")).await.problem(), (401, "unauthenticated".to_owned()));
    assert_eq!(program("/nothing", "GET", Some(token)).await.problem(), (404, "no_such_route".to_owned()));
    assert_eq!(program("/api/v1/tasks", "GET", Some(token)).await.status, 200);
    assert_eq!(program("/api/v1/tasks", "GET", None).await.header("www-authenticate"), "Bearer");
    let refused = program("/settings", "DELETE", None).await;
    assert_eq!(refused.header("allow"), "GET,HEAD");
    assert_eq!(refused.problem(), (405, "method_not_allowed".to_owned()));
    let visit = stage.get(&format!("/tasks/{ID}/push")).await;
    assert_eq!(visit.leads_to(), (303, format!("/tasks/{ID}").as_str()), "the URL of a form leads to the page of the form");
    assert_eq!(program(&format!("/tasks/{ID}/push"), "GET", None).await.problem().0, 405);
}

#[tokio::test]
async fn an_id_that_is_unknown_or_none_is_a_page_that_says_so() {
    let stage = Stage::new().await;
    for path in PAGES.iter().filter(|path| path.contains("ID") && !path.contains("refs")) {
        for id in [ID, "0", "..%2f..", "%00", "<b>"] {
            let path = path.replace("ID", &id.replace('<', "%3C").replace('>', "%3E"));
            let reply = stage.get(&path).await;
            if path.contains("/changes/part") {
                assert_eq!(reply.status, 303, "without the script, the lines are a part of the page: {path}");
                continue;
            }
            assert!(!reply.page(404).contains("<b>"), "{path}");
        }
    }
    let suggestions = stage.get("/tasks/new/refs?env_id=0").await;
    assert_eq!(suggestions.page(200), r#"<datalist id="refs"></datalist>"#, "an unknown repository suggests nothing");
}

#[tokio::test]
async fn pages_and_files_are_compressed_for_browsers_that_can_read_it() {
    let stage = Stage::new().await;
    let coded = async |path: &str, accepts: &str| {
        let request = stage.browser("GET", path).header(header::ACCEPT_ENCODING, accepts).body(Body::empty());
        stage.ask(request.expect("a request")).await.header("content-encoding").to_owned()
    };
    let page = stage.get("/").await.body;
    let assets: Vec<&str> = page.split("\"/assets/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    for asset in assets.iter().filter(|asset| !asset.starts_with("icon")) {
        let path = format!("/assets/{asset}");
        assert_eq!([coded(&path, "gzip, br").await, coded(&path, "br").await], ["gzip", ""], "{path}");
        let other = path.replace('-', "-0");
        assert_eq!(stage.get(&other).await.status, 404, "another version of a file has another name: {other}");
    }
    assert_eq!([coded("/", "gzip").await, coded("/", "identity").await], ["gzip", ""]);
}
