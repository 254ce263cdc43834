//! `/api/v1/sign-in-links`: how a browser comes to be signed in to the pages.
//! Whoever may use the API may hand out such a link.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use model::api::SignInLink;

use crate::openapi::Refused;
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
    (StatusCode::CREATED, Json(SignInLink { path, listen: api.engine.status().listen, expires_in_seconds: LIFE_SECONDS }))
}
