//! Records when the lines of a log were written, as far as this server observed it. Codex does not report these times.
//!
//! For each run, a file next to the logs contains marks: the length of the log at a time. Lines that were written while no
//! server was watching have no time. If the file is damaged, transcripts only lack durations.

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use model::ids::RunNumber;
use tokio::io::AsyncWriteExt as _;

/// The size of a mark: two little-endian numbers of eight bytes, a length in bytes and a time in milliseconds since 1970.
const MARK_BYTES: usize = 16;

/// The time in a mark for lines that were written while no server was watching.
const UNSEEN: i64 = i64::MIN;

/// If a run started no longer ago than this, its log counts as written just now.
const MOMENT: SignedDuration = SignedDuration::from_secs(1);

/// When a line was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineTime {
    /// At this time, when the server noticed the line.
    At(Timestamp),
    /// While no server was watching.
    Unknown,
    /// After the last mark.
    Later,
}

/// The times of the lines of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LineTimes {
    /// The marks, sorted by length.
    marks: Vec<(u64, i64)>,
}

impl LineTimes {
    /// Returns when the line that ends at this offset was written.
    pub fn of(&self, end: u64) -> LineTime {
        let at = self.marks.partition_point(|(length, _)| *length < end);
        match self.marks.get(at) {
            None => LineTime::Later,
            Some((_, UNSEEN)) => LineTime::Unknown,
            Some((_, time)) => Timestamp::from_millisecond(*time).map_or(LineTime::Unknown, LineTime::At),
        }
    }

    fn parse(bytes: &[u8]) -> Self {
        let (marks, _torn) = bytes.as_chunks::<MARK_BYTES>();
        let mark = |mark: &[u8; MARK_BYTES]| {
            let (length, time) = mark.split_at(8);
            let number = |half: &[u8]| half.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
            (number(length), number(time).cast_signed())
        };
        let mut marks: Vec<_> = marks.iter().map(mark).collect();
        marks.sort_by_key(|(length, _)| *length);
        Self { marks }
    }

    /// Reads the times of a run's lines from the folder with such files.
    pub async fn read(folder: &Path, run: RunNumber) -> std::io::Result<Self> {
        match tokio::fs::read(file(folder, run)).await {
            Ok(bytes) => Ok(Self::parse(&bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }
}

fn file(folder: &Path, run: RunNumber) -> PathBuf {
    folder.join(format!("run-{run}"))
}

/// Writes the marks of a followed run.
pub struct MarkWriter {
    path: PathBuf,
    file: Option<tokio::fs::File>,
    length: u64,
}

impl MarkWriter {
    /// Starts the marks of a run. `length` is the current length of the log. Its content was written while no server was watching,
    /// unless the run has just started.
    pub async fn begin(folder: &Path, run: RunNumber, length: u64, began: Option<Timestamp>) -> Self {
        let mut marks = Self { path: file(folder, run), file: None, length: 0 };
        let now = Timestamp::now();
        let is_new = began.is_some_and(|began| now.duration_since(began).abs() < MOMENT);
        marks.note(length, if is_new { now.as_millisecond() } else { UNSEEN }).await;
        marks
    }

    /// Records that the log now has this length.
    pub async fn reached(&mut self, length: u64) {
        self.note(length, Timestamp::now().as_millisecond()).await;
    }

    async fn note(&mut self, length: u64, time: i64) {
        if length <= self.length {
            return;
        }
        self.length = length;
        if let Err(error) = self.append(length, time).await {
            // A full disk must not prevent a run from being followed.
            tracing::debug!(path = %self.path.display(), %error, "could not record when log lines were written");
            self.file = None;
        }
    }

    async fn append(&mut self, length: u64, time: i64) -> std::io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                if let Some(folder) = self.path.parent() {
                    tokio::fs::create_dir_all(folder).await?;
                }
                none.insert(tokio::fs::OpenOptions::new().create(true).append(true).open(&self.path).await?)
            }
        };
        file.write_all(&[length.to_le_bytes(), time.to_le_bytes()].concat()).await?;
        file.flush().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_have_the_time_at_which_somebody_saw_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = RunNumber(1);
        let before = Timestamp::now();
        let mut marks = MarkWriter::begin(folder.path(), run, 0, None).await;
        marks.reached(100).await;
        marks.reached(100).await;
        marks.reached(250).await;
        let times = LineTimes::read(folder.path(), run).await.expect("read");
        assert_eq!(times.marks.len(), 2, "an unchanged length is not recorded again");
        for end in [1, 100, 101, 250] {
            let LineTime::At(time) = times.of(end) else { panic!("{end}: {:?}", times.of(end)) };
            assert!(time.as_millisecond() >= before.as_millisecond() && time <= Timestamp::now(), "{end}");
        }
        assert_eq!(times.of(251), LineTime::Later);
        assert_eq!(LineTimes::read(folder.path(), RunNumber(2)).await.expect("none").of(1), LineTime::Later);
    }

    #[tokio::test]
    async fn what_was_written_while_nobody_looked_has_no_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = RunNumber(1);
        MarkWriter::begin(folder.path(), run, 0, None).await.reached(100).await;
        let long_ago = Timestamp::now() - SignedDuration::from_secs(2);
        let mut again = MarkWriter::begin(folder.path(), run, 300, Some(long_ago)).await;
        again.reached(400).await;
        let times = LineTimes::read(folder.path(), run).await.expect("read");
        assert!(matches!(times.of(100), LineTime::At(_)) && matches!(times.of(400), LineTime::At(_)));
        assert_eq!((times.of(101), times.of(300)), (LineTime::Unknown, LineTime::Unknown));
        MarkWriter::begin(folder.path(), RunNumber(2), 50, Some(Timestamp::now())).await;
        let new = LineTimes::read(folder.path(), RunNumber(2)).await.expect("read");
        assert!(matches!(new.of(50), LineTime::At(_)), "the run started a moment ago");
    }

    #[test]
    fn a_torn_or_damaged_file_costs_times_alone() {
        assert_eq!(LineTimes::parse(&[1; 15]), LineTimes::default());
        let odd = LineTimes::parse(&[0xff; 40]);
        assert_eq!((odd.marks.len(), odd.of(5)), (2, LineTime::At(Timestamp::from_millisecond(-1).expect("a time"))));
        assert_eq!(LineTimes { marks: vec![(9, i64::MAX)] }.of(5), LineTime::Unknown);
    }
}
