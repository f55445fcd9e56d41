//! What the tests stand on: sample images that are always the same bytes, blobs of any size, faults that are scripted
//! or seeded, proxies that execute them or add distance, a clock turned by hand, real registries as processes, and the
//! suites that every adapter of a port passes.
//!
//! Nothing here decides anything for the product. What must hold: the same seed gives the same bytes and the same faults,
//! and whatever is started is stopped when it is dropped.

pub mod clock;
pub mod deployment;
mod error;
pub mod faults;
pub mod http;
pub mod images;
pub mod lambda_runtime;
pub mod memory;
pub mod ministack;
pub mod processes;
pub mod proxy;
mod server;
pub mod suites;
pub mod virtual_blob;

pub use error::{Error, ErrorKind, Result};
pub use server::runtime_free_port;
