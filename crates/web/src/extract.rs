//! Extractors for handlers: JSON bodies, queries, path segments, idempotency keys and the position to resume a stream.
//!
//! Each extractor rejects invalid requests with a problem instead of the framework's plain text. Invalid JSON is malformed (400), and
//! JSON with an unexpected structure is unusable (422).

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use model::ErrorCode;
use model::ids::RunNumber;
use model::image::IMAGES_LIMIT_BYTES;
use model::problem::Problem;
use model::schema::text;
use request_headers::event_id;
use serde::de::DeserializeOwned;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};

use crate::exact::Exact;
use crate::problem::{ProblemResponse, shown};

/// The largest body of most routes, in bytes.
pub(crate) const SMALL_BODY_LIMIT: usize = 64 << 10;

/// The largest body with long texts: a prompt of 1 MiB with every byte escaped (`\u0001`), and other fields.
pub(crate) const TEXT_BODY_LIMIT: usize = 8 << 20;

/// The largest body with a prompt and images in Base64, which turns three bytes into four.
pub(crate) const IMAGES_BODY_LIMIT: usize = TEXT_BODY_LIMIT + IMAGES_LIMIT_BYTES.div_ceil(3) * 4;

/// The longest idempotency key, in characters.
const KEY_LIMIT: usize = 200;

/// A JSON body.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ProblemResponse;

    async fn from_request(request: Request, state: &S) -> Result<Self, ProblemResponse> {
        match Json::from_request(request, state).await {
            Ok(Json(Exact(value))) => Ok(Self(value)),
            Err(rejection) => Err(refused_body(&rejection)),
        }
    }
}

fn refused_body(rejection: &JsonRejection) -> ProblemResponse {
    let reason = shown(&innermost(rejection));
    match rejection {
        JsonRejection::JsonDataError(_) => Problem::new(ErrorCode::UnusableBody, format!("invalid request body: {reason}"))
            .hint("see the schema in `GET /api/v1/openapi.json`")
            .into(),
        JsonRejection::MissingJsonContentType(_) => ProblemResponse::with_status(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Problem::new(ErrorCode::NotJson, "the request has no JSON content type")
                .hint("send the header `Content-Type: application/json`"),
        ),
        other if other.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(ErrorCode::BodyTooLarge, "the request body is too large")
                .hint("prompts are limited to 1 MiB; put longer text into a file in the repository")
                .hint("images are limited to 10 MiB each and 20 MiB in total")
                .into()
        }
        _ => {
            Problem::new(ErrorCode::MalformedBody, format!("invalid JSON: {reason}")).hint("send one JSON object in UTF-8").into()
        }
    }
}

/// Returns the message of the innermost error.
fn innermost(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).last().unwrap_or(error).to_string()
}

/// The query parameters.
pub(crate) struct QueryOf<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for QueryOf<T> {
    type Rejection = ProblemResponse;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ProblemResponse> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => {
                let detail = format!("invalid query: {}", shown(&innermost(&rejection)));
                let problem = Problem::new(ErrorCode::UnusableQuery, detail);
                Err(problem.hint("see the parameters in `GET /api/v1/openapi.json`").into())
            }
        }
    }
}

/// The path parameters as text. The engine parses IDs, so that every interface reports the same errors.
pub(crate) struct PathOf<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for PathOf<T> {
    type Rejection = ProblemResponse;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ProblemResponse> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(_) => Err(Problem::new(ErrorCode::MalformedPath, "the path is not UTF-8")
                .hint("IDs consist of hexadecimal digits and hyphens")
                .into()),
        }
    }
}

/// Parses a run number from a path or a query.
pub(crate) fn run_number(text: &str) -> Result<RunNumber, Problem> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(RunNumber(number)),
        Ok(_) | Err(_) => {
            Err(Problem::new(ErrorCode::RunNotFound, format!("run {} not found", shown(text))).hint("run numbers start at 1"))
        }
    }
}

/// The `Idempotency-Key` header of a request, if present.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct IdempotencyKey(pub(crate) Option<String>);

impl utoipa::PartialSchema for IdempotencyKey {
    fn schema() -> RefOr<Schema> {
        text("", format!("^[!-~]{{1,{KEY_LIMIT}}}$")).into()
    }
}

