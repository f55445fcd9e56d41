//! Moves blobs, several at a time, each by its cheapest way.
//!
//! A blob is mounted from a known location if there is one, asked for where that can save a transfer, and sent otherwise.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use base64::Engine as _;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use transship_oci::{AtSide as _, Code, Descriptor, Digest, Repository, Result, Side};

use super::run::CopyRun;
use crate::approach::{Approach, HEAD_BLOB_BYTES_MIN, approach};
use crate::parallel::side_by_side;
use crate::{BlobEnd, BlobSource, ByteStream, Mount, Step, UploadOptions, UploadSession};

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
        let transfers = blobs
            .iter()
            .map(|blob| self.push_blob_in_time(blob, &known, &remembered));
        let result = side_by_side(transfers.collect(), parallel).await;
        // Also after a failure: blobs that arrived need not be sent again.
        self.remember(remembered.take_all()).await;
        if result?.into_iter().all(|is_there| is_there) {
            Ok(())
        } else {
            Err(self.source_error(Code::SlotOver))
        }
    }

    /// Returns false if the time of this worker ended first. This is not an error, because an error would end the other
    /// transfers in the middle of a chunk; each continues until it can hand over.
    async fn push_blob_in_time(
        &self,
        blob: &Descriptor,
        known: &HashMap<Digest, Vec<Repository>>,
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
        known: &HashMap<Digest, Vec<Repository>>,
        remembered: &Remembered,
    ) -> Result<()> {
        let cell = Arc::clone(self.state().moved.entry(blob.digest.clone()).or_default());
        let mut is_there = cell.lock().await;
        if *is_there {
            return Ok(());
        }
        let here = self.request.destination.repository();
        let known = known.get(&blob.digest).map_or(&[][..], Vec::as_slice);
        let approach = approach(blob, known, here, self.may_be_partial());
        self.request.progress.step(Step::BlobBegin {
            digest: &blob.digest,
            size: blob.size,
        });
        let how = self.move_blob(blob, approach).await?;
        self.count(blob, how);
        *is_there = true;
        drop(is_there);
        let batch = remembered.add(&blob.digest, known.first() == Some(here), blob.size);
        self.remember(batch).await;
        Ok(())
    }

    async fn move_blob(&self, blob: &Descriptor, approach: Approach) -> Result<BlobEnd> {
        let destination = self.request.destination;
        if approach.ask {
            if destination.blob_head(blob).await.at(Side::Destination)? {
                return Ok(BlobEnd::Skipped);
            }
            if approach.is_named {
                let here = destination.repository();
                self.request.locations.remove(&blob.digest, here).await;
            }
        }
        let mut session = None;
        for from in &approach.mount_from {
            match destination.blob_mount(blob, from).await.at(Side::Destination)? {
                Mount::Mounted => return Ok(BlobEnd::Mounted),
                Mount::NotMounted(opened) => {
                    self.request.locations.remove(&blob.digest, from).await;
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

    async fn remember(&self, digests: Vec<Digest>) {
        if !digests.is_empty() {
            self.request
                .locations
                .add(&digests, self.request.destination.repository())
                .await;
        }
    }
}

/// Blobs that arrived and whose locations are not stored yet.
#[derive(Default)]
struct Remembered(Mutex<Vec<Digest>>);

impl Remembered {
    /// Adds a blob; returns a batch to remember when it is full or contains a large blob.
    fn add(&self, digest: &Digest, is_known: bool, size: u64) -> Vec<Digest> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_known {
            waiting.push(digest.clone());
        }
        if waiting.len() >= LOCATION_BATCH_BLOBS || (!is_known && size >= 8 * HEAD_BLOB_BYTES_MIN) {
            std::mem::take(&mut *waiting)
        } else {
            Vec::new()
        }
    }

    fn take_all(&self) -> Vec<Digest> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A blob whose bytes came with its descriptor.
struct Inline(Bytes);

impl Inline {
    fn of(blob: &Descriptor) -> Option<Self> {
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(blob.data.as_deref()?)
            .ok()?;
        let is_it = bytes.len() as u64 == blob.size && Digest::of(blob.digest.algorithm(), &bytes) == blob.digest;
        is_it.then(|| Self(bytes.into()))
    }
}

#[async_trait]
impl BlobSource for Inline {
    async fn blob_get(&self, _: &Descriptor, offset: u64) -> Result<ByteStream> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        Ok(stream::iter([Ok(self.0.slice(from..))]).boxed())
    }
}
