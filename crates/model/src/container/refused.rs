//! The problem for a container setting that is rejected.
//!
//! All container settings have the same error code; the detail names the setting.

use crate::error_code::ErrorCode;
use crate::problem::Problem;

pub(super) fn refused(detail: String) -> Problem {
    Problem::new(ErrorCode::ContainerRefused, detail)
}
