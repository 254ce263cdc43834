//! Reads and writes state files. No other crate reads or writes them, or knows their paths. A kill at any moment leaves the old
//! file or the new one.
//!
//! This crate makes no decisions. A malformed file is reported as [`Damaged`] and stays unchanged.

mod boot;
mod built_images;
mod codex_home;
mod entries;
mod environment_file;
mod environments;
mod home;
mod images;
mod layers;
mod layout;
mod login_copy;
mod notices;
mod password;
mod plain_file;
mod prepared;
mod reviewed;
mod run_file;
mod sessions;
mod shells;
mod snapshots;
mod task_file;
mod tasks;
mod trash;
mod usage;

pub use boot::{Boot, UncleanStop};
pub use built_images::BuiltImageRecord;
pub use codex_home::{CodexHome, RefusedCopy};
pub use home::private_folder;
pub use home::{Home, OpenHomeError, holder};
pub use layout::Layout;
pub use login_copy::{FoundCopy, LoginCopy};
pub use notices::{DeviceRecord, Devices, Read};
pub use plain_file::read_plain_file;
pub use sessions::SessionRecord;
pub use shells::{FoundShell, ShellOrder, ShellState, take_shell};
pub use trash::{Trashed, TrashedThing};
pub use usage::disk_usage;

use std::io;
use std::path::{Path, PathBuf};

use model::ErrorCode;
use model::damaged::Damaged;
use model::problem::Problem;

/// Returns how many free bytes this user may use on the disk of a path.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Why a state file could not be written or read.
#[derive(Debug, thiserror::Error)]
#[error("could not {act} `{}`: {source}", path.display())]
pub struct StoreError {
    act: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl StoreError {
    fn new(act: &'static str, path: &Path, source: io::Error) -> Self {
        Self { act, path: path.to_owned(), source }
    }

    /// Whether the cause is a missing permission.
    pub fn is_permission_denied(&self) -> bool {
        self.source.kind() == io::ErrorKind::PermissionDenied
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let unavailable = |code, hint: &str| Self::new(code, error.to_string()).hint(hint);
        match error.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                unavailable(ErrorCode::DiskFull, "free up disk space and try again; everything saved before is intact")
            }
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                unavailable(ErrorCode::HomeNotWritable, "make the home directory writable for the user that runs the server")
            }
            _ => Self::internal(&error),
        }
    }
}

/// All records of one kind on disk, readable and damaged.
#[derive(Debug)]
pub struct Records<T> {
    /// The readable records.
    pub records: Vec<T>,
    /// The damaged records.
    pub damaged: Vec<Damaged>,
}

fn damaged(folder: &Path, file: &Path, reason: impl std::fmt::Display) -> Damaged {
    Damaged {
        id: folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        path: file.display().to_string(),
        reason: reason.to_string(),
        hints: vec!["restore the file from a backup, or move its folder away".to_owned(), "then restart the server".to_owned()],
    }
}
