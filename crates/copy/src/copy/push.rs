//! Pushes a graph: its blobs, its manifests from the leaves up, and again what the destination lost meanwhile.
//!
//! A manifest is written only when everything it names was acknowledged. What a HEAD reported as present and is not there
//! is sent after all.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use transship_oci::{AtSide as _, Code, Descriptor, Error, Manifest, Result, Side, Target};

use super::run::CopyRun;
use crate::graph::{Graph, Node, blobs, blobs_of, named_blobs};
use crate::parallel::side_by_side;
use crate::ports::source_manifest;
use crate::{BlobEnd, Gate, Replicas, Step};

/// Manifests written at the same time.
const PARALLEL_MANIFESTS: usize = 8;
/// Blobs of a manifest that the graph could not keep, which are listed at a time.
const UNKEPT_BLOBS: usize = 2_000;

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
        for group in graph.groups() {
            match group.as_slice() {
                [node] if !node.knows_blobs() => self.push_blobs_of_unkept(node).await?,
                group => {
                    let named = named_blobs(group, self.request.source).await?;
                    let (all, foreign) = blobs(named.iter().map(AsRef::as_ref));
                    self.state().foreign_layers += foreign;
                    self.push_blobs(&all).await?;
                }
            }
            for level in graph.levels(&group) {
                let puts = level
                    .into_iter()
                    .map(|child| async move { self.push_manifest(&child.as_target(), child).await });
                side_by_side(puts.collect(), PARALLEL_MANIFESTS).await?;
            }
        }
        Ok(())
    }

    /// Pushes the blobs of a manifest that names too many to keep. It is read again for each part of them.
    async fn push_blobs_of_unkept(&self, node: &Node) -> Result<()> {
        for done in 0.. {
            let part = {
                let named = node.blobs(self.request.source).await?;
                let (mut all, foreign) = blobs(named.iter().map(AsRef::as_ref));
                if done == 0 {
                    self.state().foreign_layers += foreign;
                }
                all.drain(..all.len().min(done * UNKEPT_BLOBS));
                all.truncate(UNKEPT_BLOBS);
                all.shrink_to_fit();
                all
            };
            if part.is_empty() {
                break;
            }
            self.push_blobs(&part).await?;
        }
        Ok(())
    }

    /// Writes a manifest; a tag is claimed first. A tag that belongs to a later push is kept.
    pub(super) async fn push_manifest(&self, target: &Target, node: &Node) -> Result<()> {
        if let Target::Tag(tag) = target
            && !self.claim(tag, &node.descriptor().digest).await?
        {
            self.state().kept_tags.push(tag.to_string());
            return Ok(());
        }
        self.put_manifest(target, node).await
    }

    /// Writes a manifest whose tag is claimed. If the destination refuses it because a part is missing (a stale cache, a
    /// collected blob), sends that part without asking and writes the manifest again.
    pub(super) async fn put_manifest(&self, target: &Target, node: &Node) -> Result<()> {
        let (refused, is_sparse) = {
            let manifest = node.manifest(self.request.source).await?;
            let is_sparse = self.selected.is_some_and(|selected| selected.is_sparse(&manifest));
            match self.put_once(target, &manifest).await {
                Err(error) if error.is(Code::BlobUnknownAtDestination) => {
                    ((error, self.parts_of(&manifest)), is_sparse)
                }
                Err(error) if is_sparse => return Err(sparse(error)),
                put => return put,
            }
        };
        // No manifest is held while its parts are read.
        let (error, parts) = refused;
        if !self.send_again(parts).await? {
            return Err(if is_sparse { sparse(error) } else { error });
        }
        let manifest = node.manifest(self.request.source).await?;
        let put = self.put_once(target, &manifest).await;
        if is_sparse { put.map_err(sparse) } else { put }
    }

    /// What `manifest` names, as far as it is copied.
    fn parts_of(&self, manifest: &Manifest) -> Parts {
        let blobs = blobs_of(manifest).filter(|blob| !blob.media_type.is_non_distributable());
        Parts {
            blobs: blobs.cloned().collect(),
            children: self.request.source.below(manifest),
        }
    }

    async fn put_once(&self, target: &Target, manifest: &Manifest) -> Result<()> {
        let destination = self.request.destination;
        let admission = Admission(self.request.replicas);
        let gate = target.tag().map(|_| &admission as &dyn Gate);
        let put = destination.manifest_put(target, manifest, gate).await;
        let listed = put.at(Side::Destination)?;
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

    /// Sends the blobs and children of a manifest that were reported as present. Returns false if there are none.
    fn send_again(&self, parts: Parts) -> BoxFuture<'_, Result<bool>> {
        // Boxed because it is recursive: a child is written in the same way as its parent.
        async move {
            self.set_may_be_partial();
            let mut sent_any = false;
            for blob in &parts.blobs {
                if self.state().sent.contains(&blob.digest) {
                    continue;
                }
                self.forget(blob, self.request.destination.repository()).await;
                self.send(blob, None).await?;
                self.count(blob, BlobEnd::Copied);
                sent_any = true;
            }
            for child in &parts.children {
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

/// `SPARSE_UNSUPPORTED` if `error` refuses an index because of what it lacks. Registries do so with various codes; the parts that
/// it has were accepted in the same repository before, so that there is no other reason.
fn sparse(error: Error) -> Error {
    let is_refusal = match error.kind() {
        Code::BlobUnknownAtDestination | Code::NotFound => true,
        Code::RegistryRefused => matches!(error.status(), Some(400 | 404 | 409 | 412 | 422)),
        _ => false,
    };
    if !is_refusal {
        return error;
    }
    let operation = error.operation().clone();
    Error::of(Code::SparseUnsupported, operation)
        .because(error.message())
        .at(Side::Destination)
}

/// What a manifest names.
struct Parts {
    blobs: Vec<Descriptor>,
    children: Vec<Descriptor>,
}

/// The right to write a tag, as the ledger knows it.
struct Admission<'a>(&'a dyn Replicas);

#[async_trait]
impl Gate for Admission<'_> {
    async fn pass(&self) -> Result<Option<Duration>> {
        self.0.admit().await
    }
}
