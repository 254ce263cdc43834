//! The API's client: JSON over the home's socket, problems as they came.
//! It starts no server and prints nothing.

use std::path::Path;

use model::api::ProblemView;
use model::problem::{Problem, ProblemKind};
use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A client of one home's server.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
}

/// The server did not answer, or stopped answering.
pub(crate) fn lost(error: &dyn std::fmt::Display) -> Problem {
    Problem::new(ProblemKind::Unavailable, "server_lost", format!("the server does not answer: {error}"))
        .hint("`codex-orchestrator up` starts it; runs go on without it")
}

impl Client {
    /// A client of the server behind this socket, whether it runs or not.
    pub(crate) fn new(socket: &Path) -> Result<Self, Problem> {
        let http = reqwest::Client::builder().unix_socket(socket).no_proxy().build().map_err(Problem::internal)?;
        Ok(Self { http })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://localhost{path}"))
    }

    /// Whether the server answers.
    pub(crate) async fn answers(&self) -> bool {
        self.request(Method::GET, "/healthz").send().await.is_ok_and(|answer| answer.status().is_success())
    }

    /// A GET whose answer is JSON.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Problem> {
        json(self.request(Method::GET, path)).await
    }

    /// A request with a body, whose answer is JSON.
    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Problem> {
        json(self.request(method, path).json(body)).await
    }

    /// A POST without a body.
    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, Problem> {
        json(self.request(Method::POST, path)).await
    }

    /// A DELETE.
    pub(crate) async fn delete(&self, path: &str) -> Result<(), Problem> {
        checked(self.request(Method::DELETE, path)).await.map(drop)
    }

    /// A GET whose answer is read piece by piece.
    pub(crate) async fn stream(&self, path: &str) -> Result<Response, Problem> {
        checked(self.request(Method::GET, path)).await
    }
}

async fn checked(request: RequestBuilder) -> Result<Response, Problem> {
    let answer = request.send().await.map_err(|error| lost(&source_of(&error)))?;
    if answer.status().is_success() {
        return Ok(answer);
    }
    let status = answer.status();
    let view = answer.json::<ProblemView>().await;
    Err(view.map_or_else(|_| Problem::internal(format!("the server answered {status}")), Problem::from))
}

async fn json<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, Problem> {
    checked(request)
        .await?
        .json()
        .await
        .map_err(|error| Problem::internal(format!("the server's answer cannot be read: {error}")))
}

/// The innermost reason, which is the one that says something.
fn source_of(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
