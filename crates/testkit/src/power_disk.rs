//! A disk that can lose its power: an image file with a real file system, mounted with a loop device. Needs root.
//!
//! A cut stops every write immediately, while the programs that use the disk still run: it shuts down the file system with the ioctl
//! that xfstests calls *godown*, without flushing its log. Everything that was not synced is lost. btrfs has no such ioctl in Linux
//! 6.18, so its image is stored on a second file system, the carrier, which is shut down instead: btrfs then sees a disk that fails
//! every write and has lost everything that was not flushed. The disk is unmounted when its value is dropped.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

/// The size of a disk in MiB. The image is a sparse file.
const MEBIBYTES: u64 = 1024;

/// The size of the carrier in MiB, which also needs space for its own metadata.
const CARRIER_MEBIBYTES: u64 = MEBIBYTES + 256;

/// The time limit until no process uses a disk after a cut.
const RELEASE: Duration = Duration::from_secs(30);

/// A file system whose power cuts can be tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// The default of Debian and Ubuntu.
    Ext4,
    /// The default of RHEL and Fedora Server.
    Xfs,
    /// The default of openSUSE and Fedora Workstation.
    Btrfs,
}

impl FileSystem {
    /// All file systems.
    pub const ALL: [Self; 3] = [Self::Ext4, Self::Xfs, Self::Btrfs];

    fn as_str(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of a file system that is not supported.
#[derive(Debug, thiserror::Error)]
#[error("invalid file system `{0}`: use ext4, xfs or btrfs")]
pub struct UnknownFileSystem(String);

impl FromStr for FileSystem {
    type Err = UnknownFileSystem;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|known| known.as_str() == name).ok_or_else(|| UnknownFileSystem(name.to_owned()))
    }
}

/// An image file and its mount point.
#[derive(Debug)]
struct Layer {
    image: PathBuf,
    at: PathBuf,
}

/// A mounted disk.
#[derive(Debug)]
pub struct PowerDisk {
    /// A cut shuts down the first layer. The image of each other layer is stored on the layer before it.
    layers: Vec<Layer>,
    is_mounted: bool,
}

impl PowerDisk {
    /// Creates a file system and mounts it at `at`. Its images are stored in `scratch`, outside of `at`.
    ///
    /// # Panics
    /// If a program is missing or fails.
    pub fn mount(kind: FileSystem, scratch: &Path, at: &Path) -> Self {
        let mut this = Self { layers: vec![], is_mounted: true };
        match kind {
            FileSystem::Ext4 | FileSystem::Xfs => this.add(kind, MEBIBYTES, scratch.join("disk.img"), at.to_owned()),
            FileSystem::Btrfs => {
                let carrier = scratch.join("carrier");
                this.add(FileSystem::Ext4, CARRIER_MEBIBYTES, scratch.join("carrier.img"), carrier.clone());
                this.add(kind, MEBIBYTES, carrier.join("disk.img"), at.to_owned());
            }
        }
        this
    }

    fn add(&mut self, kind: FileSystem, mebibytes: u64, image: PathBuf, at: PathBuf) {
        fs_err::create_dir_all(&at).expect("a test's folder can be written");
        let file = fs_err::File::create(&image).expect("a test's folder can be written");
        file.set_len(mebibytes << 20).expect("a sparse file needs no disk space");
        expect_success(Command::new(format!("mkfs.{kind}")).arg("-q").arg(&image));
        let layer = Layer { image, at };
        layer.mount();
        if kind == FileSystem::Ext4 {
            fs_err::remove_dir(layer.at.join("lost+found")).expect("a new ext4 has an empty `lost+found`");
        }
        self.layers.push(layer);
        self.sync();
    }

    /// Syncs everything that was written so far.
    ///
    /// # Panics
    /// If the disk cannot be synced.
    pub fn sync(&self) {
        for layer in self.layers.iter().rev() {
            expect_success(Command::new("sync").arg("--file-system").arg(&layer.at));
        }
    }

