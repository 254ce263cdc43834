//! The key that identifies this server to push services (VAPID, RFC 8292). Browsers accept messages only from this key.
//! Each message carries a short-lived token, signed with ES256 for one push service.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use jiff::{SignedDuration, Timestamp};
use model::notice::PushEndpoint;
use model::secret::Secret;
use ring::error::Unspecified;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};

/// How long a token is valid. Push services reject tokens that are valid for more than a day.
const TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(12);

/// The key pair, in its stored form and ready to sign.
pub(crate) struct VapidKey {
    kept: Secret,
    pair: EcdsaKeyPair,
}

impl VapidKey {
    /// Creates a new key.
    pub(super) fn make() -> Result<Self, Unspecified> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())?;
        Self::read(&Secret::new(BASE64.encode(document))).ok_or(Unspecified)
    }

    /// Reads a stored key. Returns `None` if the key is invalid.
    pub(super) fn read(kept: &Secret) -> Option<Self> {
        let document = BASE64.decode(kept.expose()).ok()?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &document, &SystemRandom::new()).ok()?;
        Some(Self { kept: kept.clone(), pair })
    }

    /// Returns the key for storage, as PKCS#8 in base64.
    pub(super) fn kept(&self) -> &Secret {
        &self.kept
    }

    /// Returns the public key, which browsers need to subscribe.
    pub(crate) fn public(&self) -> String {
        BASE64.encode(self.pair.public_key())
    }

    /// Returns the `Authorization` header of a message. `contact` is a URL at which the push service's operator can reach this
    /// server's owner.
    pub(super) fn authorization(&self, endpoint: &PushEndpoint, contact: &str, now: Timestamp) -> Result<String, Unspecified> {
        let head = serde_json::json!({ "typ": "JWT", "alg": "ES256" });
        let until = (now + TOKEN_LIFE).as_second();
        let claims = serde_json::json!({ "aud": endpoint.origin(), "exp": until, "sub": contact });
        let words = format!("{}.{}", BASE64.encode(head.to_string()), BASE64.encode(claims.to_string()));
        let signature = self.pair.sign(&SystemRandom::new(), words.as_bytes())?;
        Ok(format!("vapid t={words}.{}, k={}", BASE64.encode(signature), self.public()))
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_word_is_signed_for_one_push_service_and_half_a_day() {
        let key = VapidKey::make().expect("made");
        let endpoint = PushEndpoint::parse("https://push.example:8443/send/abc").expect("an endpoint");
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().expect("a time");
        let header = key.authorization(&endpoint, "mailto:me@example.com", now).expect("signed");
        let (word, public) = header.strip_prefix("vapid t=").and_then(|rest| rest.split_once(", k=")).expect("two parts");
        assert_eq!(public, key.public());
        let (words, signature) = word.rsplit_once('.').expect("three parts");
        let (head, claims) = words.split_once('.').expect("three parts");
        let parsed = |text: &str| serde_json::from_slice::<Value>(&BASE64.decode(text).expect("base64")).expect("JSON");
        assert_eq!(parsed(head), json!({ "typ": "JWT", "alg": "ES256" }));
        let expect =
            json!({ "aud": "https://push.example:8443", "exp": now.as_second() + 43200, "sub": "mailto:me@example.com" });
        assert_eq!(parsed(claims), expect);
        let public = BASE64.decode(public).expect("base64");
        let signature = BASE64.decode(signature).expect("base64");
        let checker = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &public);
        checker.verify(words.as_bytes(), &signature).expect("its own");
        checker.verify(b"other words", &signature).expect_err("the signature is for different words");
    }

    #[test]
    fn a_key_stays_the_same_when_it_is_kept() {
        let key = VapidKey::make().expect("made");
        assert_eq!(VapidKey::read(key.kept()).expect("a key").public(), key.public());
        assert!(VapidKey::read(&Secret::new("bm9uZQ")).is_none() && VapidKey::read(&Secret::new("*")).is_none());
    }
}
