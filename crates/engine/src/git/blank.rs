//! Files of a mirror that a power cut has left empty or filled with zeros: loose objects, refs and large files.
//!
//! Ours are on the disk before a record names them, but an agent on the host uses its own git, which syncs neither. Such a file says
//! nothing, and git and git-lfs stop at it: without it they fetch or write the content again. For the start of a server, before
//! anything else uses the mirror. Invariant: a file with anything in it stays.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use model::ids::ObjectId;

use super::mirror::Mirror;
use super::program::{Place, branch_ref};
use crate::exec::RunProgramError;

/// As much of a large file as is read: a file system writes at least this much at once, or nothing.
const BLOCK: u64 = 512;

impl Mirror {
    /// Removes what a power cut has left without content, and says which files those were.
    pub async fn remove_blank_files(&self) -> io::Result<Vec<PathBuf>> {
        let mirror = self.path().to_owned();
        let removed = tokio::task::spawn_blocking(move || {
            let mut removed = Vec::new();
            for folder in ["refs", "lfs/objects"] {
                remove_blank(&mirror.join(folder), &mut removed)?;
            }
            for entry in fs_err::read_dir(mirror.join("objects"))? {
                let entry = entry?;
                // Packs are synced by git, and have a checksum.
                if entry.file_name().len() == 2 && entry.file_type()?.is_dir() {
                    remove_blank(&entry.path(), &mut removed)?;
                }
            }
            io::Result::Ok(removed)
        });
        removed.await.map_err(io::Error::other)?
    }

    /// Makes sure that a task's branch is there: one whose ref was lost stands again where the task's record says.
    pub async fn ensure_branch(&self, branch: &str, tip: &ObjectId) -> Result<(), RunProgramError> {
        if self.resolve_branch(branch).await?.is_some() {
            return Ok(());
        }
        tracing::warn!(branch, %tip, "a task's branch was lost; restored from the task's record");
        let command = self.git().command(Place::Mirror(self.path())).arg("update-ref");
        let command = command.args(["-m", "codex-orchestrator: restored from the task's record"]);
        command.args([branch_ref(branch).as_str(), tip.as_str()]).run_ok().await.map(drop)
    }
}

fn remove_blank(folder: &Path, removed: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries = match fs_err::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            remove_blank(&entry.path(), removed)?;
        } else if kind.is_file() && !is_being_written(&entry.path()) && is_blank(&entry.path())? {
            fs_err::remove_file(entry.path())?;
            removed.push(entry.path());
        }
    }
    Ok(())
}

/// Git's own name for a file that it has not finished: an agent may be at work by now.
fn is_being_written(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().as_encoded_bytes();
    name.starts_with(b"tmp_") || name.ends_with(b".lock")
}

fn is_blank(file: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    fs_err::File::open(file)?.take(BLOCK).read_to_end(&mut start)?;
    Ok(start.iter().all(|&byte| byte == 0))
}
