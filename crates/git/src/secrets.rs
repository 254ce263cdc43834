//! Finds the values of secrets in files of a worktree, and in the objects of commits that an agent made.
//!
//! An agent wrote everything that is searched. Invariant: no link is followed, opening a file never waits, and a file that cannot be
//! read counts as one with a secret.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use model::commit::FoundFile;
use model::ids::ObjectId;
use process::{CommandSpec, Stdin, Stdout};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, openat, readlinkat, statat};
use secret_forms::SecretSearch;

use super::import_error::ImportError;
use super::plain_file::{as_path, is_below_a_link};
use super::program::LONG;

/// The maximum size of a list of objects in bytes. An import with more of them is too large in any case.
const LIST_LIMIT_BYTES: usize = 512 << 20;

/// Returns the paths of the files that contain a secret.
pub(super) fn files_with_secrets(search: &SecretSearch, worktree: &Path, files: &[&FoundFile]) -> io::Result<BTreeSet<Vec<u8>>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = openat(CWD, worktree, flags, Mode::empty())?;
    let has_secret = |path: &[u8]| has_secret(search, &root, path).unwrap_or(true);
    Ok(files.iter().map(|file| &file.path).filter(|path| has_secret(path)).cloned().collect())
}

fn has_secret(search: &SecretSearch, root: &OwnedFd, path: &[u8]) -> io::Result<bool> {
    if is_below_a_link(root, path) {
        // Git does not commit what is behind a link.
        return Ok(false);
    }
    let found = statat(root, as_path(path), AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::Symlink => Ok(search.in_bytes(readlinkat(root, as_path(path), Vec::new())?.as_bytes()).is_some()),
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            let file = File::from(openat(root.as_fd(), as_path(path), flags, Mode::empty())?);
            Ok(search.in_stream(BufReader::new(file))?.is_some())
        }
        _ => Ok(false),
    }
}

/// Searches the objects of `head` that no ref has, except for the message of the server's own commit. Returns the name of the first
/// secret. `git` creates a command that finds the objects.
pub(super) async fn secret_in_new_objects<'a>(
    search: &SecretSearch,
    git: impl Fn() -> CommandSpec<'a>,
    head: &ObjectId,
    own_message: &str,
) -> Result<Option<String>, ImportError> {
    let captured = || Stdout::Capture { max: LIST_LIMIT_BYTES };
    let list = git().args(["rev-list", "--objects", "--no-object-names", head.as_str(), "--not", "--all"]);
    let list = list.stdout(captured()).deadline(LONG).run_ok().await?.text();
    let commit = git().args(["cat-file", "commit", head.as_str()]).stdout(captured()).run_ok().await?.text();
    let is_own = commit.split_once("\n\n").is_some_and(|(_, message)| message == own_message);
    let objects: String = list.lines().filter(|id| !is_own || *id != head.as_str()).flat_map(|id| [id, "\n"]).collect();
    let (output, input) = io::pipe()?;
    let search = search.clone();
    let searching =
        tokio::task::spawn_blocking(move || Ok::<_, io::Error>(search.in_stream(BufReader::new(output))?.map(str::to_owned)));
    let read = git().args(["cat-file", "--batch", "--buffer"]).stdin(Stdin::Bytes(objects.into_bytes()));
    let read = read.stdout(Stdout::File(OwnedFd::from(input).into())).deadline(LONG).run_ok().await;
    match searching.await.map_err(io::Error::other)?? {
        // The search ends at the first value, so git may have failed to write the rest.
        Some(secret) => Ok(Some(secret)),
        None => Ok(read.map(|_| None)?),
    }
}
