//! URLs without a page: browsers get an error page or a redirect, and other clients get problem+json.
//!
//! Browsers request such URLs because of wrong or outdated links, or when they open the URL of a form again, after an error or in a
//! restored tab. They are redirected from a form to the page that contains it.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use model::ErrorCode;
use model::problem::Problem;

use super::answer::{PageProblem, see};
use super::session::Signed;
use super::{back, session};
use crate::guard::wants_page;
use crate::problem::{self, shown};
use crate::state::Api;

/// Answers methods that a route does not support. Browsers that open the URL of a form are redirected to its page.
pub(super) async fn no_method(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if is_visit(&method) && wants_page(&headers, uri.path()) {
        return see(&back::page_of(uri.path()));
    }
    problem::no_method(method, uri).await.into_response()
}

/// Answers browsers for unknown paths. Browsers that are not signed in are redirected to the sign-in page for every path.
pub(crate) async fn no_route(State(api): State<Api>, request: Request, next: Next) -> Response {
    let is_known = request.extensions().get::<axum::extract::MatchedPath>().is_some();
    if is_known || !is_visit(request.method()) || !wants_page(request.headers(), request.uri().path()) {
        return next.run(request).await;
    }
    match Signed::of(&api, request.extensions(), request.headers()) {
        Some(_) => not_found(request.uri()).into_response(),
        None => back::to_sign_in(request.method(), request.uri()),
    }
}

/// Replaces the plain-text errors of the framework, such as for an invalid path or form, with a page.
pub(super) async fn as_page(request: Request, next: Next) -> Response {
    let wants_page = wants_page(request.headers(), request.uri().path());
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let response = next.run(request).await;
    let kind = response.headers().get(header::CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    let is_plain = kind.is_empty() || kind.starts_with(b"text/plain");
    if !wants_page || !is_plain || !response.status().is_client_error() || response.status() == StatusCode::METHOD_NOT_ALLOWED {
        return response;
    }
    if is_visit(&method) {
        not_found(&uri).into_response()
    } else {
        session::form_refused("could not read the form").into_response()
    }
}

fn is_visit(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}

fn not_found(uri: &Uri) -> PageProblem {
    Problem::new(ErrorCode::NoSuchPage, format!("page not found: {}", shown(uri.path()))).into()
}
