//! The lease of an attempt: of the workers that received the same task, one continues it at a time.
//!
//! An upload that outlived its worker can be resumed by one other worker. Two that resume it spoil it for each other, start
//! over, and meet again in their next slots. A delivery that was sent twice makes two such workers, and so does a worker that
//! dies after it sent its message on. What must hold: a worker that waits for the lease keeps its message, so that nothing is
//! lost with the holder; and a lease ends with its time slot, even if the holder crashes.

use std::time::Duration;

use super::CopyImage;
use crate::Result;
use crate::jobs::Jobs;

/// The lease of one attempt.
pub(super) struct AttemptLease {
    key: String,
    holder: String,
    /// It expires by itself after this long.
    pub(super) length: Duration,
}

impl AttemptLease {
    /// The lease an attempt needs; [`None`]: none. A first attempt finds nothing to resume, and one without a slot leaves
    /// nothing behind.
    pub(super) fn of(copy: &CopyImage<'_>) -> Option<Self> {
        let budget = copy.run.budget.filter(|_| copy.attempt > 1)?;
        Some(Self {
            key: format!("task {}", copy.task.id),
            holder: format!("{} {}", copy.jobs.worker, copy.attempt),
            length: budget.left() + budget.grace(),
        })
    }

    /// False if another worker has the lease.
    pub(super) async fn take(&self, jobs: &Jobs) -> Result<bool> {
        let now = jobs.now();
        let leases = &jobs.ledger.leases;
        leases.take(&self.key, &self.holder, now, self.length).await
    }

    pub(super) async fn release(&self, jobs: &Jobs) {
        if let Err(error) = jobs.ledger.leases.release(&self.key, &self.holder).await {
            tracing::warn!(code = error.code(), %error, "the lease of an attempt could not be released and remains until it expires");
        }
    }
}
