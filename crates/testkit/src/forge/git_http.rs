//! Serves the repository over git's smart HTTP protocol, as Git hosts do: everyone can read, and pushing requires the token. The
//! answers come from `git http-backend`.

use std::path::Path;
use std::process::Stdio;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Answers a request for `/owner/name.git/…`.
pub(super) async fn answer(
    repository: &Path,
    token: &str,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> Response {
    let (path, query) = (uri.path(), uri.query().unwrap_or_default());
    let rest = path.split_once(".git").map_or("", |(_, rest)| rest);
    let pushes = rest.ends_with("/git-receive-pack") || query.contains("service=git-receive-pack");
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let expected = format!("Basic {}", base64(format!("x-access-token:{token}").as_bytes()));
    if pushes && header("authorization") != expected {
        let headers = [("www-authenticate", "Basic realm=\"forge\"".to_owned())];
        return super::response(401, &headers, Body::from("who are you?"));
    }
    let name = repository.file_name().expect("a repository has a name").to_string_lossy();
    let mut backend = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", repository.parent().expect("it has a parent folder"))
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", format!("/{name}{rest}"))
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", method.as_str())
        .env("CONTENT_TYPE", header("content-type"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("REMOTE_USER", if pushes { "me" } else { "" })
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("git is installed");
    let mut stdin = backend.stdin.take().expect("a pipe");
    let body = body.to_vec();
    let feeding = tokio::spawn(async move {
        // Ignore the error: the backend closes the pipe when it needs no more input.
        let _heard = stdin.write_all(&body).await;
    });
    let output = backend.wait_with_output().await.expect("the backend ends");
    feeding.await.expect("the task that writes the input does not panic");
    parsed(&output.stdout)
}

/// Parses the answer of a CGI program: headers, an empty line, the body.
fn parsed(output: &[u8]) -> Response {
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(output.len());
    let (head, body) = (&output[..end], output.get(end + 4..).unwrap_or_default());
    let mut response = Response::new(Body::from(body.to_vec()));
    for line in String::from_utf8_lossy(head).lines() {
        let Some((name, value)) = line.split_once(": ") else { continue };
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().and_then(|code| code.parse().ok()).expect("a status");
            *response.status_mut() = code;
        } else {
            let name: axum::http::HeaderName = name.parse().expect("a header");
            response.headers_mut().insert(name, value.parse().expect("a header"));
        }
    }
    response
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for n in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * n) & 63) as usize];
            text.push(if n <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_written() {
        assert_eq!([base64(b"a"), base64(b"ab"), base64(b"abc")], ["YQ==", "YWI=", "YWJj"]);
    }
}
