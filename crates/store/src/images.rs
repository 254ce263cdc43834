//! Images of prompts on disk: `tasks/<id>/images/<name>`, complete and synced before a record names them.
//!
//! A file that no record names is unused and is deleted with its task. Invariant: reading an image fails if its content does not
//! match its name.

use std::io::{self, Read as _};
use std::path::Path;

use durable::write_atomically;
use fs_err as fs;
use model::ids::TaskId;
use model::image::{IMAGE_LIMIT_BYTES, Image, ImageFile};

use super::home::private_folder;
use super::{Home, StoreError};

impl Home {
    /// Writes images into a task's folder. Writing them again is harmless.
    pub fn write_images(&self, task: TaskId, images: &[Image]) -> Result<(), StoreError> {
        if images.is_empty() {
            return Ok(());
        }
        let folder = self.layout.images(task);
        private_folder(&folder).map_err(|error| StoreError::new("make", &folder, error))?;
        for image in images {
            let path = folder.join(image.file.file.to_string());
            write_atomically(&path, &image.bytes).map_err(|error| StoreError::new("write", &path, error))?;
        }
        Ok(())
    }

    /// Reads an image of a task, and checks that it matches its name.
    pub fn read_image(&self, task: TaskId, image: &ImageFile) -> io::Result<Vec<u8>> {
        read_image(&self.layout.images(task), image)
    }
}

fn read_image(folder: &Path, image: &ImageFile) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    // Read one byte more than the maximum, so that a larger file does not match its name.
    let limit = u64::try_from(IMAGE_LIMIT_BYTES).unwrap_or(u64::MAX) + 1;
    fs::File::open(folder.join(image.file.to_string()))?.take(limit).read_to_end(&mut bytes)?;
    if image.file.is_of(&bytes) {
        return Ok(bytes);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("the content of `{}` has changed", image.file)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use model::image::{GivenImage, ImageBytes};

    use super::*;

    const PNG: &[u8] = include_bytes!("../../testkit/fixtures/dot.png");

    #[test]
    fn an_image_is_read_as_it_was_written_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        let task = TaskId::from_uuid(uuid::Uuid::from_u128(1));
        let given = GivenImage { name: "../../a.png".to_owned(), data: ImageBytes(PNG.to_vec()) };
        let image = Image::parse(given).expect("an image");
        home.write_images(task, &[]).expect("no images are written");
        assert!(!home.layout.task(task).exists());
        for _ in 0..2 {
            home.write_images(task, std::slice::from_ref(&image)).expect("written");
            assert_eq!(home.read_image(task, &image.file).expect("read"), PNG);
        }
        let names: Vec<_> = fs::read_dir(home.layout.images(task)).expect("there").map(|entry| entry.expect("read")).collect();
        assert_eq!(names.len(), 1, "{names:?}");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&home.layout.images(task)), mode(&names[0].path())), (0o700, 0o600));
        fs::write(names[0].path(), &PNG[1..]).expect("written");
        assert_eq!(home.read_image(task, &image.file).expect_err("another one").kind(), io::ErrorKind::InvalidData);
        fs::remove_file(names[0].path()).expect("removed");
        assert_eq!(home.read_image(task, &image.file).expect_err("gone").kind(), io::ErrorKind::NotFound);
    }
}
