//! The embedded registry as a client meets it: over HTTP, by a client that shares no code with the product.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed, in its helpers too"
)]

mod auth;
mod blobs;
mod client;
mod faults;
mod listings;
mod manifests;
mod notifications;
mod streams;
mod uploads;
