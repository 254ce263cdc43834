//! The log of an image that is downloaded or built for an environment.
//!
//! A Dockerfile can print any amount of text. Invariant: the log stays within its limit, and a log that cannot be written does not
//! affect the image.

use std::fs::File;
use std::io::Write as _;

/// The maximum size of the output in bytes.
const LIMIT_BYTES: usize = 64 << 20;

/// A log.
pub(super) struct ImageLog {
    /// The file, until the log ends.
    file: Option<File>,
    left: usize,
}

impl ImageLog {
    /// Writes to this file.
    pub(super) fn new(file: File) -> Self {
        Self { file: Some(file), left: LIMIT_BYTES }
    }

    /// Adds a line. Lines beyond the limit are dropped.
    pub(super) fn add(&mut self, line: &str) {
        let Some(file) = &mut self.file else { return };
        let line = line.trim_end();
        let fits = line.len() < self.left;
        let written = if fits { writeln!(file, "{line}") } else { writeln!(file, "[the rest of the output was dropped]") };
        self.left = self.left.saturating_sub(line.len() + 1);
        if let Err(error) = &written {
            tracing::warn!(%error, "could not write the log of an image");
        }
        if !fits || written.is_err() {
            self.file = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_ends_at_its_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let mut log = ImageLog::new(File::create(&path).expect("a file"));
        log.left = 10;
        for line in ["one\n", "two", "three", "4"] {
            log.add(line);
        }
        let text = std::fs::read_to_string(&path).expect("written");
        assert_eq!(text, "one\ntwo\n[the rest of the output was dropped]\n");
    }
}
