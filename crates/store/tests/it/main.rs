//! Tests of the crate over its public interface: every kind of record, damaged files, and files that cannot be written.
//!
//! Tests also run as root, who may write everywhere. So a folder in place of a file stands for everything that makes a write fail.

mod environments;
mod home;
mod login;
mod small_files;
mod support;
mod tasks;
mod trash;
