//! testkit

pub mod codex;
pub mod upstream;
