//! Finds files of a worktree that a power cut left empty or incomplete, although the commit contains them completely.
//!
//! No program syncs a whole worktree to disk, and its index looks clean even if a file has lost its content. So every file is
//! compared with the commit. Only typical damage of a power cut is repaired: a file that is empty, filled with zeros, or, if
//! the work is committed, shorter than the commit's version. Any other difference is an edit and stays. The worktree belongs to
//! an agent, so no link is followed. Invariant: replaced content is kept, unless it was only zeros.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use durable::write_atomically;
use process::Stdin;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, fsync, openat, renameat};
use rustix::io::Errno;

use super::admin;
use super::land::named;
use super::snapshot_error::SnapshotError;
use super::staging::Staging;
use super::worktree::Worktree;

/// A file that names the unclean stop after which a worktree was last compared with its commit.
const CHECKED: &str = "codex-orchestrator-checked";

/// The first bytes of a git-lfs pointer.
const LFS_POINTER: &[u8] = b"version https://git-lfs";

/// Whether the work in the worktree is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A run has ended, and its commit contains everything.
    Committed,
    /// A run was interrupted. Its changes are only in the worktree.
    Uncommitted,
}

/// The result of a comparison. Files are named by their paths in the commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    /// Files that were restored from the commit.
    pub restored: Vec<String>,
    /// The folder with the replaced content, if it was more than zeros.
    pub replaced: Option<PathBuf>,
    /// Files that differ from the commit and were left unchanged. This list is empty while work is uncommitted.
    pub edited: Vec<String>,
    /// Damaged files that could not be restored, each with the reason.
    pub failed: Vec<String>,
}

impl Compared {
    /// Returns what people should know about the comparison.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.restored.is_empty() {
            let kept = self
                .replaced
                .as_ref()
                .map_or_else(String::new, |folder| format!("; the damaged files are in `{}`", folder.display()));
            notes.push(format!(
                "the machine stopped unexpectedly and left files empty or incomplete; restored from the last commit: {}{kept}",
                named(&self.restored)
            ));
        }
        if !self.edited.is_empty() {
            notes.push(format!("these files differ from the last commit and were left unchanged: {}", named(&self.edited)));
        }
        if !self.failed.is_empty() {
            notes.push(format!(
                "the machine stopped unexpectedly and left files empty or incomplete; could not restore {}",
                named(&self.failed)
            ));
        }
        notes
    }
}

/// The state of a file compared with the commit's version.
#[derive(Debug, PartialEq, Eq)]
enum State {
    /// The file is empty or contains only zeros.
    Blank,
    Shorter,
    Edited,
}

impl Worktree {
    /// Whether the worktree was compared with its commit after this unclean stop.
    pub fn is_checked_after(&self, stop: &str) -> io::Result<bool> {
        admin::names(&self.admin.join(CHECKED), stop)
    }

    /// Records that the comparison was done.
    pub fn mark_checked_after(&self, stop: &str) -> io::Result<()> {
        write_atomically(&self.admin.join(CHECKED), format!("{stop}\n").as_bytes())
    }

    /// Compares every file with the branch, and restores those that a power cut damaged. Replaced content is kept in `aside`.
    /// Call this only while no process of the task runs.
    pub async fn restore_torn_files(&self, work: Work, aside: PathBuf) -> Result<Compared, SnapshotError> {
        let Some(head) = self.mirror.resolve_branch(&self.branch).await? else { return Ok(Compared::default()) };
        let staging = Staging::from_commit(self, &head).await?;
        let differing = staging.differing_files().await?;
        if differing.is_empty() {
            staging.discard()?;
            return Ok(Compared::default());
        }
        let trash = admin::trash(self.mirror.path());
        fs_err::create_dir_all(&trash)?;
        let committed = tempfile::Builder::new().prefix("committed-").tempdir_in(trash)?;
        let mut prefix = committed.path().as_os_str().to_owned();
        prefix.push("/");
        let names: Vec<u8> = differing.iter().flat_map(|path| path.iter().copied().chain([0])).collect();
        let mut option = std::ffi::OsString::from("--prefix=");
        option.push(&prefix);
        let command = staging.command().args(["checkout-index", "--force", "-z", "--stdin"]).arg(option);
        command.stdin(Stdin::Bytes(names)).run_ok().await?;
        staging.discard()?;
        let tree = self.tree.clone();
        let compared = tokio::task::spawn_blocking(move || {
            let mut compared = Compared::default();
            for path in &differing {
                compared.look(&tree, committed.path(), Path::new(OsStr::from_bytes(path)), work, &aside)?;
            }
            io::Result::Ok(compared)
        });
        Ok(compared.await.map_err(io::Error::other)??)
    }
}

