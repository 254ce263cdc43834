//! The encoded forms in which a secret value usually appears: percent-encoded, and in Base64. Pure.
//!
//! Any other form is not included, such as a reversed, hexadecimal or split value. [`SecretSearch`] finds values in data.

mod search;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

pub use self::search::{Parts, SHORTEST_VALUE, SecretSearch};

/// The minimum length of a part of an encoded form. Shorter ones also appear in other text.
pub const SHORTEST_PART: usize = 8;

/// The line lengths with which programs wrap Base64.
const LINES_OF_BASE64: [usize; 2] = [76, 64];

/// Returns the encoded forms of a value. A text that contains the value in such a form contains one of the results.
pub fn encoded(secret: &str) -> Vec<String> {
    let in_base64 = (0..3).flat_map(|bytes_before| in_base64(secret, bytes_before));
    in_percent_encoding(secret).into_iter().chain(in_base64).collect()
}

/// Returns the percent-encoded forms of a value: with digits in upper or lower case, and with `%20` or `+` for a space.
fn in_percent_encoding(secret: &str) -> [String; 4] {
    const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    let upper = utf8_percent_encode(secret, ENCODED).to_string();
    let lower = utf8_percent_encode(secret, ENCODED)
        .map(|piece| if piece.starts_with('%') { piece.to_ascii_lowercase() } else { piece.to_owned() })
        .collect::<String>();
    let (upper_plus, lower_plus) = (upper.replace("%20", "+"), lower.replace("%20", "+"));
    [upper, lower, upper_plus, lower_plus]
}

/// Returns the Base64 form of a value after a number of other bytes, without the characters that depend on the surrounding
/// bytes.
fn in_base64(secret: &str, bytes_before: usize) -> Vec<String> {
    let bytes = [&[0; 2][..bytes_before], secret.as_bytes()].concat();
    let whole_groups = bytes.len() / 3 * 4;
    let depend = [0, 2, 3][bytes_before];
    let mut forms = vec![];
    for text in [BASE64_STANDARD_NO_PAD.encode(&bytes), BASE64_URL_SAFE_NO_PAD.encode(&bytes)] {
        let Some(form) = text.get(depend..whole_groups).filter(|form| form.len() >= SHORTEST_PART) else { continue };
        forms.push(form.to_owned());
        if bytes_before == 0 {
            for length in LINES_OF_BASE64.into_iter().filter(|length| *length < form.len()) {
                let lines = form.as_bytes().chunks(length).filter(|line| line.len() >= SHORTEST_PART);
                forms.extend(lines.map(|line| String::from_utf8_lossy(line).into_owned()));
            }
        }
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_four_percent_encoded_forms() {
        let expect = ["a%2B%C3%BC%20%2520-._~Z", "a%2b%c3%bc%20%2520-._~Z", "a%2B%C3%BC+%2520-._~Z", "a%2b%c3%bc+%2520-._~Z"];
        assert_eq!(in_percent_encoding("a+ü %20-._~Z"), expect);
    }

    #[test]
    fn an_encoded_value_is_found_wherever_it_starts() {
        let secret = "s3cret/value+~ x";
        let forms = encoded(secret);
        for before in ["", "a", "ab", "abc", "token: "] {
            for after in ["", "z", "yz"] {
                let text = format!("{before}{secret}{after}");
                for encoded in [BASE64_STANDARD_NO_PAD.encode(&text), BASE64_URL_SAFE_NO_PAD.encode(&text)] {
                    assert!(forms.iter().any(|form| encoded.contains(form)), "{text}: {encoded}");
                }
            }
        }
        for text in ["s3cret%2Fvalue%2B~%20x", "s3cret%2fvalue%2b~+x"] {
            assert!(forms.iter().any(|form| form == text), "{text}");
        }
    }
}
