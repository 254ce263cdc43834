//! The files that a mirror keeps about each of its worktrees, below `<mirror>/worktrees/`.
//!
//! These files are trusted. The `.git` file in the worktree is not trusted, and only this module writes it. A worktree's files
//! are found by the path that they name. An agent without a container can write here, so only regular files are opened.
//! Invariant: the files about a worktree disappear in one step, because git fails on incomplete ones.

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use durable::write_atomically;
use model::ids::ObjectId;

use super::plain_file::plain_file;
use super::program::with_suffix;

/// Marks a worktree as completely checked out, and names its start commit.
pub(super) const READY: &str = "codex-orchestrator-ready";

/// The folder in which git keeps the files about worktrees.
const WORKTREES: &str = "worktrees";

/// Files that an unfinished merge, rebase, cherry-pick, revert or bisection leaves.
const UNFINISHED: [&str; 18] = [
    "MERGE_HEAD",
    "MERGE_MSG",
    "MERGE_MODE",
    "MERGE_RR",
    "AUTO_MERGE",
    "SQUASH_MSG",
    "CHERRY_PICK_HEAD",
    "REVERT_HEAD",
    "REBASE_HEAD",
    "rebase-merge",
    "rebase-apply",
    "sequencer",
    "BISECT_LOG",
    "BISECT_START",
    "BISECT_TERMS",
    "BISECT_NAMES",
    "BISECT_EXPECTED_REV",
    "refs/bisect",
];

/// The files that show that such an operation is in progress.
const BEGUN: [&str; 6] = ["MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply", "BISECT_START"];

/// Returns the path as git writes it: with its parent folder resolved, but not the last component.
pub(super) fn real_path(tree: &Path) -> io::Result<PathBuf> {
    let name = tree.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let parent = tree.parent().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(fs_err::canonicalize(parent)?.join(name))
}

/// Finds the files about the worktree at this real path.
pub(super) fn find(mirror: &Path, tree: &Path) -> io::Result<Option<PathBuf>> {
    let wanted = tree.join(".git");
    for admin in all(mirror)? {
        if read_line(&admin.join("gitdir"))?.is_some_and(|line| Path::new(&line) == wanted) {
            return Ok(Some(admin));
        }
    }
    Ok(None)
}

/// Returns the refs that are checked out in worktrees.
pub(super) fn refs_stood_on(mirror: &Path) -> io::Result<Vec<String>> {
    let mut refs = Vec::new();
    for admin in all(mirror)? {
        let head = read_line(&admin.join("HEAD"))?.and_then(|head| head.into_string().ok());
        refs.extend(head.as_deref().and_then(|head| head.strip_prefix("ref: ")).map(str::to_owned));
    }
    refs.sort();
    refs.dedup();
    Ok(refs)
}

