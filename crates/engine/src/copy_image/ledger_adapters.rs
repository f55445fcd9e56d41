//! Adapters of the ledger for a copy: blob locations, replicas, upload sessions, and the commit lease.
//!
//! A failure of blob locations is harmless, because an unknown location only costs requests. A failure of replicas is an error.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use transship_copy::{
    Arrival, BlobLocation, BlobLocations, CommitLease, Continuation, Continuations, Flights, Owner, Replicas, Selected,
    TagClaim,
};
use transship_oci::{Code, Digest, Error, Repository, Result, Tag, Target, Verb};

use crate::failover::{Writes, is_replicated};
use crate::job::CopyTask;
use crate::jobs::Jobs;
use crate::ledger::Claim;
use crate::{ImageRef, Replica};

/// Expiry of a commit lease. A commit takes a few requests; if a worker dies during it, the tag is free after this time.
const LEASE_TTL: Duration = Duration::from_secs(30);
/// Time between two checks whether the execution was cancelled.
const CANCEL_INTERVAL: Duration = Duration::from_secs(1);
/// A check that is more recent is not repeated before the tag is written, so that a small image needs no call more.
const COMMIT_ASK_AGE: Duration = Duration::from_millis(500);
/// Expiry of an upload session in the ledger. Registries also forget sessions.
const SESSION_TTL: Duration = Duration::from_hours(24);

/// Blob locations of one destination registry.
pub(super) struct LedgerLocations<'a> {
    jobs: &'a Jobs,
    host: String,
    flights: Arc<Flights>,
}

impl<'a> LedgerLocations<'a> {
    /// The locations of the registry at `host`.
    pub(super) fn new(jobs: &'a Jobs, host: String) -> Self {
        let flights = jobs.ledger.locations.flights(&host);
        Self { jobs, host, flights }
    }
}

#[async_trait]
impl BlobLocations for LedgerLocations<'_> {
    async fn find(&self, digests: &[Digest]) -> HashMap<Digest, BlobLocation> {
        let locations = &self.jobs.ledger.locations;
        let found = locations.find(&self.host, digests, self.jobs.now()).await;
        found
            .inspect_err(|error| tracing::warn!(code = error.code(), %error, "blob locations could not be read"))
            .unwrap_or_default()
    }

    async fn add(&self, arrivals: &[Arrival], repository: &Repository) {
        let (locations, now) = (&self.jobs.ledger.locations, self.jobs.now());
        if let Err(error) = locations.add(&self.host, arrivals, repository, now).await {
            tracing::warn!(code = error.code(), %error, "blob locations could not be stored");
        }
    }

    async fn remove(&self, digest: &Digest, repository: &Repository) {
        let (locations, now) = (&self.jobs.ledger.locations, self.jobs.now());
        if let Err(error) = locations.remove(&self.host, digest, repository, now).await {
            tracing::warn!(code = error.code(), %error, "a wrong blob location could not be removed");
        }
    }

    fn flights(&self) -> Option<&Flights> {
        Some(&self.flights)
    }
}

/// What one task, and those before it, wrote to tags of its destination repository.
pub(super) struct LedgerReplicas<'a> {
    jobs: &'a Jobs,
    pub(super) task: &'a CopyTask,
    holder: String,
    writes: &'a Writes<'a>,
    /// The destinations whose commit leases this attempt has, each with [`Replica::accepted`] as it is remembered.
    claimed: Mutex<Vec<(ImageRef, Timestamp)>>,
    /// When it was asked for the last time whether the execution was cancelled.
    asked: Mutex<Instant>,
    /// The tag of the task is about to be written, so the copy goes on to its end.
    is_committing: AtomicBool,
}

impl<'a> LedgerReplicas<'a> {
    pub(super) fn new(jobs: &'a Jobs, task: &'a CopyTask, holder: String, writes: &'a Writes<'a>) -> Self {
        Self {
            jobs,
            task,
            holder,
            writes,
            claimed: Mutex::default(),
            asked: Mutex::new(Instant::now()),
            is_committing: AtomicBool::new(false),
        }
    }

