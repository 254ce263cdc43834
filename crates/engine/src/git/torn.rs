//! After a power cut: files of a worktree that are empty or incomplete although its commit has them whole.
//!
//! Nobody syncs a worktree as a whole, and its index looks clean even if a file has lost its content. So every file is compared with
//! the commit. Restored is only what a power cut leaves: a file that is empty, filled with zeros, or, once the work is committed,
//! shorter than the commit's version. Any other difference is somebody's edit, and stays. The worktree is an agent's: no link is
//! followed on the way to a file. Invariant: content that is replaced is kept, unless it was nothing but zeros.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, fsync, openat, renameat};
use rustix::io::Errno;

use super::admin;
use super::snapshot::SnapshotError;
use super::staging::Staging;
use super::worktree::Worktree;
use crate::durable;
use crate::exec::Stdin;
use crate::store::atomic::write_atomically;

/// Names the unclean stop after which a worktree was last compared with its commit.
const CHECKED: &str = "codex-orchestrator-checked";

/// How a file begins that stands for a large one.
const LFS_POINTER: &[u8] = b"version https://git-lfs";

/// Whether the work in the worktree is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A run has ended, and its commit has everything.
    Committed,
    /// A run was cut off: what it wrote is only in the worktree.
    Uncommitted,
}

/// What was found in a worktree. Paths are those of the commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    /// Files that were restored from the commit.
    pub restored: Vec<String>,
    /// Where the content of restored files is kept, if any of it was more than zeros.
    pub replaced: Option<PathBuf>,
    /// Files that differ from the commit and were left as they are. Not looked for while work is uncommitted.
    pub edited: Vec<String>,
    /// Files that are damaged and could not be restored, each with the reason.
    pub failed: Vec<String>,
}

/// What a file of the worktree is, beside the commit's version of it.
#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Empty, or nothing but zeros.
    Blank,
    Shorter,
    Edited,
}

impl Worktree {
    /// Whether the worktree was compared with its commit after this unclean stop.
    pub fn is_checked_after(&self, stop: &str) -> io::Result<bool> {
        admin::names(&self.admin.join(CHECKED), stop)
    }

    /// Writes down that it was.
    pub fn mark_checked_after(&self, stop: &str) -> io::Result<()> {
        write_atomically(&self.admin.join(CHECKED), format!("{stop}\n").as_bytes())
    }

    /// Compares every file with the branch, and restores those that a power cut has damaged. What is replaced is kept in `aside`.
    /// For when no process of the task runs.
    pub async fn restore_torn_files(&self, work: Work, aside: PathBuf) -> Result<Compared, SnapshotError> {
        let Some(head) = self.mirror.resolve_branch(&self.branch).await? else { return Ok(Compared::default()) };
        let staging = Staging::from_commit(self, &head).await?;
        let differing = staging.differing_files().await?;
        if differing.is_empty() {
            staging.discard()?;
            return Ok(Compared::default());
        }
        let place = admin::trash(self.mirror.path());
        fs_err::create_dir_all(&place)?;
        let committed = tempfile::Builder::new().prefix("committed-").tempdir_in(place)?;
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
            // Missing, a folder or a link now, or below a link: not what a power cut leaves of a file.
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

/// Opens the folder that a path is in, following no link.
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

/// An empty file has nothing else either.
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

/// Moves the whole file into place. It is on the disk afterwards.
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
