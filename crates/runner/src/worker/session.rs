//! Codex's session of a thread: the file that Codex reads to resume the thread, `…/rollout-<time>-<thread>.jsonl` anywhere
//! below `sessions`.
//!
//! The session must be on the disk before a run is recorded as ended. After a power cut, its end may be missing or filled with
//! zeros, so it is cut after the last complete line. Agents write to these folders, so no link is followed, and anything that
//! only has the name of a session is moved aside before Codex opens it. All functions here block.

use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use durable::free_name;
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use model::ids::ThreadId;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

/// Codex sorts sessions into folders by year, month and day.
pub(super) const DEPTH: usize = 4;

/// The maximum size of a session that is resumed, in bytes. Codex reads the whole file.
const SIZE_LIMIT_BYTES: u64 = 1 << 30;

/// The maximum number of entries in the sessions of a task.
const ENTRIES_LIMIT: usize = 100_000;

/// The maximum number of moved files that are listed.
const NAMED_LIMIT: usize = 5;

/// The suffix of a file that was moved aside.
const ASIDE: &str = ".aside";

/// Where Codex stores the sessions of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "folder", rename_all = "snake_case")]
pub enum SessionFolder {
    /// A folder that only this task uses.
    OfTask(PathBuf),
    /// A folder that other tasks or people also use.
    Shared(PathBuf),
}

/// The state of a thread's session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Session {
    /// Codex can resume the session.
    Intact,
    /// The session was intact up to this many bytes, and was cut there.
    Cut(u64),
    /// There is no session, or it has no complete line.
    Missing,
    /// The session belongs to a user whose files this process may not read.
    Unreadable,
}

impl SessionFolder {
    fn path(&self) -> &Path {
        match self {
            Self::OfTask(folder) | Self::Shared(folder) => folder,
        }
    }

    /// Moves aside anything that would block Codex or never end, because it is not a regular file or is too large. In a shared
    /// folder, moves only what has the name of the thread's session. Returns notes for people.
    pub fn secure(&self, thread: Option<ThreadId>) -> io::Result<Vec<String>> {
        let ending = thread.map(|thread| format!("-{thread}.jsonl"));
        let mut odd = Vec::new();
        each_entry(self.path(), &mut |path, kind| {
            let is_session = ending.as_deref().is_some_and(|ending| path.to_string_lossy().ends_with(ending));
            let is_ours = matches!(self, Self::OfTask(_));
            let found = match kind {
                EntryKind::Folder if is_session => Some("a folder"),
                EntryKind::Other if is_session || is_ours => Some("not a regular file"),
                EntryKind::File(size) if size > SIZE_LIMIT_BYTES && (is_session || is_ours) => Some("larger than 1 GiB"),
                EntryKind::Folder | EntryKind::Other | EntryKind::File(_) => None,
            };
            odd.extend(found.map(|what| (path.to_owned(), what)));
        })?;
        let (mut notes, mut moved) = (Vec::new(), 0);
        for (path, what) in &odd {
            let aside = match self.move_aside(path) {
                // The folder that contained it was moved aside before.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                aside => aside?,
            };
            moved += 1;
            if notes.len() < NAMED_LIMIT {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                notes.push(format!("the Codex session `{name}` is {what}; it was moved aside to `{}`", aside.display()));
            }
        }
        if moved > NAMED_LIMIT {
            notes.push(format!("moved aside {} more such files from the Codex sessions", moved - NAMED_LIMIT));
        }
        Ok(notes)
    }

    /// Whether the session of a thread is missing because it was moved aside.
    pub fn is_replaced(&self, thread: ThreadId) -> io::Result<bool> {
        if find(self.path(), thread, DEPTH)?.is_some() {
            return Ok(false);
        }
        let name = format!("-{thread}.jsonl");
        let mut is_replaced = false;
        let mut look = |path: &Path, _: EntryKind| {
            is_replaced |= path.file_name().is_some_and(|found| {
                let found = found.to_string_lossy();
                // In the folder for a task's files that were moved aside, the name is unchanged.
                found.split_once(&name).is_some_and(|(_, rest)| rest.starts_with(ASIDE) || matches!(self, Self::OfTask(_)))
            });
        };
        match self {
            Self::OfTask(_) => each_entry(&self.aside(), &mut look)?,
            Self::Shared(folder) => each_entry(folder, &mut look)?,
        }
        Ok(is_replaced)
    }

    /// Returns the folder for files of a task that were moved aside, where no container sees them.
    fn aside(&self) -> PathBuf {
        with_ending(self.path(), ASIDE)
    }

    /// Moves a file aside. A file of a shared folder stays in its folder.
    fn move_aside(&self, path: &Path) -> io::Result<PathBuf> {
        let to = match self {
            Self::OfTask(_) => {
                let aside = self.aside();
                fs::create_dir_all(&aside)?;
                aside.join(path.file_name().ok_or(io::ErrorKind::InvalidInput)?)
            }
            Self::Shared(_) => with_ending(path, ASIDE),
        };
        let to = free_name(&to)?;
        fs::rename(path, &to)?;
        Ok(to)
    }