    /// Returns when an operator cancelled the execution: never, if the tag is about to be written. It asks in the intervals of
    /// [`CANCEL_INTERVAL`].
    pub(super) async fn cancellation(&self) -> Error {
        loop {
            tokio::time::sleep(CANCEL_INTERVAL).await;
            if !self.is_committing.load(Ordering::SeqCst)
                && let Err(error) = self.expect_not_cancelled().await
                && !self.is_committing.load(Ordering::SeqCst)
            {
                return error;
            }
        }
    }

    /// `EXECUTION_CANCELLED` if an operator cancelled the execution. A ledger that does not answer has no such mark.
    async fn expect_not_cancelled(&self) -> Result<()> {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        if self
            .jobs
            .is_cancelled(&self.task.execution.id)
            .await
            .unwrap_or_default()
        {
            let operation = Verb::Copy.on(&self.task.source);
            return Err(Error::of(Code::ExecutionCancelled, operation));
        }
        Ok(())
    }

    /// Asks before the tag of the task is written, unless it was asked just before.
    async fn expect_not_cancelled_before(&self, destination: &ImageRef) -> Result<()> {
        if *destination != self.task.destination {
            return Ok(());
        }
        let asked = *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_committing.load(Ordering::SeqCst) && asked.elapsed() >= COMMIT_ASK_AGE {
            self.expect_not_cancelled().await?;
        }
        self.is_committing.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Releases the commit leases, except those of `settled`, which the end of the task releases.
    pub(super) async fn release_except(&self, settled: &[Replica]) {
        let claimed = std::mem::take(&mut *self.claimed.lock().unwrap_or_else(PoisonError::into_inner));
        let is_settled = |destination: &ImageRef| settled.iter().any(|replica| replica.destination == *destination);
        let destinations = claimed.into_iter().map(|(destination, _)| destination);
        for destination in destinations.filter(|destination| !is_settled(destination)) {
            if let Err(error) = self.jobs.ledger.replicas.release(&destination, &self.holder).await {
                tracing::warn!(code = error.code(), %error, "a commit lease could not be released and remains until it expires");
            }
        }
    }

    /// True if `found` is what was copied from `destination` to the source of this task, before another site became the writer.
    ///
    /// Then it is remembered as written by our hand. Otherwise the intent to replace it would be later than that copy, and a worker
    /// that died before its write would leave a tag that no worker may replace.
    async fn is_replicated(&self, tag: &Tag, destination: &ImageRef, found: &Digest) -> Result<bool> {
        let Some(source) = self.task.source.registry() else {
            return Ok(false);
        };
        let source = if *destination == self.task.destination {
            source.clone()
        } else {
            source.with_target(destination.target.clone())
        };
        let replicas = &self.jobs.ledger.replicas;
        let known = replicas.find(&[destination.clone(), source.clone()]).await?;
        let (own, reverse) = (known.get(destination), known.get(&source));
        if !is_replicated(own, reverse, destination, found) {
            return Ok(false);
        }
        if let Some(reverse) = reverse {
            let adopted = Replica {
                accepted: reverse.accepted,
                written: reverse.written,
                ..self.replica(tag, found, reverse.manifests.clone())
            };
            replicas.settle(&[adopted], &self.holder, self.jobs.now()).await?;
        }
        Ok(true)
    }

    /// When the push was accepted that this task is about: of the same source, the last that is remembered.
    fn accepted(&self, destination: &ImageRef) -> Timestamp {
        let claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        let remembered = claimed.iter().find(|(claimed, _)| claimed == destination);
        let accepted = self.task.execution.created.min(self.jobs.now());
        remembered.map_or(accepted, |(_, remembered)| accepted.max(*remembered))
    }

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
        let destination = self.task.destination.with_target(target);
        Replica {
            accepted: self.accepted(&destination),
            destination,
            source,
            digest: digest.clone(),
            earlier: Vec::new(),
            manifests,
            selected: None,
            rule: self.task.execution.rule.clone(),
            written: self.jobs.now(),
        }
    }
}

