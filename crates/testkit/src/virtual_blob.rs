//! Blobs of any size without disk or memory, under the name tests look for them by.
//!
//! They belong to the embedded registry, which serves them by range; see there for how they are made.

pub use transship_embedded_registry::VirtualBlob;
