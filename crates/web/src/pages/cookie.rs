//! The session cookie: its name for each kind of host name, and its values in a request.
//!
//! Browsers send a cookie to every port of the host name that set it. Invariant: no cookie is set or read at loopback names that other
//! programs share.

use axum::http::{Extensions, HeaderMap, header};

use crate::host::{NameKind, Site};
use crate::state::Api;

/// The name of the cookie over HTTP.
const PLAIN: &str = "orch_session";

/// The name of the cookie over HTTPS. Browsers accept the prefix `__Host-` only over HTTPS, from this host, for every path.
const OVER_HTTPS: &str = "__Host-orch_session";

/// The lifetime of the cookie in seconds, which is that of a session.
const LIFE_SECONDS: u32 = 90 * 24 * 3600;

/// The cookies that hold a session at a host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holding {
    /// The browser gets no cookie: sessions are not valid here.
    Nowhere,
    /// The cookie for HTTP.
    Plain,
    /// The cookie for HTTPS.
    OverHttps,
    /// Either cookie, since the scheme of the public URL is not configured.
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

/// Returns whether a name is the host of the public URL, and the public URL is https.
fn is_public(public_url: Option<&str>, name: &str) -> bool {
    let host = public_url
        .and_then(|url| url.split_at_checked("https://".len()))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("https://"));
    let host = host.and_then(|(_, rest)| rest.split(['/', '?', '#']).next()?.parse::<axum::http::uri::Authority>().ok());
    host.is_some_and(|host| host.host().eq_ignore_ascii_case(name))
}

/// Returns the secret of a request's valid session and its host name. Other cookies of the same name are ignored.
pub(super) fn open_session(api: &Api, extensions: &Extensions, headers: &HeaderMap) -> Option<(String, String)> {
    let site = extensions.get::<Site>()?;
    let names = Holding::at(api, site).names();
    let found =
        names.iter().flat_map(|name| values(headers, name)).find(|secret| api.engine.is_signed_in(secret, &site.host.name));
    found.map(|secret| (secret.to_owned(), site.host.name.clone()))
}

/// Returns whether a request has a session cookie under the plain name, valid or not.
pub(super) fn has_plain(headers: &HeaderMap) -> bool {
    values(headers, PLAIN).next().is_some()
}

fn values<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(';')).filter_map(move |pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// Returns the values of the `Set-Cookie` headers that start a session in a browser.
pub(super) fn given(api: &Api, site: &Site, headers: &HeaderMap, secret: &str) -> Vec<String> {
    let kept = format!("={secret}; Path=/; HttpOnly; SameSite=Strict; Max-Age={LIFE_SECONDS}");
    // The `Origin` header contains the browser's scheme, even behind a proxy that terminates TLS.
    let is_https = headers.get(header::ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https://"));
    match Holding::at(api, site) {
        Holding::Nowhere => vec![],
        Holding::OverHttps => vec![format!("{OVER_HTTPS}{kept}; Secure"), forgotten(PLAIN)],
        Holding::Either if is_https => vec![format!("{OVER_HTTPS}{kept}; Secure"), forgotten(PLAIN)],
        Holding::Either | Holding::Plain => vec![format!("{PLAIN}{kept}")],
    }
}

/// Returns the values of the `Set-Cookie` headers that delete a session's cookies.
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
