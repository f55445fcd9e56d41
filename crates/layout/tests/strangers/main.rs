//! Sources that strangers wrote: skopeo, umoci and buildah; and the storage of Debian's `docker-registry`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests, and what they share"
)]

mod files;
mod programs;
mod registry;
