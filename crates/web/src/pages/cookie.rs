//! The cookie of a session: what it is called at which name, and which values of it a request carries.
//!
//! Browsers send a cookie to every port of the name that set it. Invariant: none is set or read at a name of the loopback that other
//! programs share.

use axum::http::{Extensions, HeaderMap, header};

use crate::host::{NameKind, Site};
use crate::router::Api;

/// Its name where a browser comes over http.
const PLAIN: &str = "orch_session";

/// Its name where a browser comes over https. Browsers accept the prefix only from this very host, over https, for every path.
const OVER_HTTPS: &str = "__Host-orch_session";

/// How long a browser keeps it, in seconds: as long as the session lasts.
const LIFE_SECONDS: u32 = 90 * 24 * 3600;

/// How a session is held at the place that a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holding {
    /// There are no sessions here.
    Nowhere,
    /// Under the plain name.
    Plain,
    /// Under the name for https.
    OverHttps,
    /// Under either name: how browsers come here is not configured.
    Either,
}

impl Holding {
    fn at(api: &Api, site: &Site) -> Self {
        match site.kind {
            NameKind::Shared => Self::Nowhere,
            NameKind::Own => Self::Plain,
            NameKind::Configured if is_public(api.engine.public_url().as_deref(), &site.host.name) => Self::OverHttps,
            NameKind::Configured => Self::Either,
        }
    }

    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Nowhere => &[],
            Self::Plain => &[PLAIN],
            Self::OverHttps => &[OVER_HTTPS],
            Self::Either => &[OVER_HTTPS, PLAIN],
        }
    }
}

/// Whether this is the name of the pages' public address, and that is https.
fn is_public(public_url: Option<&str>, name: &str) -> bool {
    let host = public_url
        .and_then(|url| url.split_at_checked("https://".len()))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("https://"));
    let host = host.and_then(|(_, rest)| rest.split(['/', '?', '#']).next()?.parse::<axum::http::uri::Authority>().ok());
    host.is_some_and(|host| host.host().eq_ignore_ascii_case(name))
}

/// The secret of an open session that a request carries. Values that others planted beside it do not matter.
pub(super) fn open_session(api: &Api, extensions: &Extensions, headers: &HeaderMap) -> Option<(String, String)> {
    let site = extensions.get::<Site>()?;
    let names = Holding::at(api, site).names();
    let found =
        names.iter().flat_map(|name| values(headers, name)).find(|secret| api.engine.is_signed_in(secret, &site.host.name));
    found.map(|secret| (secret.to_owned(), site.host.name.clone()))
}

/// Whether a request carries a cookie of a session, open or not, under the plain name.
pub(super) fn has_plain(headers: &HeaderMap) -> bool {
    values(headers, PLAIN).next().is_some()
}

fn values<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(';')).filter_map(move |pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// The values of the `Set-Cookie` headers that give a session to a browser.
pub(super) fn given(api: &Api, site: &Site, headers: &HeaderMap, secret: &str) -> Vec<String> {
    let kept = format!("={secret}; Path=/; HttpOnly; SameSite=Strict; Max-Age={LIFE_SECONDS}");
    // A browser says by which scheme it came, also through a proxy that ends TLS.
    let is_https = headers.get(header::ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https://"));
    match Holding::at(api, site) {
        Holding::Nowhere => vec![],
        Holding::OverHttps => vec![format!("{OVER_HTTPS}{kept}; Secure"), forgotten(PLAIN)],
        Holding::Either if is_https => vec![format!("{OVER_HTTPS}{kept}; Secure"), forgotten(PLAIN)],
        Holding::Either | Holding::Plain => vec![format!("{PLAIN}{kept}")],
    }
}

/// The values of the `Set-Cookie` headers that take a session from a browser.
pub(super) fn taken(api: &Api, site: &Site) -> Vec<String> {
    Holding::at(api, site).names().iter().map(|name| forgotten(name)).collect()
}

fn forgotten(name: &str) -> String {
    let secure = if name == OVER_HTTPS { "; Secure" } else { "" };
    format!("{name}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0{secure}")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn every_value_of_ours_is_looked_at_and_no_other_cookie() {
        let of = |all: &[&'static str], name: &'static str| {
            let mut headers = HeaderMap::new();
            for value in all {
                headers.append(header::COOKIE, HeaderValue::from_static(value));
            }
            values(&headers, name).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(of(&["a=b; orch_session=5ec2e7; c=d"], PLAIN), ["5ec2e7"]);
        assert_eq!(of(&["orch_session=1; orch_session=2", "orch_session=3"], PLAIN), ["1", "2", "3"]);
        assert_eq!(of(&["orch_session_other=1; __Host-orch_session=2; xorch_session=3"], PLAIN), [""; 0]);
        assert_eq!(of(&["orch_session=1; __Host-orch_session=2"], OVER_HTTPS), ["2"]);
        assert_eq!(of(&[], PLAIN), [""; 0]);
    }

    #[test]
    fn a_public_address_is_one_over_https() {
        let check = |url: Option<&str>, expect: bool| assert_eq!(is_public(url, "box.example"), expect, "{url:?}");
        for public in [
            "https://box.example",
            "https://box.example/",
            "HTTPS://BOX.example:8443/path",
            "https://box.example?x",
            "https://box.example#x",
        ] {
            check(Some(public), true);
        }
        for other in [
            "http://box.example",
            "https://box.example.evil.example",
            "https://other.example/box.example",
            "box.example",
            "https:",
            "",
        ] {
            check(Some(other), false);
        }
        check(None, false);
    }
}
