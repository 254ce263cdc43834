//! The handlers of the API, one file per resource. A handler reads the request, calls the engine once, and writes the response.
//!
//! Handlers make no decisions. The engine decides what is allowed.

pub(crate) mod artifacts;
pub(crate) mod environments;
pub(crate) mod feed;
pub(crate) mod installed;
pub(crate) mod operation;
pub(crate) mod publish;
pub(crate) mod queue;
pub(crate) mod runs;
pub(crate) mod setup;
pub(crate) mod shells;
pub(crate) mod sign_in;
pub(crate) mod status;
pub(crate) mod take_home;
pub(crate) mod tasks;
pub(crate) mod trash;
pub(crate) mod update;
