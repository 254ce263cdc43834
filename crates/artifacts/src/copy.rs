//! Copies the regular files of a hostile folder. Everything else is listed with the reason why it was omitted.
//!
//! Folders are opened relative to the folder above, so that no link on a path is followed. Invariant: the number of entries that are
//! looked at, the depth and the bytes that are copied are limited, whatever the folder contains.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use model::artifact::{
    ARTIFACT_LIMIT_BYTES, ARTIFACTS_LIMIT, ARTIFACTS_LIMIT_BYTES, Artifact, ArtifactKind, KIND_BYTES, LeftOut, LeftOutReason,
};
use model::commit::PathText;
use remove_tree::open_folder;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

/// The maximum number of folders inside each other.
const DEPTH: usize = 32;

/// The maximum length of a path in bytes.
const PATH_BYTES: usize = 1024;

/// The maximum number of files that are listed as omitted.
const LEFT_OUT: usize = 100;

/// The maximum number of entries that are looked at.
const ENTRIES: usize = 10_000;

/// The limits of what is kept.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The maximum number of files.
    pub files: usize,
    /// The maximum size of a file in bytes. Holes in the file count too.
    pub file_bytes: u64,
    /// The maximum total size in bytes.
    pub total_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { files: ARTIFACTS_LIMIT, file_bytes: ARTIFACT_LIMIT_BYTES, total_bytes: ARTIFACTS_LIMIT_BYTES }
    }
}

/// What was copied, and what was omitted.
pub(crate) struct Copied {
    into: PathBuf,
    limits: Limits,
    entries: usize,
    total_bytes: u64,
    pub(crate) artifacts: Vec<Artifact>,
    pub(crate) left_out: Vec<LeftOut>,
    pub(crate) more_left_out: u64,
}

/// Returns the path of the copy with this index.
pub(crate) fn path_of(folder: &Path, index: usize) -> PathBuf {
    folder.join(index.to_string())
}

impl Copied {
    /// Copies the files in a folder into another folder, which is empty.
    pub(crate) fn new(folder: &OwnedFd, into: &Path, limits: Limits) -> io::Result<Self> {
        let into = into.to_owned();
        let mut copied = Self { into, limits, entries: 0, total_bytes: 0, artifacts: vec![], left_out: vec![], more_left_out: 0 };
        copied.copy_below(folder, &[], 0)?;
        Ok(copied)
    }

    fn leave_out(&mut self, path: &[u8], reason: LeftOutReason) {
        if self.left_out.len() < LEFT_OUT {
            self.left_out.push(LeftOut { path: PathText::new(&path[..path.len().min(PATH_BYTES)]), reason });
        } else {
            self.more_left_out += 1;
        }
    }

    fn copy_below(&mut self, folder: &OwnedFd, prefix: &[u8], depth: usize) -> io::Result<()> {
        let Ok(names) = self.names_in(folder) else {
            self.leave_out(prefix, LeftOutReason::Unreadable);
            return Ok(());
        };
        for name in names {
            let path = [prefix, name.to_bytes()].concat();
            let found = rustix::fs::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW);
            match found.map(|found| FileType::from_raw_mode(found.st_mode)) {
                _ if path.len() > PATH_BYTES => self.leave_out(&path, LeftOutReason::LongPath),
                Ok(FileType::RegularFile) => self.copy_file(folder, &name, &path)?,
                Ok(FileType::Directory) if depth == DEPTH => self.leave_out(&path, LeftOutReason::LongPath),
                Ok(FileType::Directory) => match open_folder(folder, &name) {
                    Ok(below) => self.copy_below(&below, &[path.as_slice(), b"/"].concat(), depth + 1)?,
                    Err(_) => self.leave_out(&path, LeftOutReason::Unreadable),
                },
                Ok(_) => self.leave_out(&path, LeftOutReason::NotAFile),
                Err(_) => self.leave_out(&path, LeftOutReason::Unreadable),
            }
        }
        Ok(())
    }

    /// Returns the names in a folder, in order. Names beyond the limit are counted as omitted.
    fn names_in(&mut self, folder: &OwnedFd) -> io::Result<Vec<CString>> {
        let mut names = vec![];
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if self.entries == ENTRIES {
                self.more_left_out += 1;
                break;
            }
            self.entries += 1;
            names.push(name.to_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Copies a file, unless a limit or the file itself prevents it. Only errors of the copy's own folder are returned.
    fn copy_file(&mut self, folder: &OwnedFd, name: &CStr, path: &[u8]) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::openat(folder, name, flags, Mode::empty()).map(File::from) else {
            self.leave_out(path, LeftOutReason::Unreadable);
            return Ok(());
        };
        let Some(bytes) = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|found| found.len()) else {
            self.leave_out(path, LeftOutReason::NotAFile);
            return Ok(());
        };
        let refused = if self.artifacts.len() >= self.limits.files {
            Some(LeftOutReason::TooMany)
        } else if bytes > self.limits.file_bytes {
            Some(LeftOutReason::TooLarge)
        } else if bytes > self.limits.total_bytes - self.total_bytes {
            Some(LeftOutReason::TotalTooLarge)
        } else {
            None
        };
        if let Some(reason) = refused {
            self.leave_out(path, reason);
            return Ok(());
        }
        let mut start = vec![];
        if (&file).take(KIND_BYTES as u64).read_to_end(&mut start).is_err() {
            self.leave_out(path, LeftOutReason::Unreadable);
            return Ok(());
        }
        start.truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
        let target = path_of(&self.into, self.artifacts.len());
        let mut copy = File::options().write(true).create_new(true).mode(0o600).open(target)?;
        copy.write_all(&start)?;
        let rest = io::copy(&mut file.take(bytes - start.len() as u64), &mut copy)?;
        copy.sync_all()?;
        let bytes = start.len() as u64 + rest;
        self.total_bytes += bytes;
        self.artifacts.push(Artifact { path: PathText::new(path), bytes, kind: ArtifactKind::of_start(&start) });
        Ok(())
    }
}
