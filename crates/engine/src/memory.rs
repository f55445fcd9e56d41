//! The ledger as a copy sees it: where blobs are, what we wrote, and who commits.
//!
//! The memory of blobs may fail without harm: not knowing costs requests. The memory of what we wrote may not.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use transship_copy::{BlobLocations, Clock, CommitLease, Continuation, Continuations, Owner, Replicas};
use transship_oci::{Digest, Repository, Result, Tag, Target};

use crate::{Ledger, Place, Replica, Task};

/// A commit is a few requests; a worker that died in it frees the tag after so long.
const LEASE: Duration = Duration::from_secs(30);
/// An upload that nobody took up for so long is begun anew: registries forget sessions too.
const UPLOAD: Duration = Duration::from_hours(24);

/// Blob locations of one destination registry.
pub(crate) struct Locations {
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) host: String,
}

#[async_trait]
impl BlobLocations for Locations {
    async fn find(&self, digests: &[Digest]) -> HashMap<Digest, Vec<Repository>> {
        let found = self.ledger.locations_find(&self.host, digests).await;
        found
            .inspect_err(|error| tracing::warn!(code = error.code(), %error, "blob locations are not known"))
            .unwrap_or_default()
    }

    async fn add(&self, digests: &[Digest], repository: &Repository) {
        if let Err(error) = self.ledger.locations_add(&self.host, digests, repository).await {
            tracing::warn!(code = error.code(), %error, "blob locations are not remembered");
        }
    }

    async fn remove(&self, digest: &Digest, repository: &Repository) {
        if let Err(error) = self.ledger.location_remove(&self.host, digest, repository).await {
            tracing::warn!(code = error.code(), %error, "a wrong blob location stays");
        }
    }
}

/// What one task, and those before it, wrote to tags of its destination repository.
pub(crate) struct Written<'a> {
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) task: &'a Task,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Written<'_> {
    /// `tag` names `digest` now, which consists of `manifests`: nothing earlier counts any more.
    pub(crate) fn replica(&self, tag: &Tag, digest: &Digest, manifests: Vec<Digest>) -> Replica {
        let at = |place: &Place| Place {
            target: Target::Tag(tag.clone()),
            ..place.clone()
        };
        let is_own = self.task.destination.target.tag() == Some(tag);
        Replica {
            destination: at(&self.task.destination),
            source: if is_own {
                self.task.source.clone()
            } else {
                at(&self.task.source)
            },
            digest: digest.clone(),
            earlier: Vec::new(),
            manifests,
            rule: self.task.rule.clone(),
            written: now(self.clock.as_ref()),
        }
    }
}

#[async_trait]
impl Replicas for Written<'_> {
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
pub(crate) struct Uploads<'a> {
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) task: &'a Task,
    pub(crate) clock: Arc<dyn Clock>,
}

#[async_trait]
impl Continuations for Uploads<'_> {
    async fn find(&self, blob: &Digest) -> Option<Continuation> {
        let now = now(self.clock.as_ref());
        let found = self.ledger.continuation(&self.task.id, blob, now).await;
        found
            .inspect_err(|error| tracing::warn!(code = error.code(), %error, "an upload under way is not known"))
            .unwrap_or_default()
    }

    async fn save(&self, continuation: &Continuation) -> Result<()> {
        let expires = now(self.clock.as_ref()).checked_add(UPLOAD).unwrap_or(Timestamp::MAX);
        let put = self.ledger.continuation_put(&self.task.id, continuation, expires);
        Ok(put.await?)
    }

    async fn remove(&self, blob: &Digest) {
        if let Err(error) = self.ledger.continuation_remove(&self.task.id, blob).await {
            tracing::warn!(code = error.code(), %error, "an upload that is over stays remembered until it expires");
        }
    }
}

/// The leases of one task: of its own destination tag, and of the lists it adds to.
pub(crate) struct Lease {
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) destination: Place,
    pub(crate) holder: String,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Lease {
    fn key(&self, target: &Target) -> String {
        let place = Place {
            target: target.clone(),
            ..self.destination.clone()
        };
        place.lease_key()
    }
}

#[async_trait]
impl CommitLease for Lease {
    async fn acquire(&self, target: &Target) -> Result<bool> {
        let now = now(self.clock.as_ref());
        Ok(self
            .ledger
            .lease_take(&self.key(target), &self.holder, now, LEASE)
            .await?)
    }

    async fn release(&self, target: &Target) {
        if let Err(error) = self.ledger.lease_release(&self.key(target), &self.holder).await {
            tracing::warn!(code = error.code(), %error, "a commit lease stays until it expires");
        }
    }
}

/// The clock's time as the ledger keeps it.
pub(crate) fn now(clock: &dyn Clock) -> Timestamp {
    Timestamp::try_from(clock.now()).unwrap_or(Timestamp::UNIX_EPOCH)
}
