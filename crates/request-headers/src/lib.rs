//! Parses request headers that anyone can send: [`host`] (`Host` and `Origin`), [`range`] and [`event_id`] (`Last-Event-ID`).
//!
//! Pure. It does not decide which hosts are allowed. Invariant: a parser accepts each value in one spelling only, or ignores the header.

pub mod event_id;
pub mod host;
pub mod range;
