//! What the tests share: homes with real servers, a real upstream repository, scripted workers, the pinned Codex CLIs.
//!
//! Only tests use it. Everything in here is real but the model and, in scripted workers, the agent.

pub mod codex;
mod home;
pub mod upstream;
pub mod worker;

pub use home::TestHome;
