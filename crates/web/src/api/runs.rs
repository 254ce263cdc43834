//! `/api/v1/tasks/{task_id}/runs/{n}`: what a run said, as the exact bytes or line by line while it is written.
//! A journal is passed on as the engine gives it; nothing of it is understood here.

use std::io::SeekFrom;
use std::pin::pin;

use async_stream::stream;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use engine::{LogFile, RunLine};
use futures_util::{Stream, StreamExt};
use model::ErrorCode;
use model::api::{FollowQuery, LogQuery, ProblemView};
use model::problem::Problem;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use crate::extract::{PathOf, QueryOf, resume_point, run_number};
use crate::openapi::{NotThere, Refused};
use crate::problem::ProblemResponse;
use crate::range::Part;
use crate::router::Api;
use crate::sse::{self, line_event, named_event};

/// How much of a log is read at once, in bytes.
const CHUNK: usize = 64 << 10;

/// Read a run's log
///
/// The JSONL exactly as the worker wrote it, up to where it was when the request came, secrets that the agent printed included.
/// `Range` takes one range of bytes. With `masked=true` what is secret is masked, and there are no ranges.
#[utoipa::path(get, path = "/tasks/{task_id}/runs/{n}/log", operation_id = "read_log", tag = "runs",
    params(
        ("task_id" = String, Path, description = "The task's id"),
        ("n" = u32, Path, minimum = 1, description = "The run's number"),
        LogQuery,
        ("Range" = Option<String>, Header, description = "`bytes=a-b`, `bytes=a-` or `bytes=-n`"),
    ),
    responses(
        (status = 200, description = "All of it", body = String, content_type = "application/x-ndjson"),
        (status = 206, description = "The range that was asked for", body = String, content_type = "application/x-ndjson",
            headers(("Content-Range" = String, description = "`bytes a-b/length`"))),
        (status = 416, description = "The log is shorter", body = ProblemView, content_type = "application/problem+json",
            headers(("Content-Range" = String, description = "`bytes */length`"))),
        Refused, NotThere,
    ))]
pub(crate) async fn log(
    State(api): State<Api>,
    PathOf((id, run)): PathOf<(String, String)>,
    QueryOf(query): QueryOf<LogQuery>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ProblemResponse> {
    if query.masked {
        let body = Body::from_stream(api.engine.masked_log(&id, run_number(&run)?).await?);
        return Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response());
    }
    let log = api.engine.log(&id, run_number(&run)?).await?;
    send(log, asked_range(&method, &headers)).await
}

/// A range is defined for GET alone, and `If-Range` can never match: a log has no version to compare.
fn asked_range<'a>(method: &Method, headers: &'a HeaderMap) -> Option<&'a str> {
    let range = headers.get(header::RANGE).filter(|_| method == Method::GET && !headers.contains_key(header::IF_RANGE))?;
    range.to_str().ok()
}

async fn send(mut log: LogFile, range: Option<&str>) -> Result<Response, ProblemResponse> {
    let part = range.map_or(Part::Whole, |range| Part::asked(range, log.length));
    let (status, start, length) = match part {
        Part::Whole => (StatusCode::OK, 0, log.length),
        Part::Slice { start, length } => (StatusCode::PARTIAL_CONTENT, start, length),
        Part::Outside => return Err(outside(log.length)),
    };
    if start > 0 {
        log.file
            .seek(SeekFrom::Start(start))
            .await
            .map_err(|error| Problem::internal(format!("could not read the log: {error}")))?;
    }
    // The file may grow; the answer ends where its length said.
    let body = Body::from_stream(ReaderStream::with_capacity(log.file.take(length), CHUNK));
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_LENGTH, length.into());
    if status == StatusCode::PARTIAL_CONTENT {
        headers.insert(header::CONTENT_RANGE, content_range(&format!("{start}-{}", start + length - 1), log.length));
    }
    Ok(response)
}

fn outside(length: u64) -> ProblemResponse {
    let problem = Problem::new(ErrorCode::RangeOutside, format!("the log has only {length} bytes"))
        .hint("follow it with `…/events` to get what is still to come");
    ProblemResponse::with_status(StatusCode::RANGE_NOT_SATISFIABLE, problem)
        .header(header::CONTENT_RANGE, content_range("*", length))
}

fn content_range(range: &str, length: u64) -> HeaderValue {
    HeaderValue::try_from(format!("bytes {range}/{length}")).expect("digits are a header's value")
}

/// Follow a run
///
/// Server-sent events: one message per line of the log, its `id` the byte offset behind it, while the run goes on. Then `event: end`
/// with a `RunEnded`, and the stream closes. What is secret is masked. Where the log can no longer be read, `event: problem` with a `Problem` comes instead.
/// A carriage return within a line reaches the client as a newline, bytes that are not UTF-8 are replaced, and browsers drop
/// empty lines: the log has the exact bytes. A stream that closes without `event: end` is to be resumed.
#[utoipa::path(get, path = "/tasks/{task_id}/runs/{n}/events", operation_id = "follow_run", tag = "runs",
    params(
        ("task_id" = String, Path, description = "The task's id"),
        ("n" = u32, Path, minimum = 1, description = "The run's number"),
        FollowQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "The same, from a client that reconnects; goes before `offset`"),
    ),
    responses(
        (status = 200, description = "The stream", body = String, content_type = "text/event-stream"),
        (status = 422, description = "An offset that cannot be used", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere,
    ))]
