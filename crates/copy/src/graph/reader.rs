//! Reads the manifests of a graph, and keeps of them what there is room for.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use transship_oci::{AtSide as _, Code, Descriptor, Digest, Error, Manifest, Result, Side, Target, Verb};

use super::node::{Content, Node};
use super::{GRAPH_BYTES_MAX, MAX_MANIFESTS, Visitor, blobs_of, too_many_bytes};
use crate::memory::Keeper;
use crate::ports::source_manifest;
use crate::{Destination, Source};

/// Reads manifests at the source, except those that the destination has.
pub(super) struct Reader<'a> {
    source: &'a dyn Source,
    known: Option<&'a dyn Destination>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The number of each manifest that was read or named.
    numbers: HashMap<Digest, u32>,
    /// The bytes of all manifests that were read.
    bytes: u64,
    keeper: Keeper,
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &'a dyn Source, known: Option<&'a dyn Destination>) -> Self {
        Self {
            source,
            known,
            state: Mutex::default(),
        }
    }

    /// The room of what the nodes keep.
    pub(super) fn into_kept(self) -> Keeper {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).keeper
    }

    /// The node of `manifest`, and the manifests it names.
    pub(super) fn take(&self, manifest: Manifest) -> Result<(Node, Vec<Descriptor>)> {
        let below = self.source.below(&manifest);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.bytes += manifest.size();
        if state.bytes > GRAPH_BYTES_MAX {
            return Err(too_many_bytes(manifest.digest()));
        }
        let number = state.number(manifest.digest())?;
        let numbers: Result<Vec<u32>> = below.iter().map(|child| state.number(&child.digest)).collect();
        let descriptor = manifest.descriptor();
        let content = state.content(manifest);
        Ok((Node::new(descriptor, number, numbers?, content), below))
    }
}

impl State {
    /// `GRAPH_TOO_LARGE` beyond the limit, so that what is named and not read yet is limited as well.
    fn number(&mut self, digest: &Digest) -> Result<u32> {
        if let Some(number) = self.numbers.get(digest) {
            return Ok(*number);
        }
        let number = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        if self.numbers.len() >= MAX_MANIFESTS {
            return Err(Error::of(Code::GraphTooLarge, Verb::ManifestGet.on(digest)));
        }
        self.numbers.insert(digest.clone(), number);
        Ok(number)
    }

    fn content(&mut self, manifest: Manifest) -> Content {
        let blobs_bytes: usize = blobs_of(&manifest).map(memory_of).sum();
        let children_bytes: usize = manifest.children().iter().map(memory_of).sum();
        if self.keeper.keep(manifest.bytes().len() + blobs_bytes + children_bytes) {
            Content::Whole(Box::new(manifest.with_own_bytes()))
        } else if self.keeper.keep(blobs_bytes) {
            Content::Blobs(blobs_of(&manifest).cloned().collect())
        } else {
            Content::Nothing
        }
    }
}

/// The memory of a descriptor in bytes.
fn memory_of(descriptor: &Descriptor) -> usize {
    let texts = [&descriptor.data, &descriptor.artifact_type].map(|text| text.as_ref().map_or(0, String::len));
    let platform = descriptor.platform.as_ref().map_or(0, |platform| {
        let optional = [&platform.variant, &platform.os_version].map(|text| text.as_ref().map_or(0, String::len));
        platform.os.len() + platform.architecture.len() + optional.iter().sum::<usize>()
    });
    let names = descriptor.media_type.as_str().len() + descriptor.digest.hex().len();
    size_of::<Descriptor>() + names + platform + texts.iter().sum::<usize>()
}

#[async_trait]
impl Visitor for Reader<'_> {
    /// [`None`] if the destination has it.
    type Visit = Option<Node>;
    type Error = Error;

    async fn visit(&self, manifest: &Descriptor) -> Result<(Option<Node>, Vec<Descriptor>)> {
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
        let (node, below) = self.take(source_manifest(self.source, &target).await?)?;
        Ok((Some(node), below))
    }
}
