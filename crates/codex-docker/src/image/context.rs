//! Our own files in a build context: the Dockerfile, and the certificates of a network that intercepts TLS.
//!
//! They are in a separate folder, so that they cannot collide with files of a repository. The engine gets no other file of the
//! machine, so no other file can end up in an image.

use std::io::Write;
use std::path::Path;

use tar::{Builder, EntryType, Header};

use super::tools;
use crate::failure::Failure;
use model::ErrorCode;

/// The built-in Dockerfile.
pub(super) const DOCKERFILE: &str = include_str!("Dockerfile");

/// The instruction that is appended to a custom Dockerfile. Without these programs, no run can start and no work can be
/// exported, so the build fails early.
pub(super) const CHECK: &str = "RUN CODEX_HOME=/none codex --version && git --version && socat -V > /dev/null";

/// The folder with our own files. A repository's files in a folder with this name are omitted.
pub(super) const OWN_FOLDER: &str = ".codex-docker";

/// The path of the Dockerfile.
pub(super) const DOCKERFILE_PATH: &str = ".codex-docker.Dockerfile";

/// The file that keeps the Dockerfile out of `COPY .`: the engine reads the Dockerfile, and then removes what is listed here.
const IGNORED: (&str, &str) = (".dockerignore", ".dockerignore\n.codex-docker.Dockerfile\n");

/// The path of the folder with the certificates.
const CERTIFICATES: &str = ".codex-docker/certificates";

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Returns the hash of a Dockerfile, which shows whether it changed.
pub(super) fn fingerprint(dockerfile: &str) -> String {
    hex::encode(ring::digest::digest(&ring::digest::SHA256, dockerfile.as_bytes()))
}

/// Returns the hash of the built-in Dockerfile together with all scripts that install tools.
pub(super) fn fingerprint_with_tools() -> String {
    let all = tools::scripts(&tools::universal(tools::Tools::new()));
    fingerprint(&all.into_iter().fold(DOCKERFILE.to_owned(), |text, (_, script)| text + script))
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

/// Our own files in a build context.
#[derive(Debug, Clone, Default)]
pub(super) struct OwnFiles {
    /// The text of the Dockerfile.
    pub(super) dockerfile: String,
    /// Scripts that the Dockerfile runs, by their path.
    pub(super) scripts: Vec<(String, &'static str)>,
    /// The certificates, one PEM block each. `None` if the Dockerfile copies none.
    pub(super) certificates: Option<Vec<String>>,
}

impl OwnFiles {
    /// Returns a context without files of a repository, as a tar archive.
    pub(super) fn archive(&self) -> std::io::Result<Vec<u8>> {
        let mut archive = Builder::new(Vec::new());
        self.add_to(&mut archive)?;
        archive.into_inner()
    }

    /// Adds these files to an archive.
    pub(super) fn add_to<W: Write>(&self, archive: &mut Builder<W>) -> std::io::Result<()> {
        put(archive, IGNORED.0, IGNORED.1)?;
        put(archive, DOCKERFILE_PATH, &self.dockerfile)?;
        for (path, script) in &self.scripts {
            put(archive, path, script)?;
        }
        let Some(certificates) = &self.certificates else { return Ok(()) };
        let mut folder = header(EntryType::Directory, 0o755, 0);
        archive.append_data(&mut folder, format!("{CERTIFICATES}/"), std::io::empty())?;
        for (number, certificate) in certificates.iter().enumerate() {
            put(archive, &format!("{CERTIFICATES}/{number:04}.crt"), certificate)?;
        }
        Ok(())
    }
}

fn put<W: Write>(archive: &mut Builder<W>, path: &str, text: &str) -> std::io::Result<()> {
    let mut header = header(EntryType::Regular, 0o644, text.len() as u64);
    archive.append_data(&mut header, path, text.as_bytes())
}

/// Creates a header without an owner or time, so that the same files always produce the same archive.
pub(super) fn header(kind: EntryType, mode: u32, size: u64) -> Header {
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
        let own = OwnFiles {
            dockerfile: "FROM x\n".to_owned(),
            scripts: vec![(".codex-docker/tools/a.sh".to_owned(), "true")],
            certificates: Some(vec![certificate("A"), certificate("B")]),
        };
        let bytes = own.archive().expect("the archive is built in memory");
        assert_eq!(bytes, own.archive().expect("the archive is built in memory"), "the archive is reproducible");
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().expect("an archive").map(|entry| {
            let entry = entry.expect("an entry");
            entry.path().expect("a path").display().to_string()
        });
        assert_eq!(
            entries.collect::<Vec<_>>(),
            [
                ".dockerignore",
                ".codex-docker.Dockerfile",
                ".codex-docker/tools/a.sh",
                ".codex-docker/certificates/",
                ".codex-docker/certificates/0000.crt",
                ".codex-docker/certificates/0001.crt"
            ]
        );
    }

    #[test]
    fn without_certificates_their_folder_is_there_all_the_same() {
        let count = |certificates: Option<Vec<String>>| {
            let own = OwnFiles { certificates, ..OwnFiles::default() };
            let bytes = own.archive().expect("the archive is built in memory");
            tar::Archive::new(bytes.as_slice()).entries().expect("an archive").count()
        };
        assert_eq!((count(Some(vec![])), count(None)), (3, 2), "only the built-in Dockerfile copies the folder");
    }
}
