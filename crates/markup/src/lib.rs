//! Text from agents and repositories as harmless markup.
//!
//! * [`hunks`]: the lines of a diff. [`compared`]: two texts as a diff. [`visible`]: names and marks for invisible characters.
//! * [`colour`]: source code with syntax highlighting. [`text`]: Markdown and the output of programs.
//! * [`junit`]: test reports, as values.
//!
//! Pure. Invariant: markup in the input never becomes markup in the output, and the size of the output is limited.

pub mod colour;
pub mod compared;
pub mod hunks;
pub mod junit;
pub mod text;
pub mod visible;
