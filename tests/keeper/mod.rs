//! Keepers as separate processes: the real binary supervises real workers, which are shell scripts.
//!
//! No server is involved. Tests wait for a line in the log, a file, or the keeper's end.

mod app_server;
mod bench;
mod endings;
mod losses;
mod runs;
