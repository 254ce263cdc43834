//! Rejects requests for other hosts (`Host`) and requests that pages of other sites caused. Records the [`Site`] of TCP requests.
//!
//! A page of another site can make a browser send requests to 127.0.0.1, and can point its own host name there (DNS rebinding). It cannot
//! forge the headers `Host`, `Origin` and `Sec-Fetch-Site`. They are checked on every route of every listener, before anything else.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use model::ErrorCode;
use model::problem::Problem;
use request_headers::host::HostName;

use crate::host::{NameKind, Site};
use crate::pages::answer::PageProblem;
use crate::problem::{ProblemResponse, shown};

/// The hint for reverse proxies that change the `Host` header.
const PASS_HOST_ON: &str =
    "configure the reverse proxy to forward the browser's `Host` header; in nginx: `proxy_set_header Host $http_host;`";

/// The listener of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// The unix socket, which is protected by its file mode.
    Unix,
    /// A TCP address.
    Tcp(SocketAddr),
}

/// The host names of one listener.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    endpoint: Endpoint,
    own: Arc<str>,
    more: Arc<[HostName]>,
}

impl Guard {
    /// Creates the guard of a listener. `own` is the pages' own name. `allowed_hosts` are allowed in addition to the loopback names, each
    /// with one port or for every port.
    pub(crate) fn new(endpoint: Endpoint, own: &str, allowed_hosts: &[String]) -> Self {
        let more = allowed_hosts.iter().filter_map(|host| {
            let parsed = HostName::parse(host);
            if parsed.is_none() {
                tracing::warn!(host, "ignored an invalid host name in `allowed_hosts`");
            }
            parsed
        });
        Self { endpoint, own: own.into(), more: more.collect() }
    }

    /// Returns the listener.
    pub(crate) fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<HostName, Problem> {
        let host = asked_host(uri, headers)?;
        if !self.answers_to(&host) {
            return Err(bad_host(&host));
        }
        check_origin(&host, headers)
            .map_err(|refused| if self.came_by_an_allowed_name(headers) { refused.hint(PASS_HOST_ON) } else { refused })?;
        check_fetch_site(method, headers)?;
        Ok(host)
    }

    /// Returns the site of a TCP request. The unix socket serves no pages.
    fn site(&self, host: HostName) -> Option<Site> {
        let kind = match self.endpoint {
            Endpoint::Unix => return None,
            Endpoint::Tcp(_) if *host.name == *self.own => NameKind::Own,
            Endpoint::Tcp(_) if host.is_loopback() => NameKind::Shared,
            Endpoint::Tcp(_) => NameKind::Configured,
        };
        Some(Site { kind, host })
    }

    /// Returns whether the `Origin` is an allowed host. If so, a proxy has probably changed the `Host` header.
    fn came_by_an_allowed_name(&self, headers: &HeaderMap) -> bool {
        let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok()?.split_once("://"));
        let origin = origin.and_then(|(_, host)| HostName::parse(host));
        origin.is_some_and(|origin| self.more.iter().any(|more| more.name == origin.name))
    }

    fn answers_to(&self, host: &HostName) -> bool {
        match self.endpoint {
            Endpoint::Unix => host.name == "localhost" && host.port.is_none(),
            Endpoint::Tcp(address) => {
                let own_port = host.port.is_none_or(|port| port == address.port());
                // A name that nobody can guess cannot be rebound, so tunnels can use any port.
                *host.name == *self.own
                    || own_port && is_own_name(&host.name, address)
                    || self.more.iter().any(|more| more.name == host.name && (more.port.is_none() || more.port == host.port))
            }
        }
    }
}

/// Returns whether a name is a loopback name or the address of the listener. Unlike names, addresses cannot be rebound.
fn is_own_name(name: &str, address: SocketAddr) -> bool {
    let own = match address {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    };
    matches!(name, "127.0.0.1" | "localhost" | "[::1]") || (name == own && !address.ip().is_unspecified())
}

/// Rejects requests that are not meant for this server.
pub(crate) async fn check(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    match guard.check(request.method(), request.uri(), request.headers()) {
        Ok(host) => {
            if let Some(site) = guard.site(host) {
                request.extensions_mut().insert(site);
            }
            next.run(request).await
        }
        Err(problem) if wants_page(request.headers(), request.uri().path()) => PageProblem::from(problem).into_response(),
        Err(problem) => ProblemResponse::from(problem).into_response(),
    }
}

