//! Moves blobs, several at a time, each by its cheapest way.
//!
//! A blob is mounted from a known location if there is one, asked for where that can save a transfer, and sent otherwise.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Semaphore, SemaphorePermit};
use transship_oci::{AtSide as _, Code, Descriptor, Digest, Repository, Result, Side};

use super::run::CopyRun;
use crate::approach::{Approach, HEAD_BLOB_BYTES_MIN, Route};
use crate::flights::{Busy, Turn};
use crate::inline::Inline;
use crate::precedence::{GivesWay, Precedence};
use crate::{Arrival, BlobEnd, BlobLocation, Mount, Step, UploadOptions, UploadSession};

/// Up to this size round trips dominate the cost of a blob, above it bandwidth.
const SMALL_BLOB_BYTES_MAX: u64 = 1024 * 1024;
/// Transfers at the same time if all blobs are small.
const PARALLEL_SMALL_BLOBS: usize = 16;
/// Transfers at the same time otherwise.
const PARALLEL_BLOBS: usize = 6;
/// Blobs beyond these that wait for other copies.
const WAITING_BLOBS: usize = 64;
/// Blobs whose locations are stored in one call.
const LOCATION_BATCH_BLOBS: usize = 25;

impl CopyRun<'_> {
    /// Moves every blob of `blobs` (largest first) to the destination.
    pub(super) async fn push_blobs(&self, blobs: &[Descriptor]) -> Result<()> {
        let bytes = blobs.iter().map(|blob| blob.size).sum();
        self.request.progress.step(Step::Planned {
            blobs: blobs.len(),
            bytes,
        });
        let digests: Vec<Digest> = blobs.iter().map(|blob| blob.digest.clone()).collect();
        if blobs.first().is_some_and(Precedence::is_large) {
            self.end_precedence();
        }
        let parallel = if blobs.first().is_some_and(|largest| largest.size > SMALL_BLOB_BYTES_MAX) {
            PARALLEL_BLOBS
        } else {
            PARALLEL_SMALL_BLOBS
        };
        let moves = Moves {
            known: self.request.locations.find(&digests).await,
            remembered: Remembered::default(),
            places: Semaphore::new(parallel),
        };
        let result = self.push_side_by_side(blobs, parallel, &moves).await;
        // Also after a failure: blobs that arrived need not be sent again.
        self.remember(moves.remembered.take_all()).await;
        match result? {
            None => Ok(()),
            Some(code) => Err(self.source_error(code)),
        }
    }

    /// A transfer is prepared when it begins, because there may be thousands. Returns the code of the reason if some blobs are
    /// not there.
    async fn push_side_by_side(&self, blobs: &[Descriptor], parallel: usize, moves: &Moves) -> Result<Option<Code>> {
        let mut reason = None;
        let mut running = FuturesUnordered::new();
        let mut waiting = blobs.iter();
        loop {
            while running.len() < parallel + WAITING_BLOBS
                && let Some(blob) = waiting.next()
            {
                running.push(self.push_blob_in_time(blob, moves));
            }
            match running.next().await {
                Some(left) => reason = reason.or(left?),
                None => return Ok(reason),
            }
        }
    }

    /// Returns a code if the time of this worker ended first, or another copy is busy with the blob. This is not an error,
    /// because an error would end the other transfers in the middle of a chunk; each continues until it can hand over.
    async fn push_blob_in_time(&self, blob: &Descriptor, moves: &Moves) -> Result<Option<Code>> {
        match self.within_slot(self.push_blob(blob, moves)).await {
            Ok(()) => Ok(None),
            Err(error) if error.is(Code::SlotOver) => Ok(Some(Code::SlotOver)),
            Err(error) if error.is(Code::BlobUnderWay) => Ok(Some(Code::BlobUnderWay)),
            Err(error) => Err(error),
        }
    }

    async fn push_blob(&self, blob: &Descriptor, moves: &Moves) -> Result<()> {
        let destination = self.request.destination;
        let mut place = Place::take(&moves.places).await;
        let duty = loop {
            match self.flights().place(&blob.digest, destination.repository()) {
                Turn::Mine(duty) => break duty,
                Turn::Busy(busy) => self.wait_outside(&mut place, busy).await?,
                Turn::Ended(_) => {
                    self.begin(blob);
                    self.count(blob, BlobEnd::Skipped);
                    return Ok(());
                }
            }
        };
        self.begin(blob);
        let mut known = moves.known.get(&blob.digest).cloned().unwrap_or_default();
        let route = Route::new(self.request.source, destination, self.may_be_partial());
        let how = self.move_blob(blob, &route, &mut known, &mut place).await?;
        duty.end(Instant::now());
        self.count(blob, how);
        if let Some(arrival) = route.arrival(blob, &known, how) {
            let batch = moves.remembered.add(arrival, blob.size);
            self.remember(batch).await;
        }
        Ok(())
    }

    fn begin(&self, blob: &Descriptor) {
        self.request.progress.step(Step::BlobBegin {
            digest: &blob.digest,
            size: blob.size,
        });
    }

    /// Waits for another copy, while another blob of this one takes the place. `BLOB_UNDER_WAY` if that lasts too long.
    async fn wait_outside(&self, place: &mut Place<'_>, busy: Busy) -> Result<()> {
        place.leave();
        let ended = busy.ended();
        match self.request.options.patience {
            Some(patience) => tokio::time::timeout(patience, ended)
                .await
                .map_err(|_| self.source_error(Code::BlobUnderWay))?,
            None => ended.await,
        }
        place.enter().await;
        Ok(())
    }

    /// Moves a blob that no other copy moves to this repository. `known`: what is remembered of it, more of it afterwards.
    async fn move_blob(
        &self,
        blob: &Descriptor,
        route: &Route<'_>,
        known: &mut BlobLocation,
        place: &mut Place<'_>,
    ) -> Result<BlobEnd> {
        let (destination, flights) = (self.request.destination, self.flights());
        if let Some(sent) = flights.sent(&blob.digest) {
            known.learn(sent);
        }
        let approach = route.approach(blob, known);
        if approach.ask {
            if destination.blob_head(blob).await.at(Side::Destination)? {
                return Ok(BlobEnd::Skipped);
            }
            if approach.is_named {
                self.forget(blob, destination.repository()).await;
            }
        }
        let mut session = match self.mount(blob, &approach).await? {
            Mount::Mounted => return Ok(BlobEnd::Mounted),
            Mount::NotMounted(session) => session,
        };
        if !destination.mounts() || !flights.do_mounts_succeed() {
            self.send(blob, session).await?;
            return Ok(BlobEnd::Copied);
        }
        loop {
            match flights.send(&blob.digest) {
                Turn::Mine(duty) => {
                    self.send(blob, session).await?;
                    duty.end(route.location(blob));
                    return Ok(BlobEnd::Copied);
                }
                Turn::Busy(busy) => self.wait_outside(place, busy).await?,
                Turn::Ended(sent) => {
                    let approach = route.approach(blob, &sent);
                    known.learn(sent.clone());
                    match self.mount(blob, &approach).await? {
                        Mount::Mounted => return Ok(BlobEnd::Mounted),
                        // Of two sessions one is left to the registry, which closes it after a while.
                        Mount::NotMounted(opened) => session = opened.or(session),
                    }
                    let may_not_mount = flights.sent(&blob.digest) == Some(sent);
                    if may_not_mount || !flights.do_mounts_succeed() {
                        self.send(blob, session).await?;
                        return Ok(BlobEnd::Copied);
                    }
                }
            }
        }
    }

    /// Mounts the blob from one of the repositories that `approach` names, if it names any and the source has the blob.
    async fn mount(&self, blob: &Descriptor, approach: &Approach) -> Result<Mount> {
        let destination = self.request.destination;
        for from in approach.proven(self.request.source, blob).await {
            let mount = destination.blob_mount(blob, from).await.at(Side::Destination)?;
            self.flights().mounted(matches!(mount, Mount::Mounted));
            match mount {
                Mount::Mounted => return Ok(mount),
                Mount::NotMounted(opened) => {
                    self.forget(blob, from).await;
                    if opened.is_some() {
                        return Ok(Mount::NotMounted(opened));
                    }
                }
            }
        }
        Ok(Mount::NotMounted(None))
    }

    /// Forgets that `repository` holds the blob, because it does not.
    pub(super) async fn forget(&self, blob: &Descriptor, repository: &Repository) {
        self.request.locations.remove(&blob.digest, repository).await;
        self.flights().forget(&blob.digest, repository);
    }

    /// Sends the bytes of the blob: its inline `data` if that is the blob, otherwise from the source.
    pub(super) async fn send(&self, blob: &Descriptor, session: Option<UploadSession>) -> Result<()> {
        let request = self.request;
        let options = UploadOptions {
            session,
            progress: &request.progress,
            continuations: request.continuations,
            budget: request.budget,
            is_repeated: request.options.is_repeated,
        };
        let destination = request.destination;
        let sent = match Inline::of(blob) {
            Some(inline) => destination.blob_put(blob, &inline, options).await,
            None if Precedence::is_large(blob) => {
                let source = GivesWay::new(request.source, self.flights().precedence());
                destination.blob_put(blob, &source, options).await
            }
            None => destination.blob_put(blob, request.source, options).await,
        };
        sent.at(Side::Destination)
    }

    async fn remember(&self, arrivals: Vec<Arrival>) {
        if !arrivals.is_empty() {
            self.request
                .locations
                .add(&arrivals, self.request.destination.repository())
                .await;
        }
    }
}

