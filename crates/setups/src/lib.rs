//! Plans the setup of a repository's environment: which description is in effect, and which snapshot tasks need.
//!
//! Invariant: only the default branch and the owner's settings decide. The branch of a task has no influence on its setup.

mod images;
mod plan;
mod proposal;
mod view;

pub use images::images;
pub use plan::{Effective, Origin, PlanError, SetupPlan, approvable, check, effective, plan, spec};
pub use view::view;
