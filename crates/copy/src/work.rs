//! One copy at work: what was asked, what was done so far, and what all its parts need.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::sync::Mutex as AsyncMutex;
use transship_oci::{Code, Descriptor, Digest, Error, Result, Target, Verb};

use crate::request::{Counts, Report, Request, State};
use crate::{BlobEnd, Step};

/// Times a copy goes round when the tag moves under it.
pub(crate) const ROUNDS: usize = 3;
/// How long to wait for another worker's commit of the same tag.
const LEASE_WAIT: Duration = Duration::from_secs(2);
/// Manifests, and attachments, brought over at the same time.
pub(crate) const PARALLEL: usize = 8;

/// One copy at work.
pub(crate) struct Work<'a> {
    pub(crate) request: &'a Request<'a>,
    tally: Mutex<Tally>,
}

/// What a copy did so far.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) manifests: u64,
    pub(crate) blobs: Counts,
    pub(crate) bytes: Counts,
    pub(crate) written: Vec<(Target, Digest)>,
    pub(crate) kept_tags: Vec<String>,
    pub(crate) foreign_layers: u64,
    /// Blobs whose bytes this very copy sent: sending them again cannot help.
    pub(crate) sent: HashSet<Digest>,
    /// Blobs this copy brings or brought, true once they are there: what attachments share moves once.
    pub(crate) brought: HashMap<Digest, Arc<AsyncMutex<bool>>>,
    /// Manifests this copy wrote.
    pub(crate) put: HashSet<Digest>,
    /// Referrers the destination took without listing them, by subject.
    pub(crate) unlisted: BTreeMap<Digest, Vec<Descriptor>>,
}

impl<'a> Work<'a> {
    pub(crate) fn new(request: &'a Request<'a>) -> Self {
        Self {
            request,
            tally: Mutex::default(),
        }
    }

    pub(crate) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `write`, while this copy holds the lease of `target`.
    pub(crate) async fn under_lease<T>(&self, target: &Target, write: BoxFuture<'_, Result<T>>) -> Result<T> {
        let Some(lease) = self.request.lease else {
            return write.await;
        };
        let begin = Instant::now();
        while !lease.acquire(target).await? {
            if begin.elapsed() > LEASE_WAIT {
                return Err(self.source_error(Code::CommitBusy));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let result = write.await;
        lease.release(target).await;
        result
    }

    /// `work`, ended with `SLOT_OVER` when the slot is.
    pub(crate) async fn within_slot<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let Some(slot) = self.request.slot else {
            return work.await;
        };
        let left = slot.left();
        if left.is_zero() {
            return Err(self.source_error(Code::SlotOver));
        }
        tokio::time::timeout(left, work)
            .await
            .unwrap_or_else(|_| Err(self.source_error(Code::SlotOver)))
    }

    pub(crate) fn count(&self, blob: &Descriptor, how: BlobEnd) {
        self.request.progress.step(Step::BlobEnd {
            digest: &blob.digest,
            size: blob.size,
            how,
        });
        let mut tally = self.tally();
        let tally = &mut *tally;
        let (blobs, bytes) = match how {
            BlobEnd::Copied => (&mut tally.blobs.copied, &mut tally.bytes.copied),
            BlobEnd::Mounted => (&mut tally.blobs.mounted, &mut tally.bytes.mounted),
            BlobEnd::Skipped => (&mut tally.blobs.skipped, &mut tally.bytes.skipped),
        };
        *blobs += 1;
        *bytes += blob.size;
        if how == BlobEnd::Copied {
            tally.sent.insert(blob.digest.clone());
        }
    }

    pub(crate) fn source_error(&self, code: Code) -> Error {
        let (source, from) = (self.request.source, &self.request.from);
        Error::of(
            code,
            Verb::Copy.on(format_args!("{}{}{from}", source.name(), from.separator())),
        )
    }

    pub(crate) fn report(&self, state: State, digest: Digest, members: Vec<Digest>) -> Report {
        let tally = std::mem::take(&mut *self.tally());
        Report {
            state,
            digest,
            manifests: tally.manifests,
            blobs: tally.blobs,
            bytes: tally.bytes,
            members,
            written: tally.written,
            kept_tags: tally.kept_tags,
            foreign_layers: tally.foreign_layers,
        }
    }
}
