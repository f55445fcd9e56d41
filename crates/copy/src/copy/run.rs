//! One run of a copy: the request, what was done so far, and what all its parts need.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::Mutex as AsyncMutex;
use transship_oci::{Code, Descriptor, Digest, Error, Manifest, Result, Tag, Target, Verb};

use crate::compare::Sides;
use crate::platforms::SelectedSource;
use crate::precedence::SmallCopy;
use crate::request::{Counts, Report, Request, State};
use crate::{BlobEnd, Flights, KeepReason, SkipReason, Step, TagClaim};

/// Rounds of one copy whose source tag keeps moving.
pub(super) const MAX_ROUNDS: usize = 3;
/// Blobs that a copy takes note of at the same time.
const NOTED_BLOBS_MAX: usize = 20_000;
/// The annotations of referrers that a copy keeps until it lists them, in bytes. A list itself has at most 4 MiB.
const UNLISTED_BYTES_MAX: usize = 1024 * 1024;
/// Longest wait for another worker's commit of the same target.
const LEASE_TIMEOUT: Duration = Duration::from_secs(2);
/// Time between two tries to take a lease or to claim a tag.
const LEASE_INTERVAL: Duration = Duration::from_millis(50);

/// One run of a copy.
pub(super) struct CopyRun<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) sides: Sides<'a>,
    /// The source, if only some platforms are copied.
    pub(super) selected: Option<&'a SelectedSource<'a>>,
    /// Held by the attachment that is written now, if it is an index.
    pub(super) index_turn: AsyncMutex<()>,
    state: Mutex<CopyState>,
    /// The blobs of this copy, if copies do not wait for each other.
    own_flights: Flights,
    /// As long as this copy has precedence.
    precedence: Mutex<Option<SmallCopy>>,
}

/// What a copy did so far, and what it learned.
#[derive(Default)]
pub(super) struct CopyState {
    pub(super) manifests: u64,
    pub(super) blobs: Counts,
    pub(super) bytes: Counts,
    pub(super) written: Vec<(Target, Digest)>,
    pub(super) skipped: Option<SkipReason>,
    pub(super) kept: Option<KeepReason>,
    pub(super) kept_tags: Vec<String>,
    pub(super) foreign_layers: u64,
    /// Blobs whose bytes this copy sent: sending them again cannot help.
    pub(super) sent: HashSet<Digest>,
    /// Blobs that were counted, so that one that attachments share counts once.
    counted: HashSet<Digest>,
    /// Manifests this copy wrote.
    pub(super) put: HashSet<Digest>,
    /// Referrers that the destination stored without listing them, by subject.
    unlisted: BTreeMap<Digest, Vec<Descriptor>>,
    /// The bytes of the annotations in [`CopyState::unlisted`].
    unlisted_bytes: usize,
    /// The destination may hold parts of this image at no known location, so each blob is asked for before it is sent.
    may_be_partial: bool,
}

impl CopyState {
    /// Notes that the destination may not list `manifest` as a referrer of its subject.
    pub(super) fn add_unlisted(&mut self, manifest: &Manifest) {
        let Some(subject) = manifest.subject() else { return };
        let mut referrer = manifest.referrer_descriptor();
        let annotations = referrer.annotations.iter();
        let bytes: usize = annotations.map(|(key, value)| key.len() + value.len()).sum();
        if self.unlisted_bytes + bytes > UNLISTED_BYTES_MAX {
            tracing::warn!(digest = %referrer.digest, "the annotations of a referrer are not listed, because they are too large");
            referrer.annotations.clear();
        } else {
            self.unlisted_bytes += bytes;
        }
        let referrers = self.unlisted.entry(subject.digest.clone()).or_default();
        referrers.push(referrer);
    }

    /// What is to be listed, by subject. It counts as listed from now on.
    pub(super) fn take_unlisted(&mut self) -> BTreeMap<Digest, Vec<Descriptor>> {
        self.unlisted_bytes = 0;
        std::mem::take(&mut self.unlisted)
    }

    /// Notes that the bytes of `blob` were sent. What was noted is forgotten when there is too much of it: at worst a blob is
    /// asked for, or sent, once more.
    pub(super) fn add_sent(&mut self, blob: &Digest) {
        if self.sent.len() >= NOTED_BLOBS_MAX {
            self.sent.clear();
        }
        self.sent.insert(blob.clone());
    }
}

