//! Responses to requests for pages: a page, an error page, or a redirect after a form.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use model::ErrorCode;
use model::problem::{Problem, ProblemKind};
use printable::printable;
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
                // The message can quote a Git host or a remote.
                p { (printable(&view.detail)) }
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

#[cfg(test)]
mod tests {
    use super::*;

    async fn page(problem: Problem) -> (u16, String) {
        let response = PageProblem::from(problem).into_response();
        let status = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 16).await.expect("the body can be read");
        (status, String::from_utf8(bytes.to_vec()).expect("text"))
    }

    #[tokio::test]
    async fn an_error_page_quotes_text_of_others_as_harmless_text() {
        let problem =
            Problem::new(ErrorCode::FetchFailed, "remote: <script>alert(1)</script> \u{202e}evil\u{1b}[2J\nsecond line");
        let (_, page) = page(problem.hint("try <again>")).await;
        assert!(
            page.contains("&lt;script&gt;") && page.contains("try &lt;again&gt;") && page.contains("\nsecond line"),
            "{page}"
        );
        assert!(!page.contains("<script>alert") && !page.contains(['\u{202e}', '\u{1b}']), "{page}");
    }

    #[tokio::test]
    async fn every_kind_of_problem_has_its_title_and_visitors_get_no_navigation() {
        for (kind, status, title, is_bare) in [
            (ProblemKind::Malformed, 400, "Invalid request", false),
            (ProblemKind::Unauthenticated, 401, "Could not sign in", true),
            (ProblemKind::Forbidden, 403, "Access denied", true),
            (ProblemKind::NotFound, 404, "Not found", false),
            (ProblemKind::WrongState, 409, "Not possible right now", false),
            (ProblemKind::TooLarge, 413, "Too large", false),
            (ProblemKind::Unusable, 422, "Invalid input", false),
            (ProblemKind::TooMany, 429, "Too many attempts", true),
            (ProblemKind::Internal, 500, "Something went wrong", false),
            (ProblemKind::Unavailable, 503, "Temporarily unavailable", false),
        ] {
            let (sent, page) = page(Problem::new(ErrorCode::RunActive, "why").with_kind(kind)).await;
            assert_eq!(sent, status, "{title}");
            assert!(page.contains(&format!("<h1>{title}</h1>")) && page.contains(">Go to tasks<"), "{page}");
            assert_eq!(page.contains("<nav"), !is_bare, "{title}");
        }
    }

    #[tokio::test]
    async fn an_id_that_is_none_does_not_exist() {
        assert_eq!(page(Problem::new(ErrorCode::MalformedId, "x")).await.0, 404);
    }
}
