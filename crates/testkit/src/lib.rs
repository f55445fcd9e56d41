//! Equipment for tests: reproducible sample images, blobs of any size, scripted and seeded faults, proxies that execute faults
//! or add latency, a manual clock, real registries as processes, and the suites that every adapter of a port must pass.
//!
//! The same seed must give the same bytes and the same faults, and everything that is started must stop when it is dropped.

pub mod clock;
pub mod deliveries;
pub mod deployment;
mod error;
pub mod faults;
pub mod http;
pub mod images;
pub mod lambda_runtime;
pub mod layouts;
pub mod memory;
pub mod metrics;
pub mod ministack;
pub mod mutation;
pub mod name_server;
pub mod processes;
pub mod proxy;
mod server;
pub mod signing;
pub mod suites;

pub use error::{Error, ErrorKind, Result};
pub use server::runtime_free_port;
