//! Lists of hosts against a second implementation, which compares labels and nothing else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::allow_list::AllowList;
use proptest::prelude::*;

/// An entry of a list, and its spelling.
#[derive(Debug, Clone)]
struct Listed {
    labels: Vec<String>,
    is_wildcard: bool,
    port: Option<u16>,
    spelling: String,
}

fn label() -> impl Strategy<Value = String> {
    proptest::sample::select(vec!["a", "b", "ab", "x-y", "_c", "xn--p1ai", "a1"]).prop_map(str::to_owned)
}

fn name() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(label(), 1..4)
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![Just(80), Just(443), Just(8443), 1..=u16::MAX]
}

fn listed() -> impl Strategy<Value = Listed> {
    let spaces = proptest::sample::select(vec!["", " ", "\t"]);
    (name(), any::<bool>(), proptest::option::of(port()), any::<(bool, bool)>(), spaces).prop_map(
        |(labels, is_wildcard, port, (is_upper, has_dot), space)| {
            let name = if is_upper { labels.join(".").to_ascii_uppercase() } else { labels.join(".") };
            let star = if is_wildcard { "*." } else { "" };
            let dot = if has_dot { "." } else { "" };
            let colon = port.map(|port| format!(":{port}")).unwrap_or_default();
            Listed { labels, is_wildcard, port, spelling: format!("{space}{star}{name}{dot}{colon}{space}") }
        },
    )
}

impl Listed {
    fn has(&self, labels: &[String], port: u16) -> bool {
        let is_name = if self.is_wildcard {
            labels.len() > self.labels.len() && labels.ends_with(&self.labels)
        } else {
            labels == self.labels
        };
        is_name && self.port.map_or(port == 80 || port == 443, |listed| listed == port)
    }
}

fn parse(entries: &[String]) -> AllowList {
    let text = entries.join(",");
    AllowList::parse(&text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_name_is_allowed_if_its_labels_are_listed(
        listed in proptest::collection::vec(listed(), 0..5), host in name(), port in port(), is_upper in any::<bool>(), has_dot in any::<bool>()
    ) {
        let list = parse(&listed.iter().map(|entry| entry.spelling.clone()).collect::<Vec<_>>());
        let expected = listed.iter().any(|entry| entry.has(&host, port));
        let spelling = host.join(".") + if has_dot { "." } else { "" };
        let spelling = if is_upper { spelling.to_ascii_uppercase() } else { spelling };
        prop_assert_eq!(list.has(&spelling, port), expected, "{:?} {:?}", listed, spelling);
    }

    #[test]
    fn an_address_is_allowed_in_each_of_its_spellings(bits in any::<u32>(), other in any::<u32>(), port in port(), asked in port()) {
        let (address, other) = (Ipv4Addr::from_bits(bits), Ipv4Addr::from_bits(other));
        let mapped = address.to_ipv6_mapped();
        for entry in [format!("{address}:{port}"), format!("[{mapped}]:{port}")] {
            let list = parse(&[entry]);
            for spelling in [address.to_string(), mapped.to_string()] {
                prop_assert_eq!(list.has(&spelling, asked), port == asked, "{}", spelling);
            }
            prop_assert!(list.has_address(IpAddr::V6(mapped), port));
            prop_assert_eq!(list.has_address(IpAddr::V4(other), port), other == address);
        }
    }

    #[test]
    fn an_address_of_version_6_is_allowed_with_and_without_brackets(bits in any::<u128>(), other in any::<u128>()) {
        let (address, other) = (Ipv6Addr::from_bits(bits), Ipv6Addr::from_bits(other));
        for entry in [address.to_string(), format!("[{address}]"), format!("[{address}]:443")] {
            let list = parse(&[entry]);
            prop_assert!(list.has(&address.to_string(), 443) && !list.has(&address.to_string(), 8443));
            prop_assert_eq!(list.has_address(IpAddr::V6(other), 443), other == address);
        }
    }

    #[test]
    fn no_host_is_allowed_that_a_resolver_could_read_in_another_way(host in "[a0-9x.:@/%\\[\\] *_-]{0,14}", port in port()) {
        let list = parse(&["*.a".to_owned(), "*.x".to_owned(), "a".to_owned()]);
        if list.has(&host, port) {
            let name = host.strip_suffix('.').unwrap_or(&host);
            let is_label = |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
            prop_assert!(name.split('.').all(is_label), "{:?}", host);
            prop_assert!(name.ends_with(['a', 'x']), "{:?}", host);
        }
    }

    #[test]
    fn any_text_is_a_list_or_is_refused_on_one_line(text in prop_oneof![any::<String>(), "[a0-9.*:,\\[\\]\\r\\n\u{1b} /@é-]{0,30}"]) {
        match AllowList::parse(&text) {
            Ok(list) => {
                let entries: Vec<&str> = text.split(',').rev().collect();
                let again = AllowList::parse(&entries.join(","));
                prop_assert!(again.is_ok_and(|again| [80, 443, 8443].iter().all(|port| again.has("a", *port) == list.has("a", *port))));
            }
            Err(error) => {
                let message = error.to_string();
                prop_assert!(!message.chars().any(char::is_control), "{:?}", message);
            }
        }
    }
}
