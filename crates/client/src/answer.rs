//! Reads the responses of operations that are not event streams: values, text, downloads and problems.
//! A response that breaks off is never mistaken for a complete one.

use std::fmt::Display;

use bytes::Bytes;
use model::ErrorCode;
use model::problem::Problem;
use protocol::ProblemView;
use reqwest::{RequestBuilder, Response};
use serde::de::DeserializeOwned;

/// Returns the error for a server that did not answer, or that closed the connection too early.
pub(crate) fn lost(error: &dyn Display) -> Problem {
    Problem::new(ErrorCode::ServerLost, format!("the server does not answer: {error}"))
        .hint("start the server: codex-orchestrator up (runs continue without it)")
}

/// Returns the error for an answer that does not have the format of the API.
pub(crate) fn malformed(error: &dyn Display) -> Problem {
    Problem::internal(format!("could not read the server's answer: {error}"))
}

/// Returns the error for a connection that failed.
pub(crate) fn broken(error: &reqwest::Error) -> Problem {
    lost(&innermost(error))
}

/// Returns the innermost cause of an error. The outer errors only say that a request failed.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Sends a request, and returns the response unless it is a problem.
pub(crate) async fn sent(request: RequestBuilder) -> Result<Response, Problem> {
    let answer = request.send().await.map_err(|error| broken(&error))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let body = answer.bytes().await.map_err(|error| broken(&error))?;
    let view = serde_json::from_slice::<ProblemView>(&body);
    Err(view.map_or_else(|_| Problem::internal(format!("the server answered {status}")), Problem::from))
}

/// Reads a JSON body.
pub(crate) async fn json<T: DeserializeOwned>(answer: Response) -> Result<T, Problem> {
    let body = answer.bytes().await.map_err(|error| broken(&error))?;
    serde_json::from_slice(&body).map_err(|error| malformed(&error))
}

/// Reads a body of text.
pub(crate) async fn text(answer: Response) -> Result<String, Problem> {
    let body = answer.bytes().await.map_err(|error| broken(&error))?;
    String::from_utf8(body.into()).map_err(|error| malformed(&error))
}

/// Ignores the empty body of a response.
pub(crate) async fn nothing(_answer: Response) -> Result<(), Problem> {
    Ok(())
}

/// Returns the body of a response without reading it.
pub(crate) async fn download(answer: Response) -> Result<Download, Problem> {
    Ok(Download(answer))
}

/// A file that the server sends, read piece by piece.
#[derive(Debug)]
pub struct Download(Response);

impl Download {
    /// Returns the next piece, or `None` after the last one.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Problem> {
        self.0.chunk().await.map_err(|error| broken(&error))
    }

    /// Reads the whole file into memory.
    pub async fn bytes(self) -> Result<Bytes, Problem> {
        self.0.bytes().await.map_err(|error| broken(&error))
    }
}
