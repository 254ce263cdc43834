//! Sizes as people write them: a number, and k, m, g or t for powers of 1024.
//! One parser for every place that takes one.

/// The bytes that a text such as `512m`, `4g` or `1GiB` means.
pub fn parse_size(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let number = lower.trim_end_matches('b').trim_end_matches('i');
    let (digits, shift) = match number.as_bytes().last() {
        Some(b'k') => (&number[..number.len() - 1], 10),
        Some(b'm') => (&number[..number.len() - 1], 20),
        Some(b'g') => (&number[..number.len() - 1], 30),
        Some(b't') => (&number[..number.len() - 1], 40),
        _ => (number, 0),
    };
    digits.trim().parse::<u64>().ok().and_then(|count| count.checked_mul(1 << shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_usual_letters() {
        for (text, bytes) in
            [("0", 0), ("100", 100), ("1k", 1024), ("512m", 512 << 20), ("4G", 4 << 30), ("1 GiB", 1 << 30), ("2tb", 2 << 40)]
        {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "g", "-1", "1.5g", "1x", "99999999999t"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}
