//! Determines where this machine would send a packet: to itself, to one of its networks, or through a router.
//!
//! The kernel is asked for each connection (`RTM_GETROUTE`), so the result considers all current addresses, prefixes, peers and
//! routing tables. Invariant: an address that the kernel reaches without a router is never reported as [`Route::Beyond`], unless a
//! default route covers it.

use std::io;
use std::net::IpAddr;

use rustix::fd::OwnedFd;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

/// The kernel's route to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// Through a router, or over a default route without one, as with VPNs and modems.
    Beyond,
    /// On this machine or one of its networks.
    Near,
    /// The kernel has no route to the address.
    Nowhere,
}

// From linux/netlink.h and linux/rtnetlink.h.
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTM_F_FIB_MATCH: u32 = 0x2000;
const RTN_UNICAST: u8 = 1;
const RTA_DST: u16 = 1;
const RTA_GATEWAY: u16 = 5;
const RTA_MULTIPATH: u16 = 9;
const RTA_VIA: u16 = 18;

/// The length of the two headers of a route message.
const HEADERS: usize = 16 + 12;

/// The size of the buffer for an answer. Answers are shorter.
const ANSWER_BYTES: usize = 16 << 10;

/// A route with a shorter prefix counts as a default route. Some systems write the default route as two halves or as `2000::/3`.
const SHORTEST_PREFIX: u8 = 8;

/// Asks the kernel for the route to an address.
pub(super) fn way_to(address: IpAddr) -> io::Result<Route> {
    // Netlink's protocol 0 is `NETLINK_ROUTE`.
    let socket: OwnedFd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    sendto(&socket, &question(address), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = vec![0; ANSWER_BYTES];
    // The kernel answers before `sendto` returns.
    let (length, _) = recv(&socket, answer.as_mut_slice(), RecvFlags::DONTWAIT)?;
    read(answer.get(..length).unwrap_or(&answer)).ok_or_else(|| io::Error::other("cannot parse the kernel's answer"))
}

fn question(address: IpAddr) -> Vec<u8> {
    let (family, bytes) = match address {
        IpAddr::V4(address) => (AddressFamily::INET, address.octets().to_vec()),
        IpAddr::V6(address) => (AddressFamily::INET6, address.octets().to_vec()),
    };
    let whole = |length: usize| u32::try_from(length).unwrap_or_default();
    let bits = u8::try_from(bytes.len() * 8).unwrap_or_default();
    let family = u8::try_from(family.as_raw()).unwrap_or_default();
    let attribute_length = u16::try_from(4 + bytes.len()).unwrap_or_default();
    let mut message = Vec::new();
    message.extend(whole(HEADERS + 4 + bytes.len()).to_ne_bytes());
    message.extend(RTM_GETROUTE.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([family, bits, 0, 0, 0, 0, 0, 0]);
    message.extend(RTM_F_FIB_MATCH.to_ne_bytes());
    message.extend(attribute_length.to_ne_bytes());
    message.extend(RTA_DST.to_ne_bytes());
    message.extend(bytes);
    message
}

/// Parses an answer of the kernel. Returns `None` for any other message.
fn read(answer: &[u8]) -> Option<Route> {
    match short(answer, 4)? {
        NLMSG_ERROR => Some(Route::Nowhere),
        RTM_NEWROUTE => {
            let (prefix, kind) = (*answer.get(17)?, *answer.get(23)?);
            let has_router = attributes(answer.get(HEADERS..)?).any(|kind| matches!(kind, RTA_GATEWAY | RTA_MULTIPATH | RTA_VIA));
            let leads_on = kind == RTN_UNICAST && (has_router || prefix < SHORTEST_PREFIX);
            Some(if leads_on { Route::Beyond } else { Route::Near })
        }
        _ => None,
    }
}

/// Returns the types of the attributes.
fn attributes(mut rest: &[u8]) -> impl Iterator<Item = u16> {
    std::iter::from_fn(move || {
        let length = usize::from(short(rest, 0)?);
        let kind = short(rest, 2)?;
        // Each attribute has at least a header and starts at a multiple of four bytes.
        rest = rest.get(length.max(4).next_multiple_of(4)..).unwrap_or_default();
        Some(kind)
    })
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_that_this_machine_is_near() {
        for address in ["127.0.0.1", "127.200.3.4"] {
            assert_eq!(way_to(address.parse().expect(address)).expect("the kernel answers"), Route::Near, "{address}");
        }
    }

    /// Builds an answer about a route of this type, with these attributes.
    fn answer(kind: u8, prefix: u8, attributes: &[(u16, [u8; 4])]) -> Vec<u8> {
        let mut answer = vec![0; HEADERS];
        answer[4..6].copy_from_slice(&RTM_NEWROUTE.to_ne_bytes());
        (answer[17], answer[23]) = (prefix, kind);
        for (kind, value) in attributes {
            answer.extend(8u16.to_ne_bytes());
            answer.extend(kind.to_ne_bytes());
            answer.extend(value);
        }
        answer
    }

    #[test]
    fn only_a_router_or_a_default_route_leads_to_the_world() {
        let dst = (RTA_DST, [9, 9, 9, 0]);
        let gateway = (RTA_GATEWAY, [192, 0, 2, 1]);
        let device = (4, [2, 0, 0, 0]);
        for (kind, prefix, attributes, expected) in [
            (RTN_UNICAST, 0, vec![gateway, device], Route::Beyond),
            (RTN_UNICAST, 24, vec![dst, device, gateway], Route::Beyond),
            (RTN_UNICAST, 24, vec![dst, (RTA_VIA, [0; 4])], Route::Beyond),
            (RTN_UNICAST, 0, vec![device], Route::Beyond),
            (RTN_UNICAST, 1, vec![dst, device], Route::Beyond),
            (RTN_UNICAST, 24, vec![dst, device], Route::Near),
            (RTN_UNICAST, 32, vec![dst, device], Route::Near),
            (2, 32, vec![dst, device], Route::Near),
            (2, 0, vec![dst, gateway], Route::Near),
            (3, 32, vec![dst], Route::Near),
        ] {
            assert_eq!(read(&answer(kind, prefix, &attributes)), Some(expected), "{kind} {prefix} {attributes:?}");
        }
    }

    #[test]
    fn what_is_no_answer_allows_nothing() {
        let mut error = vec![0; 36];
        error[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        assert_eq!(read(&error), Some(Route::Nowhere));
        let whole = answer(RTN_UNICAST, 24, &[(RTA_GATEWAY, [1; 4])]);
        for length in 0..HEADERS {
            assert_ne!(read(&whole[..length]), Some(Route::Beyond), "{length} bytes");
        }
        let mut torn = answer(RTN_UNICAST, 24, &[]);
        torn.extend([0, 0, 0, 0, 0]);
        assert_eq!(read(&torn), Some(Route::Near), "an attribute with length 0 does not block the parser");
    }
}
