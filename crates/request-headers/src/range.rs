//! Parses a `Range` header with one byte range (RFC 9110, section 14).
//!
//! Pure. Several ranges, other units and invalid ranges are ignored, as the RFC allows. The response is then the whole file.

/// The part of a file to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The whole file.
    Whole,
    /// At least one byte.
    Slice {
        /// The offset of the first byte.
        start: u64,
        /// The number of bytes.
        length: u64,
    },
    /// The range is outside of the file.
    Outside,
}

impl Part {
    /// Parses a `Range` header for a file of `length` bytes.
    pub fn asked(range: &str, length: u64) -> Self {
        let Some((unit, spec)) = range.split_once('=') else { return Self::Whole };
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return Self::Whole;
        }
        let Some((first, last)) = spec.trim().split_once('-') else { return Self::Whole };
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Self::between(first, last, length),
            (Some(first), None) if last.is_empty() => Self::between(first, u64::MAX, length),
            (None, Some(count)) if first.is_empty() => Self::suffix(count, length),
            (Some(_) | None, Some(_) | None) => Self::Whole,
        }
    }

    fn between(first: u64, last: u64, length: u64) -> Self {
        if first >= length {
            return Self::Outside;
        }
        let end = last.min(length - 1) + 1;
        Self::Slice { start: first, length: end - first }
    }

    fn suffix(count: u64, length: u64) -> Self {
        match count.min(length) {
            0 => Self::Outside,
            count => Self::Slice { start: length - count, length: count },
        }
    }
}

/// Parses digits only. Plain `parse` would also accept a sign.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // A number that is too large means the end of the file, or a start after it.
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(start: u64, length: u64) -> Part {
        Part::Slice { start, length }
    }

    #[test]
    fn one_range_of_ten_bytes() {
        for (range, expect) in [
            ("bytes=0-0", slice(0, 1)),
            ("bytes=0-9", slice(0, 10)),
            ("bytes=3-5", slice(3, 3)),
            ("bytes=3-", slice(3, 7)),
            ("bytes=9-", slice(9, 1)),
            ("bytes=-1", slice(9, 1)),
            ("bytes=-10", slice(0, 10)),
            ("bytes=-11", slice(0, 10)),
            ("bytes=5-99999", slice(5, 5)),
            ("bytes=0-99999999999999999999999", slice(0, 10)),
            ("Bytes=1-2", slice(1, 2)),
            ("bytes= 1-2 ", slice(1, 2)),
        ] {
            assert_eq!(Part::asked(range, 10), expect, "{range}");
        }
    }

    #[test]
    fn what_lies_behind_the_end_is_outside() {
        for range in ["bytes=10-", "bytes=10-12", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(Part::asked(range, 10), Part::Outside, "{range}");
        }
        for range in ["bytes=0-", "bytes=-5", "bytes=0-0"] {
            assert_eq!(Part::asked(range, 0), Part::Outside, "{range} is outside of an empty file");
        }
    }

    #[test]
    fn what_is_not_one_readable_range_is_ignored() {
        for range in
            ["", "bytes", "bytes=", "bytes=-", "bytes=5-2", "bytes=a-b", "bytes=+1-2", "bytes=1-2,4-5", "lines=1-2", "bytes=1 -2"]
        {
            assert_eq!(Part::asked(range, 10), Part::Whole, "{range}");
        }
    }

    #[test]
    fn no_slice_leaves_the_file() {
        for length in 0..6 {
            for first in 0..8 {
                for last in first..8 {
                    if let Part::Slice { start, length: count } = Part::asked(&format!("bytes={first}-{last}"), length) {
                        assert!(count > 0 && start + count <= length, "{first}-{last} of {length}");
                    }
                }
            }
        }
    }
}
