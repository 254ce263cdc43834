//! Signing in with a one-time code or a password, and the session cookie that a browser gets for it.
//!
//! In addition to the checks of `Host`, `Origin` and `SameSite`, every form contains a token that is derived from the cookie. Browsers
//! send cookies of `localhost` to every program on the machine, so a browser at such a name is redirected to the pages' own name.
//! Invariant: no secret appears in a page, in a log, or in a URL after the first redirect. Only a request with a valid code or password
//! learns the pages' own name.

use axum::extract::{Extension, Form, FromRequest, FromRequestParts, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use engine::PushSubscription;
use maud::{Markup, html};
use model::ErrorCode;
use model::problem::{Problem, ProblemKind};
use model::secret::Secret;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use subtle::ConstantTimeEq as _;

use super::{POLICY, Page, PageProblem, back, cookie, layout, see};
use crate::host::{NameKind, Site};
use crate::router::Api;

/// The largest form of the sign-in page, which anyone can send.
pub(super) const FORM_LIMIT: usize = 8 << 10;

/// The session of a request from a browser that is signed in.
#[derive(Debug, Clone)]
pub(crate) struct Signed {
    secret: String,
    /// The host name of the request.
    host: String,
}

impl Signed {
    /// A session for tests of single parts of a page.
    #[cfg(test)]
    pub(super) fn sample() -> Self {
        Self { secret: "5ec2e7".to_owned(), host: "codex.localhost".to_owned() }
    }

    /// Returns the token that the forms of this session contain.
    pub(crate) fn form_token(&self) -> String {
        // The value of the cookie itself never appears in a page.
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, self.secret.as_bytes());
        let tag = ring::hmac::sign(&key, b"a form of this session");
        hex::encode(&tag.as_ref()[..16])
    }

    /// Returns an error if a form's token does not belong to this session.
    pub(super) fn check(&self, form_token: &str) -> Result<(), PageProblem> {
        if bool::from(form_token.as_bytes().ct_eq(self.form_token().as_bytes())) {
            return Ok(());
        }
        Err(form_refused("the form belongs to another session"))
    }

    /// Returns the session of a request, if it has a valid one.
    pub(crate) fn of(api: &Api, extensions: &Extensions, headers: &HeaderMap) -> Option<Self> {
        cookie::open_session(api, extensions, headers).map(|(secret, host)| Self { secret, host })
    }

    /// Returns whether the session is still valid. A page can stay open for longer than its session.
    pub(crate) fn is_open(&self, api: &Api) -> bool {
        api.engine.is_signed_in(&self.secret, &self.host)
    }

    /// Returns the ID of this session in the list of sessions.
    pub(crate) fn id(&self, api: &Api) -> String {
        api.engine.session_id(&self.secret)
    }

    /// Subscribes this browser to push notifications.
    pub(crate) fn subscribe(&self, api: &Api, wish: PushSubscription) -> Result<(), Problem> {
        api.engine.subscribe(&self.secret, wish)
    }
}

impl FromRequestParts<Api> for Signed {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Response> {
        Self::of(api, &parts.extensions, &parts.headers).ok_or_else(|| back::to_sign_in(&parts.method, &parts.uri))
    }
}

/// A form with a valid token of this session.
pub(crate) struct SignedForm<T>(pub(crate) Signed, pub(crate) T);

#[derive(Deserialize)]
struct WithToken<T> {
    #[serde(default)]
    form_token: String,
    #[serde(flatten)]
    form: T,
}

impl<T: DeserializeOwned> FromRequest<Api> for SignedForm<T> {
    type Rejection = Response;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let signed = Signed::from_request_parts(&mut parts, api).await?;
        let form = Form::<WithToken<T>>::from_request(Request::from_parts(parts, body), api).await;
        let Form(WithToken { form_token, form }) = form.map_err(|_| form_refused("could not read the form").into_response())?;
        signed.check(&form_token).map_err(IntoResponse::into_response)?;
        Ok(Self(signed, form))
    }
}

/// The fields of a form with a valid token, in order. Names can repeat.
pub(crate) struct SignedFields(pub(crate) Signed, pub(crate) Vec<(String, String)>);

impl FromRequest<Api> for SignedFields {
    type Rejection = Response;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let signed = Signed::from_request_parts(&mut parts, api).await?;
        let form = Form::<Vec<(String, String)>>::from_request(Request::from_parts(parts, body), api).await;
        let Form(fields) = form.map_err(|_| form_refused("could not read the form").into_response())?;
        let form_token = fields.iter().find(|(name, _)| name == "form_token").map_or("", |(_, value)| value.as_str());
        signed.check(form_token).map_err(IntoResponse::into_response)?;
        Ok(Self(signed, fields))
    }
}

/// Returns the error page for a form that is not accepted.
pub(super) fn form_refused(detail: &str) -> PageProblem {
    let problem = Problem::new(ErrorCode::FormRefused, detail.to_owned()).with_kind(ProblemKind::Malformed);
    PageProblem(problem.hint("go back, reload the page and send the form again"))
}

#[derive(Deserialize)]
pub(crate) struct Asked {
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
    Query(Asked { code, next }): Query<Asked>,
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
            return Ok(to_own_name(&api, &site, &api.engine.sign_in_code(), next.as_deref().map(back::local)));
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
    Extension(site): Extension<Site>,
    SignedForm(signed, ()): SignedForm<()>,
) -> Result<Response, PageProblem> {
    api.engine.sign_out(&signed.id(&api))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forms_token_does_not_tell_the_secret() {
        let token = |secret: &str| Signed { secret: secret.to_owned(), host: String::new() }.form_token();
        assert_eq!(token("a").len(), 32);
        assert!(token("a") == token("a") && token("a") != token("b"));
    }
}
