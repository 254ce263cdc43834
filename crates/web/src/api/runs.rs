//! `/api/v1/tasks/{task_id}/runs/{n}`: the log of a run, as a file or as a stream of lines.
//!
//! Handlers send logs as the engine returns them, and do not parse them.

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
use model::problem::Problem;
use protocol::{FollowQuery, LogQuery, ProblemView};
use request_headers::range::Part;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::operation::{BadQuery, LastEventId, NotThere, Refused, RunPath, ServicePath};
use crate::caller::AsUser;
use crate::extract::{PathOf, QueryOf, resume_point, run_number};
use crate::problem::ProblemResponse;
use crate::sse::{self, line_event, named_event};
use crate::state::Api;

/// Size of the parts in which a log is read, in bytes.
const CHUNK: usize = 64 << 10;

/// Download the log of a run
///
/// Returns the JSON Lines exactly as the worker wrote them, including secrets that the agent printed, up to the end of the log at the time
/// of the request. `Range` selects one range of bytes. With `masked=true`, secrets are masked and `Range` is ignored.
#[utoipa::path(get, path = "/tasks/{task_id}/runs/{n}/log", operation_id = "read_log", tag = "runs",
    params(
        RunPath,
        LogQuery,
        ("Range" = Option<String>, Header, description = "One range: `bytes=A-B`, `bytes=A-` or `bytes=-N`"),
    ),
    responses(
        (status = 200, description = "The whole log", body = String, content_type = "application/x-ndjson"),
        (status = 206, description = "The requested range", body = String, content_type = "application/x-ndjson",
            headers(("Content-Range" = String, description = "`bytes A-B/LENGTH`"))),
        (status = 416, description = "The range starts after the end of the log", body = ProblemView, content_type = "application/problem+json",
            headers(("Content-Range" = String, description = "`bytes */LENGTH`"))),
        Refused, BadQuery, NotThere,
    ))]
pub(crate) async fn log(
    AsUser(user): AsUser,
    PathOf((id, run)): PathOf<(String, String)>,
    QueryOf(query): QueryOf<LogQuery>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ProblemResponse> {
    if query.masked {
        let body = Body::from_stream(user.masked_log(&id, run_number(&run)?).await?);
        return Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response());
    }
    let log = user.log(&id, run_number(&run)?).await?;
    send(log, asked_range(&method, &headers)).await
}

/// Returns the requested range. Ranges apply only to GET, and `If-Range` never matches because logs have no version.
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
    // The file can grow while it is sent, but the length in the header is fixed.
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
        .hint("stream `…/events` to get new lines");
    ProblemResponse::with_status(StatusCode::RANGE_NOT_SATISFIABLE, problem)
        .header(header::CONTENT_RANGE, content_range("*", length))
}

fn content_range(range: &str, length: u64) -> HeaderValue {
    HeaderValue::try_from(format!("bytes {range}/{length}")).expect("the range is a valid header value")
}

/// Get the output of a service
///
/// Returns the last 4 MiB of the output of a service that runs next to the agent, while the run is active and afterwards. Secrets are
/// masked.
#[utoipa::path(get, path = "/tasks/{task_id}/runs/{n}/services/{service}/log", operation_id = "show_service_log", tag = "runs",
    params(ServicePath),
    responses((status = 200, description = "The output", body = String, content_type = "text/plain"), Refused, NotThere))]
pub(crate) async fn service_log(
    AsUser(user): AsUser,
    PathOf((id, run, service)): PathOf<(String, String, String)>,
) -> Result<impl IntoResponse, ProblemResponse> {
    let text = user.service_log(&id, run_number(&run)?, &service).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text))
}

/// Get the output of the setup on the host
///
/// Returns the last 4 MiB of the output of the setup that ran on the server's machine before this run. Secrets are masked. The text is empty
/// if none ran.
#[utoipa::path(get, path = "/tasks/{task_id}/runs/{n}/setup/log", operation_id = "show_host_setup_log", tag = "runs",
    params(RunPath),
    responses((status = 200, description = "The output", body = String, content_type = "text/plain"), Refused, NotThere))]
pub(crate) async fn host_setup_log(
    AsUser(user): AsUser,
    PathOf((id, run)): PathOf<(String, String)>,
) -> Result<impl IntoResponse, ProblemResponse> {
    let text = user.host_setup_log(&id, run_number(&run)?).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text))
}

