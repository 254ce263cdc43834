//! Searches the result of a setup for the values of its secrets, so that no later run can read them.
//!
//! A value is found literally, percent-encoded, and in Base64, in the content, name or link target of a file. Files in archives are
//! not unpacked.

use std::collections::BTreeMap;
use std::io::{self, Read};

use bollard::errors::Error;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use secret_forms::{Parts, SecretSearch};
use tokio::sync::mpsc;

/// The number of pieces of an archive that may wait to be searched.
const WAITING: usize = 16;

/// A search for the values of secrets in archives.
#[derive(Debug, Clone)]
pub(super) struct ArchiveSearch(SecretSearch);

/// A secret that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leak {
    /// The name of the secret.
    pub(super) secret: String,
    /// The path of the file in the archive.
    pub(super) path: String,
}

impl ArchiveSearch {
    /// Returns a search for these secrets, by name, or `None` if none of them is long enough.
    pub(super) fn new(secrets: &BTreeMap<String, String>) -> Option<Self> {
        let secrets = secrets.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        SecretSearch::new(secrets, Parts::Whole).map(Self)
    }

    /// Searches the entries of an archive whose paths are wanted, and returns the first secret.
    fn in_archive(&self, archive: impl Read, wanted: impl Fn(&str) -> bool) -> io::Result<Option<Leak>> {
        let mut archive = tar::Archive::new(archive);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if !wanted(&path) {
                continue;
            }
            let link = entry.link_name_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default();
            let Self(search) = self;
            let named = search.in_bytes(path.as_bytes()).or_else(|| search.in_bytes(&link));
            let found = if named.is_some() { named } else { search.in_stream(&mut entry)? };
            if let Some(secret) = found {
                return Ok(Some(Leak { secret: secret.to_owned(), path }));
            }
        }
        Ok(None)
    }

    /// Searches an archive that the engine sends, without storing it.
    pub(super) async fn in_stream(
        &self,
        mut archive: impl Stream<Item = Result<Bytes, Error>> + Unpin,
        wanted: impl Fn(&str) -> bool + Send + 'static,
    ) -> io::Result<Option<Leak>> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let search = self.clone();
        let searching = tokio::task::spawn_blocking(move || search.in_archive(Pieces { receiver, piece: Bytes::new() }, wanted));
        while let Some(piece) = archive.next().await {
            // The search ends early if it finds something.
            if sender.send(piece.map_err(io::Error::other)).await.is_err() {
                break;
            }
        }
        drop(sender);
        searching.await.map_err(io::Error::other)?
    }
}

/// An archive that arrives in pieces.
struct Pieces {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    const VALUE: &str = "t0ken/with+signs?";

    fn search() -> ArchiveSearch {
        let secrets = [("NPM_TOKEN", VALUE), ("SHORT", "abc"), ("OTHER", "another-value\n")];
        ArchiveSearch::new(&secrets.map(|(name, value)| (name.to_owned(), value.to_owned())).into()).expect("long values")
    }

    fn archive(path: &str, content: &[u8]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, content) in [("first", &b"nothing"[..]), (path, content)] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, path, content).expect("built in memory");
        }
        archive.into_inner().expect("built in memory")
    }

    async fn found(archive: Vec<u8>) -> Option<(String, String)> {
        let pieces: Vec<Result<Bytes, Error>> = archive.chunks(700).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let leak = search().in_stream(stream::iter(pieces), |path| path != "ignored").await.expect("an archive");
        leak.map(|leak| (leak.secret, leak.path))
    }

    #[tokio::test]
    async fn a_secret_is_found_in_every_form_in_content_and_names() {
        for text in [
            format!("//registry/:_authToken={VALUE}\n"),
            "a=t0ken%2Fwith%2Bsigns%3F&b".to_owned(),
            "Authorization: Basic dXNlcjp0MGtlbi93aXRoK3NpZ25zPw==".to_owned(),
            format!("{}{VALUE}", "x".repeat(100_000)),
        ] {
            let leak = found(archive("root/.npmrc", text.as_bytes())).await;
            assert_eq!(leak, Some(("NPM_TOKEN".to_owned(), "root/.npmrc".to_owned())), "{text:.40}");
        }
        let named = found(archive(&format!("a/another-value/{}", "d/".repeat(80)), b"")).await.expect("in the name");
        assert_eq!(named.0, "OTHER");
    }

    #[tokio::test]
    async fn other_text_and_ignored_paths_are_fine() {
        assert_eq!(found(archive("a", b"abc t0ken/with")).await, None, "short values are not searched for");
        assert_eq!(found(archive("ignored", VALUE.as_bytes())).await, None);
        assert!(ArchiveSearch::new(&BTreeMap::from([("A".to_owned(), "short".to_owned())])).is_none());
    }
}
