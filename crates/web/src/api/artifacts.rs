//! `/api/v1/tasks/{task_id}/runs/{n}/artifacts`: the files that the agent left for people.
//!
//! Every file is hostile: browsers must save it, and may only display images whose format was detected. Invariant: no response lets a
//! browser run or load anything.

use axum::Json;
use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use engine::ArtifactFile;
use model::artifact::ArtifactKind;
use model::image::ImageKind;
use model::problem::Problem;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use printable::printable_line;
use protocol::ArtifactsView;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::operation::{ArtifactPath, NotThere, Refused, RunPath};
use crate::caller::AsUser;
use crate::extract::{PathOf, run_number};
use crate::problem::ProblemResponse;

/// The number of bytes that determine the format of an image.
const FORMAT_BYTES: u64 = 16;

/// The longest name of a downloaded file, in characters.
const NAME_CHARS: usize = 150;

/// List the artifacts of a run
///
/// Artifacts are files that the agent saved in `/artifacts`. They are kept when the run ends, so the list is empty while it is active.
/// Runs without a container have no artifacts.
#[utoipa::path(get, path = "/tasks/{task_id}/runs/{n}/artifacts", operation_id = "list_artifacts", tag = "runs",
    params(RunPath),
    responses((status = 200, description = "The artifacts", body = ArtifactsView), Refused, NotThere))]
pub(crate) async fn list(
    AsUser(user): AsUser,
    PathOf((id, run)): PathOf<(String, String)>,
) -> Result<Json<ArtifactsView>, ProblemResponse> {
    Ok(Json(user.artifacts(&id, run_number(&run)?).await?))
}

/// Download an artifact
///
/// Returns the exact bytes, including secrets that the agent wrote. The file is hostile: only PNG, JPEG, GIF and WebP images have their
/// own content type.
#[utoipa::path(get, path = "/tasks/{task_id}/runs/{n}/artifacts/{path}", operation_id = "read_artifact", tag = "runs",
    params(ArtifactPath),
    responses((status = 200, description = "The file", body = Vec<u8>, content_type = "application/octet-stream"), Refused, NotThere))]
pub(crate) async fn read(
    AsUser(user): AsUser,
    PathOf((id, run, path)): PathOf<(String, String, String)>,
) -> Result<Response, ProblemResponse> {
    Ok(send(user.artifact(&id, run_number(&run)?, &path).await?).await?)
}

/// Sends an artifact. Images are displayed, and browsers save all other files.
pub(crate) async fn send(found: ArtifactFile) -> Result<Response, Problem> {
    let ArtifactFile { artifact, mut file } = found;
    let image = match artifact.kind {
        ArtifactKind::Image => format_of(&mut file).await.map_err(|error| unreadable(&error))?,
        ArtifactKind::Text | ArtifactKind::Junit | ArtifactKind::Other => None,
    };
    let name = artifact.path.name();
    let name = name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let (kind, disposition) = match image {
        Some(image) => (image.media_type(), "inline"),
        None => ("application/octet-stream", "attachment"),
    };
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_DISPOSITION, format!("{disposition}; {}", file_name(&String::from_utf8_lossy(name)))),
        (header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'; frame-ancestors 'none'".to_owned()),
        (header::CONTENT_LENGTH, artifact.bytes.to_string()),
    ];
    Ok((headers, Body::from_stream(ReaderStream::new(file.take(artifact.bytes)))).into_response())
}

async fn format_of(file: &mut tokio::fs::File) -> std::io::Result<Option<ImageKind>> {
    let mut start = vec![];
    (&mut *file).take(FORMAT_BYTES).read_to_end(&mut start).await?;
    file.rewind().await?;
    Ok(ImageKind::of_content(&start))
}

fn unreadable(error: &std::io::Error) -> Problem {
    Problem::internal(format!("could not read the artifact: {error}"))
}

/// Returns the parameters of `Content-Disposition` for a name that an agent chose: a plain form, and the form of RFC 5987.
pub(crate) fn file_name(name: &str) -> String {
    let name = printable_line(name, NAME_CHARS);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    if plain == name {
        return format!("filename=\"{plain}\"");
    }
    format!("filename=\"{plain}\"; filename*=UTF-8''{}", utf8_percent_encode(&name, NON_ALPHANUMERIC))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;
    use model::artifact::Artifact;
    use model::commit::PathText;

    use super::*;

    async fn sent(path: &[u8], kind: ArtifactKind, content: &[u8]) -> (HeaderMap, Vec<u8>) {
        let file = tempfile::NamedTempFile::new().expect("a file");
        tokio::fs::write(file.path(), content).await.expect("written");
        let artifact = Artifact { path: PathText::new(path), bytes: content.len() as u64, kind };
        let file = tokio::fs::File::open(file.path()).await.expect("a file");
        let response = send(ArtifactFile { artifact, file }).await.expect("a response");
        let (parts, body) = response.into_parts();
        (parts.headers, axum::body::to_bytes(body, 1 << 16).await.expect("the body ends").to_vec())
    }

    #[tokio::test]
    async fn only_images_are_displayed_and_nothing_can_run() {
        let png = b"\x89PNG\r\n\x1a\n<script>alert(1)</script>".as_slice();
        for (path, kind, content, media_type, disposition) in [
            ("a/shot.png", ArtifactKind::Image, png, "image/png", "inline; filename=\"shot.png\""),
            ("x.html", ArtifactKind::Text, b"<script>", "application/octet-stream", "attachment; filename=\"x.html\""),
            ("x.svg", ArtifactKind::Text, b"<svg>", "application/octet-stream", "attachment; filename=\"x.svg\""),
            // A list that calls a file an image is not trusted.
            ("y.svg", ArtifactKind::Image, b"<svg>", "application/octet-stream", "attachment; filename=\"y.svg\""),
        ] {
            let (headers, body) = sent(path.as_bytes(), kind, content).await;
            assert_eq!(headers[header::CONTENT_TYPE], media_type, "{path}");
            assert_eq!(headers[header::CONTENT_DISPOSITION], disposition, "{path}");
            assert_eq!(headers[header::CONTENT_SECURITY_POLICY], "sandbox; default-src 'none'; frame-ancestors 'none'");
            assert_eq!(headers[header::CONTENT_LENGTH], content.len().to_string());
            assert_eq!(body, content);
        }
    }

    #[test]
    fn a_name_that_an_agent_chose_does_not_break_out_of_its_header() {
        assert_eq!(file_name("a b.txt"), "filename=\"a_b.txt\"; filename*=UTF-8''a%20b%2Etxt");
        assert_eq!(file_name("größe"), "filename=\"gr__e\"; filename*=UTF-8''gr%C3%B6%C3%9Fe");
        for name in ["\"; x=\"y", "a\r\nSet-Cookie: x", "\\\"", "\u{202e}gnp.exe"] {
            let shown = file_name(name);
            assert!(shown.is_ascii() && !shown.contains(['\r', '\n', '\\']), "{shown}");
            assert_eq!(shown.matches('"').count(), 2, "{shown}");
        }
    }
}
