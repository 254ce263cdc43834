//! A fake machine that executes runs. It has its own storage and its own agents, and it is reached through a [`FakeRunner`], whose
//! connection fails on request or at random.
//!
//! * `host`: the machine, its storage, and what the tests check afterwards.
//! * `agent`: what an agent writes, and how its work is exported.
//! * `faults`: the failures of a connection, derived from a seed.
//! * `runner`: the runner that a server uses.

mod agent;
mod faults;
mod host;
mod runner;

pub(crate) use agent::{content, git};
pub(crate) use faults::Fault;
pub(crate) use host::FakeHost;
