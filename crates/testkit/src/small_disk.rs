//! A file system of a few MiB in memory, which a test can fill. Mounting needs root. It is unmounted when its value is dropped.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system. Dropping this value unmounts it.
pub struct SmallDisk {
    at: PathBuf,
    is_read_only: bool,
}

impl SmallDisk {
    /// Mounts a file system of this size in MiB at a folder, which is created if it is missing.
    ///
    /// # Panics
    /// If the file system cannot be mounted.
    pub fn mount(at: &Path, mebibytes: u32) -> Self {
        fs_err::create_dir_all(at).expect("a test's folder can be written");
        let options = format!("size={mebibytes}m,mode=0700");
        mount(&["-t", "tmpfs", "-o", &options, "tmpfs"], &[at]);
        Self { at: at.to_owned(), is_read_only: false }
    }

    /// Returns the mount point.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Fills the file system completely. Returns the file to delete to free its space again.
    ///
    /// # Panics
    /// If no file can be created.
    pub fn fill(&self) -> PathBuf {
        let path = self.at.join("ballast");
        let mut file = fs_err::File::create(&path).expect("a file can be created");
        let block = [0_u8; 4096];
        while std::io::Write::write_all(&mut file, &block).is_ok() {}
        path
    }

    /// Makes the file system read-only: no file can be opened for writing. Unlike on a failing disk, open files stay writable.
    ///
    /// # Panics
    /// If the file system cannot be mounted again.
    pub fn forbid_writing(&mut self) {
        if self.is_read_only {
            return;
        }
        // A file system with open files cannot be made read-only, but a new mount of it can.
        let aside = self.at.with_extension("read-only");
        fs_err::create_dir_all(&aside).expect("a test's folder can be written");
        mount(&["--bind"], &[&self.at, &aside]);
        mount(&["-o", "remount,bind,ro"], &[&aside]);
        mount(&["--bind"], &[&aside, &self.at]);
        self.is_read_only = true;
        unmount(&aside);
    }

    /// Makes the file system writable again.
    ///
    /// # Panics
    /// If the file system cannot be unmounted.
    pub fn allow_writing(&mut self) {
        if self.is_read_only {
            unmount(&self.at);
            self.is_read_only = false;
        }
    }
}

fn mount(options: &[&str], paths: &[&Path]) {
    let done = Command::new("mount").args(options).args(paths).output().expect("mount can be started");
    assert!(done.status.success(), "this test needs root: {}", String::from_utf8_lossy(&done.stderr));
}

fn unmount(at: &Path) {
    let done = Command::new("umount").arg("--lazy").arg(at).status();
    assert!(done.is_ok_and(|status| status.success()) || std::thread::panicking(), "the small disk is unmounted");
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // This unmounts lazily, because a keeper may still have a file open for a moment.
        self.allow_writing();
        unmount(&self.at);
    }
}
