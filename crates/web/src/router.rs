//! All routes and their layers, from the outside in: headers, guard, time limit of bodies, finishing requests, panics, size limit of
//! bodies, and over TCP the recognition of sessions and the token.
//!
//! The layers also apply to unknown paths, so that unauthenticated clients cannot find out which paths exist.

use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::{Extension, Router};
use engine::Caller;
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt as _};
use utoipa_axum::routes;

use crate::api::{
    artifacts, environments, feed, installed, publish, queue, runs, setup, shells, sign_in, status, take_home, tasks, trash,
    update,
};
use crate::auth::{self, Token};
use crate::extract::{IMAGES_BODY_LIMIT, SMALL_BODY_LIMIT, TEXT_BODY_LIMIT};
use crate::finish::finish;
use crate::guard::{self, Endpoint, Guard};
use crate::state::Api;
use crate::{body, headers, pages, problem};

/// Returns the routes without authentication.
pub(crate) fn open_routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(status::healthz))
}

/// Returns the routes with authentication.
pub(crate) fn closed_routes() -> OpenApiRouter<Api> {
    // Only routes with a prompt accept images.
    let images = DefaultBodyLimit::max(IMAGES_BODY_LIMIT);
    let texts = DefaultBodyLimit::max(TEXT_BODY_LIMIT);
    let api = OpenApiRouter::new()
        .routes(routes!(environments::create, environments::list).layer(texts))
        .routes(routes!(environments::show, environments::edit, environments::remove).layer(texts))
        .routes(routes!(tasks::create, tasks::list).layer(images))
        .routes(routes!(environments::fetch))
        .routes(routes!(environments::retry))
        .routes(routes!(environments::refs))
        .routes(routes!(setup::show, setup::edit).layer(texts))
        .routes(routes!(setup::run))
        .routes(routes!(setup::skip))
        .routes(routes!(setup::diff))
        .routes(routes!(setup::accept))
        .routes(routes!(setup::log))
        .routes(routes!(shells::open))
        .routes(routes!(shells::close))
        .routes(routes!(tasks::show, tasks::remove))
        .routes(routes!(tasks::resume).layer(images))
        .routes(routes!(tasks::retry))
        .routes(routes!(tasks::answer))
        .routes(routes!(tasks::commit_files))
        .routes(routes!(tasks::stop))
        .routes(routes!(tasks::archive))
        .routes(routes!(tasks::unarchive))
        .routes(routes!(tasks::refresh_environment))
        .routes(routes!(installed::show))
        .routes(routes!(tasks::diff))
        .routes(routes!(take_home::bundle))
        .routes(routes!(update::update))
        .routes(routes!(update::conflicts))
        .routes(routes!(take_home::patches))
        .routes(routes!(queue::show))
        .routes(routes!(trash::list))
        .routes(routes!(trash::restore_task))
        .routes(routes!(trash::restore_environment))
        .routes(routes!(trash::collect))
        .routes(routes!(trash::disk))
        .routes(routes!(queue::add_follow_up).layer(images))
        .routes(routes!(queue::replace_follow_up, queue::remove_follow_up).layer(images))
        .routes(routes!(queue::continue_task))
        .routes(routes!(publish::push).layer(texts))
        .routes(routes!(publish::show))
        .routes(routes!(publish::feedback))
        .routes(routes!(runs::log))
        .routes(routes!(runs::service_log))
        .routes(routes!(runs::host_setup_log))
        .routes(routes!(artifacts::list))
        .routes(routes!(artifacts::read))
        .routes(routes!(runs::events))
        .routes(routes!(feed::events))
        .routes(routes!(sign_in::create))
        .routes(routes!(sign_in::set_password, sign_in::remove_password))
        .routes(routes!(status::status))
        .routes(routes!(status::doctor))
        .routes(routes!(status::contract));
    OpenApiRouter::new().routes(routes!(status::readyz)).routes(routes!(status::metrics)).nest("/api/v1", api)
}

/// Returns all routes of one listener.
pub(crate) fn app(api: Api, endpoint: Endpoint, allowed_hosts: &[String]) -> Router {
    let token = Token::new(api.engine.token());
    let work = api.work.clone();
    let open: Router = open_routes().with_state(api.clone()).into();
    let closed: Router = closed_routes().with_state(api.clone()).into();
    let guard = Guard::new(endpoint, api.engine.pages_host(), allowed_hosts);
    match endpoint {
        Endpoint::Unix => guarded(open, closed, token, guard, work),
        Endpoint::Tcp(_) => {
            // Handlers of pages check the session themselves.
            let open = open.merge(pages::routes().with_state(api.clone()));
            let lost = from_fn_with_state(api.clone(), pages::lost::no_route);
            let open = open.method_not_allowed_fallback(problem::no_method);
            let routes = open.merge(checked(closed, token.clone(), &guard).layer(lost));
            layered(routes.layer(from_fn_with_state((api, token), auth::recognise)), guard, work)
        }
    }
}

