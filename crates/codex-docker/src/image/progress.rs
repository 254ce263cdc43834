//! Shows the progress of a build or a download: one line for each step and, at a terminal, the latest output.
//!
//! Everything goes to stderr. Errors while writing are ignored.

use std::io::{IsTerminal as _, Write as _};
use std::mem;

/// The assumed width of a terminal that does not report its width.
const USUAL_WIDTH: usize = 80;

/// The maximum length of a line of output that is printed permanently, in characters.
const LONGEST_LINE: usize = 1000;

/// The instructions that take time. The others only change metadata.
const WORK: &[&str] = &["FROM ", "RUN ", "COPY ", "ADD "];

/// A progress message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress<'a> {
    /// A step starts.
    Step {
        /// The number of the step, from 1.
        number: u32,
        /// The total number of steps.
        total: u32,
        /// The instruction in the Dockerfile.
        instruction: &'a str,
    },
    /// A line of a step's output.
    Line(&'a str),
}

/// Shows progress on stderr.
#[derive(Debug)]
pub struct Printer {
    live: bool,
    verbose: bool,
    dirty: bool,
}

impl Printer {
    /// Creates a printer for stderr.
    pub fn stderr() -> Self {
        Self { live: std::io::stderr().is_terminal(), verbose: false, dirty: false }
    }

    /// Creates a printer for stderr that prints all output, and temporarily nothing.
    pub fn verbose() -> Self {
        Self { live: false, verbose: true, dirty: false }
    }

    /// Shows a progress message.
    pub fn show(&mut self, progress: Progress<'_>) {
        match progress {
            Progress::Step { number, total, instruction } if WORK.iter().any(|work| instruction.starts_with(work)) => {
                self.clear();
                crate::say(&format!("[{number}/{total}] {}", shortened(instruction, USUAL_WIDTH)));
            }
            Progress::Line(line) if self.verbose => {
                drop(writeln!(std::io::stderr(), "  {}", shortened(line, LONGEST_LINE)));
            }
            Progress::Line(line) if self.live => {
                drop(write!(std::io::stderr(), "\r\x1b[K  {}", shortened(line, width().saturating_sub(3))));
                self.dirty = true;
            }
            Progress::Step { .. } | Progress::Line(_) => {}
        }
    }

    /// Erases the temporary line.
    fn clear(&mut self) {
        if mem::take(&mut self.dirty) {
            drop(write!(std::io::stderr(), "\r\x1b[K"));
        }
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        self.clear();
    }
}

fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr());
    size.ok().map(|size| usize::from(size.ws_col)).filter(|&columns| columns > 0).unwrap_or(USUAL_WIDTH)
}

/// Shortens a text to one line of at most `width` characters, without control characters.
pub(super) fn shortened(text: &str, width: usize) -> String {
    let mut words: Vec<char> =
        text.split_whitespace().collect::<Vec<_>>().join(" ").chars().filter(|c| !c.is_control()).collect();
    if words.len() > width {
        words.truncate(width.saturating_sub(2));
        words.extend(" …".chars());
    }
    words.into_iter().collect()
}

/// Formats a number of bytes in MB or GB.
pub(super) fn spoken_size(bytes: u64) -> String {
    let megabytes = bytes / 1_000_000;
    if megabytes < 1000 { format!("{megabytes} MB") } else { format!("{}.{} GB", megabytes / 1000, megabytes % 1000 / 100) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_instruction_is_one_short_line() {
        assert_eq!(shortened("RUN a   && \\\n    b", 80), "RUN a && \\ b");
        assert_eq!(shortened("RUN abcdef", 8), "RUN ab …");
        assert_eq!(shortened("bell\u{7} and \u{1b}[2J", 80), "bell and [2J");
    }

    #[test]
    fn sizes_are_said_as_people_say_them() {
        assert_eq!(spoken_size(999_999_999), "999 MB");
        assert_eq!(spoken_size(1_259_000_000), "1.2 GB");
    }
}
