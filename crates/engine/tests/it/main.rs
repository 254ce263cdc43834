//! Tests of the engine with a runner elsewhere: a fake one in this process, which loses connections, restarts and answers late.

mod bench;
mod fake;
mod prepared;
mod seam;
mod setup;
mod setup_waits;
mod storm;
