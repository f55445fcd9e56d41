//! Parses `index.json` entry by entry: an invalid entry is reported, and the others are used.
//!
//! Source: OCI image-spec, image-layout.md and annotations.md.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use transship_oci::{Code, Descriptor, Digest, Error, MediaType, Operation, Result};

use crate::images::Candidate;

const REF_NAME: &str = "org.opencontainers.image.ref.name";
const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// Maximum size of `index.json` in bytes, about 50,000 entries.
pub(super) const MAX_BYTES: usize = 16 * 1024 * 1024;
const MAX_ENTRIES: usize = 100_000;

/// The content of `index.json`.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) entries: Vec<Candidate>,
    /// Entries that are not valid descriptors.
    pub(super) broken: Vec<Broken>,
}

/// An invalid entry: its name and the error.
#[derive(Debug, Clone)]
pub(super) struct Broken {
    pub(super) name: String,
    pub(super) why: Error,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    #[serde(default)]
    media_type: Option<String>,
    #[serde(borrow, default)]
    manifests: Option<Vec<&'a RawValue>>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    config: Option<serde::de::IgnoredAny>,
}

/// The parts of an invalid entry that identify it.
#[derive(Deserialize)]
struct Glimpse {
    #[serde(default)]
    digest: Option<String>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

impl Index {
    /// Parses `index.json`. The error is a sentence.
    pub(super) fn parse(bytes: &Bytes) -> Result<Self, String> {
        let written: Written<'_> = serde_json::from_slice(bytes).map_err(|error| format!("index.json: {error}"))?;
        let media_type = written.media_type.as_deref().filter(|own| !own.is_empty());
        if media_type.is_some_and(|own| !MediaType::new(own).is_index()) {
            return Err("index.json is not an index".to_owned());
        }
        if written.layers.is_some() || written.config.is_some() {
            return Err("index.json has layers or a config like an image manifest".to_owned());
        }
        let manifests = written.manifests.ok_or("index.json has no manifests")?;
        if manifests.len() > MAX_ENTRIES {
            return Err(format!("index.json has more than {MAX_ENTRIES} entries"));
        }
        let mut index = Self::default();
        for (at, entry) in manifests.into_iter().enumerate() {
            match serde_json::from_str::<Descriptor>(entry.get()) {
                Ok(descriptor) => index.entries.push(candidate(descriptor)),
                Err(error) => index.broken.push(broken(at, entry, &error)),
            }
        }
        Ok(index)
    }
}

/// A descriptor with its name.
pub(super) fn candidate(descriptor: Descriptor) -> Candidate {
    Candidate {
        name: name(&descriptor.annotations),
        descriptor,
    }
}

fn name(annotations: &BTreeMap<String, String>) -> Option<String> {
    let named = |key: &str| annotations.get(key).filter(|name| !name.is_empty()).cloned();
    named(REF_NAME).or_else(|| named(CONTAINERD_NAME))
}

fn broken(at: usize, entry: &RawValue, error: &serde_json::Error) -> Broken {
    let glimpse = serde_json::from_str::<Glimpse>(entry.get()).ok();
    let named = glimpse.as_ref().and_then(|glimpse| name(glimpse.annotations.as_ref()?));
    let digest = glimpse.and_then(|glimpse| glimpse.digest);
    let refusal = digest.and_then(|digest| digest.parse::<Digest>().err());
    let refusal = refusal
        .unwrap_or_else(|| Error::refused(Code::ManifestInvalid, format_args!("entry {at} of index.json: {error}")));
    Broken {
        name: named.unwrap_or_else(|| format!("entry {at} of index.json")),
        why: refusal,
    }
}

impl Broken {
    pub(super) fn error(&self, operation: &Operation) -> Error {
        self.why.clone().during(operation)
    }
}
