//! Moves blobs, several at a time, each by its cheapest way.
//!
//! A blob is mounted from a known location if there is one, asked for where that can save a transfer, and sent otherwise.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use transship_oci::{AtSide as _, Code, Descriptor, Digest, Repository, Result, Side};

use super::run::CopyRun;
use crate::approach::{Approach, HEAD_BLOB_BYTES_MIN, Route};
use crate::flights::Turn;
use crate::inline::Inline;
use crate::{Arrival, BlobEnd, BlobLocation, Mount, Step, UploadOptions, UploadSession};

/// Up to this size round trips dominate the cost of a blob, above it bandwidth.
const SMALL_BLOB_BYTES_MAX: u64 = 1024 * 1024;
/// Transfers at the same time if all blobs are small.
const PARALLEL_SMALL_BLOBS: usize = 16;
/// Transfers at the same time otherwise.
const PARALLEL_BLOBS: usize = 6;
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
        let known = self.request.locations.find(&digests).await;
        let parallel = if blobs.first().is_some_and(|largest| largest.size > SMALL_BLOB_BYTES_MAX) {
            PARALLEL_BLOBS
        } else {
            PARALLEL_SMALL_BLOBS
        };
        let remembered = Remembered::default();
        let result = self.push_side_by_side(blobs, parallel, &known, &remembered).await;
        // Also after a failure: blobs that arrived need not be sent again.
        self.remember(remembered.take_all()).await;
        if result? {
            Ok(())
        } else {
            Err(self.source_error(Code::SlotOver))
        }
    }

    /// A transfer is prepared when it begins, because there may be thousands. Returns false if the time of this worker ended.
    async fn push_side_by_side(
        &self,
        blobs: &[Descriptor],
        parallel: usize,
        known: &HashMap<Digest, BlobLocation>,
        remembered: &Remembered,
    ) -> Result<bool> {
        let mut are_there = true;
        let mut running = FuturesUnordered::new();
        let mut waiting = blobs.iter();
        loop {
            while running.len() < parallel
                && let Some(blob) = waiting.next()
            {
                running.push(self.push_blob_in_time(blob, known, remembered));
            }
            match running.next().await {
                Some(is_there) => are_there &= is_there?,
                None => return Ok(are_there),
            }
        }
    }

    /// Returns false if the time of this worker ended first. This is not an error, because an error would end the other
    /// transfers in the middle of a chunk; each continues until it can hand over.
    async fn push_blob_in_time(
        &self,
        blob: &Descriptor,
        known: &HashMap<Digest, BlobLocation>,
        remembered: &Remembered,
    ) -> Result<bool> {
        match self.within_slot(self.push_blob(blob, known, remembered)).await {
            Ok(()) => Ok(true),
            Err(error) if error.is(Code::SlotOver) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn push_blob(
        &self,
        blob: &Descriptor,
        known: &HashMap<Digest, BlobLocation>,
        remembered: &Remembered,
    ) -> Result<()> {
        let cell = self.state().moving(&blob.digest);
        let mut is_there = cell.lock().await;
        if *is_there {
            return Ok(());
        }
        let mut known = known.get(&blob.digest).cloned().unwrap_or_default();
        let route = Route::new(self.request.source, self.request.destination, self.may_be_partial());
        let mut approach = route.approach(blob, &known);
        let mut sending = None;
        if approach.may_send_first()
            && let Some(flights) = self.request.locations.flights()
        {
            match flights.turn(&blob.digest, self.only_user()).await {
                Turn::Send(turn) => sending = Some(turn),
                Turn::Landed(location) => {
                    known = location;
                    approach = route.approach(blob, &known);
                }
            }
        }
        self.request.progress.step(Step::BlobBegin {
            digest: &blob.digest,
            size: blob.size,
        });
        let how = self.move_blob(blob, &approach).await?;
        self.count(blob, how);
        *is_there = true;
        drop(is_there);
        let arrival = route.arrival(blob, &known, how);
        if let Some(sending) = sending {
            sending.landed(route.location(arrival.as_ref()));
        }
        if let Some(arrival) = arrival {
            let batch = remembered.add(arrival, blob.size);
            self.remember(batch).await;
        }
        Ok(())
    }

    /// The destination repository, if a blob there cannot be mounted to others.
    fn only_user(&self) -> Option<&Repository> {
        let destination = self.request.destination;
        (!destination.mounts()).then(|| destination.repository())
    }

    async fn move_blob(&self, blob: &Descriptor, approach: &Approach) -> Result<BlobEnd> {
        let destination = self.request.destination;
        if approach.ask {
            if destination.blob_head(blob).await.at(Side::Destination)? {
                return Ok(BlobEnd::Skipped);
            }
            if approach.is_named {
                let here = destination.repository();
                self.request.locations.remove(&blob.digest, here).await;
                if let Some(flights) = self.request.locations.flights() {
                    flights.forget(&blob.digest, self.only_user());
                }
            }
        }
        let mut session = None;
        let mount_from = approach.proven(self.request.source, blob).await;
        for from in mount_from {
            match destination.blob_mount(blob, from).await.at(Side::Destination)? {
                Mount::Mounted => return Ok(BlobEnd::Mounted),
                Mount::NotMounted(opened) => {
                    self.request.locations.remove(&blob.digest, from).await;
                    if let Some(flights) = self.request.locations.flights() {
                        flights.forget(&blob.digest, None);
                    }
                    if opened.is_some() {
                        session = opened;
                        break;
                    }
                }
            }
        }
        self.send(blob, session).await?;
        Ok(BlobEnd::Copied)
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
        match Inline::of(blob) {
            Some(inline) => request
                .destination
                .blob_put(blob, &inline, options)
                .await
                .at(Side::Destination),
            None => request
                .destination
                .blob_put(blob, request.source, options)
                .await
                .at(Side::Destination),
        }
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
