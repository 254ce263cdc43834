//! The images of prompts, as somebody gave them: small in a transcript, whole behind a link.
//!
//! A file that is also something else is never that here: its type is the one by which it was taken, browsers are told not to
//! guess, and its policy allows it nothing. Only what a record names is found.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use model::codex::printable_line;
use model::image::ImageFile;

use super::PageProblem;
use super::session::Signed;
use crate::router::Api;

/// The longest name that is shown, in characters.
const NAME_CHARS: usize = 120;

pub(crate) async fn file(
    _: Signed,
    State(api): State<Api>,
    Path((id, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, PageProblem> {
    let image = api.engine.image(&id, &name).await?;
    // A file is called by its content, so a browser that has it needs no more than to be told so.
    let tag = format!("\"{}\"", image.file.file);
    let always = [
        (header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'; frame-ancestors 'none'".to_owned()),
        (header::CACHE_CONTROL, "private, no-cache".to_owned()),
        (header::ETAG, tag.clone()),
    ];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return Ok((StatusCode::NOT_MODIFIED, always).into_response());
    }
    let kind = image.file.file.kind().media_type();
    Ok((always, [(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, "inline")], image.bytes).into_response())
}

/// A run's images, each a link to the whole one.
pub(super) fn shown(task: &str, images: &[ImageFile]) -> Markup {
    html! {
        @if !images.is_empty() {
            ul.images {
                @for image in images {
                    @let href = format!("/tasks/{task}/images/{}", image.file);
                    li { a href=(href) { img src=(href) alt=(printable_line(&image.name, NAME_CHARS)) loading="lazy" decoding="async"; } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_text_and_leads_nowhere() {
        let image =
            |name: &str| ImageFile { file: "ba7816bf8f01cfea.png".parse().expect("a name"), name: name.to_owned(), bytes: 1 };
        let html = shown("t", &[image("\"><script>alert(1)</script>\u{202e}gnp"), image("../../x.png")]).into_string();
        assert!(!html.contains("<script") && !html.contains('\u{202e}'), "{html}");
        assert!(html.contains("href=\"/tasks/t/images/ba7816bf8f01cfea.png\"") && html.contains("alt=\"../../x.png\""), "{html}");
        assert_eq!(shown("t", &[]).into_string(), "");
    }
}
