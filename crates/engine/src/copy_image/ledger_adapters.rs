//! Adapters of the ledger for a copy: blob locations, replicas, upload sessions, and the commit lease.
//!
//! A failure of blob locations is harmless, because an unknown location only costs requests. A failure of replicas is an error.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use transship_copy::{BlobLocations, Clock, CommitLease, Continuation, Continuations, Owner, Replicas};
use transship_oci::{Digest, Repository, Result, Tag, Target};

use crate::job::CopyTask;
use crate::send::now;
use crate::{ImageRef, Ledger, Replica};

/// Expiry of a commit lease. A commit takes a few requests; if a worker dies during it, the tag is free after this time.
const LEASE_TTL: Duration = Duration::from_secs(30);
/// Expiry of an upload session in the ledger. Registries also forget sessions.
const SESSION_TTL: Duration = Duration::from_hours(24);

/// Blob locations of one destination registry.
pub(super) struct LedgerLocations {
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) host: String,
}

#[async_trait]
impl BlobLocations for LedgerLocations {
    async fn find(&self, digests: &[Digest]) -> HashMap<Digest, Vec<Repository>> {
        let found = self.ledger.locations_find(&self.host, digests).await;
        found
            .inspect_err(|error| tracing::warn!(code = error.code(), %error, "blob locations could not be read"))
            .unwrap_or_default()
    }

    async fn add(&self, digests: &[Digest], repository: &Repository) {
        if let Err(error) = self.ledger.locations_add(&self.host, digests, repository).await {
            tracing::warn!(code = error.code(), %error, "blob locations could not be stored");
        }
    }

    async fn remove(&self, digest: &Digest, repository: &Repository) {
        if let Err(error) = self.ledger.location_remove(&self.host, digest, repository).await {
            tracing::warn!(code = error.code(), %error, "a wrong blob location could not be removed");
        }
    }
}

/// What one task, and those before it, wrote to tags of its destination repository.
pub(super) struct LedgerReplicas<'a> {
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) task: &'a CopyTask,
    pub(super) clock: Arc<dyn Clock>,
}

impl LedgerReplicas<'_> {
    /// `tag` names `digest` now, which consists of `manifests`: nothing earlier counts any more.
    pub(super) fn replica(&self, tag: &Tag, digest: &Digest, manifests: Vec<Digest>) -> Replica {
        let target = Target::Tag(tag.clone());
        let is_own = self.task.destination.target == target;
        let source = self.task.source.registry().map(|image| {
            if is_own {
                image.clone()
            } else {
                image.with_target(target.clone())
            }
        });
        Replica {
            destination: self.task.destination.with_target(target),
            source,
            digest: digest.clone(),
            earlier: Vec::new(),
            manifests,
            rule: self.task.execution.rule.clone(),
            written: now(self.clock.as_ref()),
        }
    }
}

#[async_trait]
impl Replicas for LedgerReplicas<'_> {
    async fn owner(&self, tag: &Tag, found: &Digest) -> Result<Owner> {
        let place = &self.task.destination;
        let replica = self.ledger.replica(&place.registry, &place.repository, tag).await?;
        // Names can map several images to one tag. Here the last push decides, and this task is about one.
        Ok(match replica.filter(|replica| replica.is_ours(found)) {
            Some(_) => Owner::Ours,
            None => Owner::Unknown,
        })
    }

    async fn intend(&self, tag: &Tag, digest: &Digest) -> Result<()> {
        let replica = self.replica(tag, digest, Vec::new());
        Ok(self.ledger.replica_intend(&replica).await?)
    }
}

/// The uploads of one task that may outlive this worker.
pub(super) struct LedgerSessions<'a> {
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) task: &'a CopyTask,
    pub(super) clock: Arc<dyn Clock>,
}

#[async_trait]
impl Continuations for LedgerSessions<'_> {
    async fn find(&self, blob: &Digest) -> Option<Continuation> {
        let now = now(self.clock.as_ref());
        let found = self.ledger.continuation(&self.task.id, blob, now).await;
        found
            .inspect_err(|error| tracing::warn!(code = error.code(), %error, "an upload session could not be read"))
            .unwrap_or_default()
    }

    async fn save(&self, continuation: &Continuation) -> Result<()> {
        let expires = now(self.clock.as_ref())
            .checked_add(SESSION_TTL)
            .unwrap_or(Timestamp::MAX);
        let put = self.ledger.continuation_put(&self.task.id, continuation, expires);
        Ok(put.await?)
    }

    async fn remove(&self, blob: &Digest) {
        if let Err(error) = self.ledger.continuation_remove(&self.task.id, blob).await {
            tracing::warn!(code = error.code(), %error, "an ended upload session could not be removed and remains until it expires");
        }
    }
}

/// The leases of one task: of its own destination tag, and of the lists it adds to.
pub(super) struct LedgerLease {
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) destination: ImageRef,
    pub(super) holder: String,
    pub(super) clock: Arc<dyn Clock>,
}

impl LedgerLease {
    fn key(&self, target: &Target) -> String {
        format!("commit {}", self.destination.with_target(target.clone()))
    }
}

#[async_trait]
impl CommitLease for LedgerLease {
    async fn acquire(&self, target: &Target) -> Result<bool> {
        let now = now(self.clock.as_ref());
        Ok(self
            .ledger
            .lease_take(&self.key(target), &self.holder, now, LEASE_TTL)
            .await?)
    }

    async fn release(&self, target: &Target) {
        if let Err(error) = self.ledger.lease_release(&self.key(target), &self.holder).await {
            tracing::warn!(code = error.code(), %error, "a commit lease could not be released and remains until it expires");
        }
    }
}
