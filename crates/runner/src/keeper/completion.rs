//! Completes the log of a run whose keeper was killed: what it did not translate any more.
//!
//! Invariant: a log only grows. If it is not the beginning of the translation, it stays as it is.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Write as _};

use model::codex::app_server::Translator;
use model::codex::{LineContent, LineSplitter};
use model::ids::Attempt;

use super::app_server::remove_if_there;
use super::files::RunFiles;
use super::record::{KeeperRecord, read};

/// Bytes per read.
const CHUNK_BYTES: usize = 64 * 1024;

/// Appends the rest of the translation to the log of an attempt, if it used Codex's app server, and removes the server's pipe. Call this
/// after the server has ended.
pub fn complete_log(files: &RunFiles, attempt: Attempt) -> io::Result<()> {
    remove_if_there(&files.pipe())?;
    let record = read::<KeeperRecord>(&files.keeper())?.filter(|record| record.attempt == attempt);
    let Some(start) = record.and_then(|record| record.translated_from) else { return Ok(()) };
    let messages = match fs_err::File::open(files.messages()) {
        Ok(messages) => messages,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut log = Completion::new(fs_err::File::options().read(true).append(true).open(files.journal())?.into_parts().0, start)?;
    translate(messages, |event| log.expect(event))?;
    log.file.sync_data()
}

/// Translates all complete messages.
fn translate(mut messages: impl io::Read, mut sink: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let (mut splitter, mut translator, mut chunk) = (LineSplitter::new(), Translator::default(), vec![0; CHUNK_BYTES]);
    loop {
        let read = match messages.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let mut result = Ok(());
        splitter.feed(&chunk[..read], |line| {
            let LineContent::Whole(text) = line.content else { return };
            let Ok(message) = serde_json::from_slice(text) else { return };
            for event in translator.translate(&message) {
                if result.is_ok() {
                    result = sink(format!("{event}\n").as_bytes());
                }
            }
        });
        result?;
    }
}

/// A log that is compared with its translation, and then completed.
struct Completion {
    file: File,
    existing: BufReader<File>,
    is_complete: bool,
    differs: bool,
}

impl Completion {
    fn new(file: File, start: u64) -> io::Result<Self> {
        let mut existing = file.try_clone()?;
        io::Seek::seek(&mut existing, io::SeekFrom::Start(start))?;
        Ok(Self { file, existing: BufReader::new(existing), is_complete: false, differs: false })
    }

    fn expect(&mut self, event: &[u8]) -> io::Result<()> {
        if self.differs {
            return Ok(());
        }
        let mut known = vec![];
        if !self.is_complete {
            (&mut self.existing).take(event.len() as u64).read_to_end(&mut known)?;
        }
        if !event.starts_with(&known) {
            tracing::warn!("the log of a run is not a translation of its messages; left it unchanged");
            self.differs = true;
            return Ok(());
        }
        self.is_complete = known.len() < event.len();
        self.file.write_all(&event[known.len()..])
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use model::ids::RunNumber;
    use process::ProcessIdentity;

    use super::super::record::write;
    use super::*;

    const MESSAGES: &str = r#"{"id":"orchestrator-initialize","result":{}}
{"id":"orchestrator-thread","result":{"thread":{"id":"a"}}}
not a message
{"method":"turn/started","params":{"threadId":"a"}}
{"method":"item/completed","params":{"threadId":"a","item":{"type":"agentMessage","id":"m","text":"Done"}}}
{"method":"turn/completed","params":{"threadId":"a","turn":{"status":"completed"}}}
{"method":"torn"#;

    fn translation() -> String {
        let mut text = vec![];
        translate(MESSAGES.as_bytes(), |event| {
            text.extend_from_slice(event);
            Ok(())
        })
        .expect("the messages are readable");
        String::from_utf8(text).expect("JSON is text")
    }

    /// Returns the log after its completion. It had this content, and the app server started after the first `start` bytes.
    fn completed(log: &str, start: Option<u64>) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let files = RunFiles::new(folder.path(), RunNumber::FIRST);
        let keeper = ProcessIdentity::current().expect("we live");
        let started_at = Timestamp::UNIX_EPOCH;
        let record = KeeperRecord { schema: 1, attempt: Attempt(2), keeper, worker: None, started_at, translated_from: start };
        write(&files.keeper(), &record).expect("written");
        fs_err::write(files.messages(), MESSAGES).expect("written");
        fs_err::write(files.journal(), log).expect("written");
        complete_log(&files, Attempt(1)).expect("another attempt");
        assert_eq!(fs_err::read_to_string(files.journal()).expect("there"), log);
        complete_log(&files, Attempt(2)).expect("completed");
        complete_log(&files, Attempt(2)).expect("completed twice");
        fs_err::read_to_string(files.journal()).expect("there")
    }

    #[test]
    fn a_log_that_was_cut_anywhere_is_completed_and_never_rewritten() {
        let whole = translation();
        assert_eq!(whole.lines().count(), 4, "{whole}");
        for cut in 0..=whole.len() {
            assert_eq!(completed(&whole[..cut], Some(0)), whole, "{cut}");
        }
        let earlier = "an earlier attempt\n";
        let log = format!("{earlier}{}", &whole[..20]);
        assert_eq!(completed(&log, Some(earlier.len() as u64)), format!("{earlier}{whole}"));
    }

    #[test]
    fn a_log_that_the_worker_wrote_or_that_is_no_translation_stays_as_it_is() {
        assert_eq!(completed("x", None), "x");
        assert_eq!(completed("something else\n", Some(0)), "something else\n");
        let longer = format!("{}more\n", translation());
        assert_eq!(completed(&longer, Some(0)), longer);
    }
}
