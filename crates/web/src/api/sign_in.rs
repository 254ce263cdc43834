//! `/api/v1/sign-in-links` and `/api/v1/password`: how browsers sign in to the pages.
//!
//! Every client of the API can create sign-in links.

use axum::Json;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use protocol::{ServerStatus, SetPassword, SignInLink};

use super::operation::{BadBody, Refused};
use crate::caller::AsUser;
use crate::extract::JsonBody;
use crate::problem::ProblemResponse;

/// How long a link is valid, in seconds.
const LIFE_SECONDS: u32 = 600;

/// Create a sign-in link
///
/// The link signs in one browser, once, within ten minutes. It becomes invalid when the server stops.
#[utoipa::path(post, path = "/sign-in-links", operation_id = "create_sign_in_link", tag = "status",
    responses((status = 201, description = "The sign-in link", body = SignInLink), Refused))]
pub(crate) async fn create(AsUser(user): AsUser) -> impl IntoResponse {
    let path = format!("/sign-in?code={}", user.sign_in_code());
    let ServerStatus { listen, pages, .. } = user.status();
    (StatusCode::CREATED, Json(SignInLink { path, listen, pages, expires_in_seconds: LIFE_SECONDS }))
}

/// Set the password
///
/// Browsers can then sign in with a link or with the password. The server stores only a hash. Browsers that are signed in stay signed in.
#[utoipa::path(put, path = "/password", operation_id = "set_password", tag = "status", request_body = SetPassword,
    responses((status = 204, description = "The password was set"), Refused, BadBody))]
pub(crate) async fn set_password(
    AsUser(user): AsUser,
    JsonBody(SetPassword { password }): JsonBody<SetPassword>,
) -> Result<StatusCode, ProblemResponse> {
    user.set_password(Some(password)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Remove the password
///
/// Browsers can then sign in only with a link. The request can be repeated.
#[utoipa::path(delete, path = "/password", operation_id = "remove_password", tag = "status",
    responses((status = 204, description = "There is no password"), Refused))]
pub(crate) async fn remove_password(AsUser(user): AsUser) -> Result<StatusCode, ProblemResponse> {
    user.set_password(None).await?;
    Ok(StatusCode::NO_CONTENT)
}
