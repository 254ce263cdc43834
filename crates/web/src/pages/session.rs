//! Signing in: a one-time code from the terminal, or the password where there is one, becomes a cookie that only this server's own requests carry.
//!
//! Every form carries a value that is derived from the cookie, beside the checks of `Host`, `Origin` and `SameSite`. Invariant: no
//! secret stands in a URL after the first hop, in a page, or in a log.

use axum::extract::{Form, FromRequest, FromRequestParts, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use engine::PushSubscription;
use maud::html;
use model::problem::{Problem, ProblemKind};
use model::secret::Secret;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use subtle::ConstantTimeEq as _;

use super::{Page, PageProblem, back, layout, see};
use crate::router::Api;

/// The cookie's name.
const COOKIE: &str = "orch_session";

/// How long a browser keeps it, in seconds: as long as the session lasts.
const LIFE_SECONDS: u32 = 90 * 24 * 3600;

/// A request of a browser that is signed in.
#[derive(Debug, Clone)]
pub(crate) struct Signed {
    secret: String,
}

impl Signed {
    /// What this session's forms carry.
    pub(crate) fn form_token(&self) -> String {
        // The cookie's own value never stands in a page.
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, self.secret.as_bytes());
        let tag = ring::hmac::sign(&key, b"a form of this session");
        hex::encode(&tag.as_ref()[..16])
    }

    /// Refuses a form that does not carry this session's value.
    pub(super) fn check(&self, form_token: &str) -> Result<(), PageProblem> {
        if bool::from(form_token.as_bytes().ct_eq(self.form_token().as_bytes())) {
            return Ok(());
        }
        Err(form_refused("the form is not of this session"))
    }

    /// The session of a request, where it has an open one.
    pub(super) fn of(api: &Api, headers: &HeaderMap) -> Option<Self> {
        cookie(headers).filter(|secret| api.engine.is_signed_in(secret)).map(|secret| Self { secret })
    }

    /// Whether the session still holds: a page may be open for longer.
    pub(crate) fn is_open(&self, api: &Api) -> bool {
        api.engine.is_signed_in(&self.secret)
    }

    /// What this session is called in the list of sessions.
    pub(crate) fn id(&self, api: &Api) -> String {
        api.engine.session_id(&self.secret)
    }

    /// This browser wants notices.
    pub(crate) fn subscribe(&self, api: &Api, wish: PushSubscription) -> Result<(), Problem> {
        api.engine.subscribe(&self.secret, wish)
    }
}

impl FromRequestParts<Api> for Signed {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Response> {
        Self::of(api, &parts.headers).ok_or_else(|| back::to_sign_in(&parts.method, &parts.uri))
    }
}

/// The only cookie of ours; none where there are several.
fn cookie(headers: &HeaderMap) -> Option<String> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut ours = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='));
    let found = ours.next()?;
    ours.next().is_none().then(|| found.to_owned())
}

/// A form of a page that this session was shown.
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
        let Form(WithToken { form_token, form }) = form.map_err(|_| form_refused("the form cannot be read").into_response())?;
        signed.check(&form_token).map_err(IntoResponse::into_response)?;
        Ok(Self(signed, form))
    }
}

/// The same with its fields as they came, where a name may come more than once.
pub(crate) struct SignedFields(pub(crate) Signed, pub(crate) Vec<(String, String)>);

impl FromRequest<Api> for SignedFields {
    type Rejection = Response;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let signed = Signed::from_request_parts(&mut parts, api).await?;
        let form = Form::<Vec<(String, String)>>::from_request(Request::from_parts(parts, body), api).await;
        let Form(fields) = form.map_err(|_| form_refused("the form cannot be read").into_response())?;
        let form_token = fields.iter().find(|(name, _)| name == "form_token").map_or("", |(_, value)| value.as_str());
        signed.check(form_token).map_err(IntoResponse::into_response)?;
        Ok(Self(signed, fields))
    }
}

/// A form that is not taken.
pub(super) fn form_refused(detail: &str) -> PageProblem {
    let problem = Problem::new(ProblemKind::Malformed, "form_refused", detail.to_owned());
    PageProblem(problem.hint("go back, load the page anew, and send it again"))
}

#[derive(Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    code: String,
    next: Option<String>,
}

