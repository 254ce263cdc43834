//! Plans the setup of a repository's environment: which description is in effect, and which snapshot tasks need.
//!
//! Invariant: only the default branch, the owner's settings, and branches that the owner trusts or accepted decide. Nothing else on the
//! branch of a task has an influence on its setup.

mod basis;
mod diff;
mod images;
mod installed;
mod plan;
mod proposal;
mod view;

pub use basis::{basis, basis_of, default_commit, is_described_alike};
pub use diff::diff;
pub use images::images;
pub use installed::installed;
pub use plan::{Effective, Origin, PlanError, SetupPlan, approvable, check, effective, host_setup, plan, spec, update};
pub use view::view;
