//! What pages load: one stylesheet, htmx, our own script, an icon. Built into the program, named by their content, kept by browsers
//! for ever, and sent compressed.

use std::borrow::Cow;
use std::io::Write as _;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

struct Asset {
    /// With a part of its content's hash.
    name: String,
    kind: &'static str,
    content: Cow<'static, [u8]>,
    compressed: Vec<u8>,
}

impl Asset {
    fn new(stem: &str, end: &str, kind: &'static str, content: impl Into<Cow<'static, [u8]>>) -> Self {
        let content = content.into();
        let digest = ring::digest::digest(&ring::digest::SHA256, &content);
        let hash: String = digest.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
        let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::best());
        let compressed = encoder.write_all(&content).and_then(|()| encoder.finish()).expect("memory takes all");
        Self { name: format!("{stem}-{hash}.{end}"), kind, content, compressed }
    }
}

static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("style", "css", "text/css; charset=utf-8", include_bytes!("../../assets/style.css").as_slice()));
static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("app", "js", "text/javascript; charset=utf-8", dense(include_str!("../../assets/app.js"))));
static HTMX: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("htmx", "js", "text/javascript; charset=utf-8", include_bytes!("../../assets/htmx-4.0.1.min.js").as_slice())
});
static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon", "svg", "image/svg+xml", include_bytes!("../../assets/icon.svg").as_slice()));

/// A script without what is there for its readers: indents, empty lines, and lines that are comments. A line's end ends it as before.
fn dense(script: &str) -> Vec<u8> {
    let kept = script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
    kept.flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect()
}

fn path(asset: &Asset) -> String {
    format!("/assets/{}", asset.name)
}

pub(super) fn style() -> String {
    path(&STYLE)
}

pub(super) fn script() -> String {
    path(&SCRIPT)
}

pub(super) fn htmx() -> String {
    path(&HTMX)
}

pub(super) fn icon() -> String {
    path(&ICON)
}

pub(crate) async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some(asset) = [&*STYLE, &*SCRIPT, &*HTMX, &*ICON].into_iter().find(|asset| asset.name == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let accepts = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let fixed = [(header::CONTENT_TYPE, asset.kind), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
    if accepts.split(',').any(|coding| coding.trim().starts_with("gzip")) {
        return (fixed, [(header::CONTENT_ENCODING, "gzip"), (header::VARY, "accept-encoding")], asset.compressed.clone())
            .into_response();
    }
    (fixed, asset.content.clone()).into_response()
}

pub(crate) async fn manifest() -> Response {
    let icon = serde_json::json!({ "src": icon(), "sizes": "any", "type": "image/svg+xml", "purpose": "any maskable" });
    let manifest = serde_json::json!({
        "name": "Codex Orchestrator",
        "short_name": "Codex",
        "start_url": "/",
        "display": "standalone",
        "background_color": "#101418",
        "theme_color": "#101418",
        "icons": [icon],
    });
    ([(header::CONTENT_TYPE, "application/manifest+json")], manifest.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_script_is_small_and_a_page_comes_in_sixty_kilobytes() {
        assert!(SCRIPT.content.len() < 10_000, "{} bytes", SCRIPT.content.len());
        let sent: usize = [&*STYLE, &*SCRIPT, &*HTMX].iter().map(|asset| asset.compressed.len()).sum();
        assert!(sent < 40_000, "{sent} bytes");
    }

    #[test]
    fn a_script_is_sent_without_its_comments() {
        assert_eq!(dense("// what\n  let a = 1; // kept\n\n\t// why\n  b(`x //`);\n"), b"let a = 1; // kept\nb(`x //`);\n");
    }

    #[test]
    fn a_name_changes_with_the_content() {
        let (one, two) = (
            Asset::new("a", "js", "text/javascript", b"1".as_slice()),
            Asset::new("a", "js", "text/javascript", b"2".as_slice()),
        );
        assert_ne!(one.name, two.name);
    }
}
