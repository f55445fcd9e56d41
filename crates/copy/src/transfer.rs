//! Blobs: for each the cheapest way to the destination, all of them side by side.
//!
//! A blob is mounted from a known location before anything else, asked for where that can save a transfer, and sent else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use base64::Engine as _;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use transship_oci::{Code, Descriptor, Digest, Repository, Result};

use crate::parallel::side_by_side;
use crate::work::Work;
use crate::{BlobEnd, BlobSource, ByteStream, Mount, Sending, Step};

/// From this size on a HEAD is cheap against the transfer it may save.
const WORTH_ASKING_BYTES: u64 = 4 * 1024 * 1024;
/// Up to this size a blob costs round trips, beyond it bandwidth.
const SMALL_BYTES: u64 = 1024 * 1024;
/// Transfers side by side when all are small.
const PARALLEL_SMALL: usize = 16;
/// Transfers side by side otherwise.
const PARALLEL: usize = 6;
/// Known locations that are tried before the blob is sent.
const MOUNTS: usize = 2;
/// Locations are remembered in batches: one call of a remote memory for so many blobs.
const REMEMBER: usize = 25;

/// How a blob is brought over: ask first, then mount from these, then send.
#[derive(Debug, PartialEq, Eq)]
struct Approach {
    ask: bool,
    /// The memory names the destination repository itself: forgotten if that proves wrong.
    is_named: bool,
    mount_from: Vec<Repository>,
}

/// `known`: where the blob is said to be. `here`: the destination repository. `is_likely`: the repository may hold parts of
/// this image that nobody remembers.
fn approach(blob: &Descriptor, known: &[Repository], here: &Repository, is_likely: bool) -> Approach {
    let is_here = known.contains(here);
    let mount_from: Vec<Repository> = known
        .iter()
        .filter(|repository| *repository != here)
        .take(MOUNTS)
        .cloned()
        .collect();
    let ask = is_here || (is_likely || blob.size >= WORTH_ASKING_BYTES) && mount_from.is_empty();
    Approach {
        ask,
        is_named: is_here,
        mount_from,
    }
}

