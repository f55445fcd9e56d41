//! What every worker shares, in a function or in `serve`: what becomes of a message, dead letters, caches, logs.
//!
//! This crate knows no platform. `crates/aws` and `crates/local` adapt a platform to the ports of the engine and of this
//! crate; another cloud would need such adapters only.

mod batch;
mod bounded_file;
mod document;
mod environment;
mod fetch_cache;
pub mod logging;
mod message;
mod metric;
mod published_keys;
mod secrets;
mod worker;

pub use batch::run_batch;
pub use bounded_file::read_bounded;
pub use document::{
    DOCUMENT_BYTES_MAX, DocumentOptions, DocumentReader, DocumentSource, DocumentText, EARLIER_VERSIONS_MAX,
    FileDocument, Loaded, warn,
};
pub use environment::Environment;
pub use fetch_cache::{Cached, FetchCache, Freshness};
pub use message::{DeadLetterRecorder, JobHandler, MessageHandler, MessageProcessor, Received, Undecided};
pub use metric::{MetricUnit, is_summed_up};
pub use published_keys::PublishedKeys;
pub use secrets::{CachedSecrets, REFUSED_LOGIN_TTL, SecretLogin, process_secrets, secret_of, secret_unavailable};
pub use worker::Worker;
