//! Writes files atomically: a kill or a full disk leaves the old content or the new one, never a mixture.
//!
//! It writes a temporary file with mode 0600 in the same folder, syncs it, renames it, and syncs the folder.

use std::io::{self, Write as _};
use std::path::Path;

use crate::sync::sync_folder;

/// Replaces the content of `path`. After an error, the old content is still there.
pub fn write_atomically(path: &Path, contents: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path has no parent folder"))?;
    let mut temporary = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
    temporary.write_all(contents)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    sync_folder(folder)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("meta.json");
        write_atomically(&path, b"first, and longer").expect("written");
        write_atomically(&path, b"second").expect("written");
        assert_eq!(fs_err::read(&path).expect("there"), b"second");
        assert_eq!(fs_err::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs_err::read_dir(folder.path()).expect("there").count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_contents_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("there/meta.json");
        assert!(write_atomically(&path, b"x").is_err(), "the folder does not exist");
        let taken = folder.path().join("taken");
        fs_err::create_dir(&taken).expect("made");
        assert!(write_atomically(&taken, b"x").is_err(), "a folder cannot be replaced by a file");
        assert_eq!(fs_err::read_dir(folder.path()).expect("there").count(), 1, "no temporary file is left");
    }
}
