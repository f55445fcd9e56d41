//! The graph of an image: every manifest below its root, each once, children before parents.

mod walk;

use std::collections::HashMap;

use async_trait::async_trait;
use transship_oci::{AtSide as _, Code, Descriptor, Digest, Error, Manifest, Result, Side, Target, Verb};

pub use walk::{Beyond, Limits, MAX_DEPTH, Visitor, Walk, walk};

use crate::ports::source_manifest;
use crate::{Destination, Source};

/// More manifests than this in one image are refused.
const MAX_MANIFESTS: usize = 5_000;
/// Manifests read at the same time.
const PARALLEL_MANIFESTS: usize = 16;

/// An image as far as it must be moved.
pub(crate) struct Graph {
    /// Children before parents; the root is last. Manifests that the destination has already are not among them, nor what
    /// is below those.
    pub(crate) manifests: Vec<Manifest>,
    /// Children that the destination has already.
    pub(crate) present: Vec<Descriptor>,
}

/// Reads manifests at the source, except those that the destination has.
struct Reader<'a> {
    source: &'a dyn Source,
    known: Option<&'a dyn Destination>,
}

#[async_trait]
impl Visitor for Reader<'_> {
    /// [`None`] if the destination has it.
    type Visit = Option<Manifest>;
    type Error = Error;

    async fn visit(&self, manifest: &Descriptor) -> Result<(Option<Manifest>, Vec<Descriptor>)> {
        let target = Target::Digest(manifest.digest.clone());
        if let Some(destination) = self.known
            && destination
                .manifest_head(&target)
                .await
                .at(Side::Destination)?
                .is_some()
        {
            return Ok((None, Vec::new()));
        }
        let manifest = source_manifest(self.source, &target).await?;
        let below = manifests_below(&manifest);
        Ok((Some(manifest), below))
    }
}

impl Graph {
    /// Reads everything below `root`. With `known`, each child is first looked for at that destination, and not read if it is
    /// there.
    pub(crate) async fn load(source: &dyn Source, root: Manifest, known: Option<&dyn Destination>) -> Result<Self> {
        let limits = Limits {
            levels: MAX_DEPTH,
            manifests: MAX_MANIFESTS - 1,
            parallel: PARALLEL_MANIFESTS,
        };
        let found = walk(manifests_below(&root), limits, &Reader { source, known }).await?;
        match found.beyond {
            None => {}
            Some(Beyond::Levels(digest)) => {
                return Err(Error::of(Code::IndexTooDeep, Verb::ManifestGet.on(digest)));
            }
            Some(Beyond::Manifests(digest)) => {
                return Err(Error::of(Code::GraphTooLarge, Verb::ManifestGet.on(digest)));
            }
        }
        let mut present = Vec::new();
        let mut read = vec![root];
        for (child, manifest) in found.into_visited() {
            match manifest {
                Some(manifest) => read.push(manifest),
                None => present.push(child),
            }
        }
        Ok(Self {
            manifests: in_order(read),
            present,
        })
    }

    /// The manifest everything else is below.
    pub(crate) fn root(&self) -> Option<&Manifest> {
        self.manifests.last()
    }

    /// The manifests below the root in groups: a group only names manifests of earlier groups.
    pub(crate) fn levels(&self) -> Vec<Vec<&Manifest>> {
        let mut height: HashMap<&Digest, usize> = HashMap::new();
        let mut levels: Vec<Vec<&Manifest>> = Vec::new();
        for manifest in self.manifests.iter().take(self.manifests.len().saturating_sub(1)) {
            let own = manifest
                .children()
                .iter()
                .filter_map(|child| height.get(&child.digest))
                .map(|below| below + 1)
                .max()
                .unwrap_or(0);
            height.insert(manifest.digest(), own);
            levels.resize_with(levels.len().max(own + 1), Vec::new);
            levels[own].push(manifest);
        }
        levels
    }
}

/// Reads indexes and nothing else: the manifests they name are known without being read.
struct IndexReader<'a>(&'a dyn Source);

#[async_trait]
impl Visitor for IndexReader<'_> {
    type Visit = ();
    type Error = Error;

    async fn visit(&self, manifest: &Descriptor) -> Result<((), Vec<Descriptor>)> {
        if !manifest.media_type.is_index() {
            return Ok(((), Vec::new()));
        }
        let target = Target::Digest(manifest.digest.clone());
        let index = source_manifest(self.0, &target).await?;
        Ok(((), manifests_below(&index)))
    }
}

/// `roots` and the manifests below them. Only indexes are read. What lies beyond the limits of an image is left out.
pub(crate) async fn members(source: &dyn Source, roots: Vec<Descriptor>) -> Result<Vec<Descriptor>> {
    let limits = Limits {
        levels: MAX_DEPTH + 1,
        manifests: MAX_MANIFESTS,
        parallel: PARALLEL_MANIFESTS,
    };
    let found = walk(roots, limits, &IndexReader(source)).await?;
    Ok(found.into_visited().map(|(manifest, ())| manifest).collect())
}

/// The blobs these manifests need at the destination, each once, and how many layers are not distributed.
pub(crate) fn blobs<'a>(manifests: impl IntoIterator<Item = &'a Manifest>) -> (Vec<Descriptor>, u64) {
    let mut unique: HashMap<&Digest, &Descriptor> = HashMap::new();
    let mut foreign = 0;
    for blob in manifests.into_iter().flat_map(blobs_of) {
        if blob.media_type.is_non_distributable() {
            foreign += 1;
        } else {
            unique.entry(&blob.digest).or_insert(blob);
        }
    }
    let mut blobs: Vec<Descriptor> = unique.into_values().cloned().collect();
    // Largest first, so that the longest transfer is not the last to begin; then by name, so that runs are alike.
    blobs.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.digest.cmp(&b.digest)));
    (blobs, foreign)
}

/// The blobs one manifest names. An index may name blobs directly: `BuildKit`'s cache does.
pub fn blobs_of(manifest: &Manifest) -> impl Iterator<Item = &Descriptor> {
    let named = manifest
        .children()
        .iter()
        .filter(|child| !child.media_type.is_manifest());
    manifest.blobs().chain(named)
}

/// The manifests one manifest names.
pub fn manifests_below(manifest: &Manifest) -> Vec<Descriptor> {
    let children = manifest.children().iter();
    children
        .filter(|child| child.media_type.is_manifest())
        .cloned()
        .collect()
}

/// Depth-first order: a manifest comes after everything it names. `read` begins with the root. A child may be named by
/// manifests of several levels and is read at the first, so reversing the order of reading is not enough.
fn in_order(read: Vec<Manifest>) -> Vec<Manifest> {
    let root = read.first().map(|root| root.digest().clone());
    let mut by_digest: HashMap<Digest, Manifest> = read
        .into_iter()
        .map(|manifest| (manifest.digest().clone(), manifest))
        .collect();
    let mut order = Vec::new();
    let mut stack: Vec<(Digest, bool)> = root.into_iter().map(|digest| (digest, false)).collect();
    while let Some((digest, is_expanded)) = stack.pop() {
        if is_expanded {
            order.extend(by_digest.remove(&digest));
        } else if let Some(manifest) = by_digest.get(&digest) {
            let children: Vec<Digest> = manifest.children().iter().map(|child| child.digest.clone()).collect();
            stack.push((digest, true));
            stack.extend(children.into_iter().map(|child| (child, false)));
        }
    }
    order
}
