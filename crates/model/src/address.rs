//! Distinguishes public internet addresses from addresses that belong to this machine, its network or nobody. An address is
//! treated as public only if it is known to be public.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Returns whether an address can belong to a host on the public internet.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_shared = a == 100 && (64..128).contains(&b);
    let is_for_protocols = (a, b, c) == (192, 0, 0);
    let is_for_benchmarks = a == 198 && (b == 18 || b == 19);
    !(a == 0
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || is_shared
        || is_for_protocols
        || is_for_benchmarks
        || a >= 240)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    if let Some(older) = embedded(address) {
        return is_public_v4(older);
    }
    // Only 2000::/3 contains public addresses. Teredo addresses in this range can lead anywhere.
    first & 0xe000 == 0x2000 && (first, second) != (0x2001, 0)
}

/// Returns the IPv4 address that a packet to this address reaches because a translator or a tunnel converts it.
pub fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        // NAT64 (only the well-known prefix can be recognized), 6to4 and ISATAP.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] | [.., 0 | 0x200, 0x5efe, high, low] => {
            let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_this_machine_or_its_network_is_public() {
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b:1::101:101",
            "64:ff9b:1:7f00:0:100::",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001::1",
            "::127.0.0.1",
            "2606:4700::5efe:7f00:1",
            "2606:4700::200:5efe:a00:5",
        ] {
            assert!(!is_public(address.parse().expect(address)), "{address}");
        }
    }

    #[test]
    fn hosts_of_the_internet_are_public() {
        for address in [
            "1.1.1.1",
            "140.82.121.3",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "2002:101:101::",
            "2606:4700::5efe:101:101",
        ] {
            assert!(is_public(address.parse().expect(address)), "{address}");
        }
    }
}
