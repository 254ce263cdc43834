//! Fuzzes the list of hosts that a container may reach. It must agree with a simple description of the same rules, and must accept every
//! host that the settings accept.
//!
//! The first line of the input is the list, and the second one a host. Hosts that resemble each entry are tried as well.

#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use model::allow_list::AllowList;
use model::container::HostPattern;

fuzz_target!(|text: &str| {
    let mut lines = text.lines();
    let (entries, host) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    pattern(host);
    for entry in entries.split(',') {
        pattern(entry);
    }
    let Ok(list) = AllowList::parse(entries) else { return };
    check(&list, entries, host);
    for entry in entries.split(',').map(str::trim).take(4) {
        let (name, _) = split(entry);
        let name = name.trim_start_matches("*.").trim_matches(['[', ']']);
        for like in [
            name.to_owned(),
            name.to_ascii_uppercase(),
            format!("{name}."),
            format!("{name}.."),
            format!(".{name}"),
            format!("x.{name}"),
            format!("x..{name}"),
            format!("x{name}"),
            format!("{host}.{name}"),
            format!("{host}{name}"),
            format!("{name}.{host}"),
            format!("user@{name}"),
            format!("{name}@x.example"),
            format!("x.example%00.{name}"),
            format!("x.example/.{name}"),
            format!("[{name}]"),
        ] {
            check(&list, entries, &like);
        }
    }
});

/// A host that the settings accept has one spelling, and is a list of one entry.
fn pattern(text: &str) {
    let Ok(pattern) = HostPattern::parse(text) else { return };
    let written = pattern.as_str();
    assert!(!written.contains([',', ' ', '/', '@']) && written.is_ascii(), "{written:?}");
    assert_eq!(HostPattern::parse(written).as_ref(), Ok(&pattern));
    let list = AllowList::parse(written).unwrap_or_else(|error| panic!("{written:?}: {error}"));
    assert_ne!(list, AllowList::default());
}

fn check(list: &AllowList, entries: &str, host: &str) {
    let (_, first_port) = split(entries.split(',').next().unwrap_or_default().trim());
    for port in [80, 443, 8443, first_port.unwrap_or(1)] {
        let expected = entries.split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| allows(entry, host, port));
        assert_eq!(list.has(host, port), expected, "{entries:?} {host:?} {port}");
        if let Ok(address) = host.parse::<IpAddr>() {
            assert_eq!(list.has_address(address, port), expected, "{entries:?} {host:?} {port}");
        }
    }
}

/// Describes which hosts an entry allows.
fn allows(entry: &str, host: &str, port: u16) -> bool {
    let (name, listed) = split(entry);
    if listed.map_or(port != 80 && port != 443, |listed| listed != port) {
        return false;
    }
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name).parse::<IpAddr>().ok();
    match (address, host.parse::<IpAddr>().ok()) {
        (Some(listed), Some(asked)) => return listed.to_canonical() == asked.to_canonical(),
        (None, None) => {}
        (Some(_), None) | (None, Some(_)) => return false,
    }
    let labels = |name: &str| -> Vec<String> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        name.split('.').rev().map(str::to_owned).collect()
    };
    let is_plain = |label: &String| {
        let fits = (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-');
        fits && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    let asked = labels(host);
    let is_name = asked.iter().all(is_plain) && asked.iter().map(|label| label.len() + 1).sum::<usize>() <= 254;
    is_name
        && match name.strip_prefix("*.") {
            Some(domain) => asked.len() > labels(domain).len() && asked.starts_with(&labels(domain)),
            None => asked == labels(name),
        }
}

fn split(entry: &str) -> (&str, Option<u16>) {
    if entry.parse::<IpAddr>().is_ok() || entry.ends_with(']') {
        return (entry, None);
    }
    match entry.rsplit_once(':').map(|(name, port)| (name, port.parse().ok())) {
        Some((name, Some(port))) => (name, Some(port)),
        Some(_) | None => (entry, None),
    }
}