/// What the form of the sign-in page sends: a code or a password, and where to go then.
#[derive(Deserialize)]
pub(crate) struct SignIn {
    #[serde(default)]
    code: String,
    password: Option<Secret>,
    next: Option<String>,
}

/// A code is redeemed by a tap, not by the link alone: whatever looks at links before people do would use it up.
pub(crate) async fn page(State(api): State<Api>, Query(Asked { code, next }): Query<Asked>) -> Response {
    let next = next.as_deref().map(back::local);
    let then = html! { @if let Some(next) = next { input type="hidden" name="next" value=(next); } };
    let has_password = api.engine.has_password().await;
    let body = html! {
        main.narrow {
            h1 { "Codex Orchestrator" }
            @if code.is_empty() {
                @if has_password {
                    form.stack method="post" action="/sign-in" {
                        (then)
                        // Password managers want somebody's name.
                        input.visually-hidden type="text" name="username" value="codex-orchestrator" autocomplete="username" tabindex="-1" aria-hidden="true" readonly;
                        label for="password" { "Password" }
                        input #password name="password" type="password" required autocomplete="current-password" autofocus;
                        button.primary type="submit" { "Sign in" }
                    }
                    h2 { "Or by a link" }
                }
                p { "This browser is not signed in. In a terminal on the server's machine:" }
                pre { "codex-orchestrator sign-in" }
                p { "It shows a link and a picture of it for a phone, good for one browser and ten minutes." }
            } @else {
                form method="post" action="/sign-in" {
                    (then)
                    input type="hidden" name="code" value=(code);
                    p { "Stay signed in on this browser for 90 days?" }
                    button.primary type="submit" { "Sign in" }
                }
            }
        }
    };
    let page = Page(layout::bare("Sign in", &body)).into_response();
    // A link from the terminal knows nothing of the page that was asked for.
    with_cookies(page, next.map(back::remembering))
}

pub(crate) async fn sign_in(
    State(api): State<Api>,
    headers: HeaderMap,
    Form(SignIn { code, password, next }): Form<SignIn>,
) -> Result<Response, PageProblem> {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let label = text(header::USER_AGENT);
    let secret = match password {
        Some(password) => {
            let secret = api.engine.sign_in_with_password(password, label).await?;
            secret.ok_or_else(|| {
                Problem::new(ProblemKind::Unauthenticated, "password_refused", "this is not the password")
                    .hint("go back and type it again; `codex-orchestrator sign-in` makes a link that needs none")
            })?
        }
        None => api.engine.sign_in(&code, label)?.ok_or_else(|| {
            Problem::new(ProblemKind::Unauthenticated, "code_refused", "this link was used already, or is too old")
                .hint("ask for a new one: `codex-orchestrator sign-in`")
        })?,
    };
    // A browser says by which scheme it came, also through a proxy that ends TLS.
    let secure = if text(header::ORIGIN).starts_with("https://") { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={secret}; Path=/; HttpOnly; SameSite=Strict; Max-Age={LIFE_SECONDS}{secure}");
    let next = next.or_else(|| back::remembered(&headers)).unwrap_or_default();
    Ok(with_cookies(see(back::local(&next)), [cookie, back::forgetting()]))
}

pub(crate) async fn sign_out(State(api): State<Api>, SignedForm(signed, ()): SignedForm<()>) -> Result<Response, PageProblem> {
    api.engine.sign_out(&signed.id(&api))?;
    Ok(with_cookies(see("/"), [format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0")]))
}

fn with_cookies(mut response: Response, cookies: impl IntoIterator<Item = String>) -> Response {
    for cookie in cookies {
        let mut value = HeaderValue::from_str(&cookie).expect("digits and our own words are a header's value");
        value.set_sensitive(true);
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_cookie_of_ours_counts() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::COOKIE, HeaderValue::from_static(value));
            }
            cookie(&headers)
        };
        assert_eq!(of(&["a=b; orch_session=5ec2e7; c=d"]).as_deref(), Some("5ec2e7"));
        assert_eq!(of(&["orch_session=1", "orch_session=2"]), None);
        assert_eq!(of(&["orch_session_other=1"]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn a_forms_token_does_not_tell_the_secret() {
        let token = |secret: &str| Signed { secret: secret.to_owned() }.form_token();
        assert_eq!(token("a").len(), 32);
        assert!(token("a") == token("a") && token("a") != token("b"));
    }
}
