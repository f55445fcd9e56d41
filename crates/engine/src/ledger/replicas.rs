//! What we wrote to each destination tag, and which worker may write it now.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use transship_copy::Selected;
use transship_oci::{Digest, Repository};

use crate::{ImageRef, Result};

/// The record of what Transship wrote to a destination tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// The tag that was written (or, for a referrer, its digest).
    pub destination: ImageRef,
    /// The image it was copied from; [`None`]: it came from a store.
    pub source: Option<ImageRef>,
    /// The digest that Transship wrote to the tag.
    pub digest: Digest,
    /// Earlier digests that the tag may still have, because the write of `digest` is not known to have ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Digest>,
    /// Every manifest of the image, including the root. A referrer of any of them is copied to this destination.
    pub manifests: Vec<Digest>,
    /// What the image at the source became, if only some of its platforms are copied. It does not depend on what the tag names now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selected: Option<Selected>,
    /// The rule.
    pub rule: String,
    /// When the tag was written.
    pub written: Timestamp,
    /// When the push was accepted whose image this is. Of several sources that are copied to one tag, the last push has it.
    #[serde(default)]
    pub accepted: Timestamp,
}

impl Replica {
    /// True if the destination tag may name `found` by our hand.
    pub fn is_ours(&self, found: &Digest) -> bool {
        self.digest == *found || self.earlier.contains(found)
    }

    /// True if the destination tag may name, by our hand, what was copied from `digest` of the source.
    pub fn is_made_of(&self, digest: &Digest) -> bool {
        self.is_ours(digest) || self.source_digest() == digest
    }

    /// What the source named when [`Replica::digest`] was copied.
    pub fn source_digest(&self) -> &Digest {
        let selected = self.selected.as_ref().filter(|selected| selected.digest == self.digest);
        selected.map_or(&self.digest, |selected| &selected.source)
    }

    /// What the destination may name by our hand, the latest first, except `digest`.
    pub fn without(&self, digest: &Digest) -> Vec<Digest> {
        let all = std::iter::once(&self.digest).chain(&self.earlier);
        all.filter(|known| *known != digest).cloned().collect()
    }

    /// True if this replica, which is remembered, is of a later push than `other`, and of another source. A copy reads its
    /// source when it runs, so the order of two pushes of one source does not matter; a store has one image for each version.
    pub fn supersedes(&self, other: &Self, now: Timestamp) -> bool {
        self.is_later_than(other, now) && (self.source.is_none() || self.source != other.source)
    }

    /// True if this replica, which is remembered, was accepted later than `other`. A time later than `now` decides nothing,
    /// because a clock was ahead when it was written.
    pub fn is_later_than(&self, other: &Self, now: Timestamp) -> bool {
        self.accepted > other.accepted && self.accepted <= now
    }
}

/// Unfinished intents that are remembered for one destination.
pub const EARLIER_MAX: usize = 8;

/// The answer to [`Replicas::claim`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// The worker may write. `earlier`: what the destination may have named by our hand until now, the latest first.
    Granted {
        /// The digests, without the one that is claimed.
        earlier: Vec<Digest>,
        /// [`Replica::accepted`] as it is remembered now: that of the latest push of the same source.
        accepted: Timestamp,
    },
    /// Another worker may write.
    Held {
        /// Until then, if it does not give the lease back.
        until: Timestamp,
    },
    /// The destination belongs to a later push of another source.
    Superseded,
}

/// The end of a lease of `ttl` that is in force at `now`, where `until` is its recorded end. A lease that ends much later was
/// taken by a worker whose clock was ahead, and counts as expired. The clocks of two workers may differ by `ttl`.
pub fn lease_in_force(until: Timestamp, now: Timestamp, ttl: Duration) -> Option<Timestamp> {
    let latest = lease_end_latest(now, ttl);
    (until > now && until <= latest).then_some(until)
}

