//! Bringing a graph over: its blobs, its manifests from the leaves up, and again what the destination lost meanwhile.
//!
//! A manifest is written only when everything it names was acknowledged. What was believed to be there on the word of a
//! HEAD, and is not, is sent after all.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use transship_oci::{Code, Manifest, Result, Target};

use crate::graph::{Graph, blobs, blobs_of};
use crate::parallel::side_by_side;
use crate::ports::source_manifest;
use crate::work::{PARALLEL, Work};
use crate::{BlobEnd, Step};

/// Manifests that come with their blobs before the next ones are begun. A manifest that is there spares the next attempt all
/// that is below it: else one of hundreds of manifests could fill every slot with asking for blobs that arrived.
const GROUP: usize = 32;

impl Work<'_> {
    /// Everything of a graph, its root under `target`.
    pub(crate) async fn bring_graph(&self, graph: &Graph, target: &Target, is_likely: bool) -> Result<()> {
        self.bring_parts(graph, is_likely).await?;
        match graph.root() {
            Some(root) => self.put(target, root).await,
            None => Ok(()),
        }
    }

    /// Everything of a graph but its root: blobs before manifests, children before parents.
    pub(crate) async fn bring_parts(&self, graph: &Graph, is_likely: bool) -> Result<()> {
        let (all, foreign) = blobs(&graph.manifests);
        self.tally().foreign_layers += foreign;
        let is_large = graph.manifests.len() > GROUP;
        if !is_large {
            self.transfer(&all, is_likely).await?;
        }
        for group in graph.levels().iter().flat_map(|level| level.chunks(GROUP)) {
            if is_large {
                self.transfer(&blobs(group.iter().copied()).0, is_likely).await?;
            }
            let puts = group
                .iter()
                .map(|child| async move { self.put(&Target::Digest(child.digest().clone()), child).await });
            side_by_side(puts.collect(), PARALLEL).await?;
        }
        if is_large {
            self.transfer(&blobs(graph.root()).0, is_likely).await?;
        }
        Ok(())
    }

    /// Writes a manifest. A destination that misses a part of it after all (a stale cache, a collected blob) gets that part
    /// again, unasked, and is asked once more.
    pub(crate) async fn put(&self, target: &Target, manifest: &Manifest) -> Result<()> {
        let destination = self.request.destination;
        if let Target::Tag(tag) = target {
            self.request.replicas.intend(tag, manifest.digest()).await?;
        }
        let listed = match destination.manifest_put(target, manifest).await {
            Err(error) if error.is(Code::BlobUnknownAtDestination) => {
                if !self.send_again(manifest).await? {
                    return Err(error);
                }
                destination.manifest_put(target, manifest).await?
            }
            listed => listed?,
        };
        self.request.progress.step(Step::ManifestPut {
            digest: manifest.digest(),
        });
        let mut tally = self.tally();
        tally.manifests += 1;
        tally.put.insert(manifest.digest().clone());
        if target.tag().is_some() {
            tally.written.push((target.clone(), manifest.digest().clone()));
        }
        if let Some(subject) = manifest.subject().filter(|_| !listed) {
            tally
                .unlisted
                .entry(subject.digest.clone())
                .or_default()
                .push(manifest.referrer_descriptor());
        }
        Ok(())
    }

    /// Sends the manifest's blobs and children that were believed to be there. False if there are none of these.
    fn send_again<'a>(&'a self, manifest: &'a Manifest) -> BoxFuture<'a, Result<bool>> {
        // Boxed, because a child is written as its parent is.
        async move {
            let mut sent_any = false;
            for blob in blobs_of(manifest).filter(|blob| !blob.media_type.is_non_distributable()) {
                if self.tally().sent.contains(&blob.digest) {
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
                if self.tally().put.contains(&child.digest) {
                    continue;
                }
                let target = Target::Digest(child.digest.clone());
                let child = source_manifest(self.request.source, &target).await?;
                let graph = Graph::load(self.request.source, child, None).await?;
                self.bring_graph(&graph, &target, true).await?;
                sent_any = true;
            }
            Ok(sent_any)
        }
        .boxed()
    }
}