/// Returns the problem for an unknown host name. It never contains the pages' own name.
fn bad_host(host: &HostName) -> Problem {
    let detail = format!("host not allowed: {}", shown(&host.to_string()));
    let problem = Problem::new(ErrorCode::BadHost, detail);
    if host.is_loopback() {
        return problem
            .hint(format!(
                "for a tunnel from another port, run `codex-orchestrator sign-in --address http://{}`",
                shown(&host.to_string())
            ))
            .hint("run it on the server's machine and open the link that it prints");
    }
    problem.hint("to allow this host, add it to `allowed_hosts` in ORCH_HOME/config.toml and restart the server")
}

/// Returns whether the client is a browser that shows the response to a person.
pub(crate) fn wants_page(headers: &HeaderMap, path: &str) -> bool {
    let accepts = headers.get(header::ACCEPT).and_then(|accepts| accepts.to_str().ok());
    accepts.is_some_and(|accepts| accepts.contains("text/html")) && path != "/api" && !path.starts_with("/api/")
}

fn asked_host(uri: &Uri, headers: &HeaderMap) -> Result<HostName, Problem> {
    let malformed = |detail: &str| {
        Problem::new(ErrorCode::MalformedHost, detail).hint("send one `Host` header with the server's name and port")
    };
    let host = only(headers, &header::HOST).map_err(|Several| malformed("the request has several `Host` headers"))?;
    let host = host.ok_or_else(|| malformed("the request has no `Host` header"))?;
    let host = HostName::parse(host).ok_or_else(|| malformed("the `Host` header is not a host name"))?;
    match uri.authority().map(|authority| HostName::parse(authority.as_str())) {
        Some(target) if target.as_ref() != Some(&host) => Err(malformed("the request target and the `Host` header differ")),
        Some(_) | None => Ok(host),
    }
}

fn check_origin(host: &HostName, headers: &HeaderMap) -> Result<(), Problem> {
    let refused = || {
        Problem::new(ErrorCode::BadOrigin, "requests from pages of other origins are not allowed")
            .hint("clients other than browsers must omit the `Origin` header")
    };
    let Some(origin) = only(headers, &header::ORIGIN).map_err(|Several| refused())? else { return Ok(()) };
    if host.is_origin(origin) { Ok(()) } else { Err(refused()) }
}

/// Rejects requests from other sites, except for links to our pages. For browsers, another port of this machine is the same site, but
/// it is another program.
fn check_fetch_site(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    let is = |name: &str, value: &[u8]| headers.get(name).is_some_and(|found| found.as_bytes() == value);
    let foreign = is("sec-fetch-site", b"cross-site") || is("sec-fetch-site", b"same-site");
    let link = method == Method::GET && is("sec-fetch-mode", b"navigate") && is("sec-fetch-dest", b"document");
    if foreign && !link {
        return Err(Problem::new(ErrorCode::CrossSite, "requests from pages of other sites are not allowed")
            .hint("open the server's URL directly in the browser"));
    }
    Ok(())
}

