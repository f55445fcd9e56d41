//! Finds what image graphs in a store lack.
//!
//! Layouts and storage trees use the same walk: manifests are read level by level, and the blobs they name are looked up
//! together at the end. An object that is present but wrong is not *missing*: the copy reports it under its own code.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use transship_copy::graph::{Limits, MAX_DEPTH, Visitor, blobs_of, manifests_below, walk};
use transship_oci::{Code, Descriptor, Digest, Error, Manifest, Result};

use crate::{ObjectStore, PAGE_MAX};

/// Maximum number of missing objects to report. The walk ends when it has found this number.
const MAX_MISSING: usize = 1000;
/// Maximum number of manifests that are read at the same time; each may have 4 MiB.
const PARALLEL_MANIFESTS: usize = 4;
/// Maximum number of blobs that are requested at the same time.
const PARALLEL_HEADS: usize = 8;

/// A missing object of a source.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// `oci-layout` or `index.json`.
    File(String),
    /// A manifest or blob.
    Blob {
        /// The digest that its key will contain when it is uploaded.
        digest: Digest,
        /// Expected size in bytes; 0 if unknown.
        size_bytes: u64,
        /// Actual size in bytes of the object with its name; may be 0. If it equals the expected size, the bytes are there but the
        /// repository's link to them, which a storage tree needs as well, is missing.
        found_bytes: Option<u64>,
    },
}

impl Missing {
    /// The digest to wait for; [`None`] for a file.
    pub const fn digest(&self) -> Option<&Digest> {
        match self {
            Self::File(_) => None,
            Self::Blob { digest, .. } => Some(digest),
        }
    }
}

/// Access to the manifests and blobs of image graphs.
#[async_trait]
pub(crate) trait ManifestStore: Sync {
    /// Location of all blobs.
    fn blobs(&self) -> Blobs<'_>;

    /// The manifest `digest` with verified bytes.
    async fn manifest(&self, digest: &Digest) -> Result<ManifestState>;

    /// The key of a blob, and the digest in that key.
    async fn located(&self, digest: &Digest) -> Result<(String, Digest)>;
}

/// State of a manifest.
pub(crate) enum ManifestState {
    Manifest(Box<Manifest>),
    /// No object with this digest; or, in a storage tree, the bytes without the repository's link to them.
    Absent {
        digest: Digest,
        found_bytes: Option<u64>,
    },
}

impl ManifestState {
    /// The missing part of a manifest with the expected `size_bytes`.
    pub(crate) const fn missing(digest: Digest, found_bytes: Option<u64>, size_bytes: u64) -> Missing {
        let size_bytes = match found_bytes {
            Some(found) => found,
            None => size_bytes,
        };
        Missing::Blob {
            digest,
            size_bytes,
            found_bytes,
        }
    }
}

/// What manifests name.
#[derive(Default)]
pub(crate) struct Edges {
    pub(crate) manifests: Vec<Descriptor>,
    pub(crate) blobs: Vec<Descriptor>,
}

impl Edges {
    pub(crate) fn of(manifest: &Manifest) -> Self {
        let blobs = blobs_of(manifest).filter(|blob| !blob.media_type.is_non_distributable());
        Self {
            manifests: manifests_below(manifest),
            blobs: blobs.cloned().collect(),
        }
    }
}

/// What is missing of what `named` names, and of everything below it; empty if nothing is. What is nested deeper than a copy
/// follows is not looked at.
pub(crate) async fn missing(store: &dyn ManifestStore, named: Edges) -> Result<Vec<Missing>> {
    let limits = Limits {
        levels: MAX_DEPTH + 1,
        manifests: usize::MAX,
        parallel: PARALLEL_MANIFESTS,
    };
    let reader = Reader {
        store,
        missing: AtomicUsize::new(0),
    };
    let found = walk(named.manifests, limits, &reader).await?;
    let mut missing = Vec::new();
    let mut blobs: HashMap<Digest, u64> = HashMap::new();
    for blob in named.blobs {
        blobs.entry(blob.digest).or_insert(blob.size);
    }
    for (_, visit) in found.into_visited() {
        match visit {
            Visit::Missing(absent) => missing.push(absent),
            Visit::Blobs(named) => {
                for blob in named {
                    blobs.entry(blob.digest).or_insert(blob.size);
                }
            }
        }
    }
    if missing.len() < MAX_MISSING {
        missing.extend(missing_blobs(store, blobs).await?);
    }
    missing.truncate(MAX_MISSING);
    Ok(missing)
}

/// Reads manifests on a store until enough are missing.
struct Reader<'a> {
    store: &'a dyn ManifestStore,
    missing: AtomicUsize,
}

