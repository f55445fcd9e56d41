//! Whether all of a layout is there.
//!
//! Layouts arrive object by object and in any order. One is complete when its two files, the manifests they name and the
//! blobs those name are there in the sizes they are said to have; until then what is missing is named, so that nobody needs
//! to look again before one of these arrives. What is there and wrong is not *missing*: it fails under its own code.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use transship_oci::{Descriptor, Digest};

use super::{INDEX, Layout, MARKER, PARALLEL};
use crate::{Error, ErrorKind, ObjectStore, PAGE_MAX, Result};

/// So many blobs are asked for one by one; more are looked up in a listing.
const MAX_HEADS: usize = 24;
/// The same depth and number that a copy follows.
const MAX_DEPTH: usize = 8;
/// No more than this is named as missing.
pub const MAX_MISSING: usize = 1000;

/// Something a layout needs and does not have.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// `oci-layout` or `index.json`.
    File(String),
    /// A manifest or blob.
    Blob {
        /// Its digest.
        digest: Digest,
        /// Bytes it is said to have.
        size_bytes: u64,
        /// Bytes that are there under its name: another number, or none.
        found_bytes: Option<u64>,
    },
}

/// Whether all of a layout is there.
pub enum Completeness {
    /// All of it.
    Complete(Layout),
    /// Not yet.
    Incomplete {
        /// At most a thousand of what is missing.
        missing: Vec<Missing>,
    },
}

impl Layout {
    /// Looks whether the layout below `prefix` (empty, or ending in `/`) is all there. `LAYOUT_INVALID` if what is there is
    /// no layout and cannot become one.
    pub async fn completeness(store: Arc<dyn ObjectStore>, prefix: &str) -> Result<Completeness> {
        let mut missing = Vec::new();
        for file in [MARKER, INDEX] {
            if store.head(&format!("{prefix}{file}")).await?.is_none() {
                missing.push(Missing::File(file.to_owned()));
            }
        }
        if missing.is_empty() {
            let layout = Self::open(store, prefix).await?;
            let roots: Vec<Descriptor> = layout.entries().map(|entry| entry.descriptor).collect();
            missing = layout.missing(&roots).await?;
            if missing.is_empty() {
                return Ok(Completeness::Complete(layout));
            }
        }
        Ok(Completeness::Incomplete { missing })
    }

    /// What is missing of the images `roots`, themselves included; empty if nothing is.
    pub async fn missing(&self, roots: &[Descriptor]) -> Result<Vec<Missing>> {
        let mut missing = Vec::new();
        let mut blobs: BTreeMap<String, Descriptor> = BTreeMap::new();
        let mut seen: HashSet<Digest> = HashSet::new();
        let mut level: Vec<Descriptor> = roots.to_vec();
        for _ in 0..MAX_DEPTH {
            level.retain(|one| seen.insert(one.digest.clone()));
            let mut read = stream::iter(std::mem::take(&mut level))
                .map(|one| async move { self.edges(one).await })
                .buffer_unordered(PARALLEL);
            while let Some(edges) = read.try_next().await? {
                match edges {
                    Edges::Missing(absent) => missing.push(absent),
                    Edges::Found {
                        manifests,
                        blobs: named,
                    } => {
                        level.extend(manifests);
                        blobs.extend(named.into_iter().map(|blob| (self.key(&blob.digest), blob)));
                    }
                }
            }
            if level.is_empty() {
                break;
            }
        }
        missing.extend(self.missing_blobs(blobs).await?);
        missing.truncate(MAX_MISSING);
        Ok(missing)
    }

    async fn edges(&self, of: Descriptor) -> Result<Edges> {
        match self.manifest_of(&of.digest, None).await {
            Ok(Some(manifest)) => {
                let children = manifest.children().iter().cloned();
                let (manifests, others) = children.partition(|child| child.media_type.is_manifest());
                let blobs = manifest.blobs().filter(|blob| !blob.media_type.is_non_distributable());
                let blobs = blobs.cloned().chain(others).collect();
                Ok(Edges::Found { manifests, blobs })
            }
            Ok(None) => Ok(Edges::Missing(Missing::Blob {
                size_bytes: of.size,
                digest: of.digest,
                found_bytes: None,
            })),
            Err(error) if error.persistence().is_permanent() => Ok(Edges::Found {
                manifests: Vec::new(),
                blobs: Vec::new(),
            }),
            Err(error) => Err(Error::read(&error, error.operation.clone())),
        }
    }

    async fn missing_blobs(&self, blobs: BTreeMap<String, Descriptor>) -> Result<Vec<Missing>> {
        let sizes = if blobs.len() <= MAX_HEADS {
            self.sizes_by_heads(&blobs).await?
        } else {
            self.sizes_by_listing(&blobs).await?
        };
        let missing = blobs.into_iter().filter_map(|(key, blob)| {
            let found_bytes = sizes.get(&key).copied();
            (found_bytes != Some(blob.size)).then_some(Missing::Blob {
                digest: blob.digest,
                size_bytes: blob.size,
                found_bytes,
            })
        });
        Ok(missing.collect())
    }

    async fn sizes_by_heads(&self, blobs: &BTreeMap<String, Descriptor>) -> Result<BTreeMap<String, u64>> {
        stream::iter(blobs.keys())
            .map(|key| async move {
                let found = match self.store.head(key).await {
                    Ok(found) => found,
                    Err(error) if matches!(error.kind, ErrorKind::ArchiveTruncated) => None,
                    Err(error) => return Err(error),
                };
                Ok::<_, Error>(found.map(|object| (key.clone(), object.size)))
            })
            .buffer_unordered(8)
            .try_filter_map(|found| std::future::ready(Ok(found)))
            .try_collect()
            .await
    }

    /// The listing is in the order of the keys, and so are the blobs: whole pages without any of them are jumped over.
    async fn sizes_by_listing(&self, blobs: &BTreeMap<String, Descriptor>) -> Result<BTreeMap<String, u64>> {
        let prefix = format!("{}blobs/", self.prefix);
        let mut sizes = BTreeMap::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.store.list(&prefix, after.as_deref(), PAGE_MAX).await?;
            for object in &page.objects {
                if blobs.contains_key(&object.key) {
                    sizes.insert(object.key.clone(), object.size);
                }
            }
            let Some(last) = page.objects.last().filter(|_| !page.is_last) else {
                return Ok(sizes);
            };
            let next =
                blobs.range::<str, _>((std::ops::Bound::Excluded(last.key.as_str()), std::ops::Bound::Unbounded));
            let Some((next, _)) = next.into_iter().next() else {
                return Ok(sizes);
            };
            after = Some(just_before(next, &last.key));
        }
    }
}

enum Edges {
    Missing(Missing),
    Found {
        manifests: Vec<Descriptor>,
        blobs: Vec<Descriptor>,
    },
}

/// A place in the listing behind `at_least` and before `next`: the name without its last character sorts before it.
fn just_before(next: &str, at_least: &str) -> String {
    let shorter = &next[..next.len() - 1];
    shorter.max(at_least).to_owned()
}
