//! Tests the proxy in a separate network with private and global addresses, and real connections to them.
//!
//! Each test runs itself again as a child of `unshare`, in a temporary network namespace.

#![expect(clippy::disallowed_methods, reason = "a test starts itself and `ip` in another network namespace")]

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};

use super::names::Names;
use super::{AllowList, AllowProxy};

const LIMIT: Duration = Duration::from_secs(20);

/// The variable that is set in the child process.
const INSIDE: &str = "CODEX_DOCKER_TEST_IN_NETWORK";

/// The commands that set up a network: private and global addresses on a link and on the loopback, and a router.
const NETWORK: &[&str] = &[
    "link set lo up",
    "link add lan0 type veth peer name lan1",
    "link set lan1 up",
    "addr add 10.99.0.5/24 dev lan0",
    "addr add 9.9.9.77/24 dev lan0",
    "addr add 8.8.4.4/32 dev lo",
    "addr add 2a01:4f8:1234::7/64 dev lan0 nodad",
    "link set lan0 up",
    "route add local 203.0.113.0/24 dev lo",
    "route add 198.51.100.9/32 dev lan0",
    "route add default via 10.99.0.1",
];

/// Runs this test in another network namespace. Returns whether this is the child, which performs the test.
fn in_own_network(story: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        for command in NETWORK {
            let done = Command::new("ip").args(command.split(' ')).status().expect("the tests need `ip` from iproute2");
            assert!(done.success(), "ip {command}");
        }
        return true;
    }
    let program = std::env::current_exe().expect("this test");
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.arg("--map-root-user");
    }
    let story = format!("proxy::allow::tests::{story}");
    let child = unshare.arg("--net").arg(program).args(["--exact", &story, "--nocapture"]).env(INSIDE, "1").output();
    let child = child.expect("the tests need `unshare` from util-linux");
    let said = String::from_utf8_lossy(&child.stdout).into_owned() + &String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
    false
}

struct Proxied {
    _proxy: AllowProxy,
    socket: PathBuf,
    lookups: Arc<AtomicUsize>,
    _folder: tempfile::TempDir,
}

/// Starts a proxy that resolves every name to these addresses.
fn stage(list: &str, addresses: &[&str]) -> Proxied {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("proxy");
    let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().expect("an address")).collect();
    let lookups = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&lookups);
    let names = Names::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let addresses = addresses.clone();
        Box::pin(async move { Ok(addresses) })
    });
    let list = AllowList::parse(list).expect("sound");
    let proxy = AllowProxy::with_names(&socket, list, names, |_| {}).expect("the proxy starts");
    Proxied { _proxy: proxy, socket, lookups, _folder: folder }
}

/// Requests a tunnel, and returns the response.
async fn connect(stage: &Proxied, target: &str) -> String {
    let mut stream = UnixStream::connect(&stage.socket).await.expect("the proxy listens");
    stream.write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.expect("written");
    stream.shutdown().await.expect("open");
    let mut said = Vec::new();
    tokio::time::timeout(LIMIT, stream.read_to_end(&mut said)).await.expect("the response ends").expect("readable");
    String::from_utf8_lossy(&said).into_owned()
}

/// Starts a server that sends a greeting on each connection, and returns its port.
async fn greeter(address: &str) -> u16 {
    let listener = TcpListener::bind(address).await.expect(address);
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(b"SECRET OF THE NETWORK").await.expect("open");
        }
    });
    port
}

const REFUSED: &str = "its address is on this machine or one of its networks";

