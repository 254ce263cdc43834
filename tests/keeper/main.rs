//! Keepers as processes of their own: the real binary holds real workers, which are shell scripts.
//!
//! No server takes part. What a test waits for is a line in the journal, a file, or the keeper's end.

mod bench;
mod endings;
mod losses;
mod runs;
