//! Tests of whole lives of tasks: requests, events, effects and recovery together.

mod lives;
mod world;
