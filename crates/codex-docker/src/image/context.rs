//! The build context: the Dockerfile, and the certificates of a network that intercepts TLS. It is created in memory.
//!
//! The engine gets no other file of the machine, so no other file can end up in an image.

use std::path::Path;

use tar::{Builder, EntryType, Header};

use crate::failure::Failure;
use model::ErrorCode;

/// The built-in Dockerfile.
pub(super) const DOCKERFILE: &str = include_str!("Dockerfile");

/// The instruction that is appended to a custom Dockerfile. Without these programs, no run can start and no work can be
/// exported, so the build fails early.
pub(super) const CHECK: &str = "RUN CODEX_HOME=/none codex --version && git --version && socat -V > /dev/null";

/// The name of the folder with the certificates.
const CERTIFICATES: &str = "certificates";

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Returns the hash of a Dockerfile, which shows whether it changed.
pub(super) fn fingerprint(dockerfile: &str) -> String {
    hex::encode(ring::digest::digest(&ring::digest::SHA256, dockerfile.as_bytes()))
}

/// Reads the certificates from a PEM file, and returns a PEM block for each.
pub(super) fn certificates(path: &Path) -> Result<Vec<String>, Failure> {
    let text = fs_err::read_to_string(path).map_err(|error| {
        Failure::new(ErrorCode::CaFile, format!("cannot read the certificates: {error}")).hint("specify an existing PEM file")
    })?;
    let found = split(&text);
    if found.is_empty() {
        let message = format!("no certificate found in `{}`", path.display());
        return Err(Failure::new(ErrorCode::CaFile, message).hint(format!("use a PEM file with lines like `{BEGIN}`")));
    }
    Ok(found)
}

fn split(text: &str) -> Vec<String> {
    let bodies = text.split(BEGIN).skip(1).filter_map(|rest| Some(rest.split_once(END)?.0.trim()));
    bodies.map(|body| format!("{BEGIN}\n{body}\n{END}\n")).collect()
}

/// Returns the context as a tar archive.
pub(super) fn archive(dockerfile: &str, certificates: &[String]) -> std::io::Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    put(&mut archive, "Dockerfile", dockerfile)?;
    let mut folder = header(EntryType::Directory, 0o755, 0);
    archive.append_data(&mut folder, format!("{CERTIFICATES}/"), std::io::empty())?;
    for (number, certificate) in certificates.iter().enumerate() {
        put(&mut archive, &format!("{CERTIFICATES}/{number:04}.crt"), certificate)?;
    }
    archive.into_inner()
}

fn put(archive: &mut Builder<Vec<u8>>, path: &str, text: &str) -> std::io::Result<()> {
    let mut header = header(EntryType::Regular, 0o644, text.len() as u64);
    archive.append_data(&mut header, path, text.as_bytes())
}

/// Creates a header without an owner or time, so that the same files always produce the same archive.
fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(body: &str) -> String {
        format!("{BEGIN}\n{body}\n{END}\n")
    }

    #[test]
    fn a_hash_tells_one_dockerfile_from_another() {
        assert_eq!(fingerprint(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_ne!(fingerprint(DOCKERFILE), fingerprint(""));
    }

    #[test]
    fn a_bundle_is_taken_apart() {
        let bundle = format!("# one\n{}\r\nnoise\n{}{BEGIN}\nhalf", certificate("AAAA\nBBBB"), certificate("CCCC"));
        assert_eq!(split(&bundle), [certificate("AAAA\nBBBB"), certificate("CCCC")]);
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ca.pem");
        fs_err::write(&file, "no certificate").expect("written");
        let failure = certificates(&file).expect_err("the file contains no certificate");
        assert!(
            failure.code == ErrorCode::CaFile && failure.message.contains("ca.pem") && !failure.hints.is_empty(),
            "{failure:?}"
        );
        let failure = certificates(&folder.path().join("gone")).expect_err("not there");
        assert!(failure.code == ErrorCode::CaFile && failure.message.contains("gone"), "{failure:?}");
    }

    #[test]
    fn the_context_holds_the_dockerfile_and_the_certificates_and_nothing_else() {
        let bytes = archive("FROM x\n", &[certificate("A"), certificate("B")]).expect("the archive is built in memory");
        assert_eq!(
            bytes,
            archive("FROM x\n", &[certificate("A"), certificate("B")]).expect("the archive is built in memory"),
            "the archive is reproducible"
        );
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().expect("an archive").map(|entry| {
            let entry = entry.expect("an entry");
            entry.path().expect("a path").display().to_string()
        });
        assert_eq!(
            entries.collect::<Vec<_>>(),
            ["Dockerfile", "certificates/", "certificates/0000.crt", "certificates/0001.crt"]
        );
    }

    #[test]
    fn without_certificates_their_folder_is_there_all_the_same() {
        let bytes = archive("FROM x\n", &[]).expect("the archive is built in memory");
        assert_eq!(tar::Archive::new(bytes.as_slice()).entries().expect("an archive").count(), 2);
    }
}