#[tokio::test]
async fn a_listed_name_does_not_lead_to_this_machine_or_its_networks_by_any_address() {
    if !in_own_network("a_listed_name_does_not_lead_to_this_machine_or_its_networks_by_any_address") {
        return;
    }
    for own in ["10.99.0.5", "9.9.9.77", "8.8.4.4", "[2a01:4f8:1234::7]", "203.0.113.80"] {
        let port = greeter(&format!("{own}:0")).await;
        let plain = own.trim_matches(['[', ']']);
        let stage = stage(&format!("*.attacker.example:{port}"), &[plain]);
        let said = connect(&stage, &format!("a.attacker.example:{port}")).await;
        assert!(said.starts_with("HTTP/1.1 403") && said.contains(REFUSED), "{own}: {said}");
    }
    let port = greeter("9.9.9.77:0").await;
    for address in [
        // Neighbors, a host behind a route without a router, the broadcast address, and other spellings of our own address.
        "10.99.0.77",
        "9.9.9.78",
        "9.9.9.255",
        "198.51.100.9",
        "2a01:4f8:1234::abcd",
        "::ffff:9.9.9.77",
        "64:ff9b::9.9.9.77",
        "2002:909:94d::1",
        "2606:4700::5efe:909:94d",
        "2001:0:909:94d::1",
    ] {
        let stage = stage(&format!("*.attacker.example:{port}"), &[address]);
        let said = connect(&stage, &format!("a.attacker.example:{port}")).await;
        assert!(said.starts_with("HTTP/1.1 403") && said.contains(REFUSED), "{address}: {said}");
    }
    // An address that is added after the proxy has started and the name was resolved.
    let stage = stage(&format!("late.example:{port}"), &["1.2.3.4"]);
    let said = connect(&stage, &format!("late.example:{port}")).await;
    assert!(said.starts_with("HTTP/1.1 502"), "the public address does not respond: {said}");
    assert!(Command::new("ip").args(["addr", "add", "1.2.3.4/32", "dev", "lo"]).status().expect("ip").success());
    let said = connect(&stage, &format!("late.example:{port}")).await;
    assert!(said.starts_with("HTTP/1.1 403") && said.contains(REFUSED), "{said}");
    assert_eq!(stage.lookups.load(Ordering::SeqCst), 1, "the address is cached, but checked again");
}

#[tokio::test]
async fn a_private_registry_is_reached_only_by_its_listed_address_and_port() {
    if !in_own_network("a_private_registry_is_reached_only_by_its_listed_address_and_port") {
        return;
    }
    for (own, address) in [("10.99.0.5", "10.99.0.5"), ("[2a01:4f8:1234::7]", "2a01:4f8:1234::7")] {
        let (port, other) = (greeter(&format!("{own}:0")).await, greeter(&format!("{own}:0")).await);
        let target = format!("registry.lan:{port}");
        for list in [
            target.clone(),
            format!("{target},{own}"),
            format!("{target},{own}:{other}"),
            format!("{target},10.99.0.6:{port},[2a01:4f8:1234::8]:{port}"),
            format!("registry.lan:{other},{own}:{port}"),
        ] {
            let said = connect(&stage(&list, &[address]), &target).await;
            assert!(said.starts_with("HTTP/1.1 403") && !said.contains("SECRET"), "{list}: {said}");
        }
        let listed = stage(&format!("{target},{own}:{port}"), &[address]);
        for target in [&target, &format!("{own}:{port}"), &format!("Registry.LAN.:{port}")] {
            let said = connect(&listed, target).await;
            assert!(said.starts_with("HTTP/1.1 200") && said.ends_with("SECRET OF THE NETWORK"), "{target}: {said}");
        }
        let said = connect(&listed, &format!("{own}:{other}")).await;
        assert!(said.starts_with("HTTP/1.1 403"), "another port of the same address is refused: {said}");
    }
}

#[tokio::test]
async fn sixty_connections_at_once_look_their_name_up_once() {
    let stage = stage("registry.example", &["127.0.0.1"]);
    let said = futures_util::future::join_all((0..60).map(|_| connect(&stage, "registry.example:443"))).await;
    assert!(said.iter().all(|said| said.contains(REFUSED)), "each address is still checked: {said:?}");
    assert_eq!(stage.lookups.load(Ordering::SeqCst), 1);
}
