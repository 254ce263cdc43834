//! Tests of the crate over its public interface: parsers with recordings and random input.
//!
//! The decisions about tasks are tested in the files that contain them.

mod allow_lists;
mod bundle_robustness;
mod codex_outcome;
mod codex_recordings;
mod codex_robustness;
mod codex_transcript;
mod diff_patches;
mod diff_robustness;
mod names_robustness;
mod publication_robustness;
mod queue_plans;
mod small_rules;
mod visible_robustness;
