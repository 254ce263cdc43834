//! The two servers that a container reaches through sockets, even without a network: the broker for the model's API, and the
//! allowlist proxy.
//!
//! Each server listens on a Unix socket in a folder that is mounted into one container, and stops when the run's process ends.
//! The servers open no ports on the host. The container never sees the broker's key.

pub mod allow;
mod bind;
pub mod broker;
mod exchange;
mod headers;
mod hosted;
mod secret;
mod serve;
mod usage;