/// Stream a run
///
/// Sends server-sent events: one event per line of the log, with the byte offset after the line as `id`. When the run ends, the stream sends
/// `event: end` with a `RunEnded`, and closes. If the log cannot be read, it sends `event: problem` with a `Problem` instead. If the stream
/// closes without either, resume it.
///
/// If the run uses Codex's app server, the stream also sends text of items that are not complete yet: `event: delta` with a `RunDelta`. A
/// slow client can miss such events. The line of the complete item follows in any case.
///
/// Secrets are masked. A carriage return within a line is sent as a newline, bytes that are not UTF-8 are replaced, and browsers drop empty
/// lines. The log has the exact bytes.
#[utoipa::path(get, path = "/tasks/{task_id}/runs/{n}/events", operation_id = "follow_run", tag = "runs",
    params(
        RunPath,
        FollowQuery,
        LastEventId,
    ),
    responses(
        (status = 200, description = "The stream", body = String, content_type = "text/event-stream"),
        Refused, BadQuery, NotThere,
    ))]
pub(crate) async fn events(
    State(api): State<Api>,
    AsUser(user): AsUser,
    PathOf((id, run)): PathOf<(String, String)>,
    QueryOf(query): QueryOf<FollowQuery>,
    headers: HeaderMap,
) -> Result<Response, ProblemResponse> {
    let offset = resume_point(&headers, query.offset)?.unwrap_or(0);
    let lines = user.follow(&id, run_number(&run)?, offset)?;
    Ok(sse::answer(line_events(lines), api.closing))
}

/// Returns the events for the lines of a run. The stream ends after the event `end` or `problem`.
fn line_events(lines: impl Stream<Item = Result<RunLine, Problem>> + Send) -> impl Stream<Item = Event> + Send {
    stream! {
        let mut lines = pin!(lines);
        while let Some(line) = lines.next().await {
            match line {
                Ok(RunLine::Line { offset, text }) => yield line_event(offset, &text),
                Ok(RunLine::Delta(delta)) => yield named_event("delta", &delta),
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
    use model::run::RunStatus;
    use protocol::RunEnded;
    use tokio_util::sync::CancellationToken;

    use super::*;

    const LOG: &str = "{\"a\":1}\n{\"b\":2}\n";

    /// Returns a log that had `length` bytes when it was opened.
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
    async fn a_log_is_sent_byte_for_byte() {
        let response = send(log_of(16).await, None).await.expect("a log");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/x-ndjson");
        assert_eq!(response.headers()[header::ACCEPT_RANGES], "bytes");
        assert_eq!(response.headers()[header::CONTENT_LENGTH], "16");
        assert_eq!(text(response).await, LOG);
    }

    #[tokio::test]
    async fn a_log_that_grows_while_it_is_sent_has_the_announced_length() {
        assert_eq!(text(send(log_of(8).await, None).await.expect("a log")).await, "{\"a\":1}\n");
    }

    #[tokio::test]
    async fn a_range_is_a_part_of_the_log() {
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
    async fn a_range_after_the_end_is_refused_with_the_length() {
        let refused =
            send(log_of(16).await, Some("bytes=16-")).await.expect_err("the range is outside of the log").into_response();
        assert_eq!(refused.status(), 416);
        assert_eq!(refused.headers()[header::CONTENT_RANGE], "bytes */16");
    }

    #[test]
    fn a_range_applies_only_to_get_without_if_range() {
        let mut headers = HeaderMap::new();
        assert_eq!(asked_range(&Method::GET, &headers), None);
        headers.insert(header::RANGE, HeaderValue::from_static("bytes=1-"));
        assert_eq!(asked_range(&Method::GET, &headers), Some("bytes=1-"));
        assert_eq!(asked_range(&Method::HEAD, &headers), None);
        headers.insert(header::IF_RANGE, HeaderValue::from_static("\"x\""));
        assert_eq!(asked_range(&Method::GET, &headers), None);
    }

    async fn stream_of(lines: Vec<Result<RunLine, Problem>>) -> String {
        text(sse::answer(line_events(futures_util::stream::iter(lines)), CancellationToken::new())).await
    }

    fn line(offset: u64, line: &'static str) -> RunLine {
        RunLine::Line { offset, text: Bytes::from_static(line.as_bytes()) }
    }

    #[tokio::test]
    async fn a_stream_has_the_lines_of_a_run_and_then_its_end() {
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
    async fn a_log_that_cannot_be_read_ends_with_the_problem() {
        let broken = Problem::internal("could not read the log: it is gone");
        let sent = stream_of(vec![Ok(line(8, "{\"a\":1}")), Err(broken), Ok(line(99, "late"))]).await;
        assert!(sent.contains("\n\nevent: problem\ndata: {"), "{sent}");
        assert!(sent.contains("it is gone") && !sent.contains("late"), "{sent}");
    }
}
