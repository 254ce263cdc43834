//! Tests of the crate over its public interface, with the real Git and real repositories.
//!
//! Some of the repositories are hostile. All are in temporary folders.

mod archive;
mod clone;
mod diff;
mod fetch;
mod harvest;
mod harvest_hostile;
mod history;
mod hostile;
mod import;
mod large_files;
mod omitted;
mod partial;
mod power;
mod prepared;
mod repack;
mod review;
mod signing;
mod signing_with_gpg;
mod snapshot;
mod sparse;
mod submodules;
mod support;
mod tree_objects;
mod twin;
mod untrusted;
mod update;
mod worktree;