/// Returns the routes of a listener without pages, with all layers.
fn guarded(open: Router, closed: Router, token: Token, guard: Guard, work: TaskTracker) -> Router {
    let closed = checked(closed, token, &guard);
    layered(open.method_not_allowed_fallback(problem::no_method).merge(closed), guard, work)
}

/// Adds the caller, with a token check over TCP, and the responses to unknown paths and methods.
fn checked(closed: Router, token: Token, guard: &Guard) -> Router {
    let closed = closed.fallback(problem::no_route).method_not_allowed_fallback(problem::no_method);
    match guard.endpoint() {
        Endpoint::Unix => closed.layer(Extension(Caller::Socket)),
        Endpoint::Tcp(_) => closed.layer(from_fn_with_state(token, auth::require)),
    }
}

fn layered(routes: Router, guard: Guard, work: TaskTracker) -> Router {
    routes
        .layer(DefaultBodyLimit::max(SMALL_BODY_LIMIT))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(from_fn_with_state(work, finish))
        .layer(from_fn(body::in_time))
        .layer(from_fn_with_state(guard, guard::check))
        .layer(map_response(headers::harden))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{Request, Response, StatusCode, header};
    use axum::routing::{get, post};
    use protocol::{CreateTask, ProblemView};
    use tower::ServiceExt;

    use super::*;
    use crate::extract::JsonBody;
    use model::ErrorCode;

    const TCP: Endpoint = Endpoint::Tcp(std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080));
    const TOKEN: &str = "Bearer 5ec2e7";

    /// Returns the layers around routes for tests.
    fn toy(endpoint: Endpoint) -> Router {
        let open = Router::new().route("/healthz", get(async || "ok"));
        let closed = Router::new()
            .route("/things", get(async || "things").post(async |_: JsonBody<CreateTask>| StatusCode::CREATED))
            .route(
                "/texts",
                post(async |_: JsonBody<CreateTask>| StatusCode::CREATED).layer(DefaultBodyLimit::max(TEXT_BODY_LIMIT)),
            )
            .route("/panics", post(async || -> () { panic!("a defect") }));
        guarded(open, closed, Token::new("5ec2e7"), Guard::new(endpoint, "codex-0.localhost", &[]), TaskTracker::new())
    }

    async fn ask(endpoint: Endpoint, method: &str, path: &str, lines: &[(&str, &str)], body: impl Into<Body>) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        toy(endpoint).oneshot(request.body(body.into()).expect("a request")).await.expect("the router answers")
    }

    async fn problem(response: Response<Body>) -> ProblemView {
        assert_eq!(response.headers()[header::CONTENT_TYPE], problem::PROBLEM_JSON);
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 16).await.expect("the body can be read");
        serde_json::from_slice(&bytes).expect("a problem")
    }

    #[tokio::test]
    async fn over_tcp_everything_but_healthz_needs_the_token() {
        let host = ("host", "localhost:8080");
        assert_eq!(ask(TCP, "GET", "/healthz", &[host], "").await.status(), 200);
        for (method, path) in [("GET", "/things"), ("POST", "/things"), ("DELETE", "/things"), ("GET", "/nothing")] {
            let response = ask(TCP, method, path, &[host], "").await;
            assert_eq!(response.status(), 401, "{method} {path}");
            assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
            assert_eq!(problem(response).await.code, ErrorCode::Unauthenticated);
        }
        assert_eq!(ask(TCP, "GET", "/things", &[host, ("authorization", TOKEN)], "").await.status(), 200);
    }

    #[tokio::test]
    async fn the_unix_socket_needs_no_token() {
        assert_eq!(ask(Endpoint::Unix, "GET", "/things", &[("host", "localhost")], "").await.status(), 200);
    }

    #[tokio::test]
    async fn a_foreign_host_or_origin_is_refused_on_every_route_even_with_the_token() {
        for path in ["/healthz", "/things", "/nothing"] {
            let foreign = ask(TCP, "GET", path, &[("host", "evil.example:8080"), ("authorization", TOKEN)], "").await;
            assert_eq!(problem(foreign).await.code, ErrorCode::BadHost, "{path}");
            let lines = [("host", "localhost:8080"), ("authorization", TOKEN), ("origin", "null")];
            assert_eq!(problem(ask(TCP, "GET", path, &lines, "").await).await.code, ErrorCode::BadOrigin, "{path}");
        }
        let rebound = ask(Endpoint::Unix, "GET", "/things", &[("host", "evil.example")], "").await;
        assert_eq!(problem(rebound).await.status, 403);
        // Browsers get a page.
        let page = ask(TCP, "GET", "/nothing", &[("host", "evil.example"), ("accept", "text/html,*/*;q=0.8")], "").await;
        assert_eq!(
            (page.status().as_u16(), &page.headers()[header::CONTENT_TYPE]),
            (403, &"text/html; charset=utf-8".parse().expect("a value"))
        );
        let page = axum::body::to_bytes(page.into_body(), 1 << 16).await.expect("the body can be read");
        assert!(String::from_utf8_lossy(&page).contains("→ to allow this host, add it to `allowed_hosts`"), "{page:?}");
    }

    #[tokio::test]
    async fn no_answer_invites_another_origin() {
        let preflight =
            [("host", "localhost:8080"), ("origin", "http://evil.example"), ("access-control-request-method", "POST")];
        let response = ask(TCP, "OPTIONS", "/things", &preflight, "").await;
        assert_eq!(response.status(), 403);
        assert!(response.headers().keys().all(|name| !name.as_str().starts_with("access-control")));
    }

    #[tokio::test]
    async fn every_answer_is_hardened() {
        for (path, host) in
            [("/things", "localhost"), ("/nothing", "localhost"), ("/things", "evil.example"), ("/healthz", "localhost")]
        {
            let response = ask(Endpoint::Unix, "GET", path, &[("host", host)], "").await;
            let headers = response.headers();
            assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
            assert_eq!(headers[header::CACHE_CONTROL], "no-store", "{path}");
            assert_eq!(headers[header::X_FRAME_OPTIONS], "DENY", "{path}");
            assert_eq!(headers[header::REFERRER_POLICY], "no-referrer", "{path}");
            assert_eq!(headers["cross-origin-opener-policy"], "same-origin", "{path}");
            assert_eq!(headers["cross-origin-resource-policy"], "same-origin", "{path}");
            assert!(headers[header::CONTENT_SECURITY_POLICY].as_bytes().starts_with(b"default-src 'none'"), "{path}");
        }
    }

    #[tokio::test]
    async fn a_path_that_is_not_there_and_a_method_that_is_not_taken_are_problems() {
        let host = [("host", "localhost")];
        let nothing = problem(ask(Endpoint::Unix, "GET", "/nothing", &host, "").await).await;
        assert_eq!((nothing.status, nothing.code.known()), (404, Some(ErrorCode::NoSuchRoute)));
        for path in ["/things", "/healthz"] {
            let response = ask(Endpoint::Unix, "DELETE", path, &host, "").await;
            assert!(response.headers()[header::ALLOW].to_str().expect("text").contains("GET"), "{path}");
            let refused = problem(response).await;
            assert_eq!((refused.status, refused.code.known()), (405, Some(ErrorCode::MethodNotAllowed)));
        }
    }

    #[tokio::test]
    async fn a_panic_is_answered() {
        let response = ask(Endpoint::Unix, "POST", "/panics", &[("host", "localhost")], "").await;
        assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(problem(response).await.status, 500);
    }

    #[tokio::test]
    async fn a_prompt_of_one_mebibyte_of_escapes_fits_and_a_larger_body_does_not() {
        let lines = [("host", "localhost"), ("content-type", "application/json")];
        let body = |prompt: usize| format!(r#"{{"env_id":"x","prompt":"{}"}}"#, "\\u0001".repeat(prompt));
        assert_eq!(ask(Endpoint::Unix, "POST", "/texts", &lines, body(1 << 20)).await.status(), 201);
        assert_eq!(ask(Endpoint::Unix, "POST", "/things", &lines, body(1 << 13)).await.status(), 201);
        // Routes without long texts have a smaller limit.
        for (path, prompt) in [("/texts", 3 << 19), ("/things", 1 << 14)] {
            let refused = problem(ask(Endpoint::Unix, "POST", path, &lines, body(prompt)).await).await;
            assert_eq!((refused.status, refused.code.known()), (413, Some(ErrorCode::BodyTooLarge)), "{path}");
        }
    }
}