/// The latest possible end of a lease of `ttl` that is in force at `now`.
pub fn lease_end_latest(now: Timestamp, ttl: Duration) -> Timestamp {
    now.saturating_add(2 * ttl).unwrap_or(Timestamp::MAX)
}

/// The memory of what we wrote to destination tags, with the lease to write each.
///
/// A registry cannot compare and swap, and does not know who holds a lease. The lease saves work; the correctness of a copy
/// rests on looking again after the write. The memory decides what [`transship_oci::Existing::Follow`] may replace, so it
/// must not be lost.
#[async_trait]
pub trait Replicas: Send + Sync {
    /// Takes the commit lease of [`Replica::destination`] for `holder` until `now + ttl`, and remembers that the destination
    /// is about to name [`Replica::digest`], both in one conditional write. What the destination may have named by our hand
    /// until now becomes [`Replica::earlier`], the latest first, [`EARLIER_MAX`] at most; [`Replica::manifests`] and
    /// [`Replica::selected`] stay as they were. `earlier`, `manifests` and `selected` of the argument are ignored. A holder that claims again extends its lease. If another
    /// holder's lease is in force ([`lease_in_force`]), or if what is remembered supersedes `replica`
    /// ([`Replica::supersedes`]), nothing changes.
    async fn claim(&self, replica: &Replica, holder: &str, now: Timestamp, ttl: Duration) -> Result<Claim>;

    /// Forgets the intent to write `digest` if `holder` has the lease, because the destination was not written and does not name
    /// it. Wherever else `digest` is remembered of the destination, it is forgotten as well: if the destination names it later,
    /// someone else wrote it. What else is remembered stays; if nothing is left, the replica and its lease are gone.
    async fn withdraw(&self, destination: &ImageRef, digest: &Digest, holder: &str) -> Result<()>;

    /// Gives the lease back if `holder` has it. The intent stays, because the write may have happened.
    async fn release(&self, destination: &ImageRef, holder: &str) -> Result<()>;

    /// Remembers each replica in place of what was remembered of its destination, and releases its lease. While another
    /// holder's lease has not expired at `now`, only [`Replica::manifests`] and what belongs to it (source, rule, time) are
    /// replaced, so that neither the lease nor the intent of that worker is lost. What is remembered of a later push stays as
    /// it is ([`Replica::is_later_than`]); the lease is released.
    async fn settle(&self, replicas: &[Replica], holder: &str, now: Timestamp) -> Result<()>;

    /// What we wrote to the destination, or were about to write.
    async fn get(&self, destination: &ImageRef) -> Result<Option<Replica>>;

    /// What we wrote to each of the destinations, which are different from each other, or were about to write; it may be a moment
    /// old. Those without a replica are left out. One call for each 100.
    async fn find(&self, destinations: &[ImageRef]) -> Result<HashMap<ImageRef, Replica>>;

    /// True if a replica at `destination` (registry, repository) that was made from `source` holds `manifest`, as root or as
    /// part.
    async fn holds(
        &self,
        destination: (&str, &Repository),
        source: (&str, &Repository),
        manifest: &Digest,
    ) -> Result<bool>;

    /// The replicas at `destination` (registry, repository) that were made from `source` and whose destination may name
    /// what was copied from `digest` ([`Replica::is_made_of`]), in any order.
    async fn made_of(
        &self,
        destination: (&str, &Repository),
        source: (&str, &Repository),
        digest: &Digest,
    ) -> Result<Vec<Replica>>;
}

/// [`Replica::earlier`] after an intent to write `digest`, where `known` is what was remembered.
pub fn earlier_of(known: Option<&Replica>, digest: &Digest) -> Vec<Digest> {
    known
        .into_iter()
        .flat_map(|known| std::iter::once(&known.digest).chain(&known.earlier))
        .filter(|old| *old != digest)
        .take(EARLIER_MAX)
        .cloned()
        .collect()
}
