//! What every worker shares, in a function or in `serve`: what becomes of a message, dead letters, caches, logs.
//!
//! This crate knows no platform. `crates/aws` and `crates/local` adapt a platform to the ports of the engine and of this
//! crate; another cloud would need such adapters only.

pub mod batch;
mod dead_letters;
mod fetch_cache;
pub mod logging;
mod worker;

pub use dead_letters::DeadLetterRecorder;
pub use fetch_cache::{Cached, FetchCache, FetchError, Freshness};
pub use worker::Worker;