/// Returns the folders with the files about each worktree.
pub(super) fn all(mirror: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs_err::read_dir(mirror.join(WORKTREES)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// The maximum size of a file that this module reads, in bytes.
const READ_LIMIT_BYTES: u64 = 4 << 20;

/// Reads a regular file. Anything else with that name, such as a link or a FIFO, counts as missing.
pub(super) fn read(file: &Path) -> io::Result<Option<Vec<u8>>> {
    // A regular file in the place of a folder also counts as missing.
    let Some(opened) = plain_file(file)? else { return Ok(None) };
    let mut bytes = Vec::new();
    opened.take(READ_LIMIT_BYTES).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Reads the first line of a file, if the file exists.
fn read_line(file: &Path) -> io::Result<Option<OsString>> {
    Ok(read(file)?.map(|mut bytes| {
        bytes.truncate(bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len()));
        OsString::from_vec(bytes)
    }))
}

/// Makes sure that HEAD is a regular file. Anything else is moved aside, and HEAD points to the branch again.
pub(super) fn ensure_head(admin: &Path, branch_ref: &str) -> io::Result<()> {
    let head = admin.join("HEAD");
    match fs_err::symlink_metadata(&head) {
        Ok(found) if found.is_file() => return Ok(()),
        Ok(_) => fs_err::rename(&head, durable::free_name(&with_suffix(&head, ".aside"))?)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    write_atomically(&head, format!("ref: {branch_ref}\n").as_bytes())
}

/// Returns the commit that a complete worktree was created from, or `None` if the worktree is incomplete.
pub(super) fn ready(admin: &Path) -> io::Result<Option<ObjectId>> {
    let line = read_line(&admin.join(READY))?;
    Ok(line.and_then(|line| line.to_str()?.parse().ok()))
}

/// Whether a file is missing, empty, or starts with a zero byte, which no small file of git does.
pub(super) fn is_blank(file: &Path) -> io::Result<bool> {
    if fs_err::symlink_metadata(file).is_err_and(|error| error.kind() == io::ErrorKind::NotADirectory) {
        return Ok(false);
    }
    Ok(read(file)?.is_none_or(|bytes| bytes.trim_ascii().is_empty() || bytes.starts_with(&[0])))
}

/// Whether the first line of a file is `text`.
pub(super) fn names(file: &Path, text: &str) -> io::Result<bool> {
    Ok(read_line(file)?.is_some_and(|line| line == text))
}

/// Marks a worktree as complete. This is the last step of its creation.
pub(super) fn mark_ready(admin: &Path, base: &ObjectId) -> io::Result<()> {
    write_atomically(&admin.join(READY), format!("{base}\n").as_bytes())
}

/// Stores a list of texts about a worktree.
pub(super) fn put_list(admin: &Path, name: &str, texts: &[String]) -> io::Result<()> {
    write_atomically(&admin.join(name), &serde_json::to_vec(texts)?)
}

/// Reads a stored list. Returns an empty list if there is none.
pub(super) fn list(admin: &Path, name: &str) -> io::Result<Vec<String>> {
    match read(&admin.join(name))? {
        // A power cut may have emptied the file.
        Some(bytes) if !bytes.is_empty() => Ok(serde_json::from_slice(&bytes)?),
        Some(_) | None => Ok(Vec::new()),
    }
}

/// Reads HEAD of the worktree, such as `ref: refs/heads/main`.
pub(super) fn head(admin: &Path) -> io::Result<String> {
    Ok(read_line(&admin.join("HEAD"))?.unwrap_or_default().to_string_lossy().into_owned())
}

/// Returns git's name of the operation that a person or an agent started in the worktree and did not finish.
pub(super) fn begun(admin: &Path) -> Option<&'static str> {
    BEGUN.into_iter().find(|name| fs_err::symlink_metadata(admin.join(name)).is_ok())
}

/// Returns the commits that an unfinished merge brings in, as they appear in `MERGE_HEAD`.
pub(super) fn merge_heads(admin: &Path) -> io::Result<Vec<String>> {
    let heads = read(&admin.join("MERGE_HEAD"))?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&heads).lines().map(str::to_owned).collect())
}

/// Removes files that a killed git or an unfinished operation left behind. Call this only while no process of the task runs.
pub(super) fn clear_unfinished(admin: &Path) -> io::Result<()> {
    for name in UNFINISHED {
        let path = admin.join(name);
        let removed = if path.is_dir() { fs_err::remove_dir_all(&path) } else { fs_err::remove_file(&path) };
        ignore_missing(removed)?;
    }
    Ok(())
}

/// Removes the lock files of a worktree and its branch. Call this only while no process of the task runs.
pub(super) fn clear_locks(mirror: &Path, admin: &Path, branch: &str) -> io::Result<()> {
    for entry in fs_err::read_dir(admin)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "lock") {
            ignore_missing(fs_err::remove_file(path))?;
        }
    }
    clear_branch_lock(mirror, branch)
}

/// Removes the lock file of a task's branch. Call this only while no process of the task runs.
pub(super) fn clear_branch_lock(mirror: &Path, branch: &str) -> io::Result<()> {
    ignore_missing(fs_err::remove_file(mirror.join("refs/heads").join(format!("{branch}.lock"))))
}

