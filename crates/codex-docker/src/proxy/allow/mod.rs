//! An HTTP proxy that allows only listed hosts.
//!
//! It accepts `CONNECT` for encrypted connections and absolute URLs for plain HTTP. It resolves names itself and connects only to
//! the address that it checked. Invariant: it never connects to this machine or one of its networks, unless that exact address
//! and port are listed.

mod names;
mod route;
#[cfg(test)]
mod tests;
mod told;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use model::address::{embedded, is_public};
pub use model::allow_list::AllowList;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::names::Names;
use self::route::Route;
pub use self::told::Refusal;
use self::told::ReportedHosts;
use super::serve::{Body, Serving, Silence, respond, serve, strip_hop_by_hop, whole};

/// The time limit for resolving a name and connecting.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);

/// The time limit for one address, before the next one is tried.
const ADDRESS_LIMIT: Duration = Duration::from_secs(6);

/// The maximum number of tunnels. A container that opens more gets an error.
const TUNNELS: usize = 256;

/// The reason for refusing an address on this machine or its networks.
const NEAR: &str = "its address is on this machine or one of its networks, and this address and port are not listed";

/// The reason for refusing an address whose route could not be determined.
const UNKNOWN: &str = "could not determine whether its address is on this machine or one of its networks";

/// The longest host in a request, including the brackets of an address.
const HOST_BYTES: usize = 255;

/// A running proxy. It stops and closes its connections when this is dropped.
#[derive(Debug)]
pub struct AllowProxy {
    _serving: Serving,
}

struct Shared {
    list: AllowList,
    names: Names,
    tunnels: Arc<Semaphore>,
    told: Mutex<ReportedHosts>,
    tell: Box<dyn Fn(&Refusal) + Send + Sync>,
}

/// Why a connection failed.
enum NotConnected {
    Refused(Refusal),
    Unreachable(String),
}

impl AllowProxy {
    /// Starts a proxy. Calls `tell` once for each refused host. Needs a Tokio runtime.
    pub fn start(socket: &Path, list: AllowList, tell: impl Fn(&Refusal) + Send + Sync + 'static) -> io::Result<Self> {
        Self::with_names(socket, list, Names::new(names::ask_system), tell)
    }

    fn with_names(
        socket: &Path,
        list: AllowList,
        names: Names,
        tell: impl Fn(&Refusal) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let tunnels = Arc::new(Semaphore::new(TUNNELS));
        let shared = Arc::new(Shared { list, names, tunnels, told: Mutex::default(), tell: Box::new(tell) });
        let serving = serve(socket, Silence::Listens, move |request, end| answer(Arc::clone(&shared), request, end))?;
        Ok(Self { _serving: serving })
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>, end: CancellationToken) -> Response<Body> {
    let is_tunnel = request.method() == Method::CONNECT;
    // Bytes after the head of a `CONNECT` belong to the tunnel, not to the request.
    let has_no_body = !is_tunnel || request.body().is_end_stream();
    let Some((host, port)) = target(request.method(), request.uri()).filter(|_| has_no_body) else {
        let message = "the proxy accepts CONNECT host:port, or an absolute http:// URL without a user name\n";
        return respond(StatusCode::BAD_REQUEST, "text/plain", message.to_owned());
    };
    let place = is_tunnel.then(|| Arc::clone(&shared.tunnels).try_acquire_owned());
    if let Some(Err(_)) = place {
        let message = format!("too many open tunnels: the limit is {TUNNELS}\n");
        return respond(StatusCode::SERVICE_UNAVAILABLE, "text/plain", message);
    }
    let stream = match shared.connect(&host, port).await {
        Ok(stream) => stream,
        Err(NotConnected::Refused(refusal)) => {
            let message = format!("access to {host}:{port} refused: {}\n", refusal.reason);
            shared.tell(&refusal);
            return respond(StatusCode::FORBIDDEN, "text/plain", message);
        }
        Err(NotConnected::Unreachable(why)) => {
            return respond(StatusCode::BAD_GATEWAY, "text/plain", format!("cannot reach {host}:{port}: {why}\n"));
        }
    };
    if is_tunnel {
        tokio::spawn(async move {
            end.run_until_cancelled(tunnel(request, stream)).await;
            drop(place);
        });
        return Response::new(whole(""));
    }
    match forward(request, stream, end).await {
        Ok(response) => response,
        Err(error) => respond(StatusCode::BAD_GATEWAY, "text/plain", format!("{host}:{port} did not respond: {error}\n")),
    }
}

/// Returns the requested host and port.
fn target(method: &Method, uri: &Uri) -> Option<(String, u16)> {
    let is_tunnel = method == Method::CONNECT;
    let authority: &Authority = uri.authority()?;
    let is_plain = !authority.as_str().contains('@');
    let port = if is_tunnel { authority.port_u16()? } else { authority.port_u16().unwrap_or(80) };
    let fits = is_plain && (is_tunnel || uri.scheme_str() == Some("http"));
    let fits = fits && authority.host().len() <= HOST_BYTES;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    fits.then(|| (host.to_ascii_lowercase(), port))
}

impl Shared {
    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, NotConnected> {
        let refused = |reason| NotConnected::Refused(Refusal { host: host.to_owned(), port, reason });
        if !self.list.has(host, port) {
            return Err(refused("not on the list of allowed hosts"));
        }
        let connect = async {
            let found = self.names.find(host).await.map_err(NotConnected::Unreachable)?;
            let mut last = NotConnected::Unreachable("the name has no address".to_owned());
            for address in found.into_iter().map(|address| address.to_canonical()) {
                if let Err(reason) = self.check(address, port) {
                    last = refused(reason);
                    continue;
                }
                let address = SocketAddr::new(address, port);
                match tokio::time::timeout(ADDRESS_LIMIT, TcpStream::connect(address)).await {
                    Ok(Ok(stream)) => return Ok(stream),
                    Ok(Err(error)) => last = NotConnected::Unreachable(error.to_string()),
                    Err(_) => last = NotConnected::Unreachable("no response".to_owned()),
                }
            }
            Err(last)
        };
        tokio::time::timeout(CONNECT_LIMIT, connect)
            .await
            .unwrap_or_else(|_| Err(NotConnected::Unreachable(format!("no response within {} seconds", CONNECT_LIMIT.as_secs()))))
    }

