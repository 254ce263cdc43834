//! `password`: the hash of the sign-in password, if one is set. The password itself is not stored. The file is one line in the
//! format of the Password Hashing Competition, which includes the parameters of the hash.

use std::io;

use durable::write_atomically;
use fs_err as fs;

use super::{Home, StoreError};

impl Home {
    /// Reads the hash, if a password is set.
    pub fn read_password_hash(&self) -> Result<Option<String>, StoreError> {
        let path = self.layout.password();
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::new("read", &path, error)),
        }
    }

    /// Writes the hash, or removes it.
    pub fn write_password_hash(&self, hash: Option<&str>) -> Result<(), StoreError> {
        let path = self.layout.password();
        let written = match hash {
            Some(hash) => write_atomically(&path, format!("{hash}\n").as_bytes()),
            None => match fs::remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            },
        };
        written.map_err(|error| StoreError::new("write", &path, error))
    }
}
