//! `sessions.json`: the browsers that are signed in to the pages, by the hashes of their secrets. The secrets themselves are
//! not stored.

use std::io;

use durable::write_atomically;
use fs_err as fs;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Home, StoreError};

/// A signed-in browser.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// SHA-256 of the browser's secret, in hexadecimal digits.
    pub hash: String,
    /// The name that the browser gave itself.
    pub label: String,
    /// When the browser signed in.
    pub created_at: Timestamp,
    /// The host name at which it signed in, the only one where the session is valid. Empty in records of earlier versions.
    #[serde(default)]
    pub host: String,
}

#[derive(Default, Serialize, Deserialize)]
struct SessionsFile {
    schema: u32,
    sessions: Vec<SessionRecord>,
}

impl Home {
    /// Reads the sessions, except those of earlier versions, which were valid at every host name. A malformed file signs out
    /// everyone and stays unchanged until somebody signs in.
    pub fn read_sessions(&self) -> Result<Vec<SessionRecord>, StoreError> {
        let path = self.layout.page_sessions();
        match fs::read(&path) {
            Ok(text) => match serde_json::from_slice::<SessionsFile>(&text) {
                Ok(file) => Ok(file.sessions.into_iter().filter(|session| !session.host.is_empty()).collect()),
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "could not read the browser sessions; everyone has to sign in again");
                    Ok(vec![])
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![]),
            Err(error) => Err(StoreError::new("read", &path, error)),
        }
    }

    /// Writes the sessions.
    pub fn write_sessions(&self, sessions: &[SessionRecord]) -> Result<(), StoreError> {
        let path = self.layout.page_sessions();
        let file = SessionsFile { schema: model::SCHEMA, sessions: sessions.to_vec() };
        let text = serde_json::to_vec_pretty(&file).map_err(|error| StoreError::new("write", &path, error.into()))?;
        write_atomically(&path, &text).map_err(|error| StoreError::new("write", &path, error))
    }
}
