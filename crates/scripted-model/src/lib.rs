//! A local Responses API server that plays a script, so that the real Codex CLI runs without an account or a network.
//!
//! [`ScriptedModel::start`] serves `POST /v1/responses` on a thread of its own; [`codex_config`] is the configuration that
//! points Codex at it. What the model answers is a [`Script`] of the caller, or a named scenario picked by a
//! `SCENARIO:<name>` marker in the last user message. It never runs a command and never touches a file: Codex does, because
//! the script asks it to. The place in the script is read from each request, so a resumed thread needs no memory here.

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