#[async_trait]
impl Replicas for LedgerReplicas<'_> {
    async fn owner(&self, tag: &Tag, found: &Digest) -> Result<Owner> {
        let destination = self.task.destination.with_target(Target::Tag(tag.clone()));
        let replica = self.jobs.ledger.replicas.get(&destination).await?;
        // Names can map several images to one tag: the last push has it.
        Ok(match replica.filter(|replica| replica.is_ours(found)) {
            Some(replica) if replica.supersedes(&self.replica(tag, found, Vec::new()), self.jobs.now()) => {
                Owner::OtherSource
            }
            Some(_) => Owner::Ours,
            None if self.writes.is_in_group() && self.is_replicated(tag, &destination, found).await? => Owner::Ours,
            None => Owner::Unknown,
        })
    }

    async fn admit(&self) -> Result<Option<Duration>> {
        self.writes.admit().await
    }

    async fn selected(&self, tag: &Tag) -> Result<Option<Selected>> {
        let destination = self.task.destination.with_target(Target::Tag(tag.clone()));
        let replica = self.jobs.ledger.replicas.get(&destination).await?;
        Ok(replica.and_then(|replica| replica.selected))
    }

    async fn claim(&self, tag: &Tag, digest: &Digest) -> Result<TagClaim> {
        let replica = self.replica(tag, digest, Vec::new());
        self.expect_not_cancelled_before(&replica.destination).await?;
        let (replicas, now) = (&self.jobs.ledger.replicas, self.jobs.now());
        Ok(match replicas.claim(&replica, &self.holder, now, LEASE_TTL).await? {
            Claim::Granted { accepted, .. } => {
                let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
                claimed.retain(|(destination, _)| *destination != replica.destination);
                claimed.push((replica.destination, accepted));
                TagClaim::Granted
            }
            Claim::Held { .. } => TagClaim::Busy,
            Claim::Superseded => TagClaim::Superseded,
        })
    }

    async fn withdraw(&self, tag: &Tag, digest: &Digest) -> Result<()> {
        let destination = self.task.destination.with_target(Target::Tag(tag.clone()));
        let replicas = &self.jobs.ledger.replicas;
        replicas.withdraw(&destination, digest, &self.holder).await
    }
}

/// The uploads of one task that may outlive this worker.
pub(super) struct LedgerSessions<'a> {
    pub(super) jobs: &'a Jobs,
    pub(super) task: &'a CopyTask,
}

#[async_trait]
impl Continuations for LedgerSessions<'_> {
    async fn find(&self, blob: &Digest) -> Option<Continuation> {
        let uploads = &self.jobs.ledger.uploads;
        let found = uploads.find(&self.task.id, blob, self.jobs.now()).await;
        found
            .inspect_err(|error| tracing::warn!(code = error.code(), %error, "an upload session could not be read"))
            .unwrap_or_default()
    }

    async fn save(&self, continuation: &Continuation) -> Result<()> {
        let expires = self.jobs.now().checked_add(SESSION_TTL).unwrap_or(Timestamp::MAX);
        let uploads = &self.jobs.ledger.uploads;
        uploads.put(&self.task.id, continuation, expires).await
    }

    async fn remove(&self, blob: &Digest) {
        if let Err(error) = self.jobs.ledger.uploads.remove(&self.task.id, blob).await {
            tracing::warn!(code = error.code(), %error, "an ended upload session could not be removed and remains until it expires");
        }
    }
}

/// The leases of one task for targets that it cannot claim: the lists it adds to, and a manifest without a tag.
pub(super) struct LedgerLease<'a> {
    pub(super) jobs: &'a Jobs,
    pub(super) destination: ImageRef,
    pub(super) holder: String,
}

impl LedgerLease<'_> {
    fn key(&self, target: &Target) -> String {
        format!("commit {}", self.destination.with_target(target.clone()))
    }
}

#[async_trait]
impl CommitLease for LedgerLease<'_> {
    async fn acquire(&self, target: &Target) -> Result<bool> {
        let (leases, now) = (&self.jobs.ledger.leases, self.jobs.now());
        leases.take(&self.key(target), &self.holder, now, LEASE_TTL).await
    }

    async fn release(&self, target: &Target) {
        if let Err(error) = self.jobs.ledger.leases.release(&self.key(target), &self.holder).await {
            tracing::warn!(code = error.code(), %error, "a commit lease could not be released and remains until it expires");
        }
    }
}