/// What one manifest names beside manifests, or that it is missing.
enum Visit {
    Blobs(Vec<Descriptor>),
    Missing(Missing),
}

#[async_trait]
impl Visitor for Reader<'_> {
    type Visit = Visit;
    type Error = Error;

    async fn visit(&self, manifest: &Descriptor) -> Result<(Visit, Vec<Descriptor>)> {
        if self.missing.load(Ordering::Relaxed) >= MAX_MISSING {
            return Ok((Visit::Blobs(Vec::new()), Vec::new()));
        }
        match self.store.manifest(&manifest.digest).await {
            Ok(ManifestState::Manifest(found)) => {
                let edges = Edges::of(&found);
                Ok((Visit::Blobs(edges.blobs), edges.manifests))
            }
            Ok(ManifestState::Absent { digest, found_bytes }) => {
                self.missing.fetch_add(1, Ordering::Relaxed);
                let missing = ManifestState::missing(digest, found_bytes, manifest.size);
                Ok((Visit::Missing(missing), Vec::new()))
            }
            // A manifest that is at fault names nothing: its copy reports the fault.
            Err(error) if error.persistence().is_permanent() => Ok((Visit::Blobs(Vec::new()), Vec::new())),
            Err(error) => Err(error),
        }
    }
}

async fn missing_blobs(store: &dyn ManifestStore, blobs: HashMap<Digest, u64>) -> Result<Vec<Missing>> {
    let located: BTreeMap<String, (Digest, u64)> = stream::iter(blobs)
        .map(|(digest, size)| async move {
            let (key, digest) = store.located(&digest).await?;
            Ok::<_, Error>((key, (digest, size)))
        })
        .buffer_unordered(PARALLEL_HEADS)
        .try_collect()
        .await?;
    let sizes = store.blobs().sizes(&located).await?;
    let missing = located.into_iter().filter_map(|(key, (digest, size_bytes))| {
        let found_bytes = sizes.get(&key).copied();
        (found_bytes != Some(size_bytes)).then_some(Missing::Blob {
            digest,
            size_bytes,
            found_bytes,
        })
    });
    Ok(missing.collect())
}

/// Location of blobs, and how to look them up.
pub(crate) struct Blobs<'a> {
    pub(crate) store: &'a dyn ObjectStore,
    /// Common prefix of all keys.
    pub(crate) prefix: String,
    /// Maximum number of blobs that are requested one by one. More are looked up in a listing.
    pub(crate) max_heads: usize,
}

impl Blobs<'_> {
    /// The sizes in bytes of those `wanted` blobs that exist, by key.
    pub(crate) async fn sizes<T: Sync>(&self, wanted: &BTreeMap<String, T>) -> Result<BTreeMap<String, u64>> {
        if wanted.len() <= self.max_heads {
            self.sizes_by_heads(wanted).await
        } else {
            self.sizes_by_listing(wanted).await
        }
    }

    async fn sizes_by_heads<T: Sync>(&self, wanted: &BTreeMap<String, T>) -> Result<BTreeMap<String, u64>> {
        stream::iter(wanted.keys().cloned())
            .map(|key| async move {
                let found = match self.store.head(&key).await {
                    Ok(found) => found,
                    Err(error) if error.is(Code::ArchiveTruncated) => None,
                    Err(error) => return Err(error),
                };
                Ok::<_, Error>(found.map(|object| (key, object.size)))
            })
            .buffer_unordered(PARALLEL_HEADS)
            .try_filter_map(|found| std::future::ready(Ok(found)))
            .try_collect()
            .await
    }

    /// Listing and blobs are sorted by key, so that whole pages without wanted blobs are skipped.
    async fn sizes_by_listing<T: Sync>(&self, wanted: &BTreeMap<String, T>) -> Result<BTreeMap<String, u64>> {
        let mut sizes = BTreeMap::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.store.list(&self.prefix, after.as_deref(), PAGE_MAX).await?;
            for object in &page.objects {
                if wanted.contains_key(&object.key) {
                    sizes.insert(object.key.clone(), object.size);
                }
            }
            let Some(last) = page.objects.last().filter(|_| !page.is_last) else {
                return Ok(sizes);
            };
            let mut behind = wanted.range::<str, _>((Bound::Excluded(last.key.as_str()), Bound::Unbounded));
            let Some((next, _)) = behind.next() else {
                return Ok(sizes);
            };
            after = Some(just_before(next, &last.key));
        }
    }
}

/// A position in the listing after `at_least` and before `next`: the name without its last character sorts before it.
fn just_before(next: &str, at_least: &str) -> String {
    let shorter = &next[..next.len() - 1];
    shorter.max(at_least).to_owned()
}