impl utoipa::ToSchema for IdempotencyKey {}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = ProblemResponse;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ProblemResponse> {
        idempotency_key(&parts.headers).map_err(ProblemResponse::from)
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<IdempotencyKey, Problem> {
    let name = HeaderName::from_static("idempotency-key");
    let refuse = |detail: &str| {
        Problem::new(ErrorCode::UnusableIdempotencyKey, format!("the `Idempotency-Key` header {detail}"))
            .hint("use a new UUID for each task")
    };
    let mut keys = headers.get_all(name).iter();
    let Some(key) = keys.next() else { return Ok(IdempotencyKey(None)) };
    if keys.next().is_some() {
        return Err(refuse("is repeated"));
    }
    let key = key.as_bytes();
    if key.is_empty() || key.len() > KEY_LIMIT || !key.iter().all(u8::is_ascii_graphic) {
        return Err(refuse("must have 1 to 200 visible ASCII characters"));
    }
    Ok(IdempotencyKey(Some(String::from_utf8_lossy(key).into_owned())))
}

/// The `Last-Event-ID` header: a number, or nothing.
pub(crate) struct EventId;

impl utoipa::PartialSchema for EventId {
    fn schema() -> RefOr<Schema> {
        let empty = ObjectBuilder::new().schema_type(Type::String).max_length(Some(0));
        OneOfBuilder::new().item(<u64 as utoipa::PartialSchema>::schema()).item(empty).into()
    }
}

impl utoipa::ToSchema for EventId {}

/// Returns the position at which a stream resumes: after the last event that the client saw, otherwise the one in the query.
///
/// The header takes precedence, because a browser that reconnects sends it with the original URL.
pub(crate) fn resume_point(headers: &HeaderMap, asked: Option<u64>) -> Result<Option<u64>, Problem> {
    match headers.get("last-event-id").filter(|id| !id.is_empty()) {
        None => Ok(asked),
        Some(id) => match id.to_str().ok().and_then(event_id::position) {
            Some(id) => Ok(Some(id)),
            None => Err(Problem::new(ErrorCode::UnusableEventId, "the `Last-Event-ID` header is not a number")
                .hint("send the `id` of the last event that you received")),
        },
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{HeaderValue, header};
    use axum::response::IntoResponse;
    use protocol::CreateTask;

    use model::problem::ProblemKind;

    use super::*;

    async fn refusal_of(body: impl Into<Body>, content_type: &'static str) -> (u16, String) {
        let request = Request::builder().header(header::CONTENT_TYPE, content_type).body(body.into()).expect("a request");
        let Err(refusal) = JsonBody::<CreateTask>::from_request(request, &()).await else { panic!("the request was accepted") };
        let response = refusal.into_response();
        let status = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 16).await.expect("the body can be read");
        let view: serde_json::Value = serde_json::from_slice(&bytes).expect("a problem");
        (status, format!("{}: {}", view["code"], view["detail"]))
    }

    #[tokio::test]
    async fn a_body_that_is_no_json_is_malformed() {
        for body in [
            &b"{"[..],
            b"",
            b"nonsense",
            b"{\"prompt\":\"\xff\"}",
            br#"{"env_id":"x","prompt":"y"} {}"#,
            b"{\"prompt\":\"\\ud800\"}",
        ] {
            let (status, said) = refusal_of(body, "application/json").await;
            assert_eq!(status, 400, "{said}");
            assert!(said.starts_with("\"malformed_body\""), "{said}");
        }
    }

    #[tokio::test]
    async fn a_body_of_another_form_cannot_be_used_and_says_where() {
        for (body, word) in [
            (r#"{"env_id":"x","prompt":"y","modle":"z"}"#, "modle"),
            (r#"{"env_id":"x"}"#, "prompt"),
            (r#"{"env_id":1,"prompt":"y"}"#, "invalid type"),
            ("[]", "invalid"),
            ("null", "invalid"),
        ] {
            let (status, said) = refusal_of(body, "application/json").await;
            assert_eq!(status, 422, "{said}");
            assert!(said.contains(word), "{said}");
        }
    }

    #[tokio::test]
    async fn a_body_that_does_not_say_that_it_is_json_is_not_guessed_at() {
        for content_type in ["text/plain", "application/x-www-form-urlencoded"] {
            assert_eq!(refusal_of("{}", content_type).await.0, 415);
        }
    }

    #[test]
    fn a_key_is_visible_ascii_and_short() {
        let check = |key: &[u8], expect: bool| {
            let mut headers = HeaderMap::new();
            headers.insert("idempotency-key", HeaderValue::from_bytes(key).expect("the header value is valid"));
            assert_eq!(idempotency_key(&headers).is_ok(), expect, "{key:?}");
        };
        check(b"a", true);
        check(&[b'k'; 200], true);
        check(&[b'k'; 201], false);
        check(b"", false);
        check(b"two words", false);
        check(b"\xc3\xa4", false);
        assert_eq!(idempotency_key(&HeaderMap::new()), Ok(IdempotencyKey(None)));
    }

    #[test]
    fn two_keys_are_one_too_many() {
        let mut headers = HeaderMap::new();
        headers.append("idempotency-key", HeaderValue::from_static("a"));
        headers.append("idempotency-key", HeaderValue::from_static("a"));
        assert!(idempotency_key(&headers).is_err());
    }

    #[test]
    fn a_reconnecting_client_goes_on_where_it_was_and_not_where_it_began() {
        let headers =
            |id: &'static str| HeaderMap::from_iter([("last-event-id".parse().expect("a name"), HeaderValue::from_static(id))]);
        assert_eq!(resume_point(&HeaderMap::new(), None), Ok(None));
        assert_eq!(resume_point(&HeaderMap::new(), Some(7)), Ok(Some(7)));
        assert_eq!(resume_point(&headers("12"), Some(7)), Ok(Some(12)));
        assert_eq!(resume_point(&headers(""), Some(7)), Ok(Some(7)));
        for id in ["-1", "+1", "x", "1.5", "99999999999999999999"] {
            assert!(resume_point(&headers(id), None).is_err(), "{id}");
        }
    }

    #[test]
    fn a_run_is_named_by_a_number_from_1() {
        assert_eq!(run_number("1"), Ok(RunNumber(1)));
        for text in ["0", "-1", "", "one", "1/../2", "99999999999"] {
            assert_eq!(run_number(text).expect_err(text).kind, ProblemKind::NotFound);
        }
    }
}
