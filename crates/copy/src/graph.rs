//! The graph of an image: every manifest below its root, each once, children before parents.

use std::collections::{HashMap, HashSet};

use transship_oci::{Code, Descriptor, Digest, Error, Manifest, Result, Target, Verb};

use crate::parallel::side_by_side;
use crate::ports::source_manifest;
use crate::{Destination, Source};

/// Indexes within indexes deeper than this are refused.
const MAX_DEPTH: usize = 8;
/// More manifests than this in one image are refused.
const MAX_MANIFESTS: usize = 5_000;
/// Manifests read at the same time.
const PARALLEL: usize = 16;

/// An image as far as it must be moved.
pub(crate) struct Graph {
    /// Children before parents; the root is last. Manifests the destination has already are not among them, nor what is below.
    pub(crate) manifests: Vec<Manifest>,
    /// Children the destination has already.
    pub(crate) present: Vec<Descriptor>,
}

impl Graph {
    /// Reads everything below `root`. With `known`, children are looked for at that destination first, and what is there
    /// is not read.
    pub(crate) async fn load(source: &dyn Source, root: Manifest, known: Option<&dyn Destination>) -> Result<Self> {
        let mut seen: HashSet<Digest> = HashSet::from([root.digest().clone()]);
        let mut levels = vec![vec![root]];
        let mut present = Vec::new();
        loop {
            let wanted: Vec<Descriptor> = levels
                .last()
                .into_iter()
                .flatten()
                .flat_map(Manifest::children)
                .filter(|child| child.media_type.is_manifest() && seen.insert(child.digest.clone()))
                .cloned()
                .collect();
            if wanted.is_empty() {
                break;
            }
            if levels.len() > MAX_DEPTH {
                return Err(Error::of(Code::IndexTooDeep, Verb::ManifestGet.on(&wanted[0].digest)));
            }
            if seen.len() > MAX_MANIFESTS {
                return Err(Error::of(Code::GraphTooLarge, Verb::ManifestGet.on(&wanted[0].digest)));
            }
            let reads = wanted.iter().map(|child| child_of(source, child, known)).collect();
            let found: Vec<Option<Manifest>> = side_by_side(reads, PARALLEL).await?;
            let mut level = Vec::new();
            for (child, manifest) in wanted.into_iter().zip(found) {
                match manifest {
                    Some(manifest) => level.push(manifest),
                    None => present.push(child),
                }
            }
            levels.push(level);
        }
        Ok(Self {
            manifests: in_order(levels),
            present,
        })
    }

    /// The manifest everything else is below.
    pub(crate) fn root(&self) -> Option<&Manifest> {
        self.manifests.last()
    }

    /// The manifests below the root, in groups: what a group names stands in an earlier one.
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

    /// Every manifest's digest, those the destination has among them, but not what is below these.
    pub(crate) fn members(&self) -> Vec<Digest> {
        self.manifests
            .iter()
            .map(|manifest| manifest.digest().clone())
            .chain(self.present.iter().map(|child| child.digest.clone()))
            .collect()
    }
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
pub(crate) fn blobs_of(manifest: &Manifest) -> impl Iterator<Item = &Descriptor> {
    manifest.blobs().chain(
        manifest
            .children()
            .iter()
            .filter(|child| !child.media_type.is_manifest()),
    )
}

async fn child_of(
    source: &dyn Source,
    child: &Descriptor,
    known: Option<&dyn Destination>,
) -> Result<Option<Manifest>> {
    let target = Target::Digest(child.digest.clone());
    if let Some(destination) = known
        && destination.manifest_head(&target).await?.is_some()
    {
        return Ok(None);
    }
    source_manifest(source, &target).await.map(Some)
}

/// Depth-first order over the levels: a manifest comes after everything it names. A child may be named by several levels
/// and is read at the first, so reversing the levels is not enough.
fn in_order(levels: Vec<Vec<Manifest>>) -> Vec<Manifest> {
    let mut root = None;
    let mut by_digest: HashMap<Digest, Manifest> = HashMap::new();
    for manifest in levels.into_iter().flatten() {
        root.get_or_insert_with(|| manifest.digest().clone());
        by_digest.insert(manifest.digest().clone(), manifest);
    }
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
