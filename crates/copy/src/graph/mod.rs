//! The graph of an image: every manifest below its root, each once, children before parents.
//!
//! The graph keeps digests. It keeps the manifests themselves as far as there is room, see [`crate::memory`]; the others are
//! read again when they are written.

mod node;
mod reader;
mod walk;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use transship_oci::{Code, Descriptor, Digest, Error, Manifest, Result, Target, Verb};

pub(crate) use node::Node;
pub use walk::{Beyond, Limits, MAX_DEPTH, Visitor, Walk, walk};

use self::reader::Reader;
use crate::memory::Keeper;
use crate::ports::source_manifest;
use crate::{Destination, Source};

/// More manifests than this in one image are refused.
const MAX_MANIFESTS: usize = 5_000;
/// More bytes of manifests in one image are refused: 5,000 manifests of 6.5 KB. The largest indexes that are known have some
/// hundred manifests of a few KB.
const GRAPH_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Manifests whose blobs are moved together. The next attempt skips everything below a manifest that is there; otherwise an
/// image of hundreds of manifests could use up each attempt with HEADs of blobs that arrived.
const GROUP_MANIFESTS: usize = 32;
/// Manifests read at the same time.
const PARALLEL_MANIFESTS: usize = 16;

/// An image as far as it must be moved.
pub(crate) struct Graph {
    /// Children before parents; the root is last. Manifests that the destination has already are not among them, nor what
    /// is below those.
    pub(crate) nodes: Vec<Node>,
    /// Children that the destination has already.
    pub(crate) present: Vec<Descriptor>,
    /// The room of what the nodes keep.
    _kept: Keeper,
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
        let reader = Reader::new(source, known);
        let (root, below) = reader.take(root)?;
        let found = walk(below, limits, &reader).await?;
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
        for (child, node) in found.into_visited() {
            match node {
                Some(node) => read.push(node),
                None => present.push(child),
            }
        }
        Ok(Self {
            nodes: node::in_order(read),
            present,
            _kept: reader.into_kept(),
        })
    }

    /// The manifest everything else is below.
    pub(crate) fn root(&self) -> Option<&Node> {
        self.nodes.last()
    }

    /// A descriptor of each manifest.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = Descriptor> {
        self.nodes.iter().map(|node| node.descriptor().clone())
    }

    /// All manifests in groups whose blobs are moved together; a group only names manifests of itself and of earlier groups. A
    /// graph of at most [`GROUP_MANIFESTS`], all of them kept, is one group. Otherwise a manifest whose blobs are not kept is a
    /// group of its own.
    pub(crate) fn groups(&self) -> Vec<Vec<&Node>> {
        if self.nodes.len() <= GROUP_MANIFESTS && self.nodes.iter().all(Node::knows_blobs) {
            return vec![self.nodes.iter().collect()];
        }
        let mut levels: Vec<Vec<&Node>> = Vec::new();
        for node in &self.nodes {
            levels.resize_with(levels.len().max(node.height() + 1), Vec::new);
            levels[node.height()].push(node);
        }
        let mut groups = Vec::new();
        for level in levels {
            let (known, unknown): (Vec<&Node>, Vec<&Node>) = level.into_iter().partition(|node| node.knows_blobs());
            groups.extend(known.chunks(GROUP_MANIFESTS).map(<[_]>::to_vec));
            groups.extend(unknown.into_iter().map(|node| vec![node]));
        }
        groups
    }

    /// The manifests of `group` in parts: a part only names manifests of earlier parts and groups. The root is not among them.
    pub(crate) fn levels<'g>(&self, group: &[&'g Node]) -> Vec<Vec<&'g Node>> {
        let root = self.root().map(|root| &root.descriptor().digest);
        let mut levels: BTreeMap<usize, Vec<&Node>> = BTreeMap::new();
        for node in group.iter().filter(|node| Some(&node.descriptor().digest) != root) {
            levels.entry(node.height()).or_default().push(node);
        }
        levels.into_values().collect()
    }
}

/// The blobs that the manifests of a group name. Those of a manifest that is not kept are read again.
pub(crate) async fn named_blobs<'n>(group: &[&'n Node], source: &dyn Source) -> Result<Vec<Cow<'n, Descriptor>>> {
    let mut named = Vec::new();
    for node in group {
        named.extend(node.blobs(source).await?);
    }
    Ok(named)
}

/// Reads indexes and nothing else: the manifests they name are known without being read.
struct IndexReader<'a> {
    source: &'a dyn Source,
    bytes: AtomicU64,
}

#[async_trait]
impl Visitor for IndexReader<'_> {
    type Visit = ();
    type Error = Error;

    async fn visit(&self, manifest: &Descriptor) -> Result<((), Vec<Descriptor>)> {
        if !manifest.media_type.is_index() {
            return Ok(((), Vec::new()));
        }
        let target = Target::Digest(manifest.digest.clone());
        let index = source_manifest(self.source, &target).await?;
        if self.bytes.fetch_add(index.size(), Ordering::Relaxed) + index.size() > GRAPH_BYTES_MAX {
            return Err(too_many_bytes(&manifest.digest));
        }
        Ok(((), self.source.below(&index)))
    }
}

/// `roots` and the manifests below them. Only indexes are read. What lies beyond the limits of an image is left out.
pub(crate) async fn members(source: &dyn Source, roots: Vec<Descriptor>) -> Result<Vec<Descriptor>> {
    let limits = Limits {
        levels: MAX_DEPTH + 1,
        manifests: MAX_MANIFESTS,
        parallel: PARALLEL_MANIFESTS,
    };
    let reader = IndexReader {
        source,
        bytes: AtomicU64::new(0),
    };
    let found = walk(roots, limits, &reader).await?;
    Ok(found.into_visited().map(|(manifest, ())| manifest).collect())
}

/// `GRAPH_TOO_LARGE`: with the manifest `digest` there are more than [`GRAPH_BYTES_MAX`].
fn too_many_bytes(digest: &Digest) -> Error {
    let why = format!("its manifests have more than {GRAPH_BYTES_MAX} bytes");
    Error::of(Code::GraphTooLarge, Verb::ManifestGet.on(digest)).because(why)
}

/// The blobs that are needed at the destination, each once, of those that manifests name, and how many layers are not
/// distributed.
pub(crate) fn blobs<'a>(named: impl IntoIterator<Item = &'a Descriptor>) -> (Vec<Descriptor>, u64) {
    let mut unique: HashMap<&Digest, &Descriptor> = HashMap::new();
    let mut foreign = 0;
    for blob in named {
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

/// The manifests one manifest names, with nothing but type, digest and size.
pub(crate) fn bare_below(manifest: &Manifest) -> Vec<Descriptor> {
    let children = manifest
        .children()
        .iter()
        .filter(|child| child.media_type.is_manifest());
    children
        .map(|child| Descriptor::new(child.media_type.clone(), child.digest.clone(), child.size))
        .collect()
}