    /// Syncs the sessions of the task. In a shared folder, syncs only the session of the thread.
    pub fn sync(&self, thread: Option<ThreadId>) -> io::Result<()> {
        match self {
            Self::OfTask(folder) => durable::sync_tree(folder),
            Self::Shared(folder) => {
                let Some(session) = thread.map(|thread| find(folder, thread, DEPTH)).transpose()?.flatten() else {
                    return Ok(());
                };
                durable::sync_file(&session)?;
                let above = session.ancestors().skip(1).take_while(|above| above.starts_with(folder));
                above.into_iter().try_for_each(durable::sync_folder)
            }
        }
    }

    /// Makes sure that a thread's session has only complete lines.
    pub fn repair(&self, thread: ThreadId) -> io::Result<Session> {
        match find(self.path(), thread, DEPTH).and_then(|found| found.map_or(Ok(Session::Missing), |path| repair(&path))) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(Session::Unreadable),
            repaired => repaired,
        }
    }
}

/// The kind of an entry in a folder.
#[derive(Debug, Clone, Copy)]
enum EntryKind {
    Folder,
    /// A regular file, with its size in bytes.
    File(u64),
    Other,
}

/// Calls `look` for everything below a folder, one level deeper than Codex uses, up to the maximum number of entries. A missing
/// folder is accepted.
fn each_entry(root: &Path, look: &mut impl FnMut(&Path, EntryKind)) -> io::Result<()> {
    let mut folders = vec![(root.to_owned(), 0)];
    let mut seen = 0;
    while let Some((folder, depth)) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            seen += 1;
            if seen > ENTRIES_LIMIT {
                return Ok(());
            }
            let kind = entry.file_type()?;
            let kind = if kind.is_dir() {
                EntryKind::Folder
            } else if kind.is_file() {
                EntryKind::File(entry.metadata()?.len())
            } else {
                EntryKind::Other
            };
            look(&entry.path(), kind);
            if matches!(kind, EntryKind::Folder) && depth <= DEPTH {
                folders.push((entry.path(), depth + 1));
            }
        }
    }
    Ok(())
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Finds the session of a thread below this folder.
pub(super) fn find(folder: &Path, thread: ThreadId, depth: usize) -> io::Result<Option<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    let ending = format!("-{thread}.jsonl");
    let mut folders = Vec::new();
    for entry in entries {
        let (entry, kind) = entry.and_then(|entry| entry.file_type().map(|kind| (entry, kind)))?;
        if kind.is_file() && entry.file_name().to_string_lossy().ends_with(&ending) {
            return Ok(Some(entry.path()));
        }
        if kind.is_dir() && depth > 0 {
            folders.push(entry.path());
        }
    }
    // Newest first.
    folders.sort_unstable_by(|one, other| other.cmp(one));
    for below in folders {
        if let Some(found) = find(&below, thread, depth - 1)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn repair(path: &Path) -> io::Result<Session> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).map_err(io::Error::other)?;
    let file = fs::File::options().read(true).custom_flags(flags).open(path)?;
    let whole = complete_lines(&file)?;
    if whole == file.metadata()?.len() {
        return Ok(if whole == 0 { Session::Missing } else { Session::Intact });
    }
    if whole == 0 {
        return Ok(Session::Missing);
    }
    let file = fs::File::options().write(true).custom_flags(flags).open(path)?;
    file.set_len(whole)?;
    file.sync_all()?;
    Ok(Session::Cut(whole))
}

