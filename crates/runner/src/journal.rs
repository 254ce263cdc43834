//! Reads logs while they are written. The server never copies a run's output; it only follows the file.
//!
//! A single watcher of the kernel's file events serves all followers. Invariant: a line is passed on once it is complete, with
//! the offset after it, so that any reader can continue from there.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::codex::{Line, LineSplitter};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::sync::watch;

/// How often a follower polls a folder that the kernel does not watch.
const LOOK_ANYWAY: Duration = Duration::from_secs(1);

/// Bytes per read: large enough for few system calls, small enough to have a buffer for each follower.
const CHUNK_BYTES: usize = 64 * 1024;

/// Wakes followers of files in a folder.
pub struct FolderWatch {
    watcher: Mutex<Option<RecommendedWatcher>>,
    folders: Arc<Mutex<HashMap<PathBuf, watch::Sender<()>>>>,
}

/// A follower's interest in a folder. It ends when this value is dropped.
pub struct Interest {
    owner: Arc<FolderWatch>,
    folder: PathBuf,
    /// `None` only while the interest is being dropped.
    changes: Option<watch::Receiver<()>>,
    watched: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The guarded data is consistent after every statement, even if a holder panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FolderWatch {
    /// Starts watching. Folders are added when somebody is interested in them.
    pub fn new() -> Arc<Self> {
        let folders: Arc<Mutex<HashMap<PathBuf, watch::Sender<()>>>> = Arc::default();
        let told = Arc::clone(&folders);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
            // Reads are ignored; otherwise a follower would wake itself.
            Ok(event) if event.kind.is_access() => {}
            Ok(event) => {
                let folders = locked(&told);
                for folder in event.paths.iter().filter_map(|path| path.parent()) {
                    if let Some(sender) = folders.get(folder) {
                        sender.send_replace(());
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "file watcher error"),
        });
        let watcher =
            watcher.inspect_err(|error| tracing::warn!(%error, "could not start the file watcher; polling every second")).ok();
        Arc::new(Self { watcher: Mutex::new(watcher), folders })
    }

    /// Starts to watch a folder.
    pub fn watch(self: &Arc<Self>, folder: &Path) -> Interest {
        // Hold this lock to the end, so that no follower that stops can interfere. The watcher's thread never takes it.
        let mut kernel = locked(&self.watcher);
        let changes = {
            let mut folders = locked(&self.folders);
            folders.entry(folder.to_owned()).or_insert_with(|| watch::channel(()).0).subscribe()
        };
        let watched = kernel.as_mut().is_some_and(|kernel| {
            kernel
                .watch(folder, RecursiveMode::NonRecursive)
                .inspect_err(|error| tracing::warn!(folder = %folder.display(), %error, "could not watch a folder"))
                .is_ok()
        });
        Interest { owner: Arc::clone(self), folder: folder.to_owned(), changes: Some(changes), watched }
    }
}

impl Interest {
    /// Waits until something in the folder has changed since the last call.
    pub async fn changed(&mut self) {
        let Some(changes) = self.changes.as_mut() else { return };
        if self.watched {
            // The sender is in the map as long as this interest exists.
            if changes.changed().await.is_ok() {
                return;
            }
        }
        tokio::time::sleep(LOOK_ANYWAY).await;
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.changes = None;
        let mut watcher = locked(&self.owner.watcher);
        let unused = {
            let mut folders = locked(&self.owner.folders);
            let unused = folders.get(&self.folder).is_some_and(|sender| sender.receiver_count() == 0);
            if unused {
                folders.remove(&self.folder);
            }
            unused
        };
        // The folders must not be locked here: the watcher waits for its thread, which may wait for that lock.
        if unused
            && let Some(watcher) = watcher.as_mut()
            && let Err(error) = watcher.unwatch(&self.folder)
        {
            // The folder itself may be gone by now.
            tracing::debug!(folder = %self.folder.display(), %error, "the folder is no longer watched");
        }
    }
}

/// Reads a log from an offset up to its current end.
pub struct Tail {
    path: PathBuf,
    file: Option<tokio::fs::File>,
    start: u64,
    splitter: LineSplitter,
    buffer: Vec<u8>,
}

impl Tail {
    /// Creates a tail that starts after `offset` bytes. The file does not have to exist yet.
    pub fn from(path: PathBuf, offset: u64) -> Self {
        Self { path, file: None, start: offset, splitter: LineSplitter::resuming_at(offset), buffer: vec![0; CHUNK_BYTES] }
    }

    /// Reads the next chunk and passes the lines that it completes to `on_line`. Returns false at the current end of the file.
    pub async fn read(&mut self, on_line: impl FnMut(Line<'_>)) -> io::Result<bool> {
        if self.file.is_none() {
            let mut file = match tokio::fs::File::open(&self.path).await {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(error),
            };
            file.seek(io::SeekFrom::Start(self.start)).await?;
            self.file = Some(file);
        }
        let Some(file) = self.file.as_mut() else { return Ok(false) };
        let read = file.read(&mut self.buffer).await?;
        if read == 0 {
            return Ok(false);
        }
        self.splitter.feed(&self.buffer[..read], on_line);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    async fn lines(tail: &mut Tail) -> Vec<(u64, String)> {
        let mut lines = vec![];
        while tail
            .read(|line| {
                if let model::codex::LineContent::Whole(text) = line.content {
                    lines.push((line.end, String::from_utf8_lossy(text).into_owned()));
                }
            })
            .await
            .expect("the log can be read")
        {}
        lines
    }

    #[tokio::test]
    async fn a_tail_stops_before_a_torn_line_and_goes_on_when_it_is_complete() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run-001.jsonl");
        let mut tail = Tail::from(path.clone(), 0);
        assert_eq!(lines(&mut tail).await, vec![], "a log that does not exist yet is empty");
        let mut file = fs_err::File::create(&path).expect("made");
        file.write_all(b"one\ntw").expect("written");
        assert_eq!(lines(&mut tail).await, vec![(4, "one".to_owned())]);
        file.write_all(b"o\n").expect("written");
        assert_eq!(lines(&mut tail).await, vec![(8, "two".to_owned())]);
    }

    #[tokio::test]
    async fn a_tail_goes_on_from_an_offset() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run-001.jsonl");
        fs_err::write(&path, "one\ntwo\nthree\n").expect("written");
        assert_eq!(lines(&mut Tail::from(path, 4)).await, vec![(8, "two".to_owned()), (14, "three".to_owned())]);
    }

    #[tokio::test]
    async fn a_look_wakes_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        fs_err::write(&path, "x").expect("written");
        let watch = FolderWatch::new();
        let mut interest = watch.watch(folder.path());
        for _ in 0..10 {
            fs_err::read(&path).expect("read");
        }
        let woken = tokio::time::timeout(Duration::from_millis(200), interest.changed()).await;
        assert!(woken.is_err(), "reading a file is not a change");
    }

    #[tokio::test]
    async fn a_write_wakes_every_follower_of_the_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let watch = FolderWatch::new();
        let (mut first, mut second) = (watch.watch(folder.path()), watch.watch(folder.path()));
        fs_err::write(folder.path().join("file"), "x").expect("written");
        first.changed().await;
        second.changed().await;
        drop(first);
        while tokio::time::timeout(Duration::from_millis(50), second.changed()).await.is_ok() {}
        fs_err::write(folder.path().join("file"), "y").expect("written");
        second.changed().await;
        drop(second);
        assert!(locked(&watch.folders).is_empty(), "a folder without followers is not watched");
    }
}
