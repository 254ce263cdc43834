//! Tests the allowlist proxy on a real socket with real servers on the loopback, which are listed by address.
//! No public name is resolved: every request is refused before the lookup, or is for this machine.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use codex_docker::proxy::allow::{AllowList, AllowProxy, Refusal};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};

const LIMIT: Duration = Duration::from_secs(20);

/// The maximum number of tunnels.
const TUNNELS: usize = 256;

struct Proxied {
    proxy: AllowProxy,
    socket: PathBuf,
    refused: Arc<Mutex<Vec<Refusal>>>,
    _folder: tempfile::TempDir,
}

fn stage(list: &str) -> Proxied {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("proxy");
    let refused: Arc<Mutex<Vec<Refusal>>> = Arc::default();
    let told = Arc::clone(&refused);
    let tell = move |refusal: &Refusal| told.lock().expect("sound").push(refusal.clone());
    let proxy = AllowProxy::start(&socket, AllowList::parse(list).expect("sound"), tell).expect("the proxy starts");
    Proxied { proxy, socket, refused, _folder: folder }
}

/// Sends bytes and returns the response up to the end of the connection.
async fn exchange(stage: &Proxied, sent: &str) -> String {
    let mut stream = UnixStream::connect(&stage.socket).await.expect("the proxy listens");
    stream.write_all(sent.as_bytes()).await.expect("written");
    stream.shutdown().await.expect("open");
    let mut said = Vec::new();
    tokio::time::timeout(LIMIT, stream.read_to_end(&mut said)).await.expect("the response ends").expect("readable");
    String::from_utf8_lossy(&said).into_owned()
}

/// Starts a server that sends back what it received, once the client has closed its side. Returns its port.
async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut sent = Vec::new();
                stream.read_to_end(&mut sent).await.expect("readable");
                stream.write_all(&[b"echo: ", sent.as_slice()].concat()).await.expect("open");
            });
        }
    });
    port
}

/// Starts an HTTP server that sends back each request. Returns its port.
async fn mirror() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = Vec::new();
            // A GET request ends after its head. The others end with the last chunk.
            while !(asked.ends_with(b"\r\n\r\n") && (asked.starts_with(b"GET") || asked.ends_with(b"0\r\n\r\n"))) {
                assert!(stream.read_buf(&mut asked).await.expect("readable") > 0, "{}", String::from_utf8_lossy(&asked));
            }
            let said = [b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".as_slice(), &asked].concat();
            stream.write_all(&said).await.expect("open");
        }
    });
    port
}

