//! The key of the model's API, and keeping it from those who must not see it.
//! Invariant: it is shown by no `Debug`, and found in nothing that was hidden from.

use hyper::HeaderMap;
use hyper::header::{HeaderValue, InvalidHeaderValue};

/// What stands where the key was.
const HIDDEN: &[u8] = b"[hidden]";

/// A key that is sent to one place and shown nowhere.
pub(super) struct Secret {
    key: Vec<u8>,
    bearer: HeaderValue,
}

/// Without the key.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// A key as it can be sent.
    pub(super) fn new(key: &str) -> Result<Self, InvalidHeaderValue> {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {key}"))?;
        bearer.set_sensitive(true);
        Ok(Self { key: key.as_bytes().to_vec(), bearer })
    }

    /// The value of `Authorization`.
    pub(super) fn bearer(&self) -> HeaderValue {
        self.bearer.clone()
    }

    /// Removes the headers that have the key in them.
    pub(super) fn hide_in_headers(&self, headers: &mut HeaderMap) {
        let telling = headers.iter().filter(|(_, value)| self.find(value.as_bytes()).is_some());
        let telling: Vec<_> = telling.map(|(name, _)| name.clone()).collect();
        for name in telling {
            headers.remove(name);
        }
    }

    /// The same text, with something else wherever the key is.
    pub(super) fn hide_in(&self, text: &[u8]) -> Vec<u8> {
        let (mut hidden, mut rest) = (Vec::with_capacity(text.len()), text);
        while let Some(at) = self.find(rest) {
            hidden.extend_from_slice(&rest[..at]);
            hidden.extend_from_slice(HIDDEN);
            rest = &rest[at + self.key.len()..];
        }
        hidden.extend_from_slice(rest);
        hidden
    }

    fn find(&self, text: &[u8]) -> Option<usize> {
        // An API without a key has nothing to hide.
        let window = Some(self.key.len()).filter(|length| *length > 0)?;
        text.windows(window).position(|window| window == self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Secret {
        Secret::new("sk-1").expect("it can be sent")
    }

    #[test]
    fn the_key_is_hidden_wherever_it_stands_and_nothing_else_is() {
        for (text, expected) in [
            ("", ""),
            ("nothing of it, sk-", "nothing of it, sk-"),
            ("sk-1", "[hidden]"),
            ("a sk-1sk-1 b sk-", "a [hidden][hidden] b sk-"),
        ] {
            assert_eq!(String::from_utf8_lossy(&secret().hide_in(text.as_bytes())), expected, "{text}");
        }
    }

    #[test]
    fn headers_that_tell_the_key_are_gone() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-echo", "Bearer sk-1"), ("x-fine", "sk-2"), ("x-both", "fine"), ("x-both", "sk-1")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        secret().hide_in_headers(&mut headers);
        assert_eq!(headers.keys().map(hyper::header::HeaderName::as_str).collect::<Vec<_>>(), ["x-fine"]);
    }

    #[test]
    fn an_empty_key_hides_nothing_and_no_debug_shows_one() {
        assert_eq!(Secret::new("").expect("empty").hide_in(b"text"), b"text");
        assert!(!format!("{:?} {:?}", secret(), secret().bearer()).contains("sk-1"));
        assert!(Secret::new("sk\n1").is_err());
    }
}