/// What the transfers of some blobs share.
struct Moves {
    known: HashMap<Digest, BlobLocation>,
    remembered: Remembered,
    /// As many as are moved at the same time.
    places: Semaphore,
}

/// A place among the blobs that a copy moves at the same time.
struct Place<'a> {
    places: &'a Semaphore,
    permit: Option<SemaphorePermit<'a>>,
}

impl<'a> Place<'a> {
    async fn take(places: &'a Semaphore) -> Self {
        let mut place = Self { places, permit: None };
        place.enter().await;
        place
    }

    async fn enter(&mut self) {
        // The semaphore is never closed.
        self.permit = self.places.acquire().await.ok();
    }

    fn leave(&mut self) {
        self.permit = None;
    }
}

/// Blobs that arrived and whose locations are not stored yet.
#[derive(Default)]
struct Remembered(Mutex<Vec<Arrival>>);

impl Remembered {
    /// Adds a blob; returns a batch to remember when it is full or contains a large blob.
    fn add(&self, arrival: Arrival, size: u64) -> Vec<Arrival> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(arrival);
        if waiting.len() >= LOCATION_BATCH_BLOBS || size >= 8 * HEAD_BLOB_BYTES_MIN {
            std::mem::take(&mut *waiting)
        } else {
            Vec::new()
        }
    }

    fn take_all(&self) -> Vec<Arrival> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