    /// Cuts the power: nothing more reaches the disk. Programs that use it keep running, and see errors.
    ///
    /// # Panics
    /// If the file system cannot be shut down.
    pub fn cut(&self) {
        let first = self.layers.first().expect("a disk has a layer");
        expect_success(Command::new("xfs_io").args(["-x", "-c", "shutdown"]).arg(&first.at));
    }

    /// Restores the power after a cut: unmounts the disk and mounts it again, which replays its log. `end_users` ends the
    /// programs that still use it.
    ///
    /// # Panics
    /// If something still uses the disk after 30 seconds, or if it cannot be mounted again.
    pub fn power_on(&mut self, end_users: impl Fn()) {
        for layer in self.layers.iter().rev() {
            crate::until(RELEASE, "nothing uses the disk", || {
                end_users();
                layer.unmount(&[])
            });
            // While the loop device is attached, mounting would restore the file system that was shut down.
            crate::until(RELEASE, "the loop device is detached", || !layer.is_attached());
        }
        self.is_mounted = false;
        for layer in &self.layers {
            layer.mount();
        }
        self.is_mounted = true;
    }
}

impl Layer {
    fn mount(&self) {
        expect_success(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.at));
    }

    fn unmount(&self, options: &[&str]) -> bool {
        let done = Command::new("umount").args(options).arg(&self.at).output();
        done.expect("umount can be started").status.success()
    }

    fn is_attached(&self) -> bool {
        let done = Command::new("losetup").arg("--associated").arg(&self.image).output().expect("losetup can be started");
        !done.stdout.is_empty()
    }
}

impl Drop for PowerDisk {
    fn drop(&mut self) {
        if !self.is_mounted {
            return;
        }
        for layer in self.layers.iter().rev() {
            // Unmount lazily, because a keeper may still have a file open for a moment.
            assert!(layer.unmount(&["--lazy"]) || std::thread::panicking(), "{} is unmounted", layer.at.display());
        }
    }
}

#[track_caller]
fn expect_success(command: &mut Command) {
    let done = command.output();
    let done = done.unwrap_or_else(|error| panic!("could not start {command:?}: {error}"));
    assert!(done.status.success(), "{command:?} failed (it needs root): {}", String::from_utf8_lossy(&done.stderr));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loses_what_was_not_synced(kind: FileSystem) {
        let scratch = tempfile::tempdir().expect("a temporary folder can be created");
        let at = scratch.path().join("home");
        let mut disk = PowerDisk::mount(kind, scratch.path(), &at);
        fs_err::write(at.join("synced"), "synced").expect("the disk can be written");
        disk.sync();
        fs_err::write(at.join("lost"), "lost").expect("the disk can be written");
        // This program uses the disk during the cut.
        let user = std::sync::Mutex::new(Command::new("sleep").arg("600").current_dir(&at).spawn().expect("a sleeper"));
        disk.cut();
        disk.power_on(|| {
            let mut user = user.lock().expect("no other thread has panicked");
            user.kill().expect("the process is our own child");
            user.wait().expect("it ended");
        });
        assert_eq!(fs_err::read_to_string(at.join("synced")).expect("the synced file exists"), "synced");
        assert!(!at.join("lost").exists(), "a power cut loses a file on {kind} that was not synced");
        fs_err::write(at.join("after"), "after").expect("the disk can be written again");
    }

    #[test]
    fn a_power_cut_of_ext4_loses_what_was_not_synced() {
        loses_what_was_not_synced(FileSystem::Ext4);
    }

    #[test]
    fn a_power_cut_of_xfs_loses_what_was_not_synced() {
        loses_what_was_not_synced(FileSystem::Xfs);
    }

    #[test]
    fn a_power_cut_of_btrfs_loses_what_was_not_synced() {
        loses_what_was_not_synced(FileSystem::Btrfs);
    }

    #[test]
    fn file_systems_are_known_by_their_names() {
        for kind in FileSystem::ALL {
            assert_eq!(kind.to_string().parse::<FileSystem>().ok(), Some(kind));
        }
        let error = "ntfs".parse::<FileSystem>().expect_err("NTFS is not supported");
        assert_eq!(error.to_string(), "invalid file system `ntfs`: use ext4, xfs or btrfs");
    }
}
