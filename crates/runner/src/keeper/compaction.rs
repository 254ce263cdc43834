//! Shortens the messages of an ended run to those about complete items, which the log is a translation of.
//!
//! The new file replaces the old one in one step. Doing this twice is harmless. Invariant: the translation of the messages stays the same.

use std::io::{self, BufRead as _, BufReader, BufWriter};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use model::codex::app_server::is_partial;

use super::files::RunFiles;

/// The maximum length of the start of a line that is looked at, in bytes. It contains the name of the method.
const LOOKED_AT: u64 = 128;

/// Removes the text of items that were not complete yet from the messages of a run.
pub fn compact_messages(files: &RunFiles) -> io::Result<()> {
    let messages = match fs_err::File::open(files.messages()) {
        Ok(messages) => messages,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let new = files.compacted_messages();
    let into = fs_err::File::options().create(true).write(true).truncate(true).mode(0o600).open(&new)?;
    let mut into = BufWriter::new(into);
    let has_less = copy(&mut BufReader::new(messages), &mut into)?;
    let into = into.into_inner().map_err(io::IntoInnerError::into_error)?;
    if !has_less {
        return fs_err::remove_file(new);
    }
    into.sync_all()?;
    durable::rename(&new, &files.messages())
}

/// Copies all lines that are not partial. Returns whether there were any others.
fn copy(from: &mut impl io::BufRead, into: &mut impl io::Write) -> io::Result<bool> {
    let (mut start, mut has_less) = (vec![], false);
    loop {
        start.clear();
        io::Read::take(&mut *from, LOOKED_AT).read_until(b'\n', &mut start)?;
        if start.is_empty() {
            into.flush()?;
            return Ok(has_less);
        }
        let is_whole = start.ends_with(b"\n");
        if is_partial(&start) {
            has_less = true;
            if !is_whole {
                from.skip_until(b'\n')?;
            }
            continue;
        }
        into.write_all(&start)?;
        if !is_whole {
            copy_line(from, into)?;
        }
    }
}

/// Copies the rest of a line, which can be long.
fn copy_line(from: &mut impl io::BufRead, into: &mut impl io::Write) -> io::Result<()> {
    loop {
        let found = from.fill_buf()?;
        let end = found.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let length = end.unwrap_or(found.len());
        into.write_all(&found[..length])?;
        from.consume(length);
        if end.is_some() || length == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use model::ids::RunNumber;

    use super::*;

    fn compacted(folder: &Path, messages: &str) -> String {
        let files = RunFiles::new(folder, RunNumber::FIRST);
        fs_err::write(files.messages(), messages).expect("written");
        compact_messages(&files).expect("compacted");
        compact_messages(&files).expect("compacted twice");
        assert!(!files.compacted_messages().exists());
        fs_err::read_to_string(files.messages()).expect("there")
    }

    #[test]
    fn only_text_of_items_that_were_not_complete_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let long = "x".repeat(100_000);
        let delta = format!("{{\"method\":\"item/commandExecution/outputDelta\",\"params\":{{\"delta\":\"{long}\"}}}}\n");
        let message = "{\"method\":\"item/agentMessage/delta\",\"params\":{}}\n";
        let item = format!("{{\"method\":\"item/completed\",\"params\":{{\"text\":\"{long}\"}}}}\n");
        let others = "\nnot a message\n{\"id\":1,\"result\":{}}\n";
        let torn = "{\"method\":\"item/comp";
        let messages = [others, &delta, &item, message, &delta, others, torn].concat();
        assert_eq!(compacted(folder.path(), &messages), [others, &item, others, torn].concat());
        assert_eq!(compacted(folder.path(), &item), item);
        assert_eq!(compacted(folder.path(), ""), "");
    }

    #[test]
    fn a_run_without_messages_stays_as_it_is_and_a_killed_compaction_is_repeated() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = RunFiles::new(folder.path(), RunNumber::FIRST);
        compact_messages(&files).expect("nothing to do");
        assert!(!files.messages().exists());
        fs_err::write(files.compacted_messages(), "half of a longer li").expect("written");
        assert_eq!(compacted(folder.path(), "{\"method\":\"item/agentMessage/delta\"}\n{\"id\":1}\n"), "{\"id\":1}\n");
    }
}
