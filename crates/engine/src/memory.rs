//! The ledger as a copy sees it: where blobs are, what we wrote, and who commits.
//!
//! The memory of blobs may fail without harm: not knowing costs requests. The memory of what we wrote may not.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use transship_copy::{BlobLocations, Clock, CommitLease, Replicas, Result as CopyResult};
use transship_oci::{Digest, Repository, Tag, Target};

use crate::{Ledger, Place, Replica, Task};

/// A commit is a few requests; a worker that died in it frees the tag after so long.
const LEASE: Duration = Duration::from_secs(30);
/// Unfinished intents that are remembered for one tag.
const EARLIER: usize = 8;

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
    fn replica(&self, tag: &Tag, digest: &Digest, earlier: Vec<Digest>, manifests: Vec<Digest>) -> Replica {
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
            earlier,
            manifests,
            rule: self.task.rule.clone(),
            written: now(self.clock.as_ref()),
        }
    }

    async fn known(&self, tag: &Tag) -> CopyResult<Option<Replica>> {
        let place = &self.task.destination;
        Ok(self.ledger.replica(&place.registry, &place.repository, tag).await?)
    }

    /// `tag` names `digest` now, which consists of `manifests`: nothing earlier counts any more.
    pub(crate) async fn confirm(&self, tag: &Tag, digest: &Digest, manifests: Vec<Digest>) -> CopyResult<()> {
        let replica = self.replica(tag, digest, Vec::new(), manifests);
        Ok(self.ledger.replica_put(&replica).await?)
    }
}

#[async_trait]
impl Replicas for Written<'_> {
    async fn written(&self, tag: &Tag) -> CopyResult<Vec<Digest>> {
        let replica = self.known(tag).await?;
        Ok(replica
            .map(|replica| std::iter::once(replica.digest).chain(replica.earlier).collect())
            .unwrap_or_default())
    }

    async fn intend(&self, tag: &Tag, digest: &Digest) -> CopyResult<()> {
        let known = self.known(tag).await?;
        let manifests = known.as_ref().map(|known| known.manifests.clone()).unwrap_or_default();
        let mut earlier: Vec<Digest> = known
            .into_iter()
            .flat_map(|known| std::iter::once(known.digest).chain(known.earlier))
            .filter(|old| old != digest)
            .collect();
        earlier.truncate(EARLIER);
        let replica = self.replica(tag, digest, earlier, manifests);
        Ok(self.ledger.replica_put(&replica).await?)
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
    async fn acquire(&self, target: &Target) -> CopyResult<bool> {
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
