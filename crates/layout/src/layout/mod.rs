//! One OCI image layout.
//!
//! Source: OCI image-spec, image-layout.md. Names stand in `index.json` as `org.opencontainers.image.ref.name` (or
//! `io.containerd.image.name`, which containerd writes with the whole reference); referrers stand there too, without a name.
//! An index that has no name itself may name its children; they are found as if they stood in `index.json`.
//!
//! A layout is content under its own digests: whatever is replaced while it is read shows as another digest.

mod completeness;
mod index;
mod listing;
mod referrers;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use tokio::sync::OnceCell;
use transship_copy::{BlobSource, ByteStream, Manifests, Source};
use transship_oci::manifest::MAX_BYTES;
use transship_oci::{Code, Descriptor, Digest, Error, Manifest, Operation, Result, Tag, Target, Verb};

pub use completeness::Completeness;

use crate::images::{Called, Candidate, called, conflict};
use crate::missing::Blobs;
use crate::read_all::read_all;
use crate::{ObjectStore, Part};
use index::{Broken, Index};

/// The file that makes a folder a layout.
pub(crate) const MARKER: &str = "oci-layout";
/// The file that names a layout's images.
pub(crate) const INDEX: &str = "index.json";
/// So many files a layout has beside its blobs: those two.
pub(crate) const FILES: usize = 2;
/// So many blobs are asked for one by one; more are looked up in a listing.
const MAX_HEADS: usize = 24;
/// Unnamed indexes that are looked into for named children; more are taken by digest only.
const MAX_LOOKED_INTO: usize = 64;
/// Manifests read at the same time: each may be 4 MiB.
const PARALLEL: usize = 4;

/// The key of the index of the layout below `prefix`.
pub(crate) fn index_key(prefix: &str) -> String {
    format!("{prefix}{INDEX}")
}

/// One entry of `index.json`.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The name it is found by, if it has one.
    pub name: Option<String>,
    /// Its manifest.
    pub descriptor: Descriptor,
}

/// One layout, read through a store.
#[derive(Clone)]
pub struct Layout {
    store: Arc<dyn ObjectStore>,
    prefix: String,
    contents: Arc<Contents>,
    /// By subject; read once, when first asked for.
    referrers: Arc<OnceCell<HashMap<Digest, Vec<Descriptor>>>>,
}

/// What the index says, and the named children of unnamed indexes.
struct Contents {
    /// Those of `index.json` first.
    candidates: Vec<Candidate>,
    /// How many of them stand in `index.json` itself.
    listed: usize,
    broken: Vec<Broken>,
    by_tag: HashMap<Tag, Vec<usize>>,
    by_digest: HashMap<Digest, usize>,
}

impl Contents {
    fn new(candidates: Vec<Candidate>, listed: usize, broken: Vec<Broken>) -> Self {
        let mut by_tag: HashMap<Tag, Vec<usize>> = HashMap::new();
        let mut by_digest = HashMap::new();
        for (at, candidate) in candidates.iter().enumerate() {
            if let Some(Called::Tag(tag)) = candidate.name.as_deref().map(called) {
                by_tag.entry(tag).or_default().push(at);
            }
            by_digest.entry(candidate.descriptor.digest.clone()).or_insert(at);
        }
        Self {
            candidates,
            listed,
            broken,
            by_tag,
            by_digest,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

impl Layout {
    /// Opens the layout below `prefix` (empty, or ending in `/`). `LAYOUT_INVALID` if there is none.
    pub async fn open(store: Arc<dyn ObjectStore>, prefix: &str) -> Result<Self> {
        let operation = Verb::Layout.on(format_args!("{}/{prefix}", store.name()));
        let invalid = |why: String| Error::of(Code::LayoutInvalid, &operation).because(why);
        let marker = read_all(store.as_ref(), &format!("{prefix}{MARKER}"), 4096)
            .await?
            .ok_or_else(|| invalid("it has no file oci-layout".into()))?;
        let marker: Marker = serde_json::from_slice(&marker)
            .map_err(|error| invalid(format!("oci-layout is not what it should be, {error}")))?;
        if marker.image_layout_version != "1.0.0" {
            return Err(invalid(format!(
                "its version is {:?}, and 1.0.0 is understood",
                marker.image_layout_version
            )));
        }
        let index = read_all(store.as_ref(), &format!("{prefix}{INDEX}"), index::MAX_BYTES)
            .await?
            .ok_or_else(|| invalid("it has no index.json".into()))?;
        let Index { entries, broken } = Index::parse(&index).map_err(invalid)?;
        let listed = entries.len();
        let mut layout = Self {
            store,
            prefix: prefix.to_owned(),
            contents: Arc::new(Contents::new(entries, listed, broken)),
            referrers: Arc::default(),
        };
        let nested = layout.named_within().await?;
        if !nested.is_empty() {
            let contents = &layout.contents;
            let candidates = contents.candidates.iter().cloned().chain(nested).collect();
            layout.contents = Arc::new(Contents::new(candidates, listed, contents.broken.clone()));
        }
        Ok(layout)
    }

    /// What `index.json` names, in its order.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.listed().iter().map(|candidate| Entry {
            name: candidate.name.clone(),
            descriptor: candidate.descriptor.clone(),
        })
    }

    /// The entry `reference` means: a name, the tag part of one, or a digest. Without one: the only image, or `latest`.
    pub fn resolve(&self, reference: Option<&str>) -> Result<Entry> {
        let found = crate::images::resolve(&self.contents.candidates, reference, &self.operation())?;
        Ok(Entry {
            name: found.name.clone(),
            descriptor: found.descriptor.clone(),
        })
    }

