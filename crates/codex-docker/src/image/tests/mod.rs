//! Tests the requests to the engine about images, and how its answers are explained. The engine plays a script.
//!
//! `tests/it` builds, pulls and removes images with a real engine.

mod building;
mod existing;