impl Compared {
    fn look(&mut self, tree: &Path, committed: &Path, path: &Path, work: Work, aside: &Path) -> io::Result<()> {
        let name = path.to_string_lossy().into_owned();
        let whole = committed.join(path);
        let state = match state(tree, path, &whole) {
            Ok(state) => state,
            // The file is missing, is now a folder or a link, or is below a link. A power cut does not cause this.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => State::Edited,
            Err(error) => {
                self.failed.push(format!("{name} ({})", io::Error::from(error)));
                return Ok(());
            }
        };
        match (state, work) {
            (State::Edited, Work::Committed) => self.edited.push(name),
            (State::Edited | State::Shorter, Work::Uncommitted) => {}
            (State::Blank | State::Shorter, _) if is_pointer(&whole)? => {
                self.failed.push(format!("{name} (its large file is not on this machine)"));
            }
            (state @ (State::Blank | State::Shorter), _) => {
                let keep = (state == State::Shorter).then(|| aside.join(path));
                match restore(tree, path, &whole, keep.as_deref()) {
                    Ok(()) => {
                        self.restored.push(name);
                        self.replaced = self.replaced.take().or(keep.map(|_| aside.to_owned()));
                    }
                    Err(error) => self.failed.push(format!("{name} ({error})")),
                }
            }
        }
        Ok(())
    }
}

/// Opens the parent folder of a path without following links.
fn folder_of(tree: &Path, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut folder = openat(CWD, tree, flags, Mode::empty())?;
    for name in path.parent().into_iter().flat_map(Path::components) {
        folder = openat(&folder, name.as_os_str(), flags, Mode::empty())?;
    }
    Ok(folder)
}

fn name_of(path: &Path) -> Result<&OsStr, Errno> {
    path.file_name().ok_or(Errno::INVAL)
}

fn state(tree: &Path, path: &Path, whole: &Path) -> Result<State, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(folder_of(tree, path)?, name_of(path)?, flags, Mode::empty())?;
    let found = fstat(&file)?;
    let expected = std::fs::symlink_metadata(whole).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let length = u64::try_from(found.st_size).unwrap_or_default();
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile || !expected.is_file() || length > expected.len() {
        return Ok(State::Edited);
    }
    let is_blank = has_only_zeros(file.into()).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(match (is_blank, length < expected.len()) {
        (true, _) if expected.len() > 0 => State::Blank,
        (false, true) => State::Shorter,
        (true | false, _) => State::Edited,
    })
}

/// Whether a file is empty or contains only zeros.
fn has_only_zeros(mut file: File) -> io::Result<bool> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(true);
        }
        if buffer[..read].iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
    }
}

fn is_pointer(path: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    fs_err::File::open(path)?.take(LFS_POINTER.len() as u64).read_to_end(&mut start)?;
    Ok(start == LFS_POINTER)
}

/// Moves the complete file into place and syncs it.
fn restore(tree: &Path, path: &Path, whole: &Path, keep: Option<&Path>) -> io::Result<()> {
    let (folder, name) = (folder_of(tree, path)?, name_of(path)?);
    durable::sync_file(whole)?;
    if let Some(keep) = keep {
        durable::create_folder(keep.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
        renameat(&folder, name, CWD, keep)?;
    }
    renameat(CWD, whole, &folder, name)?;
    Ok(fsync(folder)?)
}
