//! The files that pages load: a stylesheet, htmx, our own scripts and icons.
//!
//! They are built into the program, sent compressed, and cached by browsers without a time limit, since their names contain a hash of
//! their content. Only the service worker has a fixed name, by which browsers check for a newer one.

use std::borrow::Cow;
use std::io::Write as _;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

struct Asset {
    /// The name in the URL, which contains a part of the content's hash.
    name: String,
    kind: &'static str,
    content: Cow<'static, [u8]>,
    compressed: Vec<u8>,
}

impl Asset {
    fn new(stem: &str, end: &str, kind: &'static str, content: impl Into<Cow<'static, [u8]>>) -> Self {
        let content = content.into();
        let digest = ring::digest::digest(&ring::digest::SHA256, &content);
        let hash = hex::encode(&digest.as_ref()[..6]);
        let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::best());
        let compressed = encoder.write_all(&content).and_then(|()| encoder.finish()).expect("writing to memory succeeds");
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
static NOTICES: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("notices", "js", "text/javascript; charset=utf-8", dense(include_str!("../../assets/notices.js")))
});
static IMAGES: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("images", "js", "text/javascript; charset=utf-8", dense(include_str!("../../assets/images.js"))));
static REVIEW: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("review", "js", "text/javascript; charset=utf-8", dense(include_str!("../../assets/review.js"))));
static TRANSCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("transcript", "js", "text/javascript; charset=utf-8", dense(include_str!("../../assets/transcript.js")))
});
static WORKER: LazyLock<Asset> = LazyLock::new(|| {
    let script = include_str!("../../assets/sw.js").replace("ICON", &path(&ICONS[2]));
    Asset::new("sw", "js", "text/javascript; charset=utf-8", dense(&script))
});

/// The icon as SVG, then as PNG images: for the home screen of an iPhone, for launchers, and for launchers that crop icons.
static ICONS: LazyLock<[Asset; 5]> = LazyLock::new(|| {
    let picture = |stem, content| Asset::new(stem, "png", "image/png", content);
    [
        Asset::new("icon", "svg", "image/svg+xml", include_bytes!("../../assets/icon.svg").as_slice()),
        picture("icon-180", include_bytes!("../../assets/icon-180.png").as_slice()),
        picture("icon-192", include_bytes!("../../assets/icon-192.png").as_slice()),
        picture("icon-512", include_bytes!("../../assets/icon-512.png").as_slice()),
        picture("icon-maskable-512", include_bytes!("../../assets/icon-maskable-512.png").as_slice()),
    ]
});

/// The policy of the service worker. It only loads the icon of notifications.
const WORKER_POLICY: &str = "default-src 'none'; img-src 'self'";

