//! The HTTP door: the API over a unix socket and over TCP, and nothing behind it.
//!
//! * [`bind`] and [`serve`]: the listeners and the life of a connection. `connection`: how many there may be. `body`: how long a request may take.
//! * `router`: every route, and the layers around them: `guard` (whose request is this), `auth` (who asks), `headers`.
//! * `pages`: what people see. `api`: one file per resource. `problem`: how a refusal is answered. `openapi`: the contract, held to the code by a test.
//!
//! It sees [`engine::Engine`] and `model`, never the store, git or a process. Every answer that is not a success is a problem.

mod api;
mod auth;
mod body;
mod connection;
mod extract;
mod finish;
mod guard;
mod headers;
mod host;
mod listen;
mod openapi;
mod pages;
mod problem;
mod range;
mod router;
mod server;
mod sse;

pub use listen::{BindError, Listeners, SocketPath, bind};
pub use openapi::openapi;
pub use server::{ServeOptions, serve};