impl<'a> CopyRun<'a> {
    pub(super) fn new(request: &'a Request<'a>, selected: Option<&'a SelectedSource<'a>>) -> Self {
        Self {
            request,
            selected,
            sides: Sides::new(
                request.source,
                request.destination,
                &request.options,
                request.replicas,
                None,
            ),
            index_turn: AsyncMutex::default(),
            own_flights: Flights::default(),
            precedence: Mutex::new(request.locations.flights().map(|flights| flights.precedence().begin())),
            state: Mutex::new(CopyState {
                may_be_partial: request.options.is_repeated,
                ..CopyState::default()
            }),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, CopyState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The blobs that this process copies to the destination.
    pub(super) fn flights(&self) -> &Flights {
        self.request.locations.flights().unwrap_or(&self.own_flights)
    }

    /// Ends the precedence of this copy, because it has a large blob.
    pub(super) fn end_precedence(&self) {
        *self.precedence.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn may_be_partial(&self) -> bool {
        self.state().may_be_partial
    }

    /// Notes that the destination has, or had, a part of this image.
    pub(super) fn set_may_be_partial(&self) {
        self.state().may_be_partial = true;
    }

    /// Runs `write` while this copy holds the lease of `target`.
    pub(super) async fn under_lease<T>(&self, target: &Target, write: BoxFuture<'_, Result<T>>) -> Result<T> {
        let Some(lease) = self.request.lease else {
            return write.await;
        };
        self.wait_until(|| async { Ok(lease.acquire(target).await?.then_some(())) }.boxed())
            .await?;
        let result = write.await;
        lease.release(target).await;
        result
    }

    /// Claims `tag` for `digest`; false if it belongs to a later push. See [`crate::Replicas::claim`].
    pub(super) async fn claim(&self, tag: &Tag, digest: &Digest) -> Result<bool> {
        let claim = || async {
            Ok(match self.request.replicas.claim(tag, digest).await? {
                TagClaim::Granted => Some(true),
                TagClaim::Superseded => Some(false),
                TagClaim::Busy => None,
            })
        };
        self.wait_until(|| claim().boxed()).await
    }

    /// Tries until `take` returns a result. `COMMIT_BUSY` if another worker is too slow.
    async fn wait_until<'t, T>(&self, take: impl Fn() -> BoxFuture<'t, Result<Option<T>>>) -> Result<T> {
        let begin = Instant::now();
        loop {
            if let Some(taken) = take().await? {
                return Ok(taken);
            }
            if begin.elapsed() > LEASE_TIMEOUT {
                return Err(self.source_error(Code::CommitBusy));
            }
            tokio::time::sleep(LEASE_INTERVAL).await;
        }
    }

    /// Runs `work`, and ends it with `SLOT_OVER` when the time of this worker is over.
    pub(super) async fn within_slot<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let Some(budget) = self.request.budget else {
            return work.await;
        };
        let left = budget.left();
        if left.is_zero() {
            return Err(self.source_error(Code::SlotOver));
        }
        tokio::time::timeout(left, work)
            .await
            .unwrap_or_else(|_| Err(self.source_error(Code::SlotOver)))
    }

    pub(super) fn count(&self, blob: &Descriptor, how: BlobEnd) {
        self.request.progress.step(Step::BlobEnd {
            digest: &blob.digest,
            size: blob.size,
            how,
        });
        let mut state = self.state();
        if state.counted.len() >= NOTED_BLOBS_MAX {
            state.counted.clear();
        }
        if !state.counted.insert(blob.digest.clone()) && how == BlobEnd::Skipped {
            return;
        }
        state.blobs.add(how, 1);
        state.bytes.add(how, blob.size);
        if how == BlobEnd::Copied {
            state.add_sent(&blob.digest);
        }
    }

    pub(super) fn source_error(&self, code: Code) -> Error {
        Error::of(
            code,
            Verb::Copy.on_target(self.request.source.name(), &self.request.from),
        )
    }

    pub(super) fn report(&self, state: State, digest: Digest, members: Vec<Digest>) -> Report {
        let done = std::mem::take(&mut *self.state());
        Report {
            state,
            digest,
            manifests: done.manifests,
            blobs: done.blobs,
            bytes: done.bytes,
            members,
            written: done.written,
            selection: self.selected.and_then(SelectedSource::selection),
            skipped: done.skipped,
            kept: done.kept,
            kept_tags: done.kept_tags,
            foreign_layers: done.foreign_layers,
        }
    }
}
