//! Two sites behind one name: registries with TLS on one port at two loopback addresses, name servers that hold the name, clients
//! that know nothing but the name, and `transship` between the sites.

pub mod aged;
pub mod barrier;
pub mod client;
pub mod front;
pub mod gate;
pub mod names;
pub mod stage;

pub use aged::age_comparisons;
pub use barrier::Barrier;
pub use client::{Client, Pulled, Pulling};
pub use gate::{Gate, Updates};
pub use names::Names;
pub use stage::{CLIENTS, Stage};
