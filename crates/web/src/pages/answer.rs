//! Responses to requests for pages: a page, an error page, or a redirect after a form.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use model::ErrorCode;
use model::problem::{Problem, ProblemKind};
use protocol::ProblemView;

use super::layout::{self, NavItem};

/// The content security policy of pages. They load only our own files and contain no inline scripts or styles. Blobs are images that
/// a user has chosen but not sent yet.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; \
    worker-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A response with a page.
pub(crate) struct Page(pub(super) Markup);

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        html_response(StatusCode::OK, self.0)
    }
}

pub(super) fn html_response(status: StatusCode, markup: Markup) -> Response {
    let mut response = (status, markup.into_string()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    // With `no-referrer`, browsers would also omit the `Origin` header of our own forms.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

/// A response with an error page: the problem and its hints.
pub(crate) struct PageProblem(pub(super) Problem);

impl From<Problem> for PageProblem {
    fn from(problem: Problem) -> Self {
        // In the URL of a page, an invalid ID is an ID that does not exist.
        let kind = if problem.report.code == ErrorCode::MalformedId { ProblemKind::NotFound } else { problem.kind };
        Self(Problem { kind, ..problem })
    }
}

impl IntoResponse for PageProblem {
    fn into_response(self) -> Response {
        let view = ProblemView::from(&self.0);
        let status = StatusCode::from_u16(view.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let title = title(self.0.kind);
        let body = html! {
            div.problem role="alert" {
                h1 { (title) }
                p { (view.detail) }
                @for hint in &view.hints { p.hint { "→ " (hint) } }
                p { a.button href="/" { "Go to tasks" } }
            }
        };
        // Visitors who are not signed in get no navigation.
        let page = match self.0.kind {
            ProblemKind::Unauthenticated | ProblemKind::Forbidden | ProblemKind::TooMany => layout::bare(title, &body),
            ProblemKind::Malformed
            | ProblemKind::NotFound
            | ProblemKind::WrongState
            | ProblemKind::TooLarge
            | ProblemKind::Unusable
            | ProblemKind::Unavailable
            | ProblemKind::Internal => layout::page(title, NavItem::Elsewhere, &body),
        };
        html_response(status, page)
    }
}

/// Returns the title of an error page.
fn title(kind: ProblemKind) -> &'static str {
    match kind {
        ProblemKind::Malformed => "Invalid request",
        ProblemKind::Unauthenticated => "Could not sign in",
        ProblemKind::Forbidden => "Access denied",
        ProblemKind::NotFound => "Not found",
        ProblemKind::WrongState => "Not possible right now",
        ProblemKind::TooLarge => "Too large",
        ProblemKind::Unusable => "Invalid input",
        ProblemKind::TooMany => "Too many attempts",
        ProblemKind::Unavailable => "Temporarily unavailable",
        ProblemKind::Internal => "Something went wrong",
    }
}

pub(super) type Answer = Result<Page, PageProblem>;

/// Redirects to a page after a form.
pub(super) fn see(path: &str) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, path.to_owned())]).into_response()
}

/// Redirects to a page after a form with a draft. A cookie makes the script delete the draft. `draft` is the form's `data-draft`, which
/// consists of letters, digits and hyphens.
pub(super) fn see_sent(path: &str, draft: &str) -> Response {
    let cookie = format!("orch_sent={draft}; Path=/; Max-Age=3600; SameSite=Strict");
    ([(header::SET_COOKIE, cookie)], see(path)).into_response()
}
