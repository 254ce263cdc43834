//! Support for the tests of images: the engine, and a registry with a single image.
//!
//! The registry listens on the loopback, where engines use plain HTTP.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};

use bollard::Docker;
use codex_docker::connect::connect;
use codex_docker::image::Progress;

/// Connects to the engine.
#[expect(clippy::disallowed_methods, reason = "tests find the engine in the same way as users")]
pub(crate) async fn engine() -> Docker {
    connect(&std::env::vars().collect()).await.expect("`cargo xtask test` starts an engine")
}

/// Ignores progress.
pub(crate) fn nobody(_: Progress<'_>) {}

/// Starts a registry with the image `one:1`, and returns its address.
pub(crate) fn registry() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("the listener has an address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("a connection");
            std::thread::spawn(move || serve(&stream));
        }
    });
    address
}

fn serve(stream: &TcpStream) {
    let mut lines = BufReader::new(stream).lines();
    while let Some(Ok(request)) = lines.next() {
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (status, kind, body) = answer(path);
        let digest = digest(&body);
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nDocker-Content-Digest: {digest}\r\n\r\n",
            body.len()
        );
        let body = if method == "HEAD" { &[] } else { body.as_slice() };
        let mut out = stream;
        if out.write_all(head.as_bytes()).and_then(|()| out.write_all(body)).is_err() {
            return;
        }
    }
}

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const BYTES: &str = "application/octet-stream";

fn answer(path: &str) -> (&'static str, &'static str, Vec<u8>) {
    let layer = layer();
    let config = config(&layer);
    let manifest = manifest(&config, &layer);
    if path == "/v2/" {
        return ("200 OK", "application/json", b"{}".to_vec());
    }
    if path == "/v2/one/manifests/1" || path == format!("/v2/one/manifests/{}", digest(&manifest)) {
        return ("200 OK", MANIFEST, manifest);
    }
    for blob in [layer, config] {
        if path == format!("/v2/one/blobs/{}", digest(&blob)) {
            return ("200 OK", BYTES, blob);
        }
    }
    let unknown = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
    ("404 Not Found", "application/json", unknown.to_vec())
}

fn digest(bytes: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, bytes);
    hash.as_ref().iter().fold("sha256:".to_owned(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// Returns a layer with one small file.
fn layer() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(6);
    header.set_mode(0o644);
    archive.append_data(&mut header, "hello", b"hello\n".as_slice()).expect("the archive is built in memory");
    archive.into_inner().expect("the archive is built in memory")
}

fn config(layer: &[u8]) -> Vec<u8> {
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let rootfs = serde_json::json!({"type": "layers", "diff_ids": [digest(layer)]});
    serde_json::json!({"architecture": machine, "os": "linux", "config": {}, "rootfs": rootfs}).to_string().into_bytes()
}

fn manifest(config: &[u8], layer: &[u8]) -> Vec<u8> {
    let of = |kind: &str, bytes: &[u8]| serde_json::json!({"mediaType": kind, "size": bytes.len(), "digest": digest(bytes)});
    let config = of("application/vnd.docker.container.image.v1+json", config);
    let layers = [of("application/vnd.docker.image.rootfs.diff.tar", layer)];
    serde_json::json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}).to_string().into_bytes()
}
