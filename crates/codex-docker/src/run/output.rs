//! Copies what Codex appends to its files to stdout and stderr, byte for byte and in order.
//!
//! Each stream has its own thread, because a reader may stall for any length of time and must not
//! block a stop. Codex itself never waits
//! for a reader, because it writes to files. Invariant: each byte is copied exactly once.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::oneshot;

/// The maximum number of bytes that are copied at once.
const CHUNK: usize = 64 * 1024;

/// A message to a copying thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// The file may have grown.
    More,
    /// The file will not grow any more.
    Last,
}

/// Copies both streams in the background.
pub(super) struct Copying {
    words: [Sender<Word>; 2],
    threads: [JoinHandle<io::Result<()>>; 2],
    _watcher: RecommendedWatcher,
}

/// Completes when stdout can no longer be written to.
pub(super) type Broken = oneshot::Receiver<io::Error>;

impl Copying {
    /// Starts to copy. `offset` bytes of stdout were already copied.
    pub(super) fn start(folder: &Path, stdout: File, offset: u64, stderr: File) -> notify::Result<(Self, Broken)> {
        let ((out_words, out_inbox), (err_words, err_inbox)) = (channel(), channel());
        let told = [out_words.clone(), err_words.clone()];
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // Ignore access events, which reads cause. Treat an error of the watcher as a change, because it may hide one.
            if event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                return;
            }
            for words in &told {
                // The thread may have ended already.
                let _ended = words.send(Word::More);
            }
        })?;
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        let (broken, is_broken) = oneshot::channel();
        let out = std::thread::spawn(move || {
            let copied = copy(&stdout, offset, &out_inbox, &mut io::stdout().lock());
            if let Err(error) = &copied {
                // After the run has ended, nothing waits for this error.
                drop(broken.send(io::Error::new(error.kind(), error.to_string())));
            }
            copied
        });
        let err = std::thread::spawn(move || copy(&stderr, 0, &err_inbox, &mut io::stderr()));
        for words in [&out_words, &err_words] {
            // Copy what was written before the watcher started.
            let _ended = words.send(Word::More);
        }
        Ok((Self { words: [out_words, err_words], threads: [out, err], _watcher: watcher }, is_broken))
    }

    /// Checks the files again, for file systems that do not report changes.
    pub(super) fn look_again(&self) {
        for words in &self.words {
            let _ended = words.send(Word::More);
        }
    }

    /// Copies the rest and stops. Call this after the container has exited.
    pub(super) fn finish(self) -> io::Result<()> {
        for words in &self.words {
            let _ended = words.send(Word::Last);
        }
        let [out, err] = self.threads.map(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread failed"))));
        out.and(err)
    }
}

fn copy(file: &File, mut position: u64, inbox: &Receiver<Word>, to: &mut impl Write) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let word = inbox.recv().unwrap_or(Word::Last);
        let more = inbox.try_iter().fold(word, |so_far, next| if so_far == Word::Last { so_far } else { next });
        position = copy_on(file, position, &mut chunk, to)?;
        if more == Word::Last {
            return Ok(());
        }
    }
}

/// Copies up to the current end of the file and returns that position. If the agent truncates the file, only the truncated part
/// is lost.
fn copy_on(file: &File, mut position: u64, chunk: &mut [u8], to: &mut impl Write) -> io::Result<u64> {
    loop {
        match file.read_at(chunk, position) {
            Ok(0) => break,
            Ok(count) => {
                to.write_all(&chunk[..count])?;
                position += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    to.flush()?;
    Ok(position.min(file.metadata()?.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (tempfile::TempDir, File, File) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("stdout");
        let writer = File::options().create(true).append(true).open(&path).expect("made");
        let reader = File::open(&path).expect("there");
        (folder, writer, reader)
    }

    #[test]
    fn every_byte_is_handed_on_once_in_whatever_pieces_it_comes() {
        let (_folder, mut writer, reader) = pair();
        let line = vec![b'x'; 3 << 20];
        let (words, inbox) = channel();
        let copying = std::thread::spawn(move || {
            let mut copied = Vec::new();
            copy(&reader, 5, &inbox, &mut copied).map(|()| copied)
        });
        writer.write_all(b"old: ").expect("written");
        for piece in line.chunks(1_000_003) {
            writer.write_all(piece).expect("written");
            words.send(Word::More).expect("heard");
        }
        writer.write_all(b"\nlast").expect("written");
        words.send(Word::Last).expect("heard");
        let copied = copying.join().expect("ended").expect("copied");
        assert_eq!((copied.len(), &copied[copied.len() - 5..]), (line.len() + 5, &b"\nlast"[..]));
    }

    #[test]
    fn an_agent_that_cuts_its_output_short_does_not_stop_it() {
        let (_folder, mut writer, reader) = pair();
        let (mut copied, mut chunk) = (Vec::new(), vec![0; 8]);
        writer.write_all(b"one two three").expect("written");
        let position = copy_on(&reader, 0, &mut chunk, &mut copied).expect("copied");
        writer.set_len(0).expect("cut");
        let position = copy_on(&reader, position, &mut chunk, &mut copied).expect("copied");
        writer.write_all(b" four").expect("written");
        copy_on(&reader, position, &mut chunk, &mut copied).expect("copied");
        assert_eq!(copied, b"one two three four");
    }

    #[test]
    fn a_reader_that_went_away_ends_the_copying() {
        let (_folder, mut writer, reader) = pair();
        writer.write_all(b"hello").expect("written");
        let (gone, mut to) = std::io::pipe().expect("a pipe");
        drop(gone);
        let error = copy_on(&reader, 0, &mut [0; 8], &mut to).expect_err("the reader is gone");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