/// Returns the number of bytes in the complete lines at the start of a file. JSON contains no zero byte, so a line with one was
/// not written completely.
fn complete_lines(file: impl io::Read) -> io::Result<u64> {
    let mut reader = BufReader::with_capacity(256 << 10, file);
    let (mut whole, mut position) = (0_u64, 0_u64);
    loop {
        let piece = reader.fill_buf()?;
        if piece.is_empty() {
            return Ok(whole);
        }
        let sound = piece.iter().position(|&byte| byte == 0).unwrap_or(piece.len());
        if let Some(newline) = piece[..sound].iter().rposition(|&byte| byte == b'\n') {
            whole = position + newline as u64 + 1;
        }
        if sound < piece.len() {
            return Ok(whole);
        }
        let length = piece.len();
        position += length as u64;
        reader.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREAD: &str = "01a201f5-b7dd-79a1-8a6e-7e6639f5c650";

    fn thread() -> ThreadId {
        THREAD.parse().expect("an id")
    }

    fn put(folder: &Path, content: &[u8]) -> PathBuf {
        let day = folder.join("2026/11/28");
        fs::create_dir_all(&day).expect("made");
        let path = day.join(format!("rollout-2026-11-28T10-00-00-{THREAD}.jsonl"));
        fs::write(&path, content).expect("written");
        path
    }

    #[test]
    fn a_session_is_cut_behind_its_last_complete_line() {
        for (content, expect, left) in [
            (&b"{\"a\":1}\n{\"b\":2}\n"[..], Session::Intact, &b"{\"a\":1}\n{\"b\":2}\n"[..]),
            (b"{\"a\":1}\n{\"b\":", Session::Cut(8), b"{\"a\":1}\n"),
            (b"{\"a\":1}\n\0\0\0\0\0\0", Session::Cut(8), b"{\"a\":1}\n"),
            (b"{\"a\":1}\n\0\0\0\0\n{\"c\":3}\n", Session::Cut(8), b"{\"a\":1}\n"),
            (b"{\"a\":", Session::Missing, b"{\"a\":"),
            (b"\0\0\0\0", Session::Missing, b"\0\0\0\0"),
            (b"", Session::Missing, b""),
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            let path = put(folder.path(), content);
            for sessions in [SessionFolder::OfTask(folder.path().into()), SessionFolder::Shared(folder.path().into())] {
                fs::write(&path, content).expect("written");
                assert_eq!(sessions.repair(thread()).expect("readable"), expect, "{content:?}");
                assert_eq!(fs::read(&path).expect("there"), left);
                sessions.sync(Some(thread())).expect("synced");
            }
        }
    }

    #[test]
    fn a_long_session_is_read_in_pieces() {
        let lines = "{\"x\":\"0123456789\"}\n".repeat(50_000);
        let torn = [lines.as_bytes(), b"{\"x\":"].concat();
        assert_eq!(complete_lines(&torn[..]).expect("read"), lines.len() as u64);
    }

    /// Replaces a session with something else.
    type Replace<'a> = &'a dyn Fn(&Path);

    #[test]
    fn what_only_has_the_name_of_a_session_is_moved_aside_and_the_thread_is_lost() {
        let fifo = |path: &Path| {
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).expect("a fifo");
        };
        let replacements: [(&str, Replace<'_>); 5] = [
            ("fifo", &fifo),
            ("socket", &|path| drop(std::os::unix::net::UnixListener::bind(path).expect("a socket"))),
            ("link", &|path| std::os::unix::fs::symlink("/dev/zero", path).expect("a link")),
            ("folder", &|path| fs::create_dir(path).expect("a folder")),
            ("sparse", &|path| fs::File::create(path).expect("a file").set_len(3 << 40).expect("sparse")),
        ];
        for (name, replace) in replacements {
            let folder = tempfile::Builder::new().prefix("s").tempdir_in("/tmp").expect("a folder");
            for (sessions, path) in [
                (SessionFolder::OfTask(folder.path().join("t")), folder.path().join("t")),
                (SessionFolder::Shared(folder.path().join("s")), folder.path().join("s")),
            ] {
                let session = put(&path, b"{}\n");
                assert!(!sessions.is_replaced(thread()).expect("readable"));
                assert!(sessions.secure(Some(thread())).expect("secured").is_empty(), "a valid session is not moved");
                fs::remove_file(&session).expect("it exists");
                assert!(!sessions.is_replaced(thread()).expect("readable"), "a session that is only missing was not replaced");
                // The path of a socket must be short.
                let short = folder.path().join("x");
                replace(&short);
                fs::rename(&short, &session).expect("moved");
                let notes = sessions.secure(Some(thread())).expect("secured");
                assert!(matches!(notes.as_slice(), [note] if note.contains(THREAD)), "{name}: {notes:?}");
                assert!(fs::symlink_metadata(&session).is_err(), "{name}");
                assert!(sessions.is_replaced(thread()).expect("readable"), "{name}");
                assert!(sessions.secure(Some(thread())).expect("secured").is_empty(), "{name}: a second call moves nothing");
                put(&path, b"{}\n");
                assert!(!sessions.is_replaced(thread()).expect("readable"), "{name}: a new session is found");
            }
        }
    }

    #[test]
    fn in_a_folder_of_other_people_nothing_else_is_touched() {
        let folder = tempfile::tempdir().expect("a folder");
        let theirs = folder.path().join("2026");
        std::os::unix::fs::symlink("/elsewhere", &theirs).expect("a link");
        let of_task = SessionFolder::OfTask(folder.path().to_owned());
        assert!(SessionFolder::Shared(folder.path().to_owned()).secure(Some(thread())).expect("secured").is_empty());
        assert!(theirs.is_symlink());
        assert_eq!(of_task.secure(Some(thread())).expect("secured").len(), 1);
        assert!(!theirs.is_symlink());
        fs::remove_dir_all(of_task.aside()).expect("it exists");
    }

    #[test]
    fn another_threads_session_and_a_link_are_not_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let sessions = SessionFolder::Shared(folder.path().join("sessions"));
        assert_eq!(sessions.repair(thread()).expect("no folder"), Session::Missing);
        let path = put(&folder.path().join("sessions"), b"{}\n");
        let other = "01a201f5-b7dd-79a1-8a6e-7e6639f5c651".parse().expect("an id");
        assert_eq!(sessions.repair(other).expect("readable"), Session::Missing);
        let elsewhere = folder.path().join("elsewhere");
        fs::rename(&path, &elsewhere).expect("moved");
        std::os::unix::fs::symlink(&elsewhere, &path).expect("a link");
        assert_eq!(sessions.repair(thread()).expect("readable"), Session::Missing);
    }
}
