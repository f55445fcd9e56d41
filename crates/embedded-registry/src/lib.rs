//! An OCI registry inside a process: for `transship demo`, and for tests that need a registry they can look into.
//!
//! It keeps to the distribution specification, so that a client proven here is proven against the specification; what
//! registries do differently is switched on one option at a time. Content lies in memory. What must hold: a blob is
//! visible only under a digest its bytes have, a manifest only when all it needs is there, and no stream is held whole
//! unless it is to be kept (see [`Builder::discard_blobs_above`] and [`VirtualBlob`]).

mod auth;
mod blobs;
mod builder;
mod connection;
mod error;
pub mod faults;
mod listings;
mod manifests;
pub mod notification;
mod range;
pub mod records;
mod refusal;
mod registry;
mod route;
pub mod server;
mod store;
mod uploads;
mod virtual_blob;

pub use auth::Auth;
pub use builder::{Builder, UploadRanges};
pub use error::{Error, ErrorKind, Result};
pub use notification::{Notification, Notify};
pub use records::{RequestRecord, Traffic};
pub use registry::EmbeddedRegistry;
pub use virtual_blob::VirtualBlob;
