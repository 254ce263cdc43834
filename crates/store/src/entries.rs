//! Lists the content of a folder that may not exist.

use std::io;
use std::path::{Path, PathBuf};

/// Returns the paths in a folder, or none if the folder does not exist.
pub(crate) fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs_err::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![]),
        entries => entries?.map(|entry| entry.map(|entry| entry.path())).collect(),
    }
}
