//! Who asks: over TCP, a client must hold the home's token. Over the unix socket the file's mode has already decided.
//!
//! Tokens are compared in constant time and never logged. A request says who it is in exactly one way.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use model::ErrorCode;
use model::problem::Problem;
use subtle::ConstantTimeEq;

use crate::connection::Caller;
use crate::pages::session::Signed;
use crate::problem::ProblemResponse;
use crate::router::Api;

/// The token that clients over TCP must send.
#[derive(Clone)]
pub(crate) struct Token(Arc<str>);

impl Token {
    /// The home's token.
    pub(crate) fn new(token: &str) -> Self {
        Self(token.into())
    }

    fn matches(&self, offered: &[u8]) -> bool {
        // An empty token would let everybody in.
        !self.0.is_empty() && bool::from(self.0.as_bytes().ct_eq(offered))
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        bearer(headers).is_some_and(|offered| self.matches(offered))
    }
}

/// Lets requests with the token pass.
pub(crate) async fn require(State(token): State<Token>, request: Request, next: Next) -> Response {
    if token.admits(request.headers()) {
        return next.run(request).await;
    }
    let problem = Problem::new(ErrorCode::Unauthenticated, "this address needs the server's token")
        .hint("send `Authorization: Bearer <token>` with the content of ORCH_HOME/token")
        .hint("the socket ORCH_HOME/orchestrator.sock needs none");
    ProblemResponse::from(problem).header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")).into_response()
}

/// Notes on a request's connection whether it carries a valid token or session.
pub(crate) async fn recognise(State((api, token)): State<(Api, Token)>, request: Request, next: Next) -> Response {
    if let Some(caller) = request.extensions().get::<Caller>() {
        let headers = request.headers();
        caller.trust(token.admits(headers) || Signed::of(&api, request.extensions(), headers).is_some());
    }
    next.run(request).await
}

/// The credentials of `Authorization: Bearer …`; none where there are several such headers.
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
        assert!(admits(&["bearer 5ec2e7"]), "schemes have no case");
    }

    #[test]
    fn nothing_else_does() {
        for value in
            ["Bearer 5ec2e8", "Bearer 5ec2e", "Bearer 5ec2e70", "Bearer ", "Bearer", "Basic 5ec2e7", "5ec2e7", "Bearer5ec2e7", ""]
        {
            assert!(!admits(&[value]), "{value:?}");
        }
        assert!(!admits(&[]));
        assert!(!admits(&["Bearer 5ec2e7", "Bearer 5ec2e7"]), "two answers to one question");
    }

    #[test]
    fn a_server_without_a_token_admits_nobody() {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static("Bearer "))]);
        assert!(!Token::new("").admits(&headers));
    }
}
