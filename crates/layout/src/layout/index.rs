//! Parses `index.json` entry by entry: an invalid entry is reported, and the others are used.
//!
//! Source: OCI image-spec, image-layout.md and annotations.md.

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

/// An entry that cannot be read.
#[derive(Debug, Clone)]
pub(crate) struct Broken {
    /// Its first name, or its position.
    pub(super) name: String,
    /// All names.
    pub(super) names: Vec<String>,
    pub(super) why: Error,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    #[serde(default)]
    media_type: Option<String>,
    /// [`None`] if the field is absent.
    #[serde(borrow, default, deserialize_with = "null_is_empty")]
    manifests: Option<Vec<&'a RawValue>>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    config: Option<serde::de::IgnoredAny>,
}

/// The parts of an invalid entry that identify it, of any type.
#[derive(Deserialize)]
struct Glimpse {
    #[serde(default)]
    digest: serde_json::Value,
    #[serde(default)]
    annotations: serde_json::Value,
}

/// The writers are Go programs, in which null is an empty list.
fn null_is_empty<'de: 'a, 'a, D>(deserializer: D) -> Result<Option<Vec<&'a RawValue>>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    Ok(Some(Option::deserialize(deserializer)?.unwrap_or_default()))
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
    let annotation = |key: &str| descriptor.annotations.get(key).cloned();
    Candidate {
        names: names(annotation),
        descriptor,
    }
}

/// The names in the annotations of an entry: `ref.name`, which is often only a tag, then containerd's, which is whole.
fn names(annotation: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let named = [REF_NAME, CONTAINERD_NAME].into_iter().filter_map(annotation);
    let mut names: Vec<String> = named.filter(|name| !name.is_empty()).collect();
    names.dedup();
    names
}

fn broken(at: usize, entry: &RawValue, error: &serde_json::Error) -> Broken {
    let glimpse = serde_json::from_str::<Glimpse>(entry.get()).ok();
    let annotation = |key: &str| Some(glimpse.as_ref()?.annotations.get(key)?.as_str()?.to_owned());
    let names = names(annotation);
    let digest = glimpse.as_ref().and_then(|glimpse| glimpse.digest.as_str());
    let refusal = digest.and_then(|digest| digest.parse::<Digest>().err());
    let refusal = refusal
        .unwrap_or_else(|| Error::refused(Code::ManifestInvalid, format_args!("entry {at} of index.json: {error}")));
    let name = names.first().cloned();
    Broken {
        name: name.unwrap_or_else(|| format!("entry {at} of index.json")),
        names,
        why: refusal,
    }
}

impl Broken {
    /// The entry `candidate`, which cannot be read.
    pub(crate) fn of(candidate: &Candidate, why: Error) -> Self {
        let name = candidate.names.first().cloned();
        Self {
            name: name.unwrap_or_else(|| candidate.descriptor.digest.to_string()),
            names: candidate.names.clone(),
            why,
        }
    }

    pub(super) fn error(&self, operation: &Operation) -> Error {
        self.why.clone().during(operation)
    }
}
