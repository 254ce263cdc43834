//! A repository that tasks start from. The code and the API call it an environment.
//!
//! On disk, the URL, the default branch and the secret values each have their own file, and everything else is in `env.json`.
//! A failed clone leaves nothing on disk; only the record in memory shows the failure.
//!
//! * [`request()`], [`decide()`]: what users may request, and what follows from a request or an event.
//! * `values`: parses user input: variables, secrets and the Git host.
//! * [`reconcile()`]: the events that must have happened, derived from the state of the machine.

mod decide;
mod record;
mod values;

pub use decide::{
    EnvironmentDecision, EnvironmentEffect, EnvironmentEvent, EnvironmentRequest, begin, decide, is_unfinished, reconcile,
    request,
};
pub use record::{EnvironmentRecord, EnvironmentStatus};
pub use values::{change_forge, change_secrets, check_variables, parse_variables};