/// The error for a header that is repeated or not text.
struct Several;

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Several> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Several),
        (Some(_), Some(_)) => Err(Several),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const TCP: Endpoint = Endpoint::Tcp(SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080));

    const OWN: &str = "codex-0123456789abcdef0123456789abcdef.localhost";

    fn guard(endpoint: Endpoint) -> Guard {
        let allowed = ["box.example", "proxy.example:8443", "not a name", "localhost:9000", "orch.localhost"];
        Guard::new(endpoint, OWN, &allowed.map(str::to_owned))
    }

    fn ask(endpoint: Endpoint, method: &str, target: &str, lines: &[(&'static str, &str)]) -> Result<(), ErrorCode> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).expect("the header value is valid"));
        }
        let guard = guard(endpoint);
        let method = method.parse().expect("a method");
        let checked = guard.check(&method, &target.parse().expect("a target"), &headers);
        checked.map(drop).map_err(|problem| problem.report.code.known().expect("the error code is known"))
    }

    fn host(endpoint: Endpoint, host: &str) -> Result<(), ErrorCode> {
        ask(endpoint, "GET", "/healthz", &[("host", host)])
    }

    #[test]
    fn tcp_answers_to_the_loopbacks_names_and_to_those_allowed() {
        for name in [
            "127.0.0.1:8080",
            "localhost:8080",
            "LOCALHOST:8080",
            "[::1]:8080",
            "localhost",
            "127.0.0.1",
            "box.example",
            "box.example:9999",
            "proxy.example:8443",
        ] {
            assert_eq!(host(TCP, name), Ok(()), "{name}");
        }
    }

    #[test]
    fn the_pages_own_name_is_answered_at_every_port_and_nothing_like_it() {
        for port in ["", ":8080", ":9000", ":1"] {
            assert_eq!(host(TCP, &format!("{OWN}{port}")), Ok(()), "{port}");
        }
        for like in
            [OWN.replace("codex-0", "codex-1"), OWN.replace(".localhost", ""), format!("a.{OWN}"), format!("{OWN}.example")]
        {
            assert_eq!(host(TCP, &like), Err(ErrorCode::BadHost), "{like}");
        }
        assert_eq!(host(Endpoint::Unix, OWN), Err(ErrorCode::BadHost));
    }

    #[test]
    fn only_names_that_no_other_program_serves_pages_at_have_sessions() {
        let kind = |name: &str| guard(TCP).site(HostName::parse(name).expect("a host")).expect("a TCP request has a site").kind;
        assert_eq!((kind(OWN), kind(&format!("{OWN}:9000"))), (NameKind::Own, NameKind::Own));
        for shared in ["localhost:8080", "127.0.0.1", "[::1]:8080", "localhost:9000", "orch.localhost", "127.0.0.2:8080"] {
            assert_eq!(kind(shared), NameKind::Shared, "{shared}");
        }
        assert_eq!((kind("box.example"), kind("10.0.0.7:8080")), (NameKind::Configured, NameKind::Configured));
    }

    #[test]
    fn a_refusal_says_what_to_do_and_never_the_pages_name() {
        let refusal = |name: &'static str| {
            let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(name))]);
            guard(TCP).check(&Method::GET, &Uri::from_static("/"), &headers).expect_err("refused")
        };
        let tunnel = refusal("localhost:9999");
        assert!(tunnel.report.hints[0].contains("sign-in --address http://localhost:9999"), "{:?}", tunnel.report.hints);
        assert!(refusal("evil.example").report.hints[0].contains("allowed_hosts"));
        for name in ["localhost:9999", "evil.example", "codex-1.localhost", "localhost:08080"] {
            let said = format!("{:?}", refusal(name));
            assert!(!said.contains(OWN), "{said}");
        }
    }

    #[test]
    fn a_rebound_name_is_refused() {
        for name in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example:8080",
            "127.0.0.1.evil.example:8080",
            "localhost.:8080",
            "127.0.0.2:8080",
            "2130706433:8080",
            "localhost:8081",
            "proxy.example",
            "0.0.0.0:8080",
        ] {
            assert_eq!(host(TCP, name), Err(ErrorCode::BadHost), "{name}");
        }
    }

    #[test]
    fn a_host_that_is_none_is_malformed() {
        for name in [
            "",
            "localhost:",
            "localhost:99999",
            "me@localhost:8080",
            "localhost:8080/x",
            "a b",
            "::1",
            "[::1]x:8080",
            "127.0.0.1:08080",
        ] {
            assert_eq!(host(TCP, name), Err(ErrorCode::MalformedHost), "{name}");
        }
        assert_eq!(ask(TCP, "GET", "/", &[]), Err(ErrorCode::MalformedHost));
        let twice = [("host", "localhost:8080"), ("host", "localhost:8080")];
        assert_eq!(ask(TCP, "GET", "/", &twice), Err(ErrorCode::MalformedHost));
    }

    #[test]
    fn a_listener_on_one_address_answers_to_it_and_one_on_all_does_not() {
        let at = |address: &str| Endpoint::Tcp(address.parse().expect("the address is valid"));
        assert_eq!(host(at("192.0.2.7:8080"), "192.0.2.7:8080"), Ok(()));
        assert_eq!(host(at("[2001:db8::7]:8080"), "[2001:db8::7]:8080"), Ok(()));
        assert_eq!(host(at("0.0.0.0:8080"), "0.0.0.0:8080"), Err(ErrorCode::BadHost));
        assert_eq!(host(at("0.0.0.0:8080"), "192.0.2.7:8080"), Err(ErrorCode::BadHost));
    }

    #[test]
    fn the_unix_socket_is_called_localhost() {
        assert_eq!(host(Endpoint::Unix, "localhost"), Ok(()));
        for name in ["localhost:8080", "127.0.0.1", "evil.example", "box.example"] {
            assert_eq!(host(Endpoint::Unix, name), Err(ErrorCode::BadHost), "{name}");
        }
    }

    #[test]
    fn a_target_and_a_host_that_differ_are_malformed() {
        let lines = [("host", "localhost:8080")];
        assert_eq!(ask(TCP, "GET", "http://localhost:8080/healthz", &lines), Ok(()));
        assert_eq!(ask(TCP, "GET", "http://evil.example/healthz", &lines), Err(ErrorCode::MalformedHost));
        assert_eq!(ask(TCP, "GET", "http://localhost/healthz", &lines), Err(ErrorCode::MalformedHost));
    }

    #[test]
    fn only_our_own_origin_may_ask() {
        let origin = |origin: &str| ask(TCP, "POST", "/", &[("host", "localhost:8080"), ("origin", origin)]);
        assert_eq!(origin("http://localhost:8080"), Ok(()));
        assert_eq!(origin("https://localhost:8080"), Ok(()));
        for foreign in [
            "null",
            "",
            "http://localhost",
            "http://localhost:3000",
            "http://127.0.0.1:8080",
            "http://evil.example",
            "http://localhost:8080.evil.example",
            "http://localhost:8080@evil.example",
            "http://localhost:8080/",
            "file://",
            "chrome-extension://localhost:8080",
        ] {
            assert_eq!(origin(foreign), Err(ErrorCode::BadOrigin), "{foreign}");
        }
    }

    #[test]
    fn who_set_up_a_proxy_that_changes_the_host_is_told_what_to_do() {
        let hints = |origin: &'static str| {
            let headers = [(header::HOST, "127.0.0.1:8080"), (header::ORIGIN, origin)];
            let headers = headers.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect();
            guard(TCP)
                .check(&Method::POST, &Uri::from_static("/"), &headers)
                .expect_err("another origin is rejected")
                .report
                .hints
        };
        assert!(hints("https://box.example").iter().any(|hint| hint == PASS_HOST_ON));
        assert!(!hints("https://evil.example").iter().any(|hint| hint == PASS_HOST_ON));
    }

    #[test]
    fn a_browser_is_told_on_a_page_and_a_program_in_json() {
        let is_page = |path: &str, accepts: &str| {
            let request = Request::builder().uri(path).header(header::ACCEPT, accepts).body(axum::body::Body::empty());
            wants_page(request.expect("a request").headers(), path)
        };
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        assert!(is_page("/sign-in", browser));
        assert!(!is_page("/sign-in", "*/*") && !is_page("/api/v1/tasks", browser));
    }

    #[test]
    fn an_origin_leaves_out_the_port_that_its_scheme_implies() {
        let both = |host: &str, origin: &str| ask(TCP, "POST", "/", &[("host", host), ("origin", origin)]);
        assert_eq!(both("box.example", "https://box.example"), Ok(()));
        assert_eq!(both("box.example:443", "https://box.example"), Ok(()));
        assert_eq!(both("box.example:80", "https://box.example"), Err(ErrorCode::BadOrigin));
    }

    #[test]
    fn two_origins_are_none() {
        let lines = [("host", "localhost:8080"), ("origin", "http://localhost:8080"), ("origin", "http://localhost:8080")];
        assert_eq!(ask(TCP, "POST", "/", &lines), Err(ErrorCode::BadOrigin));
    }

    #[test]
    fn another_site_may_link_to_us_and_nothing_more() {
        let fetch = |method: &str, site: &str, mode: &str, dest: &str| {
            let lines =
                [("host", "localhost:8080"), ("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)];
            ask(TCP, method, "/", &lines)
        };
        for site in ["cross-site", "same-site"] {
            assert_eq!(fetch("GET", site, "navigate", "document"), Ok(()), "links on {site} pages may lead here");
            assert_eq!(
                fetch("GET", site, "navigate", "iframe"),
                Err(ErrorCode::CrossSite),
                "frames on {site} pages are rejected"
            );
            assert_eq!(fetch("GET", site, "no-cors", "image"), Err(ErrorCode::CrossSite), "images on {site} pages are rejected");
            assert_eq!(
                fetch("POST", site, "navigate", "document"),
                Err(ErrorCode::CrossSite),
                "forms on {site} pages are rejected"
            );
            assert_eq!(fetch("DELETE", site, "cors", "empty"), Err(ErrorCode::CrossSite), "scripts of {site} pages are rejected");
        }
        for site in ["same-origin", "none"] {
            assert_eq!(fetch("POST", site, "cors", "empty"), Ok(()), "our own pages may send requests");
        }
    }
}
