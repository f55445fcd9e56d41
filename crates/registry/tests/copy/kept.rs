//! Uploads under way in memory, and what copies in chunks are made of.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use transship_copy::{Continuation, Continuations, Options, Report, TimeBudget};
use transship_embedded_registry::{Builder, EmbeddedRegistry};
use transship_oci::{Code, Digest, Error, Provider, Result, Verb};
use transship_registry::{Profile, Registry};
use transship_testkit::images::{self, Sample};

use crate::world::{Job, World, asked, options_of};

pub const MEBIBYTE: u64 = 1024 * 1024;

/// What is remembered of uploads, and every change of it.
#[derive(Default)]
pub struct Kept {
    known: Mutex<HashMap<Digest, Continuation>>,
    saved: Mutex<Vec<Continuation>>,
    fails: AtomicBool,
}

impl Kept {
    pub fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::Relaxed);
    }

    /// Everything that was saved, in order.
    pub fn saved(&self) -> Vec<Continuation> {
        self.saved.lock().unwrap().clone()
    }

    /// The one upload that is known.
    pub fn only(&self) -> Continuation {
        let known = self.known.lock().unwrap();
        assert_eq!(known.len(), 1, "one upload is under way");
        known.values().next().unwrap().clone()
    }

    pub fn is_empty(&self) -> bool {
        self.known.lock().unwrap().is_empty()
    }

    /// Changes what is known behind the back of its users.
    pub fn tamper(&self, change: impl Fn(&mut Continuation)) {
        self.known.lock().unwrap().values_mut().for_each(change);
    }
}

#[async_trait]
impl Continuations for Kept {
    async fn find(&self, blob: &Digest) -> Option<Continuation> {
        self.known.lock().unwrap().get(blob).cloned()
    }

    async fn save(&self, continuation: &Continuation) -> Result<()> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(Error::of(Code::LedgerUnavailable, Verb::ContinuationPut));
        }
        self.saved.lock().unwrap().push(continuation.clone());
        let mut known = self.known.lock().unwrap();
        known.insert(continuation.digest.clone(), continuation.clone());
        Ok(())
    }

    async fn remove(&self, blob: &Digest) {
        self.known.lock().unwrap().remove(blob);
    }
}

/// A slot that does not end while a test runs.
pub fn long_slot() -> TimeBudget {
    slot_of(Duration::from_hours(1))
}

pub fn slot_of(length: Duration) -> TimeBudget {
    TimeBudget::until(Instant::now() + length, length)
}

/// A client that sends chunks of at most so many bytes: another worker.
pub fn worker(registry: &EmbeddedRegistry, chunk_max: u64) -> Registry {
    worker_at(registry, Profile::of(Provider::Distribution), chunk_max)
}

pub fn worker_at(registry: &EmbeddedRegistry, profile: Profile, chunk_max: u64) -> Registry {
    Registry::new(transship_registry::Options {
        profile: Profile { chunk_max, ..profile },
        ..options_of(registry)
    })
    .unwrap()
}

/// A world with an image whose one large layer goes in chunks of a mebibyte, and a memory for that.
pub struct Chunked {
    pub world: World,
    pub kept: Arc<Kept>,
    pub sample: Sample,
    pub size: u64,
}

impl Chunked {
    pub async fn new(seed: u64, size: u64) -> Self {
        Self::of(EmbeddedRegistry::builder(), seed, size).await
    }

    pub async fn of(destination: Builder, seed: u64, size: u64) -> Self {
        let world = World::of(EmbeddedRegistry::builder(), destination).await;
        let sample = images::image(seed, &[usize::try_from(size).unwrap()]);
        world.seed(&sample);
        let to = worker(&world.destination, MEBIBYTE);
        Self {
            world: World { to, ..world },
            kept: Arc::default(),
            sample,
            size,
        }
    }

    /// An attempt after one that did not end in its time: then anything large goes in chunks.
    pub fn job(&self, budget: Option<TimeBudget>) -> Job {
        Job {
            options: Options {
                is_repeated: true,
                ..Options::default()
            },
            continuations: Some(Arc::clone(&self.kept)),
            budget,
            ..Job::default()
        }
    }

    pub async fn copy(&self) -> Result<Report> {
        self.world.run(self.job(Some(long_slot()))).await
    }

    /// The next worker: one that has not learned anything.
    pub fn next_worker(&mut self) {
        self.world.to = worker(&self.world.destination, MEBIBYTE);
    }

    /// The large layer.
    pub fn layer(&self) -> &Digest {
        let is_layer = |(_, bytes): &(&Digest, &Bytes)| bytes.len() as u64 == self.size;
        self.sample.blobs.iter().find(is_layer).unwrap().0
    }

    /// The sizes of the chunks the destination read, in order.
    pub fn chunks(&self) -> Vec<u64> {
        let records = asked(&self.world.destination, "PATCH", "/blobs/uploads/");
        records.iter().map(|record| record.bytes_in).collect()
    }

    /// Bytes of chunks, the layer's own aside: what was sent again.
    pub fn sent_again(&self) -> u64 {
        self.chunks().iter().sum::<u64>().saturating_sub(self.size)
    }

    /// Everything arrived, nothing is left over.
    pub fn assert_done(&self) {
        self.world.assert_equal(&self.sample);
        assert!(self.kept.is_empty(), "an upload is remembered that is over");
    }
}
