//! Tests of the crate over its public interface: the catalogue of error codes, and its reference.
//!
//! The requests and responses are tested with the server, in the crate `web` and in the tests at the root.

mod error_codes;
mod error_reference;
