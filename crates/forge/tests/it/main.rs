//! Tests of the clients over their public interface, against a Git host on the loopback interface.
//!
//! No test uses another network.

mod forgejo;
mod github;
mod gitlab;
mod requests;
mod responses;
mod support;
