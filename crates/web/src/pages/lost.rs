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

use super::session::Signed;
use super::{PageProblem, back, see, session};
use crate::guard::wants_page;
use crate::problem::{self, shown};
use crate::router::Api;

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

/// Answers methods that a route does not support. Browsers that open the URL of a form are redirected to its page.
pub(super) async fn no_method(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if is_visit(&method) && wants_page(&headers, uri.path()) {
        return see(&page_of(uri.path()));
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

#[cfg(test)]
mod tests {
    use super::*;

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
