//! One OCI image layout.
//!
//! Source: OCI image-spec, image-layout.md. Names are in `index.json` as `org.opencontainers.image.ref.name` and
//! `io.containerd.image.name`, which containerd writes with the whole reference; both name the image. Referrers are in `index.json` without a
//! name. An index without a name may name its children, which are treated like entries of `index.json`.
//!
//! The content of a layout is addressed by digest, so that content that is replaced while it is read is detected.

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

use crate::images::{Candidate, conflict};
use crate::missing::Blobs;
use crate::read_all::read_all;
use crate::{ObjectStore, Part};
pub(crate) use index::Broken;
use index::Index;

/// The file that marks a folder as a layout.
pub(crate) const MARKER: &str = "oci-layout";
/// The file that names a layout's images.
pub(crate) const INDEX: &str = "index.json";
/// Number of files of a layout besides its blobs.
pub(crate) const MARKER_FILES: usize = 2;
/// Maximum number of blobs that are requested one by one. More are looked up in a listing.
const MAX_HEADS: usize = 24;
/// Maximum number of unnamed indexes that are searched for named children. More are imported by digest only.
const MAX_INDEXES_SEARCHED: usize = 64;
/// Maximum number of manifests that are read at the same time; each may have 4 MiB.
const PARALLEL_MANIFESTS: usize = 4;

/// The key of the index of the layout below `prefix`.
pub(crate) fn index_key(prefix: &str) -> String {
    format!("{prefix}{INDEX}")
}

/// One entry of `index.json`.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The name, if it has one.
    pub name: Option<String>,
    /// The descriptor of its manifest.
    pub descriptor: Descriptor,
}

/// One layout, read through a store.
#[derive(Clone)]
pub struct Layout {
    store: Arc<dyn ObjectStore>,
    prefix: String,
    contents: Arc<Contents>,
    /// Referrers by subject, read once when they are first needed.
    referrers: Arc<OnceCell<HashMap<Digest, Vec<Descriptor>>>>,
}

