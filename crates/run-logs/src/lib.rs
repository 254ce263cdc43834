//! Reads the logs of runs for readers: a part of a log, when its lines were written, and text that is still being written.
//!
//! A log contains the output of a program, so nothing is assumed about its lines.

mod live;
mod times;
mod window;

pub use live::{LiveReader, LiveTexts};
pub use times::{LineTime, LineTimes, MarkWriter};
pub use window::{Reach, Window};
