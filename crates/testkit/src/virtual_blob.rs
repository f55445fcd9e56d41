//! Re-exports the virtual blobs of the embedded registry, which serves them by range.

pub use transship_embedded_registry::VirtualBlob;