pub(crate) async fn events(
    State(api): State<Api>,
    PathOf((id, run)): PathOf<(String, String)>,
    QueryOf(query): QueryOf<FollowQuery>,
    headers: HeaderMap,
) -> Result<Response, ProblemResponse> {
    let offset = resume_point(&headers, query.offset)?.unwrap_or(0);
    let lines = api.engine.follow(&id, run_number(&run)?, offset)?;
    Ok(sse::answer(told(lines), api.closing))
}

/// The events of a run's lines; the end is the last one, whatever comes after it.
fn told(lines: impl Stream<Item = Result<RunLine, Problem>> + Send) -> impl Stream<Item = Event> + Send {
    stream! {
        let mut lines = pin!(lines);
        while let Some(line) = lines.next().await {
            match line {
                Ok(RunLine::Line { offset, text }) => yield line_event(offset, &text),
                Ok(RunLine::Ended(end)) => {
                    yield named_event("end", &end);
                    return;
                }
                Err(problem) => {
                    yield named_event("problem", &ProblemView::from(&problem));
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use model::api::RunEnded;
    use model::run::RunStatus;
    use tokio_util::sync::CancellationToken;

    use super::*;

    const LOG: &str = "{\"a\":1}\n{\"b\":2}\n";

    /// A log of which only the first `length` bytes were there when it was opened.
    async fn log_of(length: u64) -> LogFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        tokio::fs::write(file.path(), LOG).await.expect("a log");
        LogFile { file: tokio::fs::File::open(file.path()).await.expect("a file"), length, active: true }
    }

    async fn text(response: Response) -> String {
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 16).await.expect("the body ends");
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    #[tokio::test]
    async fn a_log_is_its_exact_bytes() {
        let response = send(log_of(16).await, None).await.expect("a log");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/x-ndjson");
        assert_eq!(response.headers()[header::ACCEPT_RANGES], "bytes");
        assert_eq!(response.headers()[header::CONTENT_LENGTH], "16");
        assert_eq!(text(response).await, LOG);
    }

    #[tokio::test]
    async fn a_log_that_grows_while_it_is_sent_ends_where_its_length_said() {
        assert_eq!(text(send(log_of(8).await, None).await.expect("a log")).await, "{\"a\":1}\n");
    }

    #[tokio::test]
    async fn a_range_is_a_part_of_it() {
        for (range, content_range, expect) in [
            ("bytes=8-", "bytes 8-15/16", "{\"b\":2}\n"),
            ("bytes=0-0", "bytes 0-0/16", "{"),
            ("bytes=-3", "bytes 13-15/16", "2}\n"),
        ] {
            let response = send(log_of(16).await, Some(range)).await.expect("a log");
            assert_eq!(response.status(), 206);
            assert_eq!(response.headers()[header::CONTENT_RANGE], content_range);
            assert_eq!(text(response).await, expect);
        }
    }

    #[tokio::test]
    async fn a_range_behind_the_end_says_where_the_end_is() {
        let refused = send(log_of(16).await, Some("bytes=16-")).await.expect_err("nothing there").into_response();
        assert_eq!(refused.status(), 416);
        assert_eq!(refused.headers()[header::CONTENT_RANGE], "bytes */16");
    }

    #[test]
    fn a_range_counts_for_get_and_without_if_range() {
        let mut headers = HeaderMap::new();
        assert_eq!(asked_range(&Method::GET, &headers), None);
        headers.insert(header::RANGE, HeaderValue::from_static("bytes=1-"));
        assert_eq!(asked_range(&Method::GET, &headers), Some("bytes=1-"));
        assert_eq!(asked_range(&Method::HEAD, &headers), None);
        headers.insert(header::IF_RANGE, HeaderValue::from_static("\"x\""));
        assert_eq!(asked_range(&Method::GET, &headers), None);
    }

    async fn stream_of(lines: Vec<Result<RunLine, Problem>>) -> String {
        text(sse::answer(told(futures_util::stream::iter(lines)), CancellationToken::new())).await
    }

    fn line(offset: u64, line: &'static str) -> RunLine {
        RunLine::Line { offset, text: Bytes::from_static(line.as_bytes()) }
    }

    #[tokio::test]
    async fn a_followed_run_is_its_lines_and_then_its_end() {
        let ended = RunEnded { status: RunStatus::Completed, exit_code: Some(0), error: None };
        let sent =
            stream_of(vec![Ok(line(8, "{\"a\":1}")), Ok(line(16, "{\"b\":2}")), Ok(RunLine::Ended(ended)), Ok(line(99, "late"))])
                .await;
        insta::assert_snapshot!(sent, @r#"
        id: 8
        data: {"a":1}

        id: 16
        data: {"b":2}

        event: end
        data: {"status":"completed","exit_code":0,"error":null}
        "#);
    }

    #[tokio::test]
    async fn a_log_that_breaks_off_ends_with_the_problem() {
        let broken = Problem::internal("could not read the log: it is gone");
        let sent = stream_of(vec![Ok(line(8, "{\"a\":1}")), Err(broken), Ok(line(99, "late"))]).await;
        assert!(sent.contains("\n\nevent: problem\ndata: {"), "{sent}");
        assert!(sent.contains("it is gone") && !sent.contains("late"), "{sent}");
    }
}
