//! The hashes of descriptions and of the inputs of snapshots.

use serde::Serialize;

/// Returns the SHA-256 hash of a value's JSON as hexadecimal digits.
pub(super) fn hash(value: &impl Serialize) -> String {
    // The values consist of texts, numbers and maps with text keys, which JSON can always express.
    let text = serde_json::to_vec(value).unwrap_or_default();
    ring::digest::digest(&ring::digest::SHA256, &text).as_ref().iter().fold(String::new(), |mut hex, byte| {
        use std::fmt::Write as _;
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
