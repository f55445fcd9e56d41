//! One manifest of a graph.

use std::borrow::Cow;
use std::collections::HashMap;

use transship_oci::{Descriptor, Manifest, Result, Target};

use super::blobs_of;
use crate::Source;
use crate::ports::source_manifest;

/// A manifest of a graph: its digest, and as much of its content as there was room for.
pub(crate) struct Node {
    descriptor: Descriptor,
    /// The number of the manifest among those of the graph.
    number: u32,
    /// The numbers of the manifests it names.
    below: Vec<u32>,
    /// The longest way down, over manifests that are read.
    height: usize,
    content: Content,
}

/// What is kept of a manifest.
pub(super) enum Content {
    /// All of it.
    Whole(Box<Manifest>),
    /// The blobs it names: it is read again when it is written.
    Blobs(Vec<Descriptor>),
    /// Nothing: it is read again for its blobs as well.
    Nothing,
}

impl Node {
    pub(super) fn new(descriptor: Descriptor, number: u32, below: Vec<u32>, content: Content) -> Self {
        Self {
            descriptor,
            number,
            below,
            height: 0,
            content,
        }
    }

    /// A manifest that is written alone, and is in memory already.
    pub(crate) fn alone(manifest: Manifest) -> Self {
        Self::new(manifest.descriptor(), 0, Vec::new(), Content::Whole(Box::new(manifest)))
    }

    pub(crate) const fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The target that names it by its digest.
    pub(crate) fn as_target(&self) -> Target {
        Target::Digest(self.descriptor.digest.clone())
    }

    pub(super) const fn height(&self) -> usize {
        self.height
    }

    /// True if the blobs it names are known without reading it again.
    pub(crate) const fn knows_blobs(&self) -> bool {
        !matches!(self.content, Content::Nothing)
    }

    /// The manifest. While it is held, no other may be read: see [`crate::memory`].
    pub(crate) async fn manifest(&self, source: &dyn Source) -> Result<Cow<'_, Manifest>> {
        match &self.content {
            Content::Whole(manifest) => Ok(Cow::Borrowed(manifest)),
            Content::Blobs(_) | Content::Nothing => self.read(source).await.map(Cow::Owned),
        }
    }

    /// The blobs that the manifest names.
    pub(crate) async fn blobs(&self, source: &dyn Source) -> Result<Vec<Cow<'_, Descriptor>>> {
        Ok(match &self.content {
            Content::Whole(manifest) => blobs_of(manifest).map(Cow::Borrowed).collect(),
            Content::Blobs(blobs) => blobs.iter().map(Cow::Borrowed).collect(),
            Content::Nothing => blobs_of(&self.read(source).await?).cloned().map(Cow::Owned).collect(),
        })
    }

    async fn read(&self, source: &dyn Source) -> Result<Manifest> {
        source_manifest(source, &self.as_target()).await
    }
}

/// Depth-first order: a manifest comes after everything it names. `read` begins with the root. A child may be named by
/// manifests of several levels and is read at the first, so reversing the order of reading is not enough.
pub(super) fn in_order(read: Vec<Node>) -> Vec<Node> {
    let mut stack: Vec<(u32, bool)> = read.iter().take(1).map(|root| (root.number, false)).collect();
    let mut unordered: HashMap<u32, Node> = read.into_iter().map(|node| (node.number, node)).collect();
    let mut heights: HashMap<u32, usize> = HashMap::new();
    let mut order = Vec::with_capacity(unordered.len());
    while let Some((number, is_expanded)) = stack.pop() {
        if is_expanded {
            if let Some(mut node) = unordered.remove(&number) {
                let below = node.below.iter().filter_map(|child| heights.get(child));
                node.height = below.max().map_or(0, |below| below + 1);
                node.below = Vec::new();
                heights.insert(number, node.height);
                order.push(node);
            }
        } else if let Some(node) = unordered.get(&number) {
            stack.push((number, true));
            stack.extend(node.below.iter().map(|child| (*child, false)));
        }
    }
    order
}
