//! embedded-registry
