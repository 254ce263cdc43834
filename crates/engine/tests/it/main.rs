//! Tests of the crate over its public interface: programs that it starts, and everything that it does with the real Git.
//!
//! The servers, keepers and mailboxes that use these parts are tested by the black-box tests at the root.

mod exec_process;
mod exec_run;
mod git_clone;
mod git_diff;
mod git_fetch;
mod git_harvest;
mod git_harvest_hostile;
mod git_hostile;
mod git_import;
mod git_large_files;
mod git_power;
mod git_repack;
mod git_review;
mod git_snapshot;
mod git_submodules;
mod git_support;
mod git_twin;
mod git_untrusted;
mod git_update;
mod git_worktree;
