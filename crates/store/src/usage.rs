//! Measures the disk usage of files and folders in the home. Follows no links. Invariant: unreadable files are not an error,
//! because agents may change files at the same time.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Returns the disk usage of a file or folder with everything below it, in bytes. Unreadable files count as 0.
pub fn disk_usage(path: &Path) -> u64 {
    let mut bytes = 0;
    // Only one folder is open at a time, however deep the tree is.
    let mut left = vec![path.to_owned()];
    while let Some(path) = left.pop() {
        let Ok(found) = std::fs::symlink_metadata(&path) else { continue };
        bytes += found.blocks() * 512;
        if found.is_dir()
            && let Ok(entries) = std::fs::read_dir(&path)
        {
            left.extend(entries.flatten().map(|entry| entry.path()));
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_below_counts_and_nothing_behind_a_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let outside = tempfile::tempdir().expect("a folder");
        fs_err::write(outside.path().join("large"), vec![1; 1 << 20]).expect("written");
        fs_err::create_dir(folder.path().join("below")).expect("made");
        let before = disk_usage(folder.path());
        fs_err::write(folder.path().join("below/file"), vec![1; 100_000]).expect("written");
        std::os::unix::fs::symlink(outside.path(), folder.path().join("link")).expect("a link");
        let grown = disk_usage(folder.path()) - before;
        assert!((100_000..200_000).contains(&grown), "{grown}");
        assert_eq!(disk_usage(Path::new("/no/such/thing")), 0);
    }

    #[test]
    fn a_deep_folder_takes_neither_the_stack_nor_the_open_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep: std::path::PathBuf = std::iter::once(folder.path().to_owned()).chain((0..1500).map(|_| "d".into())).collect();
        fs_err::create_dir_all(&deep).expect("made");
        fs_err::write(deep.join("file"), vec![1; 100_000]).expect("written");
        assert!(disk_usage(folder.path()) >= 100_000);
    }
}
