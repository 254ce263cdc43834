//! The two servers that a container without a network can reach: the broker for the model's API, and the allowlist proxy.
//!
//! Each listens on a Unix socket in a folder that is mounted into one container, and stops with the process of the run. They open
//! no port on the host. The container never sees the broker's key.

pub mod allow;
mod bind;
pub mod broker;
mod exchange;
mod headers;
mod hosted;
mod secret;
mod serve;
mod usage;
