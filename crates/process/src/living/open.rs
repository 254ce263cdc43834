//! Checks whether a process still has a file open. It only reads `/proc`, and does not see processes of other users.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::stat;

/// Whether a visible process has the file open. A missing file counts as not open.
pub fn is_open(path: &Path) -> io::Result<bool> {
    let wanted = match std::fs::symlink_metadata(path) {
        Ok(found) => (found.dev(), found.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    for pid in stat::pids()? {
        // Processes of other users are hidden, and processes may end in the meantime.
        let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        let is_it = |found: std::fs::Metadata| (found.dev(), found.ino()) == wanted;
        if open.flatten().any(|file| std::fs::metadata(file.path()).is_ok_and(is_it)) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_open_for_as_long_as_somebody_has_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        assert!(!is_open(&path).expect("/proc can be read"));
        let file = std::fs::File::create(&path).expect("made");
        assert!(is_open(&path).expect("/proc can be read"));
        drop(file);
        assert!(!is_open(&path).expect("/proc can be read"));
    }
}
