//! A file system of a few MiB in memory, to be filled. Mounting needs root, as the tests' machines give it.
//! It never outlives its value.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system; it goes with this value.
pub struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Mounts one of so many MiB at a folder, which is made when it is not there.
    ///
    /// # Panics
    /// When it cannot be mounted.
    pub fn mount(at: &Path, mebibytes: u32) -> Self {
        fs_err::create_dir_all(at).expect("a test's folder can be written");
        let options = format!("size={mebibytes}m,mode=0700");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).output();
        let done = done.expect("mount can be started");
        assert!(done.status.success(), "this test needs root: {}", String::from_utf8_lossy(&done.stderr));
        Self { at: at.to_owned() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Fills it to the last block; returns the file to remove to make room again.
    ///
    /// # Panics
    /// When there is no room for a name.
    pub fn fill(&self) -> PathBuf {
        let path = self.at.join("ballast");
        let mut file = fs_err::File::create(&path).expect("there is room for a name");
        let block = [0_u8; 4096];
        while std::io::Write::write_all(&mut file, &block).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a keeper may still hold a file for a moment.
        let done = Command::new("umount").arg("--lazy").arg(&self.at).status();
        assert!(done.is_ok_and(|status| status.success()) || std::thread::panicking(), "the small disk is still mounted");
    }
}
