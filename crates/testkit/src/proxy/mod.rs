//! Proxies in front of any registry: one that executes faults and counts, one that adds distance.

mod delay;
mod fault;

pub use delay::DelayProxy;
pub use fault::FaultProxy;
pub use transship_embedded_registry::records::{Class, Count, RequestRecord, Traffic};
