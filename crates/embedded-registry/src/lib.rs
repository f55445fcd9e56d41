//! An OCI registry inside a process, for `transship demo` and for tests that inspect a registry.
//!
//! It follows the distribution specification, so that tests against it are tests against the specification. Each deviation
//! of real registries is an option. Content is stored in memory. A blob must be visible only under the digest of its bytes,
//! and a manifest only when everything it needs is there. A stream must not be held in memory as a whole unless its content
//! is stored (see [`Builder::discard_blobs_above`] and [`VirtualBlob`]).

mod auth;
mod blobs;
mod builder;
mod connection;
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
pub use notification::{Notification, Notify};
pub use records::{RequestRecord, Traffic};
pub use registry::EmbeddedRegistry;
pub use virtual_blob::VirtualBlob;