impl Work<'_> {
    /// Brings every blob of `blobs` (largest first) to the destination.
    pub(crate) async fn transfer(&self, blobs: &[Descriptor], is_likely: bool) -> Result<()> {
        let bytes = blobs.iter().map(|blob| blob.size).sum();
        self.request.progress.step(Step::Planned {
            blobs: blobs.len(),
            bytes,
        });
        let digests: Vec<Digest> = blobs.iter().map(|blob| blob.digest.clone()).collect();
        let known = self.request.locations.find(&digests).await;
        let parallel = if blobs.first().is_some_and(|largest| largest.size > SMALL_BYTES) {
            PARALLEL
        } else {
            PARALLEL_SMALL
        };
        let remembered = Remembered::default();
        let transfers = blobs
            .iter()
            .map(|blob| self.transfer_in_time(blob, &known, is_likely, &remembered));
        let result = side_by_side(transfers.collect(), parallel).await;
        // Also after a failure: what arrived need not be sent again.
        self.remember(remembered.take_all()).await;
        if result?.into_iter().all(|is_there| is_there) {
            Ok(())
        } else {
            Err(self.source_error(Code::SlotOver))
        }
    }

    /// False if the slot was over first. That is no failure, which would end the others in the middle of a chunk: each goes
    /// on until it can hand over.
    async fn transfer_in_time(
        &self,
        blob: &Descriptor,
        known: &HashMap<Digest, Vec<Repository>>,
        is_likely: bool,
        remembered: &Remembered,
    ) -> Result<bool> {
        match self
            .within_slot(self.transfer_one(blob, known, is_likely, remembered))
            .await
        {
            Ok(()) => Ok(true),
            Err(error) if error.is(Code::SlotOver) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn transfer_one(
        &self,
        blob: &Descriptor,
        known: &HashMap<Digest, Vec<Repository>>,
        is_likely: bool,
        remembered: &Remembered,
    ) -> Result<()> {
        let slot = Arc::clone(self.tally().brought.entry(blob.digest.clone()).or_default());
        let mut is_there = slot.lock().await;
        if *is_there {
            return Ok(());
        }
        let here = self.request.destination.repository();
        let known = known.get(&blob.digest).map_or(&[][..], Vec::as_slice);
        let approach = approach(blob, known, here, is_likely);
        self.request.progress.step(Step::BlobBegin {
            digest: &blob.digest,
            size: blob.size,
        });
        let how = self.bring(blob, approach).await?;
        self.count(blob, how);
        *is_there = true;
        drop(is_there);
        let batch = remembered.add(&blob.digest, known.first() == Some(here), blob.size);
        self.remember(batch).await;
        Ok(())
    }

    async fn bring(&self, blob: &Descriptor, approach: Approach) -> Result<BlobEnd> {
        let destination = self.request.destination;
        if approach.ask {
            if destination.blob_head(blob).await? {
                return Ok(BlobEnd::Skipped);
            }
            if approach.is_named {
                let here = destination.repository();
                self.request.locations.remove(&blob.digest, here).await;
            }
        }
        let mut session = None;
        for from in &approach.mount_from {
            match destination.blob_mount(blob, from).await? {
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

    /// Sends the blob's bytes: its inline `data` if that is the blob, else what the source has.
    pub(crate) async fn send(&self, blob: &Descriptor, session: Option<crate::Upload>) -> Result<()> {
        let request = self.request;
        let sending = Sending {
            session,
            progress: &request.progress,
            continuations: request.continuations,
            slot: request.slot,
            is_repeated: request.options.is_repeated,
        };
        match Inline::of(blob) {
            Some(inline) => request.destination.blob_put(blob, &inline, sending).await,
            None => request.destination.blob_put(blob, request.source, sending).await,
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

/// What arrived and is not yet in the memory of locations.
#[derive(Default)]
struct Remembered(Mutex<Vec<Digest>>);

impl Remembered {
    /// Adds one; gives back a batch that is worth a call: many, or after a blob whose loss from memory would cost much.
    fn add(&self, digest: &Digest, is_known: bool, size: u64) -> Vec<Digest> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_known {
            waiting.push(digest.clone());
        }
        if waiting.len() >= REMEMBER || (!is_known && size >= 8 * WORTH_ASKING_BYTES) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_takes_the_cheapest_way() {
        let blob = |size| Descriptor::new("a/b".into(), Digest::sha256(b"x"), size);
        let name = |text: &str| text.parse::<Repository>().unwrap();
        let here = name("here");
        let way = |size, known: &[Repository], is_likely| {
            let approach = approach(&blob(size), known, &here, is_likely);
            (approach.ask, approach.mount_from.len())
        };
        assert_eq!(way(1000, &[], false), (false, 0), "unknown and small: send");
        assert_eq!(way(10 << 20, &[], false), (true, 0), "unknown and large: ask");
        assert_eq!(way(1000, &[], true), (true, 0), "a repeated attempt asks");
        assert_eq!(
            way(10 << 20, &[name("a")], true),
            (false, 1),
            "known elsewhere: mount at once"
        );
        assert_eq!(
            way(1, &[here.clone(), name("a")], false),
            (true, 1),
            "said to be here: prove it, else mount"
        );
        assert_eq!(way(1, &[name("a"), name("b"), name("c")], false), (false, 2));
    }

    #[test]
    fn what_no_memory_named_needs_not_be_forgotten() {
        let blob = Descriptor::new("a/b".into(), Digest::sha256(b"x"), 10 << 20);
        let (here, elsewhere): (Repository, Repository) = ("here".parse().unwrap(), "a".parse().unwrap());
        let is_named = |known: &[Repository]| approach(&blob, known, &here, true).is_named;
        assert!(is_named(std::slice::from_ref(&here)));
        assert!(!is_named(&[]) && !is_named(&[elsewhere]));
    }
}
