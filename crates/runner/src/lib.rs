//! Runs Codex on this machine.
//!
//! `worker` finds the program that runs Codex and builds its command line. `keeper` is a small process that supervises one run, and the
//! functions with which a server starts, observes and stops it. `journal` follows the growing files of runs. This crate does not decide
//! which runs start, and it keeps no records of tasks.

pub mod journal;
pub mod keeper;
pub mod spec;
pub mod worker;
