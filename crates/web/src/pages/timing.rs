//! The duration of each item in a transcript, from the times when its lines were written.
//! If one of the two times is unknown, the duration is too.

use std::collections::HashMap;

use engine::{LineTime, LineTimes};
use jiff::{SignedDuration, Timestamp};
use model::codex::CodexEvent;

/// The most items that are tracked at once, more than are ever in progress.
const MOST_OPEN: usize = 1_000;

/// The longest item ID that is tracked, longer than Codex's own.
const LONGEST_ID: usize = 100;

/// The progress of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    /// The item is in progress.
    UnderWay,
    /// The item is complete. Contains its duration, if known.
    Over(Option<SignedDuration>),
}

/// Computes the durations of items while it reads the lines of a run in order.
#[derive(Debug, Default)]
pub(super) struct Timing {
    times: LineTimes,
    begun: HashMap<String, Timestamp>,
}

impl Timing {
    pub(super) fn new(times: LineTimes) -> Self {
        Self { times, begun: HashMap::new() }
    }

    /// Reads a line that ends at an offset, and returns the duration of the item that it completes. `now` is the time of lines without
    /// a recorded time, because they were just written.
    pub(super) fn took(&mut self, end: u64, event: &CodexEvent, now: Option<Timestamp>) -> Option<SignedDuration> {
        let time = match self.times.of(end) {
            LineTime::At(time) => Some(time),
            LineTime::Unknown => None,
            LineTime::Later => now,
        };
        match event {
            CodexEvent::ItemStarted(item) => {
                if let Some(time) = time.filter(|_| self.begun.len() < MOST_OPEN && item.id.len() <= LONGEST_ID) {
                    self.begun.insert(item.id.clone(), time);
                }
                None
            }
            CodexEvent::ItemCompleted(item) => {
                let begun = self.begun.remove(&item.id)?;
                Some(time?.duration_since(begun)).filter(|took| !took.is_negative())
            }
            _ => None,
        }
    }
}

/// Formats a duration: `1 h 5 min`, `12 s`.
pub(super) fn duration(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Formats a duration: `0.4 s`, `12 s`, `3 min 5 s`.
pub(super) fn words(took: SignedDuration) -> String {
    let millis = took.as_millis();
    match millis {
        ..10_000 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        _ => duration(took.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, id: &str) -> CodexEvent {
        let line = format!(
            r#"{{"type":"item.{kind}","item":{{"id":"{id}","type":"command_execution","command":"x","status":"completed"}}}}"#
        );
        CodexEvent::parse(line.as_bytes())
    }

    #[test]
    fn durations_use_at_most_two_units() {
        assert_eq!([duration(5), duration(65), duration(3700)], ["5 s", "1 min 5 s", "1 h 1 min"]);
    }

    #[test]
    fn work_took_from_its_first_line_to_its_last() {
        let at = |seconds: i64| Timestamp::from_second(seconds).ok();
        let mut timing = Timing::default();
        assert_eq!(timing.took(1, &event("started", "a"), at(10)), None);
        assert_eq!(timing.took(2, &event("started", "b"), at(11)), None);
        assert_eq!(timing.took(3, &event("completed", "a"), at(14)), Some(SignedDuration::from_secs(4)));
        assert_eq!(timing.took(4, &event("completed", "b"), None), None, "an end without a time gives no duration");
        assert_eq!(timing.took(5, &event("completed", "c"), at(15)), None, "an unknown start gives no duration");
        timing.took(6, &event("started", "d"), at(20));
        assert_eq!(timing.took(7, &event("completed", "d"), at(19)), None, "a clock that went back gives no duration");
    }

    #[test]
    fn short_times_have_a_tenth() {
        let words = |millis| words(SignedDuration::from_millis(millis));
        assert_eq!([words(40), words(1_250), words(12_900), words(185_000)], ["0.0 s", "1.2 s", "12 s", "3 min 5 s"]);
    }
}
