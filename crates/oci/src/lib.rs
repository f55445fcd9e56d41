//! Types for names, digests, descriptors and manifests.
//!
//! This crate has no I/O. Every value is valid: names, digests and sizes are validated when they are parsed, before they can
//! become part of a URL or a path (CVE-2024-3727 is a consequence of not doing so). Manifests keep their original bytes and are
//! never serialized again.

pub mod backoff;
pub mod descriptor;
pub mod digest;
mod error;
pub mod manifest;
pub mod media_type;
pub mod name;
pub mod persistence;
pub mod platform;
pub mod policy;
pub mod provider;
pub mod reference;
pub mod referrers;

pub use backoff::Backoff;
pub use descriptor::Descriptor;
pub use digest::{Algorithm, Digest, Hasher};
pub use error::{AtSide, Code, Error, Operation, Result, Side, UnknownCode, Verb};
pub use manifest::{Kind, Manifest};
pub use media_type::MediaType;
pub use name::{RegistryHost, Repository, Tag};
pub use persistence::Persistence;
pub use platform::{Platform, Platforms};
pub use policy::{Existing, Limits, Network, Referrers};
pub use provider::{Cloud, Provider};
pub use reference::{Reference, Target};
pub use referrers::DigestTag;
