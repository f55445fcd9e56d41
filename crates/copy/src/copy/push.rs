//! Pushes a graph: its blobs, its manifests from the leaves up, and again what the destination lost meanwhile.
//!
//! A manifest is written only when everything it names was acknowledged. What a HEAD reported as present and is not there
//! is sent after all.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use transship_oci::{AtSide as _, Code, Manifest, Result, Side, Target};

use super::run::CopyRun;
use crate::graph::{Graph, blobs, blobs_of};
use crate::parallel::side_by_side;
use crate::ports::source_manifest;
use crate::{BlobEnd, Step};

/// Manifests that are written with their blobs before the next ones begin. The next attempt skips everything below a manifest
/// that is there; otherwise an image of hundreds of manifests could use up each attempt with HEADs of blobs that arrived.
const GROUP_MANIFESTS: usize = 32;
/// Manifests written at the same time.
const PARALLEL_MANIFESTS: usize = 8;

impl CopyRun<'_> {
    /// Pushes all of a graph, its root under `target`.
    pub(super) async fn push_graph(&self, graph: &Graph, target: &Target) -> Result<()> {
        self.push_parts(graph).await?;
        match graph.root() {
            Some(root) => self.push_manifest(target, root).await,
            None => Ok(()),
        }
    }

    /// Pushes all of a graph except its root: blobs before manifests, children before parents.
    pub(super) async fn push_parts(&self, graph: &Graph) -> Result<()> {
        let (all, foreign) = blobs(&graph.manifests);
        self.state().foreign_layers += foreign;
        let is_large = graph.manifests.len() > GROUP_MANIFESTS;
        if !is_large {
            self.push_blobs(&all).await?;
        }
        for group in graph.levels().iter().flat_map(|level| level.chunks(GROUP_MANIFESTS)) {
            if is_large {
                self.push_blobs(&blobs(group.iter().copied()).0).await?;
            }
            let puts = group
                .iter()
                .map(|child| async move { self.push_manifest(&Target::Digest(child.digest().clone()), child).await });
            side_by_side(puts.collect(), PARALLEL_MANIFESTS).await?;
        }
        if is_large {
            self.push_blobs(&blobs(graph.root()).0).await?;
        }
        Ok(())
    }

    /// Writes a manifest; a tag is claimed first. A tag that belongs to a later push is kept.
    pub(super) async fn push_manifest(&self, target: &Target, manifest: &Manifest) -> Result<()> {
        if let Target::Tag(tag) = target
            && !self.claim(tag, manifest.digest()).await?
        {
            self.state().kept_tags.push(tag.to_string());
            return Ok(());
        }
        self.put_manifest(target, manifest).await
    }

    /// Writes a manifest whose tag is claimed. If the destination refuses it because a part is missing (a stale cache, a
    /// collected blob), sends that part without asking and writes the manifest again.
    pub(super) async fn put_manifest(&self, target: &Target, manifest: &Manifest) -> Result<()> {
        let destination = self.request.destination;
        let listed = match destination.manifest_put(target, manifest).await.at(Side::Destination) {
            Err(error) if error.is(Code::BlobUnknownAtDestination) => {
                if !self.send_again(manifest).await? {
                    return Err(error);
                }
                destination.manifest_put(target, manifest).await.at(Side::Destination)?
            }
            listed => listed?,
        };
        self.request.progress.step(Step::ManifestPut {
            digest: manifest.digest(),
        });
        let mut state = self.state();
        state.manifests += 1;
        state.put.insert(manifest.digest().clone());
        if target.tag().is_some() {
            state.written.push((target.clone(), manifest.digest().clone()));
        }
        if !listed {
            state.add_unlisted(manifest);
        }
        Ok(())
    }

    /// Sends the blobs and children of the manifest that were reported as present. Returns false if there are none.
    fn send_again<'a>(&'a self, manifest: &'a Manifest) -> BoxFuture<'a, Result<bool>> {
        // Boxed because it is recursive: a child is written in the same way as its parent.
        async move {
            self.set_may_be_partial();
            let mut sent_any = false;
            for blob in blobs_of(manifest).filter(|blob| !blob.media_type.is_non_distributable()) {
                if self.state().sent.contains(&blob.digest) {
                    continue;
                }
                self.request
                    .locations
                    .remove(&blob.digest, self.request.destination.repository())
                    .await;
                self.send(blob, None).await?;
                self.count(blob, BlobEnd::Copied);
                sent_any = true;
            }
            for child in manifest
                .children()
                .iter()
                .filter(|child| child.media_type.is_manifest())
            {
                if self.state().put.contains(&child.digest) {
                    continue;
                }
                let target = Target::Digest(child.digest.clone());
                let child = source_manifest(self.request.source, &target).await?;
                let graph = Graph::load(self.request.source, child, None).await?;
                self.push_graph(&graph, &target).await?;
                sent_any = true;
            }
            Ok(sent_any)
        }
        .boxed()
    }
}