/// Turns the error for a missing file into success.
pub(super) fn ignore_missing(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// The folder for discarded files about worktrees.
pub(super) fn trash(mirror: &Path) -> PathBuf {
    mirror.join("codex-orchestrator-trash")
}

/// Moves the files about a worktree to the trash in one step, and returns their new path. The caller must delete or move them.
pub(super) fn discard(mirror: &Path, admin: &Path) -> io::Result<PathBuf> {
    let trash = trash(mirror);
    fs_err::create_dir_all(&trash)?;
    let name = admin.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let discarded = durable::free_name(&trash.join(name))?;
    fs_err::rename(admin, &discarded)?;
    Ok(discarded)
}

/// Moves discarded files about a worktree back in one step, under any free name.
pub(super) fn adopt(mirror: &Path, discarded: &Path) -> io::Result<()> {
    let worktrees = mirror.join(WORKTREES);
    fs_err::create_dir_all(&worktrees)?;
    fs_err::rename(discarded, durable::free_name(&worktrees.join("restored"))?)
}

/// Makes sure that the worktree's `.git` is a file that points to `admin`. Anything else with that name is moved next to the
/// worktree.
pub(super) fn restore_link(admin: &Path, tree: &Path) -> io::Result<()> {
    let link = tree.join(".git");
    let right = [b"gitdir: ", admin.as_os_str().as_bytes(), b"\n"].concat();
    match fs_err::symlink_metadata(&link) {
        Ok(found) if found.is_file() && read(&link)?.is_some_and(|is| is == right) => return Ok(()),
        Ok(_) => {
            let aside = durable::free_name(&with_suffix(tree, ".replaced-git"))?;
            tracing::warn!(from = %link.display(), to = %aside.display(), "the worktree's `.git` was replaced; moved it aside");
            fs_err::rename(&link, aside)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    fs_err::write(link, right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror_with(worktrees: &[(&str, &str, &str)]) -> tempfile::TempDir {
        let mirror = tempfile::tempdir().expect("a folder");
        for (name, tree, head) in worktrees {
            let admin = mirror.path().join(WORKTREES).join(name);
            fs_err::create_dir_all(&admin).expect("a folder");
            fs_err::write(admin.join("gitdir"), format!("{tree}/.git\n")).expect("a file");
            fs_err::write(admin.join("HEAD"), format!("{head}\n")).expect("a file");
        }
        mirror
    }

    #[test]
    fn an_administration_is_found_by_the_path_it_names() {
        let mirror = mirror_with(&[("worktree", "/t/a/worktree", "x"), ("worktree1", "/t/b/worktree", "x")]);
        fs_err::write(mirror.path().join("worktrees/stray"), "a file").expect("a file");
        let found = |tree: &str| find(mirror.path(), Path::new(tree)).expect("the mirror is readable");
        assert_eq!(found("/t/b/worktree"), Some(mirror.path().join("worktrees/worktree1")));
        assert_eq!(found("/t/c/worktree"), None);
        assert_eq!(find(&mirror.path().join("nothing"), Path::new("/t")).expect("a missing mirror has no worktrees"), None);
    }

    #[test]
    fn the_refs_that_worktrees_stand_on_are_told_once() {
        let detached = "a".repeat(40);
        let worktrees =
            [("a", "/a", "ref: refs/heads/main"), ("b", "/b", "ref: refs/heads/main"), ("c", "/c", detached.as_str())];
        let mirror = mirror_with(&worktrees);
        assert_eq!(refs_stood_on(mirror.path()).expect("the mirror is readable"), ["refs/heads/main"]);
    }

    #[test]
    fn a_discarded_administration_is_gone_in_one_step() {
        let mirror = mirror_with(&[("worktree", "/a", "x")]);
        for _ in 0..2 {
            let admin = mirror.path().join("worktrees/worktree");
            fs_err::create_dir_all(&admin).expect("a folder");
            let discarded = discard(mirror.path(), &admin).expect("the files are moved to the trash");
            assert!(!admin.exists() && discarded.starts_with(trash(mirror.path())));
        }
        assert_eq!(fs_err::read_dir(trash(mirror.path())).expect("the trash exists").count(), 2);
    }

    #[test]
    fn a_replaced_link_is_put_aside_and_made_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let (admin, tree) = (Path::new("/m/worktrees/w"), folder.path().join("worktree"));
        fs_err::create_dir_all(tree.join(".git/refs")).expect("the agent's own repository is created");
        let link = || fs_err::read_to_string(tree.join(".git")).expect("a file");
        restore_link(admin, &tree).expect("the link is written");
        assert_eq!(link(), "gitdir: /m/worktrees/w\n");
        assert!(folder.path().join("worktree.replaced-git/refs").is_dir(), "the agent's repository was moved aside");
        fs_err::remove_file(tree.join(".git")).expect("it exists");
        std::os::unix::fs::symlink("/etc/passwd", tree.join(".git")).expect("a link");
        restore_link(admin, &tree).expect("the link is written");
        restore_link(admin, &tree).expect("a correct link is accepted");
        assert_eq!(link(), "gitdir: /m/worktrees/w\n");
        assert!(folder.path().join("worktree.replaced-git-1").is_symlink());
    }

    #[test]
    fn readiness_is_written_down_with_the_base() {
        let admin = tempfile::tempdir().expect("a folder");
        let base: ObjectId = "b".repeat(40).parse().expect("an id");
        assert_eq!(ready(admin.path()).expect("the file is readable"), None);
        mark_ready(admin.path(), &base).expect("the file is written");
        assert_eq!(ready(admin.path()).expect("the file is readable"), Some(base));
    }
}