/// Entries of the index, and the named children of unnamed indexes.
struct Contents {
    /// All entries, those of `index.json` first.
    candidates: Vec<Candidate>,
    /// Number of entries from `index.json` itself.
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
            if let Some(tag) = candidate.tag() {
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
            .ok_or_else(|| invalid("the file oci-layout is missing".into()))?;
        let marker: Marker =
            serde_json::from_slice(&marker).map_err(|error| invalid(format!("oci-layout is not valid: {error}")))?;
        if marker.image_layout_version != "1.0.0" {
            return Err(invalid(format!(
                "its version is {:?}; expected 1.0.0",
                marker.image_layout_version
            )));
        }
        let index = read_all(store.as_ref(), &format!("{prefix}{INDEX}"), index::MAX_BYTES)
            .await?
            .ok_or_else(|| invalid("index.json is missing".into()))?;
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
            name: candidate.names.first().cloned(),
            descriptor: candidate.descriptor.clone(),
        })
    }

    /// The entry for `reference`: a name, the tag part of a name, or a digest. Without a reference: the only image, or `latest`.
    pub fn resolve(&self, reference: Option<&str>) -> Result<Entry> {
        let found = crate::images::resolve(self.candidates(), &self.refused(), reference, &self.operation())?;
        Ok(Entry {
            name: found.names.first().cloned(),
            descriptor: found.descriptor.clone(),
        })
    }

    /// All entries, with the named children of unnamed indexes.
    pub(crate) fn candidates(&self) -> &[Candidate] {
        &self.contents.candidates
    }

    /// The names and errors of the entries that cannot be read.
    pub(crate) fn refused(&self) -> Vec<(Vec<String>, Error)> {
        let broken = self.contents.broken.iter();
        broken
            .map(|broken| (broken.names.clone(), broken.error(&self.operation())))
            .collect()
    }

    /// The same layout with other entries in `index.json`, and more that cannot be read.
    pub(crate) fn with_entries(&self, entries: Vec<Candidate>, broken: Vec<Broken>) -> Self {
        let contents = &self.contents;
        let nested = contents.candidates.iter().skip(contents.listed).cloned();
        let listed = entries.len();
        let candidates = entries.into_iter().chain(nested).collect();
        let broken = contents.broken.iter().cloned().chain(broken).collect();
        Self {
            store: Arc::clone(&self.store),
            prefix: self.prefix.clone(),
            contents: Arc::new(Contents::new(candidates, listed, broken)),
            referrers: Arc::default(),
        }
    }

    /// False if the layout does not have the bytes of `digest`. True if that cannot be determined: reading them reports why.
    pub(crate) async fn may_have(&self, digest: &Digest) -> Result<bool> {
        match self.store.head(&self.key(digest)).await {
            Ok(found) => Ok(found.is_some()),
            Err(error) if error.is_permanent() => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// What `index.json` names, in its order.
    pub(crate) fn listed(&self) -> &[Candidate] {
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
            .filter(|entry| entry.names.is_empty() && entry.descriptor.media_type.is_index());
        let mut found = Vec::new();
        for entry in unnamed.take(MAX_INDEXES_SEARCHED) {
            let Some(manifest) = self.manifest_if_good(&entry.descriptor.digest).await? else {
                continue;
            };
            let children = manifest.annotated_children().into_iter().map(index::candidate);
            found.extend(children.filter(|child| !child.names.is_empty()));
        }
        Ok(found)
    }

    fn key(&self, digest: &Digest) -> String {
        blob_key(&self.prefix, digest)
    }

    /// The manifest `digest` with verified bytes; [`None`] if it does not exist.
    async fn manifest_of(&self, digest: &Digest, media_type: Option<&str>) -> Result<Option<Manifest>> {
        let operation = || Verb::ManifestGet.on(format_args!("{}@{digest}", self.name()));
        let Some(bytes) = read_all(self.store.as_ref(), &self.key(digest), MAX_BYTES).await? else {
            return Ok(None);
        };
        proven(bytes, digest, media_type, operation).map(Some)
    }

    /// Like [`Self::manifest`], but [`None`] for an invalid manifest, whose error is reported when it is read by name.
    pub(crate) async fn manifest_if_good(&self, digest: &Digest) -> Result<Option<Manifest>> {
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
                let named = contents.by_tag.get(tag).into_iter().flatten();
                let found: Vec<&Candidate> = named.filter_map(|at| contents.candidates.get(*at)).collect();
                match found.as_slice() {
                    [one, others @ ..]
                        if others
                            .iter()
                            .any(|other| other.descriptor.digest != one.descriptor.digest) =>
                    {
                        Err(conflict(tag.as_str(), found.iter().copied(), &self.operation()))
                    }
                    found => Ok(found.first().map(|found| found.descriptor.clone())),
                }
            }
        }
    }
}

/// The key of the bytes of `digest` in the layout below `prefix`. It is safe, because a digest contains only its algorithm and
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

/// `bytes` parsed as the manifest `digest`, if they match it.
pub(crate) fn proven(
    bytes: bytes::Bytes,
    digest: &Digest,
    media_type: Option<&str>,
    operation: impl Fn() -> Operation,
) -> Result<Manifest> {
    if Digest::of(digest.algorithm(), &bytes) != *digest {
        return Err(Error::of(Code::ManifestDigestMismatch, operation()));
    }
    let manifest = Manifest::parse_with_digest(bytes, media_type, digest.clone())
        .map_err(|error: Error| error.during(operation()))?;
    if let Some(called) = manifest.sent_as() {
        let (code, own) = (Code::MediaTypeMismatch.as_str(), manifest.media_type());
        tracing::warn!(code, %digest, %called, %own, "a descriptor names another media type than its manifest, which is copied as what it is");
    }
    Ok(manifest)
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

    async fn has_blob(&self, blob: &Descriptor) -> bool {
        let object = self.store.head(&self.key(&blob.digest)).await;
        object.is_ok_and(|object| object.is_some_and(|object| object.size == blob.size))
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
