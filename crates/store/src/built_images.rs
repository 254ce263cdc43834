//! `built-images.json`: the container images that this home built, by the container engine's IDs.
//!
//! Only listed images are ever removed. Invariant: a malformed file is an error and stays unchanged.

use std::io;

use durable::write_atomically;
use fs_err as fs;
use jiff::Timestamp;
use model::ids::EnvironmentId;
use serde::{Deserialize, Serialize};

use super::{Home, StoreError};

/// An image that this home built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltImageRecord {
    /// The ID in the container engine.
    pub image_id: String,
    /// The name of the image.
    pub name: String,
    /// The repository that it was built for.
    pub env_id: EnvironmentId,
    /// When the image was first built.
    pub built_at: Timestamp,
}

#[derive(Default, Serialize, Deserialize)]
struct BuiltImagesFile {
    schema: u32,
    images: Vec<BuiltImageRecord>,
}

impl Home {
    /// Reads the images that this home built. For each repository, the newest image is last.
    pub fn read_built_images(&self) -> Result<Vec<BuiltImageRecord>, StoreError> {
        let path = self.layout.built_images();
        match fs::read(&path) {
            Ok(text) => match serde_json::from_slice::<BuiltImagesFile>(&text) {
                Ok(file) => Ok(file.images),
                Err(error) => Err(StoreError::new("read", &path, error.into())),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![]),
            Err(error) => Err(StoreError::new("read", &path, error)),
        }
    }

    /// Writes the images that this home built.
    pub fn write_built_images(&self, images: &[BuiltImageRecord]) -> Result<(), StoreError> {
        let path = self.layout.built_images();
        let file = BuiltImagesFile { schema: model::SCHEMA, images: images.to_vec() };
        let text = serde_json::to_vec_pretty(&file).map_err(|error| StoreError::new("write", &path, error.into()))?;
        write_atomically(&path, &text).map_err(|error| StoreError::new("write", &path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_read_as_they_were_written_and_a_damaged_list_stays_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        assert_eq!(home.read_built_images().expect("a missing file means no images"), []);
        let image = BuiltImageRecord {
            image_id: "sha256:1".to_owned(),
            name: "x:1".to_owned(),
            env_id: EnvironmentId::from_uuid(uuid::Uuid::from_u128(1)),
            built_at: Timestamp::UNIX_EPOCH,
        };
        home.write_built_images(std::slice::from_ref(&image)).expect("written");
        assert_eq!(home.read_built_images().expect("read"), [image]);
        fs::write(home.layout.built_images(), "{").expect("written");
        assert!(home.read_built_images().is_err());
        assert_eq!(fs::read(home.layout.built_images()).expect("there"), b"{");
    }
}
