//! A typed client of the HTTP API over the Unix socket of a server, with one method for each operation.
//!
//! The client starts no server, does not reconnect on its own, and prints nothing. Every error is a
//! [`Problem`](model::problem::Problem): the server's own one,
//! `server_lost` if the server does not answer or closes the connection too early, or `internal` if its answer is malformed.
//!
//! # Invariants
//!
//! * No caller spells out a path or reads raw bytes of an event stream.
//! * A test compares all methods with `docs/openapi.json`.

mod answer;
mod connection;
mod operations;
mod sse;
mod streams;

pub use answer::Download;
pub use connection::Client;
pub use streams::{AnyFeedEvent, Change, Feed, LogLine, RunEvent, RunStream};
