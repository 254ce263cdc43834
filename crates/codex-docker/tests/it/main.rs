//! Tests of the crate over its public interface: images, with a real container engine, and the exits of a container without a network.
//!
//! `real_codex` uses the real Codex CLI. The model is always scripted.

mod image_build;
mod image_command;
mod image_status;
mod image_support;
mod image_tools;
mod image_usage;
mod profile;
mod proxy_allow;
mod proxy_broker;
mod proxy_budget;
mod proxy_hosted;
mod proxy_support;
mod real_codex;
