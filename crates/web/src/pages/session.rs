//! The session of a browser that is signed in, and the forms of its pages.
//!
//! In addition to the checks of `Host`, `Origin` and `SameSite`, every form contains a token that is derived from the session's cookie.
//! Invariant: no secret appears in a page.

use axum::extract::{Form, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap};
use axum::response::{IntoResponse, Response};
use engine::User;
use maud::{Markup, html};
use model::ErrorCode;
use model::problem::{Problem, ProblemKind};
use notifications::PushSubscription;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use subtle::ConstantTimeEq as _;

use super::answer::PageProblem;
use super::{back, cookie};
use crate::state::Api;

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
    pub(crate) fn subscribe(&self, api: &Api, user: &User, wish: PushSubscription) -> Result<(), Problem> {
        user.notifications().subscribe(api.engine.session_id(&self.secret), wish)
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

/// Renders a form that is only a button. `ask` is a question that the browser asks first.
pub(super) fn button_form(signed: &Signed, action: &str, label: &str, class: &str, ask: Option<&str>) -> Markup {
    html! {
        form.inline method="post" action=(action) data-ask=[ask] {
            (form_token(signed))
            button class=(class) type="submit" { (label) }
        }
    }
}

/// Renders the hidden field that protects a form against requests from other sites.
pub(super) fn form_token(signed: &Signed) -> Markup {
    html! { input type="hidden" name="form_token" value=(signed.form_token()); }
}

/// Returns the error page for a form that is not accepted.
pub(super) fn form_refused(detail: &str) -> PageProblem {
    let problem = Problem::new(ErrorCode::FormRefused, detail.to_owned()).with_kind(ProblemKind::Malformed);
    PageProblem(problem.hint("go back, reload the page and send the form again"))
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
