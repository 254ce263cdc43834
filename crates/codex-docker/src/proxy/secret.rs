//! The key for the model's API, and a filter that hides it.
//! Invariant: `Debug` never shows the key, and text that passed through a [`Veil`] does not contain the key, no matter how the
//! text was split into pieces.

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue, InvalidHeaderValue};

/// The replacement for the key.
const HIDDEN: &[u8] = b"[hidden]";

/// A secret key.
pub(super) struct Secret {
    key: Vec<u8>,
    bearer: HeaderValue,
}

/// Formats the secret without the key.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// Creates a secret. Fails if the key cannot be part of a header.
    pub(super) fn new(key: &str) -> Result<Self, InvalidHeaderValue> {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {key}"))?;
        bearer.set_sensitive(true);
        Ok(Self { key: key.as_bytes().to_vec(), bearer })
    }

    /// Returns the value of the `Authorization` header.
    pub(super) fn bearer(&self) -> HeaderValue {
        self.bearer.clone()
    }

    /// Removes headers with the key in their values or names. Names are in lower case.
    pub(super) fn hide_in_headers(&self, headers: &mut HeaderMap) {
        let lower = Self { key: self.key.to_ascii_lowercase(), bearer: self.bearer.clone() };
        let tells = |name: &HeaderName, value: &HeaderValue| {
            self.find(value.as_bytes()).is_some() || lower.find(name.as_str().as_bytes()).is_some()
        };
        let telling = headers.iter().filter(|(name, value)| tells(name, value));
        let telling: Vec<_> = telling.map(|(name, _)| name.clone()).collect();
        for name in telling {
            headers.remove(name);
        }
    }

    /// Returns a filter that hides the key in a text that arrives in pieces.
    pub(super) fn veil(&self) -> Veil<'_> {
        Veil { secret: self, held: Vec::new() }
    }

    fn find(&self, text: &[u8]) -> Option<usize> {
        // With an empty key, there is nothing to hide.
        let window = Some(self.key.len()).filter(|length| *length > 0)?;
        text.windows(window).position(|window| window == self.key)
    }

    /// Returns how many bytes at the end of a text may be the start of the key.
    fn begun(&self, text: &[u8]) -> usize {
        let longest = self.key.len().saturating_sub(1).min(text.len());
        (1..=longest).rev().find(|length| self.key.starts_with(&text[text.len() - length..])).unwrap_or(0)
    }
}

/// A filter that hides the key in a text. It only delays bytes that may be the start of the key.
pub(super) struct Veil<'a> {
    secret: &'a Secret,
    held: Vec<u8>,
}

impl Veil<'_> {
    /// Filters a piece and returns what can be shown so far.
    pub(super) fn pass(&mut self, piece: Bytes) -> Bytes {
        let whole =
            if self.held.is_empty() { piece } else { [std::mem::take(&mut self.held).as_slice(), &piece].concat().into() };
        let (mut hidden, mut rest) = (Vec::new(), whole.clone());
        while let Some(at) = self.secret.find(&rest) {
            hidden.extend_from_slice(&rest[..at]);
            hidden.extend_from_slice(HIDDEN);
            rest = rest.slice(at + self.secret.key.len()..);
        }
        let shown = rest.len() - self.secret.begun(&rest);
        self.held = rest[shown..].to_vec();
        if hidden.is_empty() {
            return rest.slice(..shown);
        }
        hidden.extend_from_slice(&rest[..shown]);
        hidden.into()
    }

    /// Returns the delayed bytes at the end of a text. They are not the complete key. Do not call this for an interrupted text.
    pub(super) fn end(self) -> Bytes {
        self.held.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Secret {
        Secret::new("sk-1").expect("the key can be sent")
    }

    /// Filters a text in these pieces.
    fn shown(secret: &Secret, pieces: &[&[u8]]) -> String {
        let mut veil = secret.veil();
        let mut shown: Vec<u8> = pieces.iter().flat_map(|piece| veil.pass(Bytes::copy_from_slice(piece))).collect();
        shown.extend(veil.end());
        String::from_utf8_lossy(&shown).into_owned()
    }

    #[test]
    fn the_key_is_hidden_wherever_it_stands_and_however_it_is_cut_and_nothing_else_is() {
        let repeated = Secret::new("aab-aab").expect("the key can be sent");
        for (secret, text, expected) in [
            (&secret(), "", ""),
            (&secret(), "nothing of it, sk-", "nothing of it, sk-"),
            (&secret(), "sk-1", "[hidden]"),
            (&secret(), "a sk-1sk-1 b sk-", "a [hidden][hidden] b sk-"),
            (&secret(), "sk-sk-sk-1-1", "sk-sk-[hidden]-1"),
            (&repeated, "aaab-aab-aab aab-aa", "a[hidden]-aab aab-aa"),
        ] {
            let bytes = text.as_bytes();
            for first in 0..=bytes.len() {
                for second in first..=bytes.len() {
                    let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                    assert_eq!(shown(secret, &pieces), expected, "{text} cut at {first} and {second}");
                }
            }
            let each: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(shown(secret, &each), expected, "{text} byte by byte");
        }
    }

    #[test]
    fn a_piece_that_does_not_end_like_the_key_begins_is_shown_at_once() {
        let secret = secret();
        let mut veil = secret.veil();
        assert_eq!(veil.pass(Bytes::from_static(b"data: first\n\n")), "data: first\n\n");
        assert_eq!(veil.pass(Bytes::from_static(b"data: sk-")), "data: ");
        assert_eq!(veil.pass(Bytes::from_static(b"1\n")), "[hidden]\n");
    }

    #[test]
    fn headers_that_tell_the_key_are_gone() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("x-echo", "Bearer sk-1"), ("x-fine", "sk-2"), ("x-both", "fine"), ("x-both", "sk-1"), ("x-sk-1", "")]
        {
            headers.append(name, HeaderValue::from_static(value));
        }
        secret().hide_in_headers(&mut headers);
        assert_eq!(headers.keys().map(hyper::header::HeaderName::as_str).collect::<Vec<_>>(), ["x-fine"]);
    }

    #[test]
    fn an_empty_key_hides_nothing_and_no_debug_shows_one() {
        assert_eq!(shown(&Secret::new("").expect("empty"), &[b"te", b"xt"]), "text");
        assert!(!format!("{:?} {:?}", secret(), secret().bearer()).contains("sk-1"));
        assert!(Secret::new("sk\n1").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_in_any_pieces_shows_the_key_and_everything_else_stays(
            key in "[ab]{1,5}",
            text in "[abc]{0,40}",
            cuts in proptest::collection::vec(0_usize..41, 0..6),
        ) {
            let secret = Secret::new(&key).expect("the key can be sent");
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]).collect();
            let shown = shown(&secret, &pieces);
            proptest::prop_assert_eq!(&shown, &text.replace(&key, "[hidden]"), "{:?} {:?}", key, pieces);
            proptest::prop_assert!(!shown.replace("[hidden]", "|").contains(&key));
        }
    }
}
