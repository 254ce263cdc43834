//! Authentication of API clients. Over TCP, a client must send the home's token. The unix socket is protected by its file mode.
//!
//! Tokens are compared in constant time and never logged. A request must contain exactly one `Authorization` header.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use model::ErrorCode;
use model::problem::Problem;
use subtle::ConstantTimeEq;

use crate::connection::{Caller, Trust};
use crate::pages::session::Signed;
use crate::problem::ProblemResponse;
use crate::state::Api;

/// The token that TCP clients must send.
#[derive(Clone)]
pub(crate) struct Token(Arc<str>);

impl Token {
    /// Creates the token of a home.
    pub(crate) fn new(token: &str) -> Self {
        Self(token.into())
    }

    fn matches(&self, offered: &[u8]) -> bool {
        // An empty token would allow everyone.
        !self.0.is_empty() && bool::from(self.0.as_bytes().ct_eq(offered))
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        bearer(headers).is_some_and(|offered| self.matches(offered))
    }
}

/// Rejects requests without the token, and adds the caller to the others.
pub(crate) async fn require(State(token): State<Token>, mut request: Request, next: Next) -> Response {
    if token.admits(request.headers()) {
        request.extensions_mut().insert(engine::Caller::Token);
        return next.run(request).await;
    }
    let problem = Problem::new(ErrorCode::Unauthenticated, "authentication required")
        .hint("send `Authorization: Bearer <token>` with the content of ORCH_HOME/token")
        .hint("or use the socket ORCH_HOME/orchestrator.sock, which needs no token");
    ProblemResponse::from(problem).header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")).into_response()
}

/// Records on a request's connection whether the request has a valid token or session.
pub(crate) async fn recognise(State((api, token)): State<(Api, Token)>, request: Request, next: Next) -> Response {
    if let Some(caller) = request.extensions().get::<Caller>() {
        let headers = request.headers();
        let is_trusted = token.admits(headers) || Signed::of(&api, request.extensions(), headers).is_some();
        caller.trust(if is_trusted { Trust::Trusted } else { Trust::Stranger });
    }
    next.run(request).await
}

/// Returns the credentials of the `Authorization: Bearer …` header, if there is exactly one.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none())?.as_bytes();
    let (scheme, offered) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(offered.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(values: &[&'static str]) -> bool {
        let values = values.iter().map(|value| (header::AUTHORIZATION, HeaderValue::from_static(value)));
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(name, value);
        }
        Token::new("5ec2e7").admits(&headers)
    }

    #[test]
    fn the_token_opens_the_door() {
        assert!(admits(&["Bearer 5ec2e7"]));
        assert!(admits(&["bearer 5ec2e7"]), "the scheme is not case-sensitive");
    }

    #[test]
    fn nothing_else_does() {
        for value in
            ["Bearer 5ec2e8", "Bearer 5ec2e", "Bearer 5ec2e70", "Bearer ", "Bearer", "Basic 5ec2e7", "5ec2e7", "Bearer5ec2e7", ""]
        {
            assert!(!admits(&[value]), "{value:?}");
        }
        assert!(!admits(&[]));
        assert!(!admits(&["Bearer 5ec2e7", "Bearer 5ec2e7"]), "two headers are rejected");
    }

    #[test]
    fn a_server_without_a_token_admits_nobody() {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static("Bearer "))]);
        assert!(!Token::new("").admits(&headers));
    }
}
