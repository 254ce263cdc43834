//! A local Responses API server that plays a script, so that the real Codex CLI runs without an account or a network.
//!
//! [`ScriptedModel::start`] serves `POST /v1/responses` in a separate thread, and [`codex_config`] returns a configuration with
//! which Codex uses it. The model plays the caller's [`Script`], or the scenario that a `SCENARIO:<name>` marker in the last user
//! message names. It never runs a command or changes a file: Codex does that when the script asks for it. The server finds the
//! position in the script from each request, so a thread can be resumed at any time.

mod config;
mod conversation;
mod item;
mod request;
mod scenarios;
mod script;
mod server;
mod stage;
mod stream;
mod tools;
mod usage;
mod wire;

pub use config::{CodexConfig, codex_config};
pub use item::{Item, Phase, PlanStatus};
pub use request::Request;
pub use scenarios::SCENARIOS;
pub use script::{Fault, Script, Step, Turn, When};
pub use server::{ScriptedModel, StartError};
pub use usage::Usage;
