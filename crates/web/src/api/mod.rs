//! The resources of the API, one file each. A handler takes a request apart, asks the engine once, and answers.
//!
//! No decision is made in here: what may happen to a task is the engine's to say.

pub(crate) mod environments;
pub(crate) mod feed;
pub(crate) mod publish;
pub(crate) mod queue;
pub(crate) mod runs;
pub(crate) mod sign_in;
pub(crate) mod status;
pub(crate) mod take_home;
pub(crate) mod tasks;
pub(crate) mod trash;
pub(crate) mod update;
