//! The HTTP interface: the API over a unix socket and TCP, and the web pages.
//!
//! * [`bind`] and [`serve`]: listeners and connections. `connection`: limits for connections. `body`: time limits for requests.
//! * `router`: all routes and their layers: `guard` (`Host` and `Origin`), `auth` (tokens) and `headers`.
//! * `pages`: the web pages. `api`: one file per resource. `problem`: error responses. `openapi`: the description of the API.
//!
//! It uses [`engine::Engine`] and `model`, but never the store, git or processes directly. Every error response is a problem.

mod api;
mod auth;
mod body;
mod caller;
mod connection;
mod exact;
mod extract;
mod finish;
mod guard;
mod headers;
mod host;
mod listen;
mod openapi;
mod pages;
mod problem;
mod router;
mod server;
mod settings_reference;
mod sse;
mod state;
#[cfg(test)]
mod tests;

pub use listen::{BindError, Listeners, bind};
pub use openapi::openapi;
pub use server::{ServeOptions, serve};
pub use settings_reference::settings_reference;
