//! The built-in worker from the outside: how it is called for runs, what the server rejects while the worker is unusable, and what readers
//! see. A stand-in for `codex-docker` creates no containers and records its calls.

mod calls;
mod commands;
mod login;
mod readiness;
mod secrets;

use crate::stage::{Setup, Stage};

/// Starts a server whose built-in worker is a stand-in.
async fn stage() -> Stage {
    setup().start().await
}

fn setup() -> Setup {
    Stage::setup().scripted_containers()
}

impl Stage {
    /// Returns the calls of a subcommand. Calls of `reap` are included only if they are for a task.
    fn calls(&self, verb: &str) -> Vec<String> {
        let begins = format!("codex-docker {verb}");
        let calls = self.containers().calls().into_iter().filter(|call| call.starts_with(&begins));
        calls.filter(|call| verb != "reap" || call.contains(" --label task=")).collect()
    }
}
