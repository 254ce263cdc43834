//! Tests of the scripted model with the real Codex CLI, in every tested version.
//!
//! No server is involved.

mod real_codex;
