//! Fuzzes the parsers of request headers: `Host`, `Origin`, `Range` and `Last-Event-ID`. They must agree with simple descriptions of
//! the same rules, and each host and position must have exactly one spelling.
//!
//! Each line of the input is one value. All pairs of lines are compared as host and origin.

#![no_main]

use std::net::Ipv6Addr;

use libfuzzer_sys::fuzz_target;
use request_headers::event_id::{position, run_and_offset};
use request_headers::host::HostName;
use request_headers::range::Part;

fuzz_target!(|text: &str| {
    let lines: Vec<&str> = text.lines().take(4).collect();
    for line in &lines {
        host(line);
        for length in [0, 1, 10, u64::MAX, text.len() as u64] {
            range(line, length);
        }
        event_id(line);
        for other in &lines {
            origin(line, other);
        }
    }
});

fn host(text: &str) {
    let found = HostName::parse(text);
    assert_eq!(found.as_ref().map(ToString::to_string), expected_host(text), "{text:?}");
    if let Some(host) = found {
        assert_eq!(HostName::parse(&host.to_string()), Some(host.clone()));
        assert!(host.is_origin(&format!("http://{host}")) && host.is_origin(&format!("https://{host}")));
        if host.is_loopback() {
            let is_name = host.name == "localhost" || host.name.ends_with(".localhost");
            assert!(is_name || host.name.starts_with("127.") || host.name.starts_with("[::"), "{text:?}");
        }
    }
}

/// Describes the hosts that are accepted, and returns them in lower case.
fn expected_host(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let (name, port) = match lower.rsplit_once(':').filter(|_| !lower.ends_with(']')) {
        Some((name, port)) => (name, Some(port)),
        None => (lower.as_str(), None),
    };
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number.to_string() == port));
    let is_name = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok_and(|parsed| parsed.to_string() == address),
        None => !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)),
    };
    (is_name && is_port).then_some(lower)
}

fn origin(host: &str, origin: &str) {
    let Some(parsed) = HostName::parse(host) else { return };
    let with_port = |host: &str, port: &str| {
        let host = host.to_ascii_lowercase();
        if host.rsplit_once(':').is_some_and(|_| !host.ends_with(']')) { host } else { format!("{host}:{port}") }
    };
    let expected = [("http://", "80"), ("https://", "443")].iter().any(|(scheme, port)| {
        let other = origin.strip_prefix(scheme).filter(|other| expected_host(other).is_some());
        other.is_some_and(|other| with_port(other, port) == with_port(host, port))
    });
    assert_eq!(parsed.is_origin(origin), expected, "{host:?} {origin:?}");
}

fn range(text: &str, length: u64) {
    let expected = expected_range(text, length);
    match Part::asked(text, length) {
        Part::Whole => assert_eq!(expected, None, "{text:?} of {length}"),
        Part::Outside => assert_eq!(expected, Some(None), "{text:?} of {length}"),
        Part::Slice { start, length: count } => {
            assert!(count > 0 && start.checked_add(count).is_some_and(|end| end <= length), "{text:?} of {length}");
            assert_eq!(expected, Some(Some((start, count))), "{text:?} of {length}");
        }
    }
}

/// Describes a range: `None` if it is ignored, `Some(None)` if it is outside of the file.
fn expected_range(text: &str, length: u64) -> Option<Option<(u64, u64)>> {
    let (unit, spec) = text.split_once('=')?;
    if unit.trim().to_ascii_lowercase() != "bytes" {
        return None;
    }
    let (first, last) = spec.trim().split_once('-')?;
    let is_number = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    let (start, end) = match (first, last) {
        ("", last) if is_number(last) => (length.saturating_sub(number(last)), length),
        (first, "") if is_number(first) => (number(first), length),
        (first, last) if is_number(first) && is_number(last) && number(first) <= number(last) => {
            (number(first), number(last).saturating_add(1).min(length))
        }
        _ => return None,
    };
    Some((start < end).then(|| (start, end - start)))
}

fn event_id(text: &str) {
    if let Some(number) = position(text) {
        assert_eq!(text.trim_start_matches('0'), number.to_string().trim_start_matches('0'));
    }
    if let Some((run, offset)) = run_and_offset(text) {
        assert!(run > 0);
        assert_eq!(run_and_offset(&format!("{run}:{offset}")), Some((run, offset)));
    }
    if let Ok(number) = text.parse::<u64>() {
        assert_eq!(position(text), (!text.starts_with('+')).then_some(number));
    }
}
