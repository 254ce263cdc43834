//! Reads the logs of runs for readers: a part of a log, and when its lines were written.
//!
//! A log contains the output of a program, so nothing is assumed about its lines.

mod times;
mod window;

pub use times::{LineTime, LineTimes, MarkWriter};
pub use window::{Reach, Window};
