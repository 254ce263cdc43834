//! The page that a browser opens after signing in: the one that it requested before.
//!
//! Its path is in the URL and the form of the sign-in page, and in a short-lived cookie for browsers that sign in with a link.
//! Invariant: redirects only go to paths on this server.

use axum::http::{HeaderMap, Method, Uri, header};
use axum::response::Response;

use super::answer::see;

/// The cookie that keeps the requested path until the user opens the one-time link.
const COOKIE: &str = "orch_next";

/// The lifetime of the cookie in seconds. A link is valid for ten minutes.
const LIFE_SECONDS: u32 = 1800;

/// The longest path that is accepted, in bytes.
const LONGEST: usize = 2000;

/// Returns a path on this server with its query unchanged, and `/` for anything else.
pub(super) fn local(address: &str) -> &str {
    // Browsers interpret `//` and `/\` as the start of a host name, and ignore tabs and line ends anywhere.
    let is_local = address.starts_with('/')
        && !address.starts_with("//")
        && address.len() <= LONGEST
        && address.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_local { address } else { "/" }
}

/// Returns the path of the nearest page above a path.
pub(super) fn page_of(path: &str) -> String {
    let segments: Vec<_> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    match segments.as_slice() {
        ["tasks", "new", ..] => "/tasks/new".to_owned(),
        ["tasks", "selected"] => "/".to_owned(),
        ["tasks", id, "changes", ..] => format!("/tasks/{id}/changes"),
        ["tasks", id, ..] => format!("/tasks/{id}"),
        ["environments", id, ..] => format!("/environments/{id}"),
        ["environments"] => "/environments".to_owned(),
        ["settings", "notices", ..] => "/settings/notices".to_owned(),
        ["settings", ..] => "/settings".to_owned(),
        ["trash", ..] => "/trash".to_owned(),
        _ => "/".to_owned(),
    }
}

/// Redirects a browser to the sign-in page, and then to the requested page or the page that contains the form.
pub(crate) fn to_sign_in(method: &Method, uri: &Uri) -> Response {
    let asked = match (method, uri.path()) {
        (&Method::GET | &Method::HEAD, path) => uri.path_and_query().map_or(path, |asked| asked.as_str()).to_owned(),
        // The browser has saved a draft of the new task.
        (_, "/tasks") => "/tasks/new".to_owned(),
        (_, path) => page_of(path),
    };
    match local(&asked) {
        "/" => see("/sign-in"),
        asked => see(&format!("/sign-in?next={}", encoded(asked))),
    }
}

/// Returns the value of a `Set-Cookie` header that stores a path.
pub(super) fn remembering(address: &str) -> String {
    format!("{COOKIE}={}; Path=/sign-in; HttpOnly; SameSite=Strict; Max-Age={LIFE_SECONDS}", encoded(address))
}

/// Returns the value of a `Set-Cookie` header that deletes the stored path.
pub(super) fn forgetting() -> String {
    format!("{COOKIE}=; Path=/sign-in; HttpOnly; SameSite=Strict; Max-Age=0")
}

/// Returns the stored path of a request's cookie.
pub(super) fn remembered(headers: &HeaderMap) -> Option<String> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut values =
        all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='));
    let pair = format!("next={}", values.next()?);
    form_urlencoded::parse(pair.as_bytes()).next().map(|(_, address)| address.into_owned())
}

pub(super) fn encoded(address: &str) -> String {
    form_urlencoded::byte_serialize(address.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_a_path_on_this_server_is_followed() {
        for fine in [
            "/",
            "/tasks/01a2",
            "/tasks/01a2/changes?run=2&view=split",
            "/?q=a+b%20c&status=failed",
            "/tasks/1?x=//y",
            "/%2F/evil",
        ] {
            assert_eq!(local(fine), fine);
        }
        let long = format!("/{}", "a".repeat(LONGEST));
        for hostile in [
            "",
            "tasks",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/tasks\\..\\evil",
            "http://evil.example",
            "https:evil.example",
            "http:",
            "javascript:alert(1)",
            "data:text/html,x",
            " /tasks",
            "/\t/evil.example",
            "/\n/evil.example",
            "/\r\nSet-Cookie: a=b",
            "/tasks\0",
            "/tasks\u{7f}",
            "/t\u{e4}sks",
            "/ /evil.example",
            "@evil.example",
            "?next=/",
            &long,
        ] {
            assert_eq!(local(hostile), "/", "{hostile:?}");
        }
    }

    #[test]
    fn a_form_leads_back_to_its_page_and_a_page_to_itself_with_its_query() {
        let sent_to = |method: Method, uri: &str| {
            let response = to_sign_in(&method, &uri.parse().expect("the address is valid"));
            response.headers()[header::LOCATION].to_str().expect("text").to_owned()
        };
        assert_eq!(sent_to(Method::GET, "/"), "/sign-in");
        assert_eq!(sent_to(Method::GET, "/tasks/01a2?a=b&c=%20"), "/sign-in?next=%2Ftasks%2F01a2%3Fa%3Db%26c%3D%2520");
        assert_eq!(sent_to(Method::HEAD, "/settings"), "/sign-in?next=%2Fsettings");
        assert_eq!(sent_to(Method::POST, "/tasks/01a2/push"), "/sign-in?next=%2Ftasks%2F01a2");
        assert_eq!(sent_to(Method::POST, "/tasks"), "/sign-in?next=%2Ftasks%2Fnew");
        assert_eq!(sent_to(Method::POST, "/tasks/selected"), "/sign-in");
        assert_eq!(sent_to(Method::GET, "//evil.example"), "/sign-in");
    }

    #[test]
    fn what_a_browser_remembers_is_what_it_asked_for() {
        let mut headers = HeaderMap::new();
        assert_eq!(remembered(&headers), None);
        let asked = "/tasks/01a2?a=b&c=%20d;e";
        let cookie = remembering(asked);
        let pair = cookie.split(';').next().expect("a pair");
        headers.insert(header::COOKIE, HeaderValue::from_str(&format!("a=b; {pair}")).expect("a value"));
        assert_eq!(remembered(&headers).as_deref(), Some(asked));
    }

    #[test]
    fn the_address_of_a_form_belongs_to_the_page_above_it() {
        for (form, page) in [
            ("/tasks", "/"),
            ("/tasks/selected", "/"),
            ("/sign-out", "/"),
            ("/tasks/01a2/push", "/tasks/01a2"),
            ("/tasks/01a2/follow-ups/3/remove", "/tasks/01a2"),
            ("/tasks/01a2/changes/viewed", "/tasks/01a2/changes"),
            ("/environments/01a2/fetch", "/environments/01a2"),
            ("/settings/sessions/5ec2e7/revoke", "/settings"),
            ("/settings/notices/devices/5ec2e7/test", "/settings/notices"),
            ("/trash/tasks/01a2/restore", "/trash"),
            ("//evil.example/push", "/"),
            ("/tasks//evil.example", "/tasks/evil.example"),
        ] {
            assert_eq!(page_of(form), page, "{form}");
        }
    }
}
