//! Fuzzes the parsers for exports from an agent's container: the header of a bundle, and the export report.
//!
//! The parsers must not panic or invent content, and must limit the length of every text.

#![no_main]

use libfuzzer_sys::fuzz_target;
use model::bundle::{BundleHeader, HEADER_LIMIT_BYTES, HarvestReport};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = BundleHeader::parse(bytes) {
        assert!(header.length <= bytes.len() && header.length <= HEADER_LIMIT_BYTES);
        assert!(bytes[..header.length].ends_with(b"\n\n"));
        // The bytes after the header belong to the pack and do not matter.
        assert_eq!(BundleHeader::parse(&bytes[..header.length]).as_ref(), Ok(&header));
        if let Ok(commit) = header.only("refs/heads/codex/x") {
            assert_eq!(header.refs, [(commit.clone(), b"refs/heads/codex/x".to_vec())]);
        }
    }
    if let Ok(report) = HarvestReport::parse(bytes) {
        for text in report.dropped.iter().chain(&report.unreadable).chain(&report.notes) {
            assert!(text.chars().count() <= 4096 && !text.contains(char::is_control), "{text:?}");
        }
    }
});
