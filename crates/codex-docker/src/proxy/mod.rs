//! The only ways out of a container without a network: to the model, and to the hosts of a list.
//!
//! Both are small servers on unix sockets in a folder that is mounted into one container. They live in the process of its run and
//! end with it. No port of the host is opened, and no secret that they hold is ever seen on the other side.

pub mod allow;
mod bind;
pub mod broker;
mod exchange;
mod headers;
mod hosted;
mod secret;
mod serve;
mod usage;
