//! What every worker shares, in a function or in `serve`: what becomes of a message, dead letters, caches, logs.
//!
//! This crate knows no platform. `crates/aws` and `crates/local` adapt a platform to the ports of the engine and of this
//! crate; another cloud would need such adapters only.

mod batch;
mod bounded_file;
mod document;
mod fetch_cache;
pub mod logging;
mod message;
mod worker;

pub use batch::run_batch;
pub use bounded_file::read_bounded;
pub use document::{
    DOCUMENT_BYTES_MAX, DocumentOptions, DocumentReader, DocumentSource, DocumentText, FileDocument, warn,
};
pub use fetch_cache::{Cached, FetchCache, FetchError, Freshness};
pub use message::{DeadLetterRecorder, JobHandler, MessageHandler, MessageProcessor, Received, Undecided};
pub use worker::Worker;
