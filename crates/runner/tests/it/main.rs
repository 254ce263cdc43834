//! Tests of the crate over its public interface: crafted records of keepers, sessions that an agent changed, logs, and workers.
//!
//! No keeper is started here. The black-box tests start real ones.

mod journal;
mod local;
mod records;
mod sessions;
mod workers;
