//! What of image graphs is not there (yet), wherever they lie.
//!
//! The same walk for layouts and storage trees: manifests are read level by level, and the blobs they name are looked up
//! together at the end. What is there and wrong is not *missing*: whoever asks for it is told under its own code.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use transship_oci::{Code, Descriptor, Digest, Error, Manifest, Result};

use crate::{ObjectStore, PAGE_MAX};

/// Indexes within indexes deeper than this are not looked into: a copy refuses them.
const MAX_DEPTH: usize = 8;
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
        let children = manifest.children().iter().cloned();
        let (manifests, others) = children.partition(|child| child.media_type.is_manifest());
        let blobs = manifest.blobs().filter(|blob| !blob.media_type.is_non_distributable());
        Self {
            manifests,
            blobs: blobs.cloned().chain(others).collect(),
        }
    }
}

/// What is missing of what `named` names, and of everything below it; empty if nothing is.
pub(crate) async fn missing(shelf: &dyn Shelf, named: Edges) -> Result<Vec<Missing>> {
    let mut missing = Vec::new();
    let mut blobs: HashMap<Digest, u64> = HashMap::new();
    let mut seen: HashSet<Digest> = HashSet::new();
    let mut level = named;
    for _ in 0..=MAX_DEPTH {
        for blob in std::mem::take(&mut level.blobs) {
            blobs.entry(blob.digest).or_insert(blob.size);
        }
        level.manifests.retain(|one| seen.insert(one.digest.clone()));
        let mut read = stream::iter(std::mem::take(&mut level.manifests))
            .map(|one| async move { below(shelf, one).await })
            .buffer_unordered(PARALLEL_MANIFESTS);
        while let Some(found) = read.try_next().await? {
            match found {
                Ok(edges) => {
                    level.manifests.extend(edges.manifests);
                    level.blobs.extend(edges.blobs);
                }
                Err(absent) => missing.push(absent),
            }
            if missing.len() >= MAX_MISSING {
                return Ok(missing);
            }
        }
        if level.manifests.is_empty() && level.blobs.is_empty() {
            break;
        }
    }
    missing.extend(missing_blobs(shelf, blobs).await?);
    missing.truncate(MAX_MISSING);
    Ok(missing)
}

/// What a manifest names; of one that is at fault nothing. Or that it is missing.
async fn below(shelf: &dyn Shelf, of: Descriptor) -> Result<std::result::Result<Edges, Missing>> {
    match shelf.manifest(&of.digest).await {
        Ok(Held::Manifest(manifest)) => Ok(Ok(Edges::of(&manifest))),
        Ok(Held::Absent { digest, found_bytes }) => Ok(Err(Held::missing(digest, found_bytes, of.size))),
        Err(error) if error.persistence().is_permanent() => Ok(Ok(Edges::default())),
        Err(error) => Err(error),
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
