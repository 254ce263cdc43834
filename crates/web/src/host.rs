//! The kind of host name of a request.
//!
//! It decides whether sessions are valid. The host itself is parsed by [`request_headers::host`].

use request_headers::host::HostName;

/// The kind of host name of a request. Browsers send cookies to every port of the name that set them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameKind {
    /// The pages' own name on this machine. No other program knows it, so none can serve pages under it.
    Own,
    /// A loopback name under which every program on this machine can serve pages. Sessions are not valid here.
    Shared,
    /// A name or address from the configuration.
    Configured,
}

/// The site of a TCP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) kind: NameKind,
    pub(crate) host: HostName,
}
