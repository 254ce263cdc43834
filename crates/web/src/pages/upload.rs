//! Forms with images and other files (`multipart/form-data`), with the same checks as other forms.
//!
//! The whole body is read before it is parsed. A body over the limit is read further and discarded, up to a second limit, because
//! browsers do not show the response to a request that was cut off.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Multipart, Request};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use futures_util::StreamExt as _;
use maud::{Markup, html};
use model::ErrorCode;
use model::image::{GivenFile, GivenImage, IMAGES_LIMIT_BYTES, ImageBytes, ImageKind};
use model::problem::Problem;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::answer::PageProblem;
use super::session::{Signed, SignedForm, form_refused};
use crate::extract::TEXT_BODY_LIMIT;
use crate::state::Api;

/// The largest form: a prompt, its images and the other fields.
pub(crate) const FORM_LIMIT: usize = TEXT_BODY_LIMIT + IMAGES_LIMIT_BYTES;

/// The most bytes that are read of a form over the limit.
const READ_ON_LIMIT: usize = 256 << 20;

/// A form with a valid token of this session, and its files.
pub(crate) struct SignedUpload<T>(pub(crate) Signed, pub(crate) T, pub(crate) Uploads);

/// The files of a form.
#[derive(Default)]
pub(crate) struct Uploads {
    /// The images.
    pub(crate) images: Vec<GivenImage>,
    /// The other files.
    pub(crate) attachments: Vec<GivenFile>,
}

impl<T: DeserializeOwned> FromRequest<Api> for SignedUpload<T> {
    type Rejection = Response;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Response> {
        let kind = request.headers().get(header::CONTENT_TYPE).map(|kind| kind.as_bytes().to_ascii_lowercase());
        if !kind.is_some_and(|kind| kind.starts_with(b"multipart/form-data")) {
            let SignedForm(signed, form) = SignedForm::from_request(request, api).await?;
            return Ok(Self(signed, form, Uploads::default()));
        }
        let (mut parts, body) = request.into_parts();
        let signed = Signed::from_request_parts(&mut parts, api).await?;
        let taken = async {
            let bytes = whole(body).await?;
            let parts = Multipart::from_request(Request::from_parts(parts, Body::from(bytes)), api).await;
            let (mut fields, uploads) = read(parts.map_err(|_| unreadable())?).await?;
            let token = fields.remove("form_token");
            signed.check(token.as_ref().and_then(Value::as_str).unwrap_or_default())?;
            let form = serde_json::from_value(Value::Object(fields)).map_err(|_| unreadable())?;
            Ok(Self(signed, form, uploads))
        };
        taken.await.map_err(|problem: PageProblem| problem.into_response())
    }
}

fn unreadable() -> PageProblem {
    form_refused("could not read the form")
}

async fn whole(body: Body) -> Result<Bytes, PageProblem> {
    let mut chunks = body.into_data_stream();
    let (mut bytes, mut length) = (BytesMut::new(), 0_usize);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| unreadable())?;
        length += chunk.len();
        if length <= FORM_LIMIT {
            bytes.extend_from_slice(&chunk);
        } else if length > READ_ON_LIMIT {
            break;
        }
    }
    if length <= FORM_LIMIT {
        return Ok(bytes.freeze());
    }
    let problem = Problem::new(ErrorCode::BodyTooLarge, "the form is too large")
        .hint("images and files are limited to 10 MiB each and 20 MiB in total")
        .hint("go back, remove some of them and send the form again");
    Err(problem.into())
}

/// Reads the text fields and the files. A browser sends an empty file if none was chosen.
async fn read(mut parts: Multipart) -> Result<(Map<String, Value>, Uploads), PageProblem> {
    let (mut fields, mut uploads) = (Map::new(), Uploads::default());
    while let Some(part) = parts.next_field().await.map_err(|_| unreadable())? {
        let name = part.name().unwrap_or_default().to_owned();
        let file = part.file_name().map(str::to_owned);
        let bytes = part.bytes().await.map_err(|_| unreadable())?;
        match file {
            Some(file) if file.is_empty() && bytes.is_empty() => {}
            Some(name) if ImageKind::of_content(&bytes).is_some() => {
                uploads.images.push(GivenImage { name, data: ImageBytes(bytes.into()) });
            }
            Some(name) => uploads.attachments.push(GivenFile { name, data: ImageBytes(bytes.into()) }),
            None => {
                let text = String::from_utf8(bytes.into()).map_err(|_| unreadable())?;
                fields.insert(name, Value::String(text));
            }
        }
    }
    Ok((fields, uploads))
}

/// Renders the field for images and other files. With `assets::images_script`, users can also paste and drop images, and see the chosen ones.
pub(super) fn field(label: &Markup) -> Markup {
    html! {
        label.button.attach {
            (label)
            input type="file" name="images" multiple;
        }
        ul.images aria-live="polite" {}
    }
}

/// Formats a number of images and other files: `1 file`, `2 files`.
pub(super) fn count(files: usize) -> String {
    if files == 1 { "1 file".to_owned() } else { format!("{files} files") }
}
