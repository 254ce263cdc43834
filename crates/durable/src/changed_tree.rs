//! Finds what changed in a large folder tree since it was last synced, and syncs only that.
//!
//! It compares the modification times of folders. If a folder may change again without a new time, it is looked at again.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::sync::{sync_file_if_there, sync_file_system, sync_folder};

/// If more folders than this have changed, one `syncfs` syncs them all. A commit of 100 files can create as many object
/// folders.
const MANY_FOLDERS: usize = 32;

/// A folder that changed more recently than this may change again without a new modification time: old file systems store times
/// in steps of one or two seconds.
const COARSEST_STEP: Duration = Duration::from_secs(2);

/// Like [`COARSEST_STEP`], for file systems that store nanoseconds: their clock advances with every tick of the kernel.
const TICK: Duration = Duration::from_millis(20);

/// A folder tree whose changes since the last sync can be synced separately. This works for a mirror, because git writes new
/// files there and renames them into place, but never changes an existing file.
#[derive(Debug, Default)]
pub struct ChangedTree {
    /// The folders as of the last sync. `None` before the first sync, which covers the whole file system.
    known: Mutex<Option<HashMap<PathBuf, SyncedFolder>>>,
}

/// The state of a folder when it was last synced.
#[derive(Debug, Clone)]
struct SyncedFolder {
    changed: SystemTime,
    /// Whether another change would set a different modification time.
    is_settled: bool,
    folders: Vec<PathBuf>,
}

impl ChangedTree {
    /// Syncs everything below `root` that changed, except folders for which `skip` returns true.
    pub fn sync(&self, root: &Path, skip: impl Fn(&Path) -> bool) -> io::Result<()> {
        // Only one sync runs at a time. After the wait there is usually little left to do.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = known.is_none();
        let before = known.take().unwrap_or_default();
        let mut after = HashMap::with_capacity(before.len());
        let mut changed = Vec::new();
        look(root, &before, &skip, &mut after, &mut changed)?;
        if is_first || changed.len() > MANY_FOLDERS {
            sync_file_system(root)?;
        } else {
            // Start with the deepest folders, so that a name is synced after the file or folder that it refers to.
            for folder in changed.iter().rev() {
                let since = before.get(folder).and_then(|known| known.changed.checked_sub(COARSEST_STEP));
                sync_changed_files(folder, since)?;
                sync_folder_if_there(folder)?;
            }
        }
        *known = Some(after);
        Ok(())
    }
}

/// Collects the changed folders, parents first, and the new state of all folders.
fn look(
    folder: &Path,
    before: &HashMap<PathBuf, SyncedFolder>,
    skip: &impl Fn(&Path) -> bool,
    after: &mut HashMap<PathBuf, SyncedFolder>,
    changed: &mut Vec<PathBuf>,
) -> io::Result<()> {
    let found = match fs_err::symlink_metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?.modified()?,
    };
    let folders = if let Some(known) = before.get(folder).filter(|known| known.is_settled && known.changed == found) {
        known.folders.clone()
    } else {
        changed.push(folder.to_owned());
        folders_in(folder, skip)?
    };
    for below in &folders {
        look(below, before, skip, after, changed)?;
    }
    after.insert(folder.to_owned(), SyncedFolder { changed: found, is_settled: is_settled(found), folders });
    Ok(())
}

/// Whether this modification time is so long ago that another change would set a different one.
#[expect(clippy::disallowed_methods, reason = "the time is compared with times from the file system")]
fn is_settled(changed: SystemTime) -> bool {
    let since_1970 = changed.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let step = if since_1970.subsec_nanos() == 0 { COARSEST_STEP } else { TICK };
    SystemTime::now().duration_since(changed).is_ok_and(|age| age > step)
}

fn folders_in(folder: &Path, skip: &impl Fn(&Path) -> bool) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in entries(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && !skip(&entry.path()) {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

/// Syncs the regular files in a folder that changed since a time, or all of them.
fn sync_changed_files(folder: &Path, since: Option<SystemTime>) -> io::Result<()> {
    for entry in entries(folder)? {
        let entry = entry?;
        // Files whose names start with `tmp_` are incomplete. Git syncs them before it renames them.
        if !entry.file_type()?.is_file() || entry.file_name().as_encoded_bytes().starts_with(b"tmp_") {
            continue;
        }
        let found = match entry.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            found => found?,
        };
        if since.is_none_or(|since| found.modified().is_ok_and(|changed| changed >= since)) {
            sync_file_if_there(&entry.path())?;
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> io::Result<impl Iterator<Item = io::Result<fs_err::DirEntry>>> {
    match fs_err::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        entries => Ok(Some(entries?).into_iter().flatten()),
    }
}

fn sync_folder_if_there(folder: &Path) -> io::Result<()> {
    match sync_folder(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn only_what_has_changed_is_synced_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let settle = |path: &Path| File::open(path).and_then(|file| file.set_modified(long_ago)).expect("set");
        for name in ["old", "new", "skipped"] {
            std::fs::create_dir(folder.path().join(name)).expect("made");
        }
        for path in [folder.path().join("old"), folder.path().join("new"), folder.path().to_owned()] {
            settle(&path);
        }
        let skip = |path: &Path| path.ends_with("skipped");
        let (mut after, mut changed) = (HashMap::new(), Vec::new());
        look(folder.path(), &HashMap::new(), &skip, &mut after, &mut changed).expect("looked");
        assert_eq!(changed.len(), 3, "all folders except the skipped one have changed: {changed:?}");
        std::fs::write(folder.path().join("new/file"), "x").expect("written");
        let (before, mut changed) = (after, Vec::new());
        look(folder.path(), &before, &skip, &mut HashMap::new(), &mut changed).expect("looked");
        assert_eq!(changed, [folder.path().join("new")]);
    }
}
