//! The images and other files of prompts: thumbnails in a transcript with links to the full images, and links to the files.
//!
//! Files that are also valid as another type are harmless: each is sent with the type that was detected at upload, browsers must not
//! guess the type, and its policy allows nothing. Only images that a record names are served.

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use model::image::ImageFile;
use model::size;
use printable::printable_line;

use super::answer::PageProblem;
use super::session::Signed;
use crate::api::artifacts::file_name;
use crate::caller::AsUser;

/// The longest name in a page, in characters.
const NAME_CHARS: usize = 120;

pub(crate) async fn file(
    _: Signed,
    AsUser(user): AsUser,
    Path((id, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, PageProblem> {
    let image = user.image(&id, &name).await?;
    // The name of a file is derived from its content, so it also serves as its ETag.
    let tag = format!("\"{}\"", image.file.file);
    let always = [
        (header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'; frame-ancestors 'none'".to_owned()),
        (header::CACHE_CONTROL, "private, no-cache".to_owned()),
        (header::ETAG, tag.clone()),
    ];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return Ok((StatusCode::NOT_MODIFIED, always).into_response());
    }
    let kind = image.file.file.kind();
    let disposition = if kind.is_image() { "inline".to_owned() } else { format!("attachment; {}", file_name(&image.file.name)) };
    let of_file = [(header::CONTENT_TYPE, kind.media_type().to_owned()), (header::CONTENT_DISPOSITION, disposition)];
    Ok((always, of_file, image.bytes).into_response())
}

/// Renders the images of a run, each with a link to the full image.
pub(super) fn shown(task: &str, images: &[ImageFile]) -> Markup {
    html! {
        @if !images.is_empty() {
            ul.images {
                @for image in images {
                    @let href = format!("/tasks/{task}/images/{}", image.file);
                    @let name = printable_line(&image.name, NAME_CHARS);
                    @if image.file.kind().is_image() {
                        li { a href=(href) { img src=(href) alt=(name) loading="lazy" decoding="async"; } }
                    } @else {
                        li { a href=(href) { (name) } " " span.quiet { (size::bytes(image.bytes)) } }
                    }
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