    /// Fails with the reason if this address must not be reached. Addresses and routes change, so every connection is checked.
    fn check(&self, address: IpAddr, port: u16) -> Result<(), &'static str> {
        if self.list.has_address(address, port) {
            return Ok(());
        }
        if !is_public(address) {
            return Err(NEAR);
        }
        let inner = match address {
            IpAddr::V6(address) => embedded(address).map(IpAddr::V4),
            IpAddr::V4(_) => None,
        };
        for address in [Some(address), inner].into_iter().flatten() {
            match route::way_to(address) {
                // Without a route, the connection attempt fails later.
                Ok(Route::Beyond | Route::Nowhere) => {}
                Ok(Route::Near) => return Err(NEAR),
                Err(error) => {
                    tracing::warn!(%error, "could not look up the route to an address");
                    return Err(UNKNOWN);
                }
            }
        }
        Ok(())
    }

    fn tell(&self, refusal: &Refusal) {
        let news = self.told.lock().unwrap_or_else(PoisonError::into_inner).news(refusal);
        if let Some(news) = news {
            (self.tell)(&news);
        }
    }
}

/// Passes bytes both ways until both sides are closed.
async fn tunnel(request: Request<Incoming>, mut there: TcpStream) {
    match hyper::upgrade::on(request).await {
        Ok(upgraded) => {
            let mut here = TokioIo::new(upgraded);
            if let Err(error) = tokio::io::copy_bidirectional(&mut here, &mut there).await {
                tracing::debug!(%error, "tunnel ended early");
            }
        }
        Err(error) => tracing::debug!(%error, "could not start a tunnel"),
    }
}

/// Passes one request on. Its `Host` header is replaced with the host of its URL.
async fn forward(request: Request<Incoming>, stream: TcpStream, end: CancellationToken) -> Result<Response<Body>, hyper::Error> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Some(Err(error)) = end.run_until_cancelled(connection).await {
            tracing::debug!(%error, "request ended early");
        }
    });
    let (mut head, body) = request.into_parts();
    strip_hop_by_hop(&mut head.headers);
    let authority = head.uri.authority().and_then(|authority| header::HeaderValue::from_str(authority.as_str()).ok());
    if let Some(authority) = authority {
        head.headers.insert(header::HOST, authority);
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = path.parse().unwrap_or_default();
    let response = sender.send_request(Request::from_parts(head, body)).await?;
    let (mut head, body) = response.into_parts();
    strip_hop_by_hop(&mut head.headers);
    Ok(Response::from_parts(head, body.map_err(io::Error::other).boxed_unsync()))
}