    fn listed(&self) -> &[Candidate] {
        self.contents.candidates.get(..self.contents.listed).unwrap_or_default()
    }

    fn operation(&self) -> Operation {
        Verb::Layout.on(format_args!("{}/{}", self.store.name(), self.prefix))
    }

    /// Named children of the unnamed indexes in `index.json`.
    async fn named_within(&self) -> Result<Vec<Candidate>> {
        let unnamed = self
            .listed()
            .iter()
            .filter(|entry| entry.name.is_none() && entry.descriptor.media_type.is_index());
        let mut found = Vec::new();
        for entry in unnamed.take(MAX_LOOKED_INTO) {
            let Some(manifest) = self.manifest_if_good(&entry.descriptor.digest).await? else {
                continue;
            };
            let children = manifest.children().iter().cloned().map(index::candidate);
            found.extend(children.filter(|child| child.name.is_some()));
        }
        Ok(found)
    }

    fn key(&self, digest: &Digest) -> String {
        blob_key(&self.prefix, digest)
    }

    /// The manifest `digest`, its bytes proven; [`None`] if it is not there.
    async fn manifest_of(&self, digest: &Digest, media_type: Option<&str>) -> Result<Option<Manifest>> {
        let operation = || Verb::ManifestGet.on(format_args!("{}@{digest}", self.name()));
        let Some(bytes) = read_all(self.store.as_ref(), &self.key(digest), MAX_BYTES).await? else {
            return Ok(None);
        };
        proven(bytes, digest, media_type, operation).map(Some)
    }

    /// The same, or nothing where the manifest itself is at fault: whoever asks for it by its name is told why.
    async fn manifest_if_good(&self, digest: &Digest) -> Result<Option<Manifest>> {
        match self.manifest_of(digest, None).await {
            Ok(found) => Ok(found),
            Err(error) if error.persistence().is_permanent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn descriptor_of(&self, target: &Target) -> Result<Option<Descriptor>> {
        let contents = &self.contents;
        let descriptor = |at: &usize| {
            contents
                .candidates
                .get(*at)
                .map(|candidate| candidate.descriptor.clone())
        };
        match target {
            Target::Digest(digest) => Ok(contents.by_digest.get(digest).and_then(descriptor)),
            Target::Tag(tag) => {
                let found: Vec<Descriptor> = contents
                    .by_tag
                    .get(tag)
                    .into_iter()
                    .flatten()
                    .filter_map(descriptor)
                    .collect();
                match found.as_slice() {
                    [one, others @ ..] if others.iter().any(|other| other.digest != one.digest) => {
                        Err(conflict(tag, found.iter().map(|one| &one.digest), &self.operation()))
                    }
                    found => Ok(found.first().cloned()),
                }
            }
        }
    }
}

/// Where the bytes of `digest` lie in the layout below `prefix`. Safe: a digest holds nothing but its algorithm and
/// hexadecimal digits.
pub(crate) fn blob_key(prefix: &str, digest: &Digest) -> String {
    format!("{prefix}blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}

/// The blobs of the layout below `prefix`.
pub(crate) fn blobs<'a>(store: &'a dyn ObjectStore, prefix: &str) -> Blobs<'a> {
    Blobs {
        store,
        prefix: format!("{prefix}blobs/"),
        max_heads: MAX_HEADS,
    }
}

/// `bytes` as the manifest called `digest`, if they are that.
pub(crate) fn proven(
    bytes: bytes::Bytes,
    digest: &Digest,
    media_type: Option<&str>,
    operation: impl Fn() -> Operation,
) -> Result<Manifest> {
    if Digest::of(digest.algorithm(), &bytes) != *digest {
        return Err(Error::of(Code::ManifestDigestMismatch, operation()));
    }
    let manifest = Manifest::parse_with_digest(bytes, media_type, digest.clone());
    manifest.map_err(|error: Error| error.during(operation()))
}

#[async_trait]
impl BlobSource for Layout {
    async fn blob_get(&self, blob: &Descriptor, offset: u64) -> Result<ByteStream> {
        let missing = || {
            Error::of(
                Code::BlobNotFound,
                Verb::BlobGet.on(format_args!("{}@{}", self.name(), blob.digest)),
            )
        };
        self.store
            .get(&self.key(&blob.digest), Part::from(offset))
            .await?
            .ok_or_else(missing)
    }
}

#[async_trait]
impl Manifests for Layout {
    fn name(&self) -> String {
        format!("oci:{}/{}", self.store.name(), self.prefix)
            .trim_end_matches('/')
            .to_owned()
    }

    async fn manifest_head(&self, target: &Target) -> Result<Option<Descriptor>> {
        match (self.descriptor_of(target)?, target) {
            (Some(descriptor), _) => Ok(Some(descriptor)),
            (None, Target::Digest(digest)) => Ok(self
                .manifest_of(digest, None)
                .await?
                .map(|manifest| manifest.descriptor())),
            (None, Target::Tag(_)) => Ok(None),
        }
    }

    async fn manifest_get(&self, target: &Target) -> Result<Option<Manifest>> {
        let known = self.descriptor_of(target)?;
        let digest = known
            .as_ref()
            .map(|descriptor| &descriptor.digest)
            .or_else(|| target.digest());
        let media_type = known.as_ref().map(|descriptor| descriptor.media_type.as_str());
        match digest {
            Some(digest) => self.manifest_of(digest, media_type).await,
            None => Ok(None),
        }
    }
}

#[async_trait]
impl Source for Layout {
    async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.referrers_of(subject).await
    }
}
