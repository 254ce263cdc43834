//! Finds a free name next to a path that may exist already.
//!
//! Another process may take the name afterwards, so use this only in folders that one process writes to.

use std::io;
use std::path::{Path, PathBuf};

/// Returns this path, or the first of `name-1`, `name-2`, … that is free.
pub fn free_name(path: &Path) -> io::Result<PathBuf> {
    let mut free = path.to_owned();
    let mut number = 0_u32;
    loop {
        match fs_err::symlink_metadata(&free) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(free),
            Err(error) => return Err(error),
            Ok(_) => {
                number += 1;
                free = {
                    let mut name = path.as_os_str().to_owned();
                    name.push(format!("-{number}"));
                    PathBuf::from(name)
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_name_gets_the_first_free_number() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("HEAD");
        assert_eq!(free_name(&path).expect("readable"), path);
        fs_err::write(&path, "").expect("written");
        std::os::unix::fs::symlink("nowhere", folder.path().join("HEAD-1")).expect("linked");
        assert_eq!(free_name(&path).expect("readable"), folder.path().join("HEAD-2"), "a dangling link takes a name too");
        assert!(free_name(&path.join("below-a-file")).is_err(), "a file contains no names");
    }

    #[test]
    fn numbers_in_between_are_used_and_the_ending_of_a_name_does_not_matter() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.tar.gz");
        for taken in ["a.tar.gz", "a.tar.gz-2"] {
            fs_err::create_dir(folder.path().join(taken)).expect("made");
        }
        assert_eq!(free_name(&path).expect("readable"), folder.path().join("a.tar.gz-1"));
        fs_err::write(folder.path().join("a.tar.gz-1"), "").expect("written");
        assert_eq!(free_name(&path).expect("readable"), folder.path().join("a.tar.gz-3"));
    }

    #[test]
    fn a_name_in_a_missing_folder_is_free() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("missing/name");
        assert_eq!(free_name(&path).expect("readable"), path);
    }
}
