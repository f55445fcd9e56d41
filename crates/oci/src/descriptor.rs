//! Descriptors: the edges of the image graph.
//!
//! Source: OCI image-spec, descriptor.md. Only the fields that a copy needs are parsed; the rest is kept in the raw bytes.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::{Digest, MediaType, Platform, manifest};

/// Media type, digest and size of a manifest or blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Type of the content.
    pub media_type: MediaType,
    /// Its digest.
    pub digest: Digest,
    /// Declared size in bytes, which must not be used to allocate memory.
    pub size: u64,
    /// The content itself, base64, for small content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The artifact type of a manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Annotations by key, at most 1,000. Empty in the lists of a manifest: see [`crate::Manifest::annotated_children`].
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The platform of the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// A descriptor with only type, digest and size.
    pub fn new(media_type: MediaType, digest: Digest, size: u64) -> Self {
        Self {
            media_type,
            digest,
            size,
            data: None,
            artifact_type: None,
            annotations: BTreeMap::new(),
            platform: None,
        }
    }
}

impl<'de> Deserialize<'de> for Descriptor {
    /// Reads the descriptor of a manifest from JSON. `null` is an empty list or map, and only type, digest and size can refuse it.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Box::<RawValue>::deserialize(deserializer)?;
        manifest::with_annotations(&written, &"the descriptor").map_err(|error| D::Error::custom(error.message()))
    }
}
