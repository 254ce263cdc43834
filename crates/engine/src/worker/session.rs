//! Codex's session of a thread: the file that a resume reads, `…/rollout-<time>-<thread>.jsonl` anywhere below `sessions`.
//!
//! It must be on the disk before a run is recorded as ended. After a power cut its end may be missing, or zeros: it is cut at the
//! last complete line. Agents write here, so no link is followed. Everything here blocks.

use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use model::ids::ThreadId;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::durable;

/// Codex sorts sessions into folders by year, month and day.
pub(super) const DEPTH: usize = 4;

/// Where Codex keeps the sessions of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "folder", rename_all = "snake_case")]
pub enum SessionFolder {
    /// A folder that only this task uses.
    OfTask(PathBuf),
    /// A folder that other tasks, or people, use too.
    Shared(PathBuf),
}

/// The state of a thread's session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Session {
    /// Codex can resume it.
    Intact,
    /// It was intact up to this many bytes, and was cut there.
    Cut(u64),
    /// There is none, or not one complete line of it.
    Missing,
    /// It belongs to somebody whose files this process may not read.
    Unreadable,
}

impl SessionFolder {
    fn path(&self) -> &Path {
        match self {
            Self::OfTask(folder) | Self::Shared(folder) => folder,
        }
    }

    /// Puts the sessions of the task, or of its thread, on the disk.
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

/// The session of a thread, below this folder.
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
    // The newest first.
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

/// How many bytes the complete lines at the start of a file have. JSON has no zero byte: a line with one was not written whole.
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