#[tokio::test]
async fn what_is_listed_is_reached_through_a_tunnel_that_is_closed_by_halves() {
    let port = echo().await;
    let stage = stage(&format!("127.0.0.1:{port}"));
    let said = exchange(&stage, &format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: x\r\n\r\nhello")).await;
    assert!(said.starts_with("HTTP/1.1 200") && said.ends_with("\r\n\r\necho: hello"), "{said}");
    assert!(stage.refused.lock().expect("sound").is_empty());
}

#[tokio::test]
async fn a_plain_request_has_the_host_of_its_url_and_nothing_of_the_proxys_headers() {
    let port = mirror().await;
    let stage = stage(&format!("127.0.0.1:{port}"));
    let request = format!(
        "GET http://127.0.0.1:{port}/a?b=c HTTP/1.1\r\nHost: evil.example\r\nProxy-Authorization: x\r\nProxy-Anything: x\r\nX-Mine: kept\r\nConnection: close\r\n\r\n"
    );
    let said = exchange(&stage, &request).await;
    assert!(said.contains("GET /a?b=c HTTP/1.1") && said.contains(&format!("host: 127.0.0.1:{port}")), "{said}");
    assert!(said.contains("kept") && !said.contains("evil.example") && !said.to_lowercase().contains("proxy-"), "{said}");
}

#[tokio::test]
async fn what_is_not_listed_is_refused_and_told_of_once() {
    let stage = stage("example.com");
    for _ in 0..3 {
        let said = exchange(&stage, "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n").await;
        assert!(
            said.starts_with("HTTP/1.1 403") && said.contains("access to evil.example:443 refused: not on the list"),
            "{said}"
        );
    }
    exchange(&stage, "GET http://other.example/x HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n").await;
    exchange(&stage, "CONNECT example.com:22 HTTP/1.1\r\nHost: example.com\r\n\r\n").await;
    let refused = stage.refused.lock().expect("sound");
    let told: Vec<String> = refused.iter().map(|refusal| format!("{}:{}", refusal.host, refusal.port)).collect();
    assert_eq!(told, ["evil.example:443", "other.example:80", "example.com:22"]);
}

#[tokio::test]
async fn a_listed_name_does_not_lead_to_this_machine() {
    let port = echo().await;
    let by_name = stage(&format!("localhost:{port}"));
    let said = exchange(&by_name, &format!("CONNECT localhost:{port} HTTP/1.1\r\nHost: x\r\n\r\nhello")).await;
    assert!(said.starts_with("HTTP/1.1 403") && said.contains("its address is on this machine or one of its networks"), "{said}");
    let with_address = stage(&format!("localhost:{port},127.0.0.1:{port},[::1]:{port}"));
    let said = exchange(&with_address, &format!("CONNECT localhost:{port} HTTP/1.1\r\nHost: x\r\n\r\nhello")).await;
    assert!(said.ends_with("echo: hello"), "the address itself is listed: {said}");
}

#[tokio::test]
async fn this_machine_and_the_metadata_of_clouds_are_refused_in_every_spelling() {
    let stage = stage("example.com,*.example.org");
    for target in [
        "127.0.0.1:80",
        "169.254.169.254:80",
        "[::1]:80",
        "[::ffff:127.0.0.1]:80",
        "[::ffff:a9fe:a9fe]:80",
        "0.0.0.0:80",
        "10.0.0.1:443",
        "2130706433:80",
        "0x7f.1:80",
        "127.1:80",
        "[64:ff9b::7f00:1]:80",
        "[fe80::1]:80",
        "example.com@127.0.0.1:80",
        "example.com%00.example.org:80",
    ] {
        let said = exchange(&stage, &format!("CONNECT {target} HTTP/1.1\r\nHost: example.com\r\n\r\n")).await;
        assert!(said.starts_with("HTTP/1.1 40"), "{target}: {said}");
    }
}

#[tokio::test]
async fn what_is_no_request_for_a_proxy_is_refused() {
    let stage = stage("example.com");
    for request in [
        "GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n",
        "GET https://example.com/ HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n",
        "GET http://user:password@example.com/ HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n",
        "GET ftp://example.com/ HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n",
        "CONNECT example.com HTTP/1.1\r\nHost: example.com\r\n\r\n",
        "CONNECT user@example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n",
        "CONNECT m\u{fc}nchen.de:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        "CONNECT evil\u{1b}[31m.example:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET http://evil\u{7}.example/ HTTP/1.1\r\nHost: x\r\n\r\n",
        "CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx",
        "nonsense\r\n\r\n",
    ] {
        let said = exchange(&stage, request).await;
        assert!(said.starts_with("HTTP/1.1 400"), "{request:?}: {said}");
    }
}

#[tokio::test]
async fn a_tunnel_begins_after_the_head_and_a_request_for_one_has_no_body() {
    let port = echo().await;
    let stage = stage(&format!("127.0.0.1:{port}"));
    for body in ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"] {
        let said = exchange(&stage, &format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: x\r\n{body}")).await;
        assert!(said.starts_with("HTTP/1.1 400") && !said.contains("echo"), "{said}");
    }
    let said = exchange(&stage, &format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nContent-Length: 0\r\n\r\nhello")).await;
    assert!(said.ends_with("echo: hello"), "{said}");
}

#[tokio::test]
async fn a_request_of_two_lengths_is_not_two_requests() {
    let port = mirror().await;
    let stage = stage(&format!("127.0.0.1:{port}"));
    let head = format!("POST http://127.0.0.1:{port}/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    for lengths in ["Content-Length: 3\r\nContent-Length: 5", "Transfer-Encoding: chunked, x", "Content-Length: 3, 5"] {
        let said = exchange(&stage, &format!("{head}{lengths}\r\n\r\nhello")).await;
        assert!(said.starts_with("HTTP/1.1 4"), "{lengths}: {said}");
    }
    for lengths in ["Content-Length: 3\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 3"] {
        let said = exchange(&stage, &format!("{head}{lengths}\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n")).await;
        let said = said.to_lowercase();
        assert!(said.contains("hello") && said.contains("transfer-encoding: chunked"), "{said}");
        assert!(!said.contains("content-length: 3") && !said.contains("evil"), "{lengths}: {said}");
    }
}

#[tokio::test]
async fn a_head_has_an_end() {
    let stage = stage("127.0.0.1:1");
    let head = format!("GET http://127.0.0.1:1/ HTTP/1.1\r\nX: {}", "x".repeat(256 * 1024));
    let mut here = UnixStream::connect(&stage.socket).await.expect("the proxy listens");
    // The head never ends, but the response arrives.
    let (mut hears, mut says) = here.split();
    let mut said = [0; 12];
    let both = async { tokio::join!(says.write_all(head.as_bytes()), hears.read_exact(&mut said)) };
    let (_written, read) = tokio::time::timeout(LIMIT, both).await.expect("the proxy responds in time");
    assert!(read.is_ok() && said.ends_with(b"431"), "{read:?} {}", String::from_utf8_lossy(&said));
    let said = exchange(&stage, &format!("CONNECT {}.com:443 HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(300))).await;
    assert!(said.starts_with("HTTP/1.1 400") && stage.refused.lock().expect("sound").is_empty(), "{said}");
}

#[tokio::test]
async fn an_answer_is_streamed_while_the_host_still_speaks() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let stage = stage(&format!("127.0.0.1:{port}"));
    let mut here = UnixStream::connect(&stage.socket).await.expect("the proxy listens");
    here.write_all(format!("GET http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.expect("written");
    let (mut there, _) = listener.accept().await.expect("the connection arrives");
    there.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await.expect("open");
    let mut said = Vec::new();
    while !String::from_utf8_lossy(&said).contains("first") {
        let count = tokio::time::timeout(LIMIT, here.read_buf(&mut said))
            .await
            .expect("the first part arrives before the end")
            .expect("open");
        assert!(count > 0);
    }
}

#[tokio::test]
async fn there_is_an_end_to_tunnels_and_room_again_when_one_is_closed() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let stage = stage(&format!("127.0.0.1:{port}"));
    let connect = format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut open = Vec::new();
    for _ in 0..TUNNELS {
        let mut tunnel = UnixStream::connect(&stage.socket).await.expect("the proxy listens");
        tunnel.write_all(connect.as_bytes()).await.expect("written");
        let mut head = [0; 12];
        tunnel.read_exact(&mut head).await.expect("answered");
        assert_eq!(&head, b"HTTP/1.1 200", "number {}", open.len());
        let (taken, _) = listener.accept().expect("the connection arrives");
        open.push((tunnel, taken));
    }
    let said = exchange(&stage, &connect).await;
    assert!(said.starts_with("HTTP/1.1 503") && said.contains("the limit is 256"), "{said}");
    let said = exchange(&stage, "GET http://evil.example/ HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.1 403"), "other requests are still answered: {said}");
    drop(open.pop());
    tokio::time::timeout(LIMIT, async {
        while exchange_head(&stage, &connect).await != "HTTP/1.1 200" {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("a tunnel can be opened again");
}

/// Sends bytes and returns the first 12 bytes of the response.
async fn exchange_head(stage: &Proxied, sent: &str) -> String {
    let mut stream = UnixStream::connect(&stage.socket).await.expect("the proxy listens");
    stream.write_all(sent.as_bytes()).await.expect("written");
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.expect("answered");
    String::from_utf8_lossy(&head).into_owned()
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_said() {
    let stage = stage("127.0.0.1:1,nowhere.invalid");
    for target in ["127.0.0.1:1", "nowhere.invalid:443"] {
        let said = exchange(&stage, &format!("CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert!(said.starts_with("HTTP/1.1 502") && said.contains("cannot reach "), "{target}: {said}");
    }
}

#[tokio::test]
async fn when_the_run_ends_its_tunnels_end() {
    let port = echo().await;
    let stage = stage(&format!("127.0.0.1:{port}"));
    let mut stream = UnixStream::connect(&stage.socket).await.expect("the proxy listens");
    stream.write_all(format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.expect("written");
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.expect("answered");
    assert_eq!(&head, b"HTTP/1.1 200");
    let Proxied { proxy, socket, .. } = stage;
    drop(proxy);
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(LIMIT, stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the tunnel ends with the proxy");
    assert!(UnixStream::connect(&socket).await.is_err());
}
