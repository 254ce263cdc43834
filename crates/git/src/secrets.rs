//! Finds the values of secrets in files of a worktree, and in the objects of commits that an agent made.
//!
//! An agent wrote everything that is searched. Invariant: no link is followed, opening a file never waits, and a file that cannot be
//! read counts as one with a secret.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use model::commit::{FileState, FoundFile};
use model::ids::ObjectId;
use model::untrusted::{COMMIT_LIMIT_BYTES, FILE_LIMIT_BYTES, LFS_FILE_LIMIT_BYTES, LFS_LIMIT_BYTES};
use process::{CommandSpec, RunProgramError, Stdin, Stdout};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, openat, readlinkat, statat};
use secret_forms::SecretSearch;

use super::import_error::ImportError;
use super::plain_file::{as_path, is_below_a_link};
use super::program::LONG;

/// How many bytes of files are searched: as many as a commit may contain. Further files count as ones with a secret.
const SEARCHED_BYTES: u64 = COMMIT_LIMIT_BYTES + LFS_LIMIT_BYTES;

/// How much longer than its message a commit of the server may be, in bytes.
const HEADER_BYTES: usize = 64 * 1024;

/// Returns the paths of the files that contain a secret, or whose names do. Files that are too large for a commit are not searched.
pub(super) fn files_with_secrets(search: &SecretSearch, worktree: &Path, files: &[&FoundFile]) -> io::Result<BTreeSet<Vec<u8>>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = openat(CWD, worktree, flags, Mode::empty())?;
    let mut files = files.to_vec();
    // Few large files do not keep the others from being searched.
    files.sort_by_key(|file| file.size);
    let mut left = SEARCHED_BYTES;
    let mut found = BTreeSet::new();
    for file in files {
        if search.in_bytes(&file.path).is_some() || has_secret(search, &root, file, &mut left).unwrap_or(true) {
            found.insert(file.path.clone());
        }
    }
    Ok(found)
}

/// Searches a file, and subtracts its size from the number of bytes that are left.
fn has_secret(search: &SecretSearch, root: &OwnedFd, file: &FoundFile, left: &mut u64) -> io::Result<bool> {
    let path = file.path.as_slice();
    if is_below_a_link(root, path) {
        // Git does not commit what is behind a link.
        return Ok(false);
    }
    let found = statat(root, as_path(path), AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::Symlink => Ok(search.in_bytes(readlinkat(root, as_path(path), Vec::new())?.as_bytes()).is_some()),
        FileType::RegularFile => {
            let size = u64::try_from(found.st_size).unwrap_or(u64::MAX);
            if size > if file.state == FileState::Large { LFS_FILE_LIMIT_BYTES } else { FILE_LIMIT_BYTES } {
                return Ok(false);
            }
            let Some(rest) = left.checked_sub(size) else { return Ok(true) };
            *left = rest;
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            let file = File::from(openat(root.as_fd(), as_path(path), flags, Mode::empty())?);
            Ok(search.in_stream(BufReader::new(file).take(size))?.is_some())
        }
        _ => Ok(false),
    }
}

/// Searches the objects of `head` that no ref has, except for the message of the server's own commit. Returns the name of the first
/// secret. `git` creates a command that finds the objects. `folder` has room for a list of them, which can be long.
pub(super) async fn secret_in_new_objects<'a>(
    search: &SecretSearch,
    git: impl Fn() -> CommandSpec<'a>,
    head: &ObjectId,
    own_message: &str,
    folder: &Path,
) -> Result<Option<String>, ImportError> {
    let mut list = tempfile::tempfile_in(folder)?;
    let listed = git().args(["rev-list", "--objects", "--no-object-names", head.as_str(), "--not", "--all"]);
    listed.stdout(Stdout::File(list.try_clone()?)).deadline(LONG).run_ok().await?;
    list.rewind()?;
    if let Some(header) = header_of_own(&git, head, own_message).await? {
        if let Some(secret) = search.in_bytes(header.as_bytes()) {
            return Ok(Some(secret.to_owned()));
        }
        // The list starts with the commit, because it is the only one that git starts from.
        let mut first = vec![0; head.as_str().len() + 1];
        list.read_exact(&mut first)?;
        if first != format!("{head}\n").as_bytes() {
            list.rewind()?;
        }
    }
    let (output, input) = io::pipe()?;
    let search = search.clone();
    let searching =
        tokio::task::spawn_blocking(move || Ok::<_, io::Error>(search.in_stream(BufReader::new(output))?.map(str::to_owned)));
    let read = git().args(["cat-file", "--batch", "--buffer"]).stdin(Stdin::File(list));
    let read = read.stdout(Stdout::File(OwnedFd::from(input).into())).deadline(LONG).run_ok().await;
    match searching.await.map_err(io::Error::other)?? {
        // The search ends at the first value, so git may have failed to write the rest.
        Some(secret) => Ok(Some(secret)),
        None => Ok(read.map(|_| None)?),
    }
}

/// Returns what precedes the message of a commit, if the server wrote the message.
async fn header_of_own<'a>(
    git: impl Fn() -> CommandSpec<'a>,
    commit: &ObjectId,
    message: &str,
) -> Result<Option<String>, RunProgramError> {
    let max = message.len() + HEADER_BYTES;
    match git().args(["cat-file", "commit", commit.as_str()]).stdout(Stdout::Capture { max }).run_ok().await {
        Ok(found) => {
            let text = found.text();
            Ok(text.split_once("\n\n").filter(|(_, said)| *said == message).map(|(header, _)| header.to_owned()))
        }
        // It has a longer message.
        Err(RunProgramError::OutputTooLarge { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use secret_forms::Parts;

    use super::*;

    #[test]
    fn names_are_searched_and_what_no_commit_can_contain_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let search = SecretSearch::new([("TOKEN", "placed-secret")], Parts::Lines).expect("a long value");
        let write = |name: &str, content: &str| fs_err::write(folder.path().join(name), content).expect("writable");
        write("with", "a placed-secret");
        write("without", "nothing");
        write("named-placed-secret", "nothing");
        write("huge", "a placed-secret");
        let huge = fs_err::File::options().write(true).open(folder.path().join("huge")).expect("there");
        huge.set_len(3 << 40).expect("a sparse file");
        let file = |name: &str| FoundFile { path: name.as_bytes().to_vec(), size: 1, state: FileState::New };
        let files = ["with", "without", "named-placed-secret", "huge", "gone"].map(file);
        let found = files_with_secrets(&search, folder.path(), &files.iter().collect::<Vec<_>>()).expect("searched");
        let expect = ["gone", "named-placed-secret", "with"].map(|name| name.as_bytes().to_vec());
        assert_eq!(found.into_iter().collect::<Vec<_>>(), expect);
    }

    #[test]
    fn files_beyond_what_a_commit_may_contain_count_as_ones_with_a_secret() {
        let folder = tempfile::tempdir().expect("a folder");
        fs_err::write(folder.path().join("a"), "nothing").expect("writable");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, folder.path(), flags, Mode::empty()).expect("a folder");
        let search = SecretSearch::new([("TOKEN", "placed-secret")], Parts::Lines).expect("a long value");
        let file = FoundFile { path: b"a".to_vec(), size: 7, state: FileState::New };
        let mut left = 10;
        assert!(!has_secret(&search, &root, &file, &mut left).expect("searched"));
        assert_eq!(left, 3);
        assert!(has_secret(&search, &root, &file, &mut left).expect("not searched"));
    }
}
