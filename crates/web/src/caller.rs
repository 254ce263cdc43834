//! The authenticated caller of a request.
//!
//! Invariant: a handler that uses the engine as a user cannot be reached without authentication, whatever its route.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::Response;
use engine::{Caller, User};

use crate::pages::back;
use crate::pages::session::Signed;
use crate::state::Api;

/// The engine, as the authenticated caller of the request.
///
/// The layers of the API add the caller to its requests. On a page, the caller is the browser that is signed in, and other browsers are
/// redirected to the sign-in page.
pub(crate) struct AsUser(pub(crate) User);

impl FromRequestParts<Api> for AsUser {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Response> {
        let caller = parts.extensions.get::<Caller>().cloned().or_else(|| {
            let signed = Signed::of(api, &parts.extensions, &parts.headers)?;
            Some(Caller::Browser { session: signed.id(api) })
        });
        caller.map(|caller| Self(api.engine.as_user(caller))).ok_or_else(|| back::to_sign_in(&parts.method, &parts.uri))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{Method, Request, StatusCode, header};
    use config::Config;
    use engine::Engine;
    use process::BaseEnvironment;

    use super::*;

    /// Returns the caller of a request, or the status of the rejection.
    async fn caller(api: &Api, added: Option<Caller>, cookie: Option<&str>) -> Result<Caller, StatusCode> {
        let mut request = Request::builder().method(Method::GET).uri("/tasks/1").body(()).expect("a request");
        if let Some(cookie) = cookie {
            request.headers_mut().insert(header::COOKIE, cookie.parse().expect("a header value"));
        }
        request.extensions_mut().extend(added.into_iter().fold(axum::http::Extensions::new(), |mut all, caller| {
            all.insert(caller);
            all
        }));
        let (mut parts, ()) = request.into_parts();
        let user = AsUser::from_request_parts(&mut parts, api).await.map_err(|response| response.status())?;
        Ok(user.0.caller().clone())
    }

    #[tokio::test]
    async fn a_request_without_a_caller_reaches_no_user() {
        let folder = tempfile::tempdir().expect("a folder");
        let base_environment = BaseEnvironment::default().with("PATH", "/usr/local/bin:/usr/bin:/bin");
        let config = Config { base_environment, ..Config::for_home(folder.path()) };
        let engine = Engine::start(config).await.expect("the engine starts");
        let api = Api::for_tests(engine.clone());
        for added in [Caller::Socket, Caller::Token] {
            assert_eq!(caller(&api, Some(added.clone()), None).await, Ok(added));
        }
        for cookie in [None, Some("orch_session=guess"), Some("__Host-orch=guess")] {
            assert_eq!(caller(&api, None, cookie).await, Err(StatusCode::SEE_OTHER), "{cookie:?}");
        }
        engine.shutdown().await;
    }
}