/// Returns a script without comments, indentation and line ends.
fn dense(script: &str) -> Vec<u8> {
    minifier::js::minify(script).to_string().into_bytes()
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

pub(super) fn notices_script() -> String {
    path(&NOTICES)
}

pub(super) fn images_script() -> String {
    path(&IMAGES)
}

pub(super) fn review_script() -> String {
    path(&REVIEW)
}

pub(super) fn transcript_script() -> String {
    path(&TRANSCRIPT)
}

pub(super) fn icon() -> String {
    path(&ICONS[0])
}

/// Returns the path of the icon for the home screen of an iPhone or iPad, which rounds its corners itself.
pub(super) fn touch_icon() -> String {
    path(&ICONS[1])
}

pub(crate) async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let mut all = [&*STYLE, &*SCRIPT, &*NOTICES, &*IMAGES, &*REVIEW, &*TRANSCRIPT, &*HTMX].into_iter().chain(ICONS.iter());
    let Some(asset) = all.find(|asset| asset.name == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let accepts = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let fixed = [(header::CONTENT_TYPE, asset.kind), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
    let is_smaller = asset.compressed.len() < asset.content.len();
    if is_smaller && accepts.split(',').any(|coding| coding.trim().starts_with("gzip")) {
        return (fixed, [(header::CONTENT_ENCODING, "gzip"), (header::VARY, "accept-encoding")], asset.compressed.clone())
            .into_response();
    }
    (fixed, asset.content.clone()).into_response()
}

/// Sends the service worker. Its path is at the root, so that its scope includes all pages.
pub(crate) async fn service_worker() -> Response {
    let fixed = [
        (header::CONTENT_TYPE, WORKER.kind),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, WORKER_POLICY),
    ];
    (fixed, WORKER.content.clone()).into_response()
}

pub(crate) async fn manifest() -> Response {
    let icon = |at: usize, sizes: &str, purpose: &str| serde_json::json!({ "src": path(&ICONS[at]), "sizes": sizes, "type": ICONS[at].kind, "purpose": purpose });
    let manifest = serde_json::json!({
        "id": "/",
        "name": "Codex Orchestrator",
        "short_name": "Codex",
        "start_url": "/",
        "scope": "/",
        "display": "standalone",
        "background_color": "#101418",
        "theme_color": "#101418",
        "icons": [
            icon(2, "192x192", "any"),
            icon(3, "512x512", "any"),
            icon(4, "512x512", "maskable"),
            icon(0, "any", "any"),
        ],
    });
    ([(header::CONTENT_TYPE, "application/manifest+json")], manifest.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_script_is_small_and_a_page_comes_in_sixty_kilobytes() {
        let [every, images, review, transcript, notices, worker] =
            [&*SCRIPT, &*IMAGES, &*REVIEW, &*TRANSCRIPT, &*NOTICES, &*WORKER].map(|asset| asset.content.len());
        // A page loads one of these sets in addition to the common script.
        let most = every + (images + transcript).max(review).max(notices + worker);
        let all = format!(
            "{every} bytes, {images} for images, {transcript} for a transcript, {review} for a review, {notices} and {worker} for notices"
        );
        assert!(most < 11_000, "{all}");
        let sent: usize = [&*STYLE, &*SCRIPT, &*REVIEW, &*HTMX].iter().map(|asset| asset.compressed.len()).sum();
        assert!(sent < 40_000, "{sent} bytes");
    }

    #[test]
    fn a_script_is_sent_without_its_comments_and_says_the_same() {
        let dense = |script: &str| String::from_utf8(dense(script)).expect("text");
        assert_eq!(
            dense("// what\n  let a = 1; // why\n\n\tb(`x // y`, \"http://z\", /[/]/g);\n"),
            "let a=1;b(`x // y`,\"http://z\",/[/]/g);"
        );
    }

    async fn body(response: Response) -> Vec<u8> {
        axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("the body can be read").to_vec()
    }

    #[tokio::test]
    async fn every_icon_that_is_listed_is_a_picture_of_its_size() {
        let manifest: serde_json::Value = serde_json::from_slice(&body(manifest().await).await).expect("JSON");
        assert_eq!((&manifest["id"], &manifest["start_url"], &manifest["scope"]), (&"/".into(), &"/".into(), &"/".into()));
        let listed = manifest["icons"].as_array().expect("a list");
        let mut listed: Vec<_> =
            listed.iter().map(|icon| ["src", "sizes", "purpose"].map(|key| icon[key].as_str().expect(key))).collect();
        let purposes: Vec<_> = listed.iter().map(|[_, sizes, purpose]| format!("{sizes} {purpose}")).collect();
        assert_eq!(purposes, ["192x192 any", "512x512 any", "512x512 maskable", "any any"]);
        let touch = touch_icon();
        listed.push([&touch, "180x180", "touch"]);
        for [address, sizes, _] in listed {
            let name = address.strip_prefix("/assets/").expect("the icon is an asset");
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, "br".parse().expect("a header"));
            let response = file(Path(name.to_owned()), headers).await;
            assert_eq!(response.status(), StatusCode::OK, "{address}");
            let kind = response.headers()[header::CONTENT_TYPE].to_str().expect("text").to_owned();
            let bytes = body(response).await;
            if sizes == "any" {
                assert_eq!(kind, "image/svg+xml");
                continue;
            }
            // A PNG starts with its signature, the length and name of the first chunk, width and height.
            assert_eq!((kind.as_str(), &bytes[..16]), ("image/png", b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".as_slice()), "{address}");
            let number = |at: usize| bytes[at..at + 4].iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
            assert_eq!(format!("{}x{}", number(16), number(20)), sizes, "{address}");
            assert!(bytes.len() < 20_000, "{address}: {} bytes", bytes.len());
        }
    }

    #[tokio::test]
    async fn the_service_worker_is_asked_for_each_time_and_shows_an_icon_that_is_there() {
        let response = service_worker().await;
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-cache");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
        let script = String::from_utf8(body(response).await).expect("text");
        assert!(script.contains(&path(&ICONS[2])) && !script.contains("caches"), "{script}");
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
