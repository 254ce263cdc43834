//! Signing in with a one-time code or a password, and signing out.
//!
//! Browsers send cookies of `localhost` to every program on the machine, so a browser at such a name is redirected to the pages' own name.
//! Invariant: no secret appears in a page, in a log, or in a URL after the first redirect. Only a request with a valid code or password
//! learns the pages' own name.

use axum::extract::{Extension, Form, Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use model::ErrorCode;
use model::problem::Problem;
use model::secret::Secret;
use serde::Deserialize;

use super::answer::{POLICY, Page, PageProblem, see};
use super::session::SignedForm;
use super::{back, cookie, layout};
use crate::caller::AsUser;
use crate::host::{NameKind, Site};
use crate::state::Api;
use engine::Caller;

/// The largest form of the sign-in page, which anyone can send.
pub(super) const FORM_LIMIT: usize = 8 << 10;

#[derive(Deserialize)]
pub(crate) struct SignInQuery {
    #[serde(default)]
    code: String,
    next: Option<String>,
}

/// The form of the sign-in page: a code or a password, and the page to open afterwards.
#[derive(Deserialize)]
pub(crate) struct SignIn {
    #[serde(default)]
    code: String,
    password: Option<Secret>,
    next: Option<String>,
}

/// Shows the sign-in page. Opening a link does not redeem its code, since programs that preview links would use it up.
pub(crate) async fn page(
    State(api): State<Api>,
    Extension(site): Extension<Site>,
    headers: HeaderMap,
    Query(SignInQuery { code, next }): Query<SignInQuery>,
) -> Result<Response, PageProblem> {
    let next = next.as_deref().map(back::local);
    if site.kind == NameKind::Shared && !code.is_empty() {
        return if api.engine.is_sign_in_code(&code) {
            Ok(to_own_name(&api, &site, &code, next))
        } else {
            Err(code_refused().into())
        };
    }
    let then = html! { @if let Some(next) = next { input type="hidden" name="next" value=(next); } };
    let has_password = api.engine.has_password().await;
    let body = html! {
        main.narrow {
            h1 { "Codex Orchestrator" }
            @if code.is_empty() {
                @if has_password {
                    form.stack method="post" action="/sign-in" {
                        (then)
                        // Password managers need a user name.
                        input.visually-hidden type="text" name="username" value="codex-orchestrator" autocomplete="username" tabindex="-1" aria-hidden="true" readonly;
                        label for="password" { "Password" }
                        input #password name="password" type="password" required autocomplete="current-password" autofocus;
                        button.primary type="submit" { "Sign in" }
                    }
                    h2 { "Sign in with a link" }
                }
                p { "In a terminal on the server's machine, run:" }
                pre { "codex-orchestrator sign-in" }
                p { "This prints a one-time link and a QR code, valid for 10 minutes." }
                (what_changed(&site, &headers))
            } @else {
                form method="post" action="/sign-in" {
                    (then)
                    input type="hidden" name="code" value=(code);
                    button.primary type="submit" { "Sign in on this browser" }
                    p.quiet { "You stay signed in for 90 days." }
                }
            }
        }
    };
    let mut page = Page(layout::bare("Sign in", &body)).into_response();
    if site.kind == NameKind::Shared {
        // The form redirects to the pages' own name, which this page must not contain. A cookie here would reach other programs.
        let policy = HeaderValue::from_str(&POLICY.replace("form-action 'self'", "form-action 'self' http://*.localhost:*"));
        page.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy.expect("the policy is a valid header value"));
        return Ok(page);
    }
    // A link from the terminal does not contain the requested page, so a cookie remembers it.
    Ok(with_cookies(page, next.map(back::remembering)))
}

/// Renders what users must do again in browsers that were signed in with an earlier version.
fn what_changed(site: &Site, headers: &HeaderMap) -> Markup {
    let was_signed_in = cookie::has_plain(headers);
    html! {
        @match site.kind {
            NameKind::Shared => {
                p.quiet {
                    "The link opens another address, which protects your session from other programs on this machine. "
                    "Bookmark that address."
                }
                @if was_signed_in {
                    p.quiet {
                        "This browser was signed in here with an earlier version. After you sign in at the new address, install the app and turn "
                        "on notifications there. Drafts that were saved at this address are not moved."
                    }
                }
            }
            NameKind::Own | NameKind::Configured => @if was_signed_in {
                p.quiet { "Your session has expired. After you sign in, turn on notifications for this device again." }
            }
        }
    }
}

/// Redirects a browser with a valid code to the pages' own name. Both names belong to this machine, so the port stays the same.
fn to_own_name(api: &Api, site: &Site, code: &str, next: Option<&str>) -> Response {
    let port = site.host.port.map_or_else(String::new, |port| format!(":{port}"));
    let next = next.map_or_else(String::new, |next| format!("&next={}", back::encoded(next)));
    see(&format!("http://{}{port}/sign-in?code={}{next}", api.engine.pages_host(), back::encoded(code)))
}

fn password_refused() -> Problem {
    Problem::new(ErrorCode::PasswordRefused, "wrong password")
        .hint("go back and try again, or get a sign-in link with `codex-orchestrator sign-in`")
}

fn code_refused() -> Problem {
    Problem::new(ErrorCode::CodeRefused, "this sign-in link was already used or has expired")
        .hint("get a new link with `codex-orchestrator sign-in`")
}

pub(crate) async fn sign_in(
    State(api): State<Api>,
    Extension(site): Extension<Site>,
    headers: HeaderMap,
    Form(SignIn { code, password, next }): Form<SignIn>,
) -> Result<Response, PageProblem> {
    let label = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let has_password = match password {
        Some(password) => api.engine.is_password(password).await?.then_some(true).ok_or_else(password_refused)?,
        None => false,
    };
    let host = &site.host.name;
    let secret = match site.kind {
        NameKind::Shared if has_password => {
            return Ok(to_own_name(
                &api,
                &site,
                &api.engine.as_user(Caller::Password).sign_in_code(),
                next.as_deref().map(back::local),
            ));
        }
        NameKind::Shared if api.engine.is_sign_in_code(&code) => {
            return Ok(to_own_name(&api, &site, &code, next.as_deref().map(back::local)));
        }
        NameKind::Shared => None,
        NameKind::Own | NameKind::Configured if has_password => Some(api.engine.begin_session(label, host)?),
        NameKind::Own | NameKind::Configured => api.engine.sign_in(&code, label, host)?,
    };
    let secret = secret.ok_or_else(code_refused)?;
    let next = next.or_else(|| back::remembered(&headers)).unwrap_or_default();
    let given = cookie::given(&api, &site, &headers, &secret);
    Ok(with_cookies(see(back::local(&next)), given.into_iter().chain([back::forgetting()])))
}

pub(crate) async fn sign_out(
    State(api): State<Api>,
    AsUser(user): AsUser,
    Extension(site): Extension<Site>,
    SignedForm(signed, ()): SignedForm<()>,
) -> Result<Response, PageProblem> {
    user.sign_out(&signed.id(&api))?;
    Ok(with_cookies(see("/"), cookie::taken(&api, &site)))
}

fn with_cookies(mut response: Response, cookies: impl IntoIterator<Item = String>) -> Response {
    for cookie in cookies {
        let mut value = HeaderValue::from_str(&cookie).expect("the cookie is a valid header value");
        value.set_sensitive(true);
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}
