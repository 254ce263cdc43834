//! `/api/v1/sign-in-links` and `/api/v1/password`: how a browser comes to be signed in to the pages.
//! Whoever may use the API may hand out such a link.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use model::api::{ServerStatus, SetPassword, SignInLink};

use crate::extract::JsonBody;
use crate::openapi::{BadBody, Refused};
use crate::problem::ProblemResponse;
use crate::router::Api;

/// How long a link is good for, in seconds.
const LIFE_SECONDS: u32 = 600;

/// Make a sign-in link
///
/// Good for one browser, once, within ten minutes. It dies with the server.
#[utoipa::path(post, path = "/sign-in-links", operation_id = "create_sign_in_link", tag = "status",
    responses((status = 201, description = "The link", body = SignInLink), Refused))]
pub(crate) async fn create(State(api): State<Api>) -> impl IntoResponse {
    let path = format!("/sign-in?code={}", api.engine.sign_in_code());
    let ServerStatus { listen, pages, .. } = api.engine.status();
    (StatusCode::CREATED, Json(SignInLink { path, listen, pages, expires_in_seconds: LIFE_SECONDS }))
}

/// Set the password
///
/// It signs browsers in, beside links. Only its hash is kept. Who is signed in stays so.
#[utoipa::path(put, path = "/password", operation_id = "set_password", tag = "status", request_body = SetPassword,
    responses((status = 204, description = "It is set"), Refused, BadBody))]
pub(crate) async fn set_password(
    State(api): State<Api>,
    JsonBody(SetPassword { password }): JsonBody<SetPassword>,
) -> Result<StatusCode, ProblemResponse> {
    api.engine.set_password(Some(password)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Remove the password
///
/// No password signs in any more. Doing it twice is harmless.
#[utoipa::path(delete, path = "/password", operation_id = "remove_password", tag = "status",
    responses((status = 204, description = "There is none"), Refused))]
pub(crate) async fn remove_password(State(api): State<Api>) -> Result<StatusCode, ProblemResponse> {
    api.engine.set_password(None).await?;
    Ok(StatusCode::NO_CONTENT)
}
