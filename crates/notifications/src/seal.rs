//! Encrypts messages for one browser, so that its push service cannot read them.
//! Implements RFC 8291 over RFC 8188 (`aes128gcm`) in one record. Each message has its own key pair and salt.

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::error::Unspecified;
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::rand::SystemRandom;

/// The size of an uncompressed point of P-256.
pub(super) const PUBLIC_KEY_BYTES: usize = 65;

/// The size of a browser's authentication secret.
pub(super) const AUTH_BYTES: usize = 16;

/// The record size in the header. Messages are shorter and fit into one record.
const RECORD_BYTES: u32 = 4096;

/// The keys with which messages to a browser are encrypted.
#[derive(Clone, Copy)]
pub(super) struct BrowserKeys {
    pub(super) p256dh: [u8; PUBLIC_KEY_BYTES],
    pub(super) auth: [u8; AUTH_BYTES],
}

/// Encrypts a message that only the browser with these keys can read. Returns an error if the browser's key is not a point on
/// the curve.
pub(super) fn seal(message: &[u8], keys: &BrowserKeys) -> Result<Vec<u8>, Unspecified> {
    let random = SystemRandom::new();
    let own = EphemeralPrivateKey::generate(&ECDH_P256, &random)?;
    let public = own.compute_public_key()?;
    let salt: [u8; 16] = ring::rand::generate(&random)?.expose();
    let theirs = UnparsedPublicKey::new(&ECDH_P256, &keys.p256dh);
    agree_ephemeral(own, &theirs, |shared| sealed(message, keys, shared, public.as_ref(), salt))?
}

/// Encrypts a message with a shared secret.
fn sealed(message: &[u8], keys: &BrowserKeys, shared: &[u8], own: &[u8], salt: [u8; 16]) -> Result<Vec<u8>, Unspecified> {
    let mut material = [0; 32];
    derive(&keys.auth, shared, &[b"WebPush: info\0", &keys.p256dh, own], &mut material)?;
    let (mut key, mut nonce) = ([0; 16], [0; 12]);
    derive(&salt, &material, &[b"Content-Encoding: aes128gcm\0"], &mut key)?;
    derive(&salt, &material, &[b"Content-Encoding: nonce\0"], &mut nonce)?;
    // The byte 2 marks the last record.
    let mut record = [message, &[2]].concat();
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key)?);
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut record)?;
    let length = u8::try_from(own.len()).map_err(|_| Unspecified)?;
    Ok([&salt, RECORD_BYTES.to_be_bytes().as_slice(), &[length], own, &record].concat())
}

struct Bytes(usize);

impl KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}

/// Derives key material with HKDF-SHA256.
fn derive(salt: &[u8], material: &[u8], info: &[&[u8]], to: &mut [u8]) -> Result<(), Unspecified> {
    Salt::new(HKDF_SHA256, salt).extract(material).expand(info, Bytes(to.len()))?.fill(to)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;

    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        BASE64.decode(text).expect("base64")
    }

    /// The keys of appendix A of RFC 8291.
    fn keys() -> BrowserKeys {
        let p256dh = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
        let array = |text: &str| bytes(text).try_into().expect("65 bytes");
        BrowserKeys { p256dh: array(p256dh), auth: bytes("BTBZMqHH6r4Tts7J_aSIgg").try_into().expect("16 bytes") }
    }

    #[test]
    fn the_example_of_the_standard_comes_out_byte_for_byte() {
        // The shared secret is the appendix's `ecdh_secret`, since an ephemeral key cannot be chosen.
        let shared = bytes("kyrL1jIIOHEzg3sM2ZWRHDRB62YACZhhSlknJ672kSs");
        let own = bytes("BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8");
        let salt = bytes("DGv6ra1nlYgDCS1FRnbzlw").try_into().expect("16 bytes");
        let message = b"When I grow up, I want to be a watermelon";
        let expect = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7\
            A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN";
        let found = sealed(message, &keys(), &shared, &own, salt).expect("sealed");
        assert_eq!(BASE64.encode(found), expect);
    }

    #[test]
    fn two_messages_share_nothing_and_a_key_that_is_none_is_refused() {
        let (one, two) = (seal(b"x", &keys()).expect("sealed"), seal(b"x", &keys()).expect("sealed"));
        assert_eq!(one.len(), 16 + 4 + 1 + PUBLIC_KEY_BYTES + 2 + 16);
        assert!(one[..16] != two[..16] && one[21..86] != two[21..86] && one[86..] != two[86..]);
        let mut wrong = keys();
        wrong.p256dh[40] ^= 1;
        assert!(seal(b"x", &wrong).is_err(), "the key is not on the curve");
    }
}
