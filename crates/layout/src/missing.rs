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

/// No more than this is named as missing; a walk ends where it has found so many.
const MAX_MISSING: usize = 1000;
/// Manifests read at the same time: each may be 4 MiB.
const PARALLEL_MANIFESTS: usize = 4;
/// Blobs asked for at the same time.
const PARALLEL_HEADS: usize = 8;

/// Something a source needs and does not have.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// `oci-layout` or `index.json`.
    File(String),
    /// A manifest or blob.
    Blob {
        /// Its digest: the one its key will hold when it arrives.
        digest: Digest,
        /// Bytes it is said to have; 0 where nobody says.
        size_bytes: u64,
        /// Bytes that are there under its name: another number, or none. The same number: they are there, and the
        /// repository's link to them is not, which a storage tree needs as well.
        found_bytes: Option<u64>,
    },
}

impl Missing {
    /// The digest to wait for; [`None`] of a file.
    pub const fn digest(&self) -> Option<&Digest> {
        match self {
            Self::File(_) => None,
            Self::Blob { digest, .. } => Some(digest),
        }
    }
}

/// Where the manifests and blobs of image graphs lie.
#[async_trait]
pub(crate) trait Shelf: Sync {
    /// Where all blobs lie.
    fn blobs(&self) -> Blobs<'_>;

    /// The manifest `digest`, its bytes proven.
    async fn manifest(&self, digest: &Digest) -> Result<Held>;

    /// The key of a blob, and the digest that key holds.
    async fn located(&self, digest: &Digest) -> Result<(String, Digest)>;
}

/// What a shelf has of a manifest.
pub(crate) enum Held {
    Manifest(Box<Manifest>),
    /// Nothing under this digest; or, of a storage tree, these bytes without the repository's link to them.
    Absent {
        digest: Digest,
        found_bytes: Option<u64>,
    },
}

impl Held {
    /// What is missing of a manifest that should have `size_bytes`.
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
pub(crate) async fn missing(shelf: &dyn Shelf, named: Edges) -> Result<Vec<Missing>> {
    let limits = Limits {
        levels: MAX_DEPTH + 1,
        manifests: usize::MAX,
        parallel: PARALLEL_MANIFESTS,
    };
    let reader = Reader {
        shelf,
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
        missing.extend(missing_blobs(shelf, blobs).await?);
    }
    missing.truncate(MAX_MISSING);
    Ok(missing)
}

/// Reads manifests on a shelf until enough are missing.
struct Reader<'a> {
    shelf: &'a dyn Shelf,
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
        match self.shelf.manifest(&manifest.digest).await {
            Ok(Held::Manifest(found)) => {
                let edges = Edges::of(&found);
                Ok((Visit::Blobs(edges.blobs), edges.manifests))
            }
            Ok(Held::Absent { digest, found_bytes }) => {
                self.missing.fetch_add(1, Ordering::Relaxed);
                let missing = Held::missing(digest, found_bytes, manifest.size);
                Ok((Visit::Missing(missing), Vec::new()))
            }
            // A manifest that is at fault names nothing: its copy reports the fault.
            Err(error) if error.persistence().is_permanent() => Ok((Visit::Blobs(Vec::new()), Vec::new())),
            Err(error) => Err(error),
        }
    }
}

async fn missing_blobs(shelf: &dyn Shelf, blobs: HashMap<Digest, u64>) -> Result<Vec<Missing>> {
    let located: BTreeMap<String, (Digest, u64)> = stream::iter(blobs)
        .map(|(digest, size)| async move {
            let (key, digest) = shelf.located(&digest).await?;
            Ok::<_, Error>((key, (digest, size)))
        })
        .buffer_unordered(PARALLEL_HEADS)
        .try_collect()
        .await?;
    let sizes = shelf.blobs().sizes(&located).await?;
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

/// Where blobs lie, and how they are best looked up.
pub(crate) struct Blobs<'a> {
    pub(crate) store: &'a dyn ObjectStore,
    /// What the keys of all of them begin with.
    pub(crate) prefix: String,
    /// So many are asked for one by one; more are looked up in the listing of all there are.
    pub(crate) max_heads: usize,
}

impl Blobs<'_> {
    /// The sizes in bytes of those `wanted` that are there, by their keys.
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

    /// The listing is in the order of the keys, and so are the blobs: whole pages without any of them are jumped over.
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

/// A place in the listing behind `at_least` and before `next`: the name without its last character sorts before it.
fn just_before(next: &str, at_least: &str) -> String {
    let shorter = &next[..next.len() - 1];
    shorter.max(at_least).to_owned()
}
